//! How the endpoint serves: TLS, limits, slow callers, request ids, the access log, and errors of HTTP itself.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use uuid::Uuid;

use super::Site;
use super::requests::problem;
use crate::program::{Answer, PATIENCE};
use crate::support::relay::API_TOKEN;
use crate::support::tls::Certificates;
use crate::support::wait_for;

/// A certificate and its key as files, for one relay.
struct Files {
    _folder: tempfile::TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn with(certificates: &Certificates) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Self {
            certificate: folder.path().join("tls.pem"),
            key: folder.path().join("tls.key"),
            _folder: folder,
        };
        files.write(certificates);
        files
    }

    fn write(&self, certificates: &Certificates) {
        std::fs::write(&self.key, &certificates.key).unwrap();
        std::fs::write(&self.certificate, &certificates.certificate).unwrap();
    }

    /// Lines of `server`.
    fn lines(&self) -> String {
        let path = |path: &Path| toml::Value::from(format!("file:{}", path.display())).to_string();
        let (certificate, key) = (path(&self.certificate), path(&self.key));
        format!("tlsCertificate = {certificate}\ntlsKey = {key}")
    }
}

/// A TLS client's side that trusts this authority only.
fn client(ca: &str, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ca.as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection whose handshake is done.
fn connect_tls(
    port: u16,
    config: &Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, std::io::Error> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(config.clone(), name).unwrap();
    let mut stream = StreamOwned::new(connection, connect(port));
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

/// Sends bytes and reads the answer to the end of the connection.
fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> String {
    stream.write_all(request).unwrap();
    rest(stream)
}

/// What comes until the connection ends, in whichever way.
fn rest(stream: &mut impl Read) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert!(
            matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            ),
            "{error}"
        ),
    }
    String::from_utf8(answer).unwrap()
}

