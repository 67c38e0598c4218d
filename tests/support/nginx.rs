//! nginx as a gateway before a SCIM target: TLS with the test's own authority, HTTP/2 by ALPN, limits, and a log of it all.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::process::{Process, signal};
use crate::support::slapd::{daemon, free_port};
use crate::support::tls::Certificates;
use crate::support::wait_for;

const READY: Duration = Duration::from_secs(30);
const STARTS: u32 = 10;

/// One request as the gateway saw it, complete or not.
#[derive(Debug, Clone)]
pub struct Passed {
    /// `HTTP/2.0`, `HTTP/1.1`, …
    pub protocol: String,
    /// `GET`, `POST`, …
    pub method: String,
    /// The status that was answered.
    pub status: u16,
    /// The process that served it; a reload brings another one.
    pub worker: u32,
    /// The client's connection.
    pub connection: u64,
    /// When the answer was over, in seconds since 1970.
    pub at: f64,
    /// What became of the client's certificate: `SUCCESS`, `NONE` or `FAILED:…`.
    pub verified: String,
}

/// What a gateway has in its way, as parts of its configuration.
#[derive(Default)]
struct Obstacle {
    /// On the level of `http`.
    zones: String,
    /// On the level of `server`.
    settings: String,
    /// In the location that passes requests on.
    gate: String,
}

/// A running nginx; dropping it kills it.
pub struct Nginx {
    process: Option<Process>,
    port: u16,
    upstream: String,
    directory: TempDir,
}

impl Nginx {
    /// Starts before the target at this `http://HOST:PORT/…`; a connection ends with GOAWAY after so many requests.
    pub fn before(base_url: &str, requests_of_a_connection: u32) -> Self {
        let settings = format!("keepalive_requests {requests_of_a_connection};");
        Self::start(
            base_url,
            &Obstacle {
                settings,
                ..Obstacle::default()
            },
        )
    }

    /// Starts before the target at this URL, and lets in only who shows a certificate of this authority.
    pub fn for_clients_of(base_url: &str, authority: &Path) -> Self {
        let authority = authority.display();
        let settings = format!("ssl_verify_client on; ssl_client_certificate {authority};");
        Self::start(
            base_url,
            &Obstacle {
                settings,
                ..Obstacle::default()
            },
        )
    }

    /// Lets so many requests a second pass, and five more at once; others get 429 with this `Retry-After` and body.
    pub fn with_rate(base_url: &str, per_second: u32, retry_after: &str, body: &str) -> Self {
        let obstacle = Obstacle {
            zones: format!("limit_req_zone $server_port zone=rate:1m rate={per_second}r/s;"),
            settings: format!(
                "location @busy {{ default_type application/scim+json; add_header Retry-After \"{retry_after}\" always; return 429 \
                 '{body}'; }}"
            ),
            gate:
                "limit_req zone=rate burst=5 nodelay; limit_req_status 429; error_page 429 @busy;"
                    .to_owned(),
        };
        Self::start(base_url, &obstacle)
    }

    /// Lets so many requests pass at a time; others get 500 with this text in the body, and no `Retry-After`.
    pub fn with_places(base_url: &str, places: u32, text: &str) -> Self {
        let obstacle = Obstacle {
            zones: "limit_conn_zone $server_port zone=places:1m;".to_owned(),
            settings: format!(
                "location @busy {{ default_type application/json; return 500 '{{\"detail\":\"{text}: too many at once\"}}'; }}"
            ),
            gate: format!(
                "limit_conn places {places}; limit_conn_status 500; error_page 500 @busy;"
            ),
        };
        Self::start(base_url, &obstacle)
    }

    /// Answers 504 to so many of a hundred requests that write, when the target has carried them out.
    pub fn losing_answers(base_url: &str, of_a_hundred: u32) -> Self {
        let obstacle = Obstacle {
            zones: format!(
                "split_clients $request_id $luck {{ {of_a_hundred}% lost; * kept; }}
  map $request_method:$luck $lost {{ default 0; ~^(POST|PATCH):lost 1; }}
  recursive_error_pages on;"
            ),
            // The head of no answer fits into so small a buffer, so the answer is thrown away.
            settings: "location @lost { proxy_pass http://target; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_set_header Host $host; proxy_next_upstream off; proxy_buffer_size 64; error_page 502 @late; }
    location @late { return 504 ''; }"
                .to_owned(),
            gate: "error_page 418 = @lost; if ($lost) { return 418; }".to_owned(),
        };
        Self::start(base_url, &obstacle)
    }

