//! OpenLDAP's slapd, one for each test: own temporary directory, own ports, own certificate authority.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use crate::support::ldap_tools::LdapTools;
use crate::support::ldif::Entry;
use crate::support::process::{INSTALL, Process, run_tool};
use crate::support::tls::Certificates;
use crate::support::wait_for;

/// The suffix of every test directory.
pub const SUFFIX: &str = "dc=example,dc=org";
/// Where the people are.
pub const PEOPLE: &str = "ou=people,dc=example,dc=org";
/// Where the groups are.
pub const GROUPS: &str = "ou=groups,dc=example,dc=org";
/// The account that bypasses limits and access rules.
pub const ADMIN: &str = "cn=admin,dc=example,dc=org";
/// The plain account that the relay binds with: limits and access rules hold for it.
pub const READER: &str = "cn=reader,dc=example,dc=org";
/// The plain account's password.
pub const READER_PASSWORD: &str = "reader-Pa55word";
/// Overlay lines for tests of the change feed (RFC 4533); the log of deletions lives in memory.
pub const SYNCPROV: &str = "overlay syncprov\nsyncprov-sessionlog 10000\n";

const READY: Duration = Duration::from_secs(30);
const STARTS: u32 = 10;
const BASE: &str = "dn: dc=example,dc=org
objectClass: organization
objectClass: dcObject
dc: example
o: Example

dn: cn=reader,dc=example,dc=org
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: reader
userPassword: reader-Pa55word

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups
";

/// What a test's directory holds and how its server is configured.
#[derive(Debug, Clone, Default)]
pub struct Options {
    ldif: Vec<String>,
    ldif_files: Vec<PathBuf>,
    global: String,
    database: String,
    overlays: String,
}

impl Options {
    /// A directory with the two organizational units, the reader's account and nobody else.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads these entries before the start (slapadd: no overlay sees them).
    pub fn ldif(mut self, text: &str) -> Self {
        self.ldif.push(text.to_owned());
        self
    }

    /// The same from a file.
    pub fn ldif_file(mut self, path: &Path) -> Self {
        self.ldif_files.push(path.to_owned());
        self
    }

    /// Adds slapd.conf lines before the database, such as `idletimeout 1`.
    pub fn global(mut self, lines: &str) -> Self {
        self.global.push_str(&format!("{lines}\n"));
        self
    }

    /// Adds slapd.conf lines of the database, such as `limits …` or `access to …`; they come before the built-in access rules.
    pub fn database(mut self, lines: &str) -> Self {
        self.database.push_str(&format!("{lines}\n"));
        self
    }

    /// Adds overlays of the database, such as [`SYNCPROV`]; all modules are loaded already.
    pub fn overlays(mut self, lines: &str) -> Self {
        self.overlays.push_str(&format!("{lines}\n"));
        self
    }

    /// Loads the entries and starts the server; ready when it returns.
    pub fn start(self) -> Slapd {
        Slapd::start(self)
    }
}

/// A running slapd; dropping it kills it and removes its files.
pub struct Slapd {
    // Declared first, so that the process is gone before its directory is.
    process: Option<Process>,
    options: Options,
    ports: (u16, u16),
    password: String,
    directory: TempDir,
}

impl Slapd {
    /// Starts a server with these entries and nothing special.
    pub fn with(ldif: &str) -> Self {
        Options::new().ldif(ldif).start()
    }