fn healthy(stream: &mut (impl Read + Write)) {
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(stream, request);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Lines of a JSON log with this message.
fn lines(log: &str, message: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == message)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_tls_takes_over_a_renewed_certificate_and_keeps_it_when_the_next_is_broken() {
    let mut site = Site::new().await;
    let (old, new, newest) = (
        Certificates::generate(),
        Certificates::generate(),
        Certificates::generate(),
    );
    let files = Files::with(&old);
    // With a certificate it may listen beyond this machine.
    let server = format!("listen = \"0.0.0.0:0\"\n{}", files.lines());
    site.relay = site.relay.section("server", &server);
    let serving = site.relay.serve();
    let port = port(serving.address());
    let trusting = |ca: &str| Arc::new(client(ca, rustls::ALL_VERSIONS));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(client(&old.ca, &[version]));
        healthy(&mut connect_tls(port, &config).unwrap());
    }
    let mut negotiating = client(&old.ca, rustls::ALL_VERSIONS);
    negotiating.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let negotiated = connect_tls(port, &Arc::new(negotiating)).unwrap();
    assert_eq!(negotiated.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    // Plain HTTP gets nothing.
    let answer = exchange(
        &mut connect(port),
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert!(!answer.contains("HTTP/"), "{answer}");

    let mut kept = connect_tls(port, &trusting(&old.ca)).unwrap();
    files.write(&new);
    wait_for("the new certificate", PATIENCE, || {
        connect_tls(port, &trusting(&new.ca)).ok()
    });
    assert!(connect_tls(port, &trusting(&old.ca)).is_err());
    // A connection that was there before goes on.
    healthy(&mut kept);

    std::fs::write(&files.certificate, &newest.certificate).unwrap();
    let complaint = "the new certificate cannot be used; the old one stays in force";
    wait_for("a complaint", PATIENCE, || {
        lines(&serving.log(), complaint).pop()
    });
    healthy(&mut connect_tls(port, &trusting(&new.ca)).unwrap());
    std::fs::write(&files.key, &newest.key).unwrap();
    wait_for("the newest certificate", PATIENCE, || {
        connect_tls(port, &trusting(&newest.ca)).ok()
    });
    let complaints = lines(&serving.log(), complaint);
    let [complaint] = &complaints[..] else {
        panic!("not once: {complaints:?}")
    };
    assert_eq!(complaint["level"], "ERROR");
    let problem = complaint["problem"].as_str().unwrap();
    assert!(
        problem.contains("server.tlsKey is not the key of"),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_tls_that_cannot_be_used_is_refused_at_the_start() {
    let site = Site::new().await;
    let (pair, other) = (Certificates::generate(), Certificates::until(2020));
    let files = Files::with(&pair);
    let start = |lines: &str| {
        let relay = crate::support::relay::Relay::between(&site.slapd, site.target.base_url(), "x")
            .section("server", lines);
        relay.spawn(&["serve"]).wait()
    };
    let refused = |lines: &str, words: &[&str]| {
        let ended = start(lines);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for word in words {
            assert!(ended.stderr.contains(word), "no `{word}` in {ended:?}");
        }
        assert!(!ended.stderr.contains("PRIVATE KEY-----\nMI"), "{ended:?}");
    };
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let one = format!("tlsCertificate = \"file:{certificate}\"");
    refused(&one, &["tlsKey", "is missing; tlsCertificate needs it"]);
    let one = format!("tlsKey = \"file:{key}\"");
    refused(&one, &["tlsCertificate", "is missing; tlsKey needs it"]);
    let beyond = "listen = \"0.0.0.0:0\"";
    refused(beyond, &["listen", "name tlsCertificate and tlsKey"]);
    let both = files.lines();
    let cases: [(&Path, Option<&str>, &[&str]); 6] = [
        (
            &files.certificate,
            None,
            &["server.tlsCertificate", "tls.pem", "cannot be read"],
        ),
        (
            &files.key,
            None,
            &["server.tlsKey", "tls.key", "cannot be read"],
        ),
        (
            &files.certificate,
            Some("nonsense"),
            &["server.tlsCertificate", "no certificate in PEM form"],
        ),
        (
            &files.key,
            Some("nonsense"),
            &[
                "server.tlsKey",
                "no private key in PEM form",
                "openssl pkey",
            ],
        ),
        (
            &files.key,
            Some(&other.key),
            &["server.tlsKey is not the key of the first certificate"],
        ),
        (
            &files.certificate,
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            &["server.tlsCertificate", "cannot be used"],
        ),
    ];
    for (path, content, words) in cases {
        match content {
            None => std::fs::remove_file(path).unwrap(),
            Some(content) => std::fs::write(path, content).unwrap(),
        }
        refused(&both, words);
        files.write(&pair);
    }
    // `check` says it, too.
    std::fs::write(&files.key, &other.key).unwrap();
    let mut relay = crate::support::relay::Relay::between(&site.slapd, site.target.base_url(), "x");
    relay = relay.section("server", &both);
    let checked = relay
        .spawn(&["check", "--offline", "--output", "json"])
        .wait();
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(
        checked.job.to_string().contains("is not the key of"),
        "{checked:?}"
    );
    // One that has expired is served: whoever checks it says so.
    files.write(&other);
    let serving = relay.serve();
    let expired = "the certificate of the admin endpoint has expired; renew it";
    assert_eq!(lines(&serving.log(), expired).len(), 1, "{}", serving.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_tls_is_what_the_command_line_speaks() {
    let mut site = Site::new().await;
    let certificates = Certificates::generate();
    let files = Files::with(&certificates);
    let ca = files.certificate.with_file_name("ca.pem");
    std::fs::write(&ca, &certificates.ca).unwrap();
    site.relay = site.relay.section("server", &files.lines());
    let serving = site.relay.serve();
    let url = format!("https://localhost:{}", port(serving.address()));
    let arguments = ["sync", "--url", &url, "--output", "json"];
    let refused = site.relay.spawn(&arguments).wait();
    assert_eq!(refused.code, Some(5), "{refused:?}");
    let words = format!("no relay answers at {url}: invalid peer certificate");
    assert!(refused.stderr.contains(&words), "{refused:?}");
    // The authority is one of the machine's own, as far as this process knows.
    site.relay = site
        .relay
        .environment("SSL_CERT_FILE", ca.to_str().unwrap());
    let finished = site.relay.spawn(&arguments).wait().completed();
    assert_eq!(finished.count("usersCreated"), super::STAFF as u64);
}

/// Connections held open by somebody who never finishes what was begun.
enum Held {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Held {
    fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).unwrap(),
            Self::Tls(stream) => stream.write_all(bytes).unwrap(),
        }
    }

    fn rest(&mut self) -> String {
        match self {
            Self::Plain(stream) => rest(stream),
            Self::Tls(stream) => rest(stream),
        }
    }
}

fn half_a_body(directory: &str) -> String {
    format!(
        "POST /api/v1/directories/{directory}/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{\"mode\""
    )
}

/// What 500 slow connections say, one after the other; `None` is nothing, not even a handshake.
fn hold(port: u16, directory: &str, tls: Option<&Arc<ClientConfig>>) -> Vec<Held> {
    let halves = [
        None,
        Some(String::new()),
        Some("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Half: ".to_owned()),
        Some(half_a_body(directory)),
    ];
    let open = |number: usize| {
        let half = &halves[number % halves.len()];
        let mut held = match (half, tls) {
            (Some(_), Some(config)) => Held::Tls(Box::new(connect_tls(port, config).unwrap())),
            (None, Some(_)) => {
                // The first bytes of a handshake that does not go on.
                let mut stream = connect(port);
                stream.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
                Held::Plain(stream)
            }
            (_, None) => Held::Plain(connect(port)),
        };
        held.write(half.as_deref().unwrap_or_default().as_bytes());
        held
    };
    (0..500).map(open).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_500_slow_connections_do_not_keep_others_out() {
    let mut site = Site::new().await;
    let certificates = Certificates::generate();
    let files = Files::with(&certificates);
    let config = Arc::new(client(&certificates.ca, rustls::ALL_VERSIONS));
    for tls in [None, Some(&config)] {
        if tls.is_some() {
            site.relay = site.relay.section("server", &files.lines());
        }
        let serving = site.relay.serve();
        let port = port(serving.address());
        let ask = |method: &str, path: &str| {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {API_TOKEN}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            );
            match tls {
                None => exchange(&mut connect(port), request.as_bytes()),
                Some(config) => {
                    exchange(&mut connect_tls(port, config).unwrap(), request.as_bytes())
                }
            }
        };
        let listed = ask("GET", "/api/v1/directories");
        let listed: Value = serde_json::from_str(listed.split_once("\r\n\r\n").unwrap().1).unwrap();
        let directory = listed["items"][0]["id"].as_str().unwrap();
        let mut held = hold(port, directory, tls);
        for _ in 0..20 {
            for path in ["/healthz", "/readyz", "/api/v1/directories"] {
                let answer = ask("GET", path);
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            }
        }
        // Work is done, too, and it is the only work: half a request starts nothing.
        let answer = ask("POST", &format!("/api/v1/directories/{directory}/sync"));
        assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
        let jobs = format!("/api/v1/directories/{directory}/jobs?limit=200");
        wait_for("the end of the job", PATIENCE, || {
            ask("GET", &jobs)
                .contains("\"status\":\"completed\"")
                .then_some(())
        });
        // In the end each of them is told or closed.
        for (number, held) in held.iter_mut().enumerate() {
            let told = held.rest();
            if number % 4 == 3 {
                assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
                assert!(told.contains("application/problem+json"), "{told}");
                assert!(told.contains("urn:scim-relay:problem:too-slow"), "{told}");
            } else {
                assert_eq!(told, "");
            }
        }
        let answer = ask("GET", &jobs);
        let count = if tls.is_some() { 2 } else { 1 };
        assert_eq!(answer.matches("\"trigger\"").count(), count, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_requests_have_ids_and_one_line_each_in_the_access_log() {
    let site = Site::new().await;
    let (serving, api, directory) = site.serve();
    let port = port(serving.address());
    let answered_id = |path: &str, id: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_TOKEN}\r\n{id}Connection: close\r\n\r\n"
        );
        let answer = exchange(&mut connect(port), request.as_bytes());
        let mut heads = answer.lines().filter_map(|line| line.split_once(": "));
        heads
            .find(|(name, _)| *name == "x-request-id")
            .unwrap()
            .1
            .to_owned()
    };
    let longest = "a".repeat(64);
    for id in ["abc", "A-1_b.c", &longest] {
        let header = format!("X-Request-Id: {id}\r\n");
        assert_eq!(answered_id("/healthz", &header), id);
    }
    let too_long = "a".repeat(65);
    for header in [
        String::new(),
        "X-Request-Id: \r\n".to_owned(),
        format!("X-Request-Id: {too_long}\r\n"),
        "X-Request-Id: a b\r\n".to_owned(),
        "X-Request-Id: a/b\r\n".to_owned(),
        "X-Request-Id: a\tb\r\n".to_owned(),
        "X-Request-Id: \u{e4}\r\n".to_owned(),
    ] {
        let id: Uuid = answered_id("/healthz", &header).parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
    }

    let person = "anna.karenina%0AERROR";
    let paths = [
        (
            format!("/api/v1/directories/{directory}"),
            "/api/v1/directories/{id}",
            200,
        ),
        (
            format!("/api/v1/directories/{person}"),
            "/api/v1/directories/{id}",
            404,
        ),
        (format!("/{person}?q={person}"), "-", 404),
    ];
    for (number, (path, route, status)) in paths.iter().enumerate() {
        let id = format!("request-{number}");
        answered_id(path, &format!("X-Request-Id: {id}\r\n"));
        let line = wait_for("a line in the access log", PATIENCE, || {
            let mut lines = lines(&serving.log(), "request");
            lines.retain(|line| line["request_id"] == id.as_str());
            lines.pop()
        });
        assert_eq!(line["target"], "scim_relay::admin::access");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["method"], "GET");
        assert_eq!(line["route"], *route);
        assert_eq!(line["status"], *status);
        assert!(line["milliseconds"].is_u64(), "{line}");
    }
    assert_eq!(api.get("/directories").status, 200);
    let (_, log) = serving.terminate_with_log();
    // One line each, probes not among them, and nobody's name or address.
    assert_eq!(lines(&log, "request").len(), paths.len() + 2, "{log}");
    for word in ["karenina", "/healthz", API_TOKEN, "\"peer\""] {
        assert!(!log.contains(word), "{word} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_errors_of_http_itself_are_problems_and_change_nothing() {
    let site = Site::new().await;
    let (serving, api, directory) = site.serve();
    let port = port(serving.address());
    let sync = format!("/api/v1/directories/{directory}/sync");
    let call = |method: &str, path: &str| api.call(method, path, None);
    let allow = |answer: &Answer| {
        let mut methods: Vec<String> = answer
            .header("allow")
            .unwrap_or_else(|| panic!("no Allow: {answer:?}"))
            .split(',')
            .map(|method| method.trim().to_owned())
            .collect();
        methods.sort();
        methods
    };
    for path in [
        "/nothing",
        "/api",
        "/api/v1",
        "/api/v1/directories/%FF",
        "/%00",
    ] {
        problem(
            &call("GET", path),
            if path.ends_with("%FF") { 400 } else { 404 },
        );
    }
    for (method, path, allowed) in [
        ("DELETE", "/api/v1/directories", vec!["GET", "HEAD", "POST"]),
        ("PATCH", "/healthz", vec!["GET", "HEAD"]),
        ("GET", &sync, vec!["POST"]),
        ("BREW", &sync, vec!["POST"]),
    ] {
        let answer = call(method, path);
        problem(&answer, 405);
        assert_eq!(allow(&answer), allowed, "{method} {path}");
        let asked = call("OPTIONS", path);
        assert_eq!((asked.status, asked.text.as_str()), (204, ""), "{asked:?}");
        assert_eq!(allow(&asked), allowed, "OPTIONS {path}");
    }
    // HEAD is GET without the body.
    for path in ["/healthz", "/api/v1/directories", "/api/v1/nothing"] {
        let (head, get) = (call("HEAD", path), call("GET", path));
        assert_eq!(
            (head.status, head.text.as_str()),
            (get.status, ""),
            "{path}"
        );
        assert_eq!(
            head.header("content-type"),
            get.header("content-type"),
            "{path}"
        );
    }

    // Bodies that are none.
    let post = |head: &str, body: &[u8]| {
        let length = body.len();
        let mut request = format!(
            "POST {sync} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_TOKEN}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{head}\r\n"
        )
        .into_bytes();
        request.extend(body);
        exchange(&mut connect(port), &request)
    };
    let json = "Content-Type: application/json\r\n";
    let nested = "[".repeat(200_000);
    let cases: [(&str, &[u8], u16, &str); 6] = [
        (
            json,
            b"{\n \"mode\": \"full\",,\n}",
            400,
            "line 2 column 17",
        ),
        (json, b"{\"mode\": \"\xff\xfe\"}", 400, "line 1 column"),
        (json, nested.as_bytes(), 400, "line 1 column 128"),
        (
            json,
            b"{\"mode\": \"full\", \"mode\": \"preview\"}",
            400,
            "`mode` is there twice",
        ),
        (
            "Content-Type: text/plain\r\n",
            b"{}",
            415,
            "application/json",
        ),
        (json, &[b' '; 300_000], 413, "256 KiB"),
    ];
    for (head, body, status, words) in cases {
        let answer = post(head, body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(
            answer.contains("\r\ncontent-type: application/problem+json\r\n"),
            "{answer}"
        );
        assert!(answer.contains("\r\nx-request-id: "), "{answer}");
        assert!(answer.contains(words), "no `{words}` in {answer}");
    }

    // A header that is too large; one that is broken, or far too large to be read, is answered by the HTTP library
    // itself, without a body.
    let lines = |count: usize| -> String {
        let line = |number| format!("X-{number}: x\r\n");
        (0..count).map(line).collect()
    };
    let long = |length: usize| format!("X-Long: {}\r\n", "x".repeat(length));
    for (head, status, body) in [
        (lines(80), 431, "urn:scim-relay:problem:header-too-large"),
        (long(20_000), 431, "urn:scim-relay:problem:header-too-large"),
        (lines(300), 431, ""),
        (long(200_000), 431, ""),
        ("No colon\r\n".to_owned(), 400, ""),
        ("A\0b: c\r\n".to_owned(), 400, ""),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        let answer = exchange(&mut connect(port), request.as_bytes());
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{head:.20}: {answer}");
        assert!(answer.contains(body), "{head:.20}: {answer}");
    }
    assert_eq!(
        api.jobs(&directory),
        Vec::<Value>::new(),
        "a refused request started a job"
    );
}