    fn start(base_url: &str, obstacle: &Obstacle) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("scim-relay-nginx-")
            .tempdir()
            .expect("a temporary directory");
        let certificates = Certificates::generate();
        let host = base_url.split('/').nth(2).expect("a host in the base URL");
        let mut nginx = Self {
            process: None,
            port: 0,
            upstream: host.to_owned(),
            directory,
        };
        nginx.write("ca.pem", &certificates.ca);
        nginx.write("server.pem", &certificates.certificate);
        nginx.write("server.key", &certificates.key);
        nginx.write("access.log", "");
        nginx.launch(obstacle);
        nginx
    }

    /// The same URL by way of the gateway.
    pub fn url_of(&self, base_url: &str) -> String {
        base_url.replace(
            &format!("http://{}", self.upstream),
            &format!("https://127.0.0.1:{}", self.port),
        )
    }

    /// The authority that signed the gateway's certificate.
    pub fn ca_pem_path(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Starts new workers and lets the old ones end: their HTTP/2 connections get GOAWAY. Returns when that was done.
    pub fn reload(&self) {
        let farewells = || {
            let log = self.process.as_ref().map(Process::log);
            log.unwrap_or_default()
                .matches("gracefully shutting down")
                .count()
        };
        let before = farewells();
        let id = self.process.as_ref().map(Process::id).expect("nginx runs");
        signal(&id.to_string(), "HUP");
        wait_for("the end of nginx's old worker", READY, || {
            (farewells() > before).then_some(())
        });
    }

    /// Every request so far, in the order of the answers.
    pub fn passed(&self) -> Vec<Passed> {
        let text = std::fs::read_to_string(self.path("access.log")).expect("nginx's log");
        // What is being written now has no end of line yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(passed).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file of the test's nginx");
    }

    /// Starts on a free port; one that someone else took meanwhile is not an error, another is tried.
    fn launch(&mut self, obstacle: &Obstacle) {
        for _ in 0..STARTS {
            self.port = free_port();
            self.write("nginx.conf", &self.config(obstacle));
            let mut command = Command::new(daemon("nginx"));
            command.arg("-c").arg(self.path("nginx.conf"));
            let mut process = Process::spawn("nginx", &mut command, self.path("log"));
            let listens = wait_for("a connection to nginx", READY, || {
                if process.ended().is_some() {
                    return Some(false);
                }
                let started = process.log().contains("start worker process ");
                started.then_some(true)
            });
            self.process = Some(process);
            if listens {
                return;
            }
        }
        let log = self.process.as_ref().map(Process::log);
        panic!("nginx did not start {STARTS} times: {log:?}");
    }

    fn config(&self, obstacle: &Obstacle) -> String {
        let home = self.directory.path().display();
        let (port, upstream) = (self.port, &self.upstream);
        let Obstacle {
            zones,
            settings,
            gate,
        } = obstacle;
        format!(
            "daemon off;
# As root the workers would be another account, which may not enter the directory; anybody else is warned in the log.
user root;
worker_processes 1;
pid {home}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 512; }}
http {{
  log_format seen '$server_protocol $request_method $status $pid $connection $msec $ssl_client_verify';
  access_log {home}/access.log seen;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  {zones}
  upstream target {{ server {upstream}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {home}/server.pem;
    ssl_certificate_key {home}/server.key;
    {settings}
    location / {{
      {gate}
      proxy_pass http://target;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      # What is sent twice is the relay's business.
      proxy_next_upstream off;
    }}
  }}
}}
"
        )
    }
}

fn passed(line: &str) -> Passed {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| words[at].parse::<u64>().expect("a number in nginx's log");
    Passed {
        protocol: words[0].to_owned(),
        method: words[1].to_owned(),
        status: u16::try_from(number(2)).expect("a status"),
        worker: u32::try_from(number(3)).expect("a process id"),
        connection: number(4),
        at: words[5].parse().expect("a time in nginx's log"),
        verified: words[6].to_owned(),
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // In order, so that the master takes its workers with it.
        if let Some(mut process) = self.process.take() {
            process.terminate(READY);
        }
    }
}