    fn start(options: Options) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("scim-relay-slapd-")
            .tempdir()
            .expect("a temporary directory");
        let mut slapd = Self {
            process: None,
            options,
            ports: (0, 0),
            // Known to this server only: an answer to it cannot come from a neighbour on the same port.
            password: Uuid::now_v7().to_string(),
            directory,
        };
        slapd.prepare();
        slapd.launch();
        slapd
    }

    /// `ldap://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.ports.0)
    }

    /// `ldaps://127.0.0.1:PORT`
    pub fn ldaps_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.ports.1)
    }

    /// The port of plain LDAP and StartTLS.
    pub fn port(&self) -> u16 {
        self.ports.0
    }

    /// The port of LDAP over TLS.
    pub fn ldaps_port(&self) -> u16 {
        self.ports.1
    }

    /// The certificate of the authority that signed the server's.
    pub fn ca_pem_path(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The password of [`ADMIN`].
    pub fn admin_password(&self) -> &str {
        &self.password
    }

    /// The process id, while the server runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// What slapd has printed since its last start.
    pub fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log)
    }

    /// Applies LDIF change records, as the administrator.
    pub fn modify(&self, ldif: &str) {
        self.tools(&self.url()).modify(ldif);
    }

    /// Adds LDIF entries, as the administrator.
    pub fn add(&self, ldif: &str) {
        self.tools(&self.url()).add(ldif);
    }

    /// Deletes one entry, as the administrator.
    pub fn delete(&self, dn: &str) {
        self.tools(&self.url()).delete(dn);
    }

    /// Renames an entry and, with `superior`, moves it; the old name's value goes.
    pub fn modrdn(&self, dn: &str, rdn: &str, superior: Option<&str>) {
        self.tools(&self.url()).modrdn(dn, rdn, superior);
    }

    /// Searches the subtree of `base`, as the administrator; no attributes named: all user attributes.
    pub fn search(&self, base: &str, filter: &str, attributes: &[&str]) -> Vec<Entry> {
        self.tools(&self.url()).search(base, filter, attributes)
    }

    /// The same with the eyes of another account.
    pub fn search_as(
        &self,
        dn: &str,
        password: &str,
        base: &str,
        filter: &str,
        attributes: &[&str],
    ) -> Vec<Entry> {
        let url = self.url();
        let tools = LdapTools {
            url: &url,
            dn,
            password,
        };
        tools.search(base, filter, attributes)
    }

    /// Ends the server at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Ends the server in order.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(READY);
        }
    }

    /// Stops the server if it runs and starts it again on the same ports and data.
    pub fn restart(&mut self) {
        self.stop();
        self.write_config();
        assert!(
            self.run(),
            "slapd does not start again on {}: {}",
            self.url(),
            self.log()
        );
    }

    /// Keeps a copy of its database, as a backup does.
    pub fn back_up(&mut self) {
        self.stop();
        self.copy("data", "backup");
        self.restart();
    }

    /// Goes back to that copy.
    pub fn restore(&mut self) {
        self.stop();
        self.copy("backup", "data");
        self.restart();
    }

    fn copy(&self, from: &str, to: &str) {
        let _ = std::fs::remove_dir_all(self.path(to));
        let mut tool = Command::new("cp");
        let tool = tool.args(["-a", "--sparse=always"]);
        run_tool(tool.arg(self.path(from)).arg(self.path(to)), "");
    }

    /// The same with these database lines in place of the earlier ones.
    pub fn restart_with(&mut self, database: &str) {
        self.options.database = format!("{database}\n");
        self.restart();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The tools with the eyes of the administrator.
    fn tools<'a>(&'a self, url: &'a str) -> LdapTools<'a> {
        LdapTools {
            url,
            dn: ADMIN,
            password: &self.password,
        }
    }

    /// Writes certificates, configuration and entries.
    fn prepare(&self) {
        let certificates = Certificates::generate();
        self.write("ca.pem", &certificates.ca);
        self.write("server.pem", &certificates.certificate);
        self.write("server.key", &certificates.key);
        std::fs::create_dir(self.path("data")).expect("a directory for the database");
        self.write_config();
        self.load(&format!("{BASE}\n{}", self.options.ldif.join("\n")));
        for path in &self.options.ldif_files {
            let text = std::fs::read_to_string(path).expect("the LDIF file can be read");
            self.load(&text);
        }
    }

    fn load(&self, ldif: &str) {
        let mut tool = Command::new(daemon("slapadd"));
        tool.args(["-q", "-w", "-b", SUFFIX, "-f"])
            .arg(self.path("slapd.conf"));
        run_tool(&mut tool, ldif);
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file of the test's slapd");
    }

    fn write_config(&self) {
        let home = self.directory.path().display();
        let Options {
            global,
            database,
            overlays,
            ..
        } = &self.options;
        let password = &self.password;
        self.write(
            "slapd.conf",
            &format!(
                "{SCHEMA}
pidfile {home}/slapd.pid
TLSCACertificateFile {home}/ca.pem
TLSCertificateFile {home}/server.pem
TLSCertificateKeyFile {home}/server.key
{global}
database mdb
suffix {SUFFIX}
rootdn {ADMIN}
rootpw {password}
directory {home}/data
maxsize 8589934592
# The data must outlive a killed slapd, not a power cut.
envflags nosync
index objectClass,entryUUID,entryCSN,uid,cn,mail,member eq
{database}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact={READER} read by * none
{overlays}"
            ),
        );
    }

    /// Starts on free ports; a port that someone else took meanwhile is not an error, another pair is tried.
    fn launch(&mut self) {
        for _ in 0..STARTS {
            self.ports = (free_port(), free_port());
            if self.run() {
                return;
            }
        }
        panic!("slapd did not start {STARTS} times: {}", self.log());
    }

    /// Starts on the chosen ports; false when it ended before it answered.
    fn run(&mut self) -> bool {
        let mut command = Command::new(daemon("slapd"));
        // With -d it stays in the foreground, as our child; with 0 it prints errors only.
        command
            .args(["-d", "0", "-f"])
            .arg(self.path("slapd.conf"))
            .args(["-h", &format!("{} {}", self.url(), self.ldaps_url())]);
        self.process = Some(Process::spawn(
            "slapd",
            &mut command,
            self.path("slapd.log"),
        ));
        wait_for("an answer of slapd", READY, || {
            let process = self.process.as_mut()?;
            if process.ended().is_some() {
                return Some(false);
            }
            self.answers().then_some(true)
        })
    }

    fn answers(&self) -> bool {
        self.tools(&self.url())
            .tool("ldapsearch")
            .args(["-LLL", "-s", "base", "-b", SUFFIX, "1.1"])
            .output()
            .unwrap_or_else(|error| panic!("ldapsearch does not start ({error}); {INSTALL}"))
            .status
            .success()
    }
}

const SCHEMA: &str = "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload accesslog
moduleload memberof
moduleload ppolicy
moduleload refint
moduleload syncprov
# As in 389 Directory Server, so that a test can lock an account this way too; slapd takes it as a user attribute
# only, so the entry needs extensibleObject.
attributetype ( 2.16.840.1.113730.3.1.610 NAME 'nsAccountLock' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
";

/// The daemon's path: /usr/sbin is not on the path of every account.
pub fn daemon(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() { path } else { name.into() }
}

/// A port that nobody listens on now, below those that the kernel gives to outgoing connections, so that a
/// stopped server finds it free again.
pub fn free_port() -> u16 {
    for _ in 0..1000 {
        let [.., high, low] = *Uuid::now_v7().as_bytes();
        let port = 10_000 + u16::from_be_bytes([high, low]) % 22_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 10000 and 32000 on 127.0.0.1");
}
