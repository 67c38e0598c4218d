//! A Samba Active Directory domain controller, one for each test: own copy of a provisioned domain, own ports, own
//! certificate authority. It has to run as root, as Samba does.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::ldap_tools::LdapTools;
use crate::support::ldif::Entry;
use crate::support::process::{Process, run_tool};
use crate::support::slapd::{READER_PASSWORD, daemon, free_port};
use crate::support::tls::Certificates;
use crate::support::wait_for;

/// The domain.
pub const DOMAIN: &str = "dc=ad,dc=example,dc=org";
/// Where the people are.
pub const PEOPLE: &str = "OU=People,OU=Company,dc=ad,dc=example,dc=org";
/// Where the groups are.
pub const GROUPS: &str = "OU=Groups,OU=Company,dc=ad,dc=example,dc=org";
/// Where [`CROWD_USERS`] users and a group of all of them are.
pub const CROWD: &str = "OU=Crowd,OU=Company,dc=ad,dc=example,dc=org";
/// More than the 1,500 values that Active Directory gives at once.
pub const CROWD_USERS: usize = 2_000;
/// A part of the company that is neither.
pub const ELSEWHERE: &str = "OU=Elsewhere,OU=Company,dc=ad,dc=example,dc=org";
/// The plain account that the relay binds with; its password is that of the plain account of slapd.
pub const READER: &str = "CN=reader,CN=Users,dc=ad,dc=example,dc=org";

/// The lines of a directory that is read with the eyes of the administrator, who sees deleted entries.
pub const AS_ADMINISTRATOR: &str = "bindDN = \"CN=Administrator,CN=Users,dc=ad,dc=example,dc=org\"\n\
                                    bindPassword = \"env:ADMIN_PASSWORD\"";

const ADMIN: &str = "CN=Administrator,CN=Users,dc=ad,dc=example,dc=org";
/// Their password.
pub const ADMIN_PASSWORD: &str = "admin-Pa55word";
/// Changed with whatever changes the provisioned domain, so that older copies are not used.
const REVISION: u32 = 1;
const READY: Duration = Duration::from_secs(60);
const STARTS: u32 = 10;
/// The ports that Samba knows, in the order of [`Samba::ports`].
const USUAL_PORTS: [u16; 4] = [389, 636, 3268, 3269];
const UNITS: &str = "dn: OU=Company,dc=ad,dc=example,dc=org\nobjectClass: organizationalUnit\n
dn: OU=People,OU=Company,dc=ad,dc=example,dc=org\nobjectClass: organizationalUnit\n
dn: OU=Groups,OU=Company,dc=ad,dc=example,dc=org\nobjectClass: organizationalUnit\n
dn: OU=Elsewhere,OU=Company,dc=ad,dc=example,dc=org\nobjectClass: organizationalUnit\n
dn: OU=Crowd,OU=Company,dc=ad,dc=example,dc=org\nobjectClass: organizationalUnit\n\n";

/// A running domain controller; dropping it kills it and removes its files.
pub struct Samba {
    // Declared first, so that the process is gone before its directory is.
    process: Option<Process>,
    ports: [u16; 4],
    url: String,
    directory: TempDir,
}

impl Samba {
    /// Starts a domain controller of a domain with the units above, the crowd and the plain account.
    pub fn start() -> Self {
        Self::start_after("")
    }

    /// The same after these changes of the database itself, such as of the root DSE, which LDAP does not allow.
    pub fn start_after(ldif: &str) -> Self {
        let template = provisioned();
        let directory = tempfile::Builder::new()
            .prefix("scim-relay-samba-")
            .tempdir()
            .expect("a temporary directory");
        run_tool(
            Command::new("cp")
                .args(["-a", "--sparse=always"])
                .args([template.join("private"), template.join("state")])
                .arg(directory.path()),
            "",
        );
        let mut samba = Self {
            process: None,
            ports: [0; 4],
            url: String::new(),
            directory,
        };
        samba.prepare();
        if !ldif.is_empty() {
            let database = samba.path("private/sam.ldb");
            run_tool(Command::new("ldbmodify").arg("-H").arg(database), ldif);
        }
        samba.launch();
        samba
    }

    /// The port of plain LDAP and StartTLS.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The port of LDAP over TLS.
    pub fn ldaps_port(&self) -> u16 {
        self.ports[1]
    }

    /// The port of the global catalog, without TLS.
    pub fn global_catalog_port(&self) -> u16 {
        self.ports[2]
    }

    /// The certificate of the authority that signed the server's.
    pub fn ca_pem_path(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Applies LDIF change records, as the administrator.
    pub fn modify(&self, ldif: &str) {
        self.tools().modify(ldif);
    }

    /// Replaces the values of one attribute, as the administrator; none: takes the attribute away.
    pub fn replace(&self, dn: &str, attribute: &str, values: &[&str]) {
        let values: String = values
            .iter()
            .map(|value| format!("{attribute}: {value}\n"))
            .collect();
        self.modify(&format!(
            "dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{values}"
        ));
    }

    /// Adds LDIF entries, as the administrator.
    pub fn add(&self, ldif: &str) {
        self.tools().add(ldif);
    }

    /// Adds a user who can log in, with a mail address, and lines of LDIF besides; returns the DN.
    pub fn add_user(&self, unit: &str, name: &str, further: &str) -> String {
        let dn = format!("CN={name},{unit}");
        self.add(&format!(
            "dn: {dn}\nobjectClass: user\nsAMAccountName: {name}\nuserAccountControl: 544\ngivenName: {name}\nsn: Test\n\
             displayName: {name} Test\nmail: {name}@example.org\n{further}"
        ));
        dn
    }

    /// Adds a global security group; returns the DN.
    pub fn add_group(&self, unit: &str, name: &str, members: &[&str]) -> String {
        let dn = format!("CN={name},{unit}");
        let members: String = members
            .iter()
            .map(|member| format!("member: {member}\n"))
            .collect();
        self.add(&format!(
            "dn: {dn}\nobjectClass: group\nsAMAccountName: {name}\n{members}"
        ));
        dn
    }

    /// Deletes one entry, as the administrator.
    pub fn delete(&self, dn: &str) {
        self.tools().delete(dn);
    }

    /// Renames an entry and, with `superior`, moves it.
    pub fn modrdn(&self, dn: &str, rdn: &str, superior: Option<&str>) {
        self.tools().modrdn(dn, rdn, superior);
    }

    /// Searches the subtree of `base`, as the administrator; no attributes named: all user attributes.
    pub fn search(&self, base: &str, filter: &str, attributes: &[&str]) -> Vec<Entry> {
        self.tools().search(base, filter, attributes)
    }

    /// The entries below `base` that match: objectGUID in the text form that the server itself gives it, and DN.
    pub fn guids(&self, base: &str, filter: &str) -> BTreeMap<String, String> {
        // The extended DN control (MS-ADTS §3.1.1.3.4.1.5), which asks for text: SEQUENCE { INTEGER 1 }.
        let control = ["-E", "1.2.840.113556.1.4.529=::MAMCAQE="];
        let found = self.tools().search_with(&control, base, filter, &["1.1"]);
        let named = found.iter().map(|entry| {
            let rest = entry.dn.strip_prefix("<GUID=").expect("an extended DN");
            let (guid, rest) = rest.split_once('>').expect("the end of the GUID");
            let (_, dn) = rest.rsplit_once(';').expect("the DN at the end");
            (guid.to_owned(), dn.to_owned())
        });
        named.collect()
    }

    /// Keeps a copy of its database, as a backup does.
    pub fn back_up(&mut self) {
        self.process = None;
        self.copy(["private", "state"], "", "backup");
        self.restart();
    }

    /// Goes back to that copy, and applies changes to the database itself before it starts.
    pub fn restore(&mut self, ldif: &str) {
        self.process = None;
        self.copy(["private", "state"], "backup", "");
        if !ldif.is_empty() {
            let database = self.path("private/sam.ldb");
            let mut tool = Command::new("ldbmodify");
            run_tool(tool.arg("--relax").arg("-H").arg(database), ldif);
        }
        self.restart();
    }

    fn copy(&self, names: [&str; 2], from: &str, to: &str) {
        let (from, to) = (self.path(from), self.path(to));
        std::fs::create_dir_all(&to).expect("a directory for the copy");
        for name in names {
            let _ = std::fs::remove_dir_all(to.join(name));
            let mut tool = Command::new("cp");
            run_tool(
                tool.args(["-a", "--sparse=always"])
                    .arg(from.join(name))
                    .arg(&to),
                "",
            );
        }
    }

    fn restart(&mut self) {
        assert!(self.run(), "Samba does not start again: {}", self.log());
    }

    /// What Samba has printed.
    pub fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log)
    }

    fn tools(&self) -> LdapTools<'_> {
        LdapTools {
            url: &self.url,
            dn: ADMIN,
            password: ADMIN_PASSWORD,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn prepare(&self) {
        let certificates = Certificates::generate();
        self.write("ca.pem", &certificates.ca);
        self.write("server.pem", &certificates.certificate);
        self.write("server.key", &certificates.key);
        // Samba does not start with a key that others may read.
        run_tool(
            Command::new("chmod")
                .arg("600")
                .arg(self.path("server.key")),
            "",
        );
        for name in ["cache", "lock", "run", "ncalrpc"] {
            std::fs::create_dir(self.path(name)).expect("a directory of the test's Samba");
        }
        let home = self.directory.path().display();
        self.write(
            "smb.conf",
            &format!(
                "{GLOBAL}server services = ldap
dcerpc endpoint servers =
interfaces = lo
bind interfaces only = yes
ldap server require strong auth = no
tls enabled = yes
tls cafile = {home}/ca.pem
tls certfile = {home}/server.pem
tls keyfile = {home}/server.key
private dir = {home}/private
state directory = {home}/state
cache directory = {home}/cache
lock directory = {home}/lock
pid directory = {home}/run
ncalrpc dir = {home}/ncalrpc
log file = {home}/samba.log
"
            ),
        );
        let library = self.path("ports.so");
        run_tool(
            Command::new("cc")
                .args(["-O1", "-shared", "-fPIC", "-o"])
                .arg(library)
                .arg(support().join("samba_ports.c")),
            "",
        );
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file of the test's Samba");
    }

    /// Starts on free ports; a port that someone else took meanwhile is not an error, others are tried.
    fn launch(&mut self) {
        for _ in 0..STARTS {
            self.ports = std::array::from_fn(|_| free_port());
            self.url = format!("ldap://127.0.0.1:{}", self.ports[0]);
            if self.run() {
                return;
            }
        }
        panic!("Samba did not start {STARTS} times: {}", self.log());
    }

    /// Starts on the chosen ports; false when it ended before it answered.
    fn run(&mut self) -> bool {
        let mut command = Command::new(daemon("samba"));
        // In the foreground Samba ends, with all its processes, when its standard input is closed: even when the test
        // is killed, nothing is left behind.
        command
            .args(["-i", "-M", "standard", "-s"])
            .arg(self.path("smb.conf"))
            .stdin(Stdio::piped())
            .env("LD_PRELOAD", self.path("ports.so"));
        for (usual, chosen) in USUAL_PORTS.iter().zip(self.ports) {
            command.env(format!("SAMBA_PORT_{usual}"), chosen.to_string());
        }
        let log = self.path("samba.out");
        self.process = Some(Process::spawn("samba", &mut command, log));
        wait_for("an answer of Samba", READY, || {
            let process = self.process.as_mut()?;
            if process.ended().is_some() {
                return Some(false);
            }
            let answered = self
                .tools()
                .tool("ldapsearch")
                .args(["-LLL", "-s", "base", "-b", READER, "1.1"])
                .output()
                .expect("ldapsearch, which provisioning has needed too");
            answered.status.success().then_some(true)
        })
    }
}

const GLOBAL: &str = "[global]
netbios name = DC1
realm = AD.EXAMPLE.ORG
workgroup = ADLAB
server role = active directory domain controller
";

fn support() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support")
}

/// A provisioned domain, made once for a version of Samba: that takes a quarter of a minute, a copy half a second.
fn provisioned() -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let version = run_tool(Command::new(daemon("samba")).arg("--version"), "");
    let version = String::from_utf8_lossy(&version).trim().replace(' ', "-");
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache");
    let template = cache.join(format!("samba-{version}-{REVISION}"));
    if template.exists() {
        return template;
    }
    std::fs::create_dir_all(&cache).expect("the tests' cache");
    let making = tempfile::Builder::new()
        .prefix("samba-in-the-making-")
        .tempdir_in(&cache)
        .expect("a directory in the tests' cache");
    provision(making.path());
    // Another process may have been faster; its domain is as good.
    if std::fs::rename(making.path(), &template).is_ok() {
        let _ = making.keep();
    }
    template
}

fn provision(home: &Path) {
    let target = format!("--targetdir={}", home.display());
    let password = format!("--adminpass={ADMIN_PASSWORD}");
    let arguments = [
        "domain",
        "provision",
        &target,
        "--realm=AD.EXAMPLE.ORG",
        "--domain=ADLAB",
        "--host-name=dc1",
        "--host-ip=127.0.0.1",
        "--server-role=dc",
        "--dns-backend=NONE",
        &password,
        "--backend-store=mdb",
        "--backend-store-size=1Gb",
    ];
    run_tool(Command::new("samba-tool").args(arguments), "");
    let database = home.join("private/sam.ldb");
    let config = home.join("etc/smb.conf");
    let at = |tool: &mut Command, input: &str| {
        let config = format!("--configfile={}", config.display());
        run_tool(tool.arg("-H").arg(&database).arg(config), input);
    };
    // A copy is used for as long as it is there, so passwords must not grow old.
    at(
        Command::new("samba-tool").args([
            "domain",
            "passwordsettings",
            "set",
            "--max-pwd-age=0",
            "--min-pwd-age=0",
        ]),
        "",
    );
    at(
        Command::new("samba-tool").args(["user", "create", "reader", READER_PASSWORD]),
        "",
    );
    let mut ldif = UNITS.as_bytes().to_vec();
    for number in 0..CROWD_USERS {
        write!(
            ldif,
            "dn: CN=c{number:04},{CROWD}\nobjectClass: user\nsAMAccountName: c{number:04}\nuserAccountControl: 544\n\n"
        )
        .expect("writing to memory");
    }
    write!(
        ldif,
        "dn: CN=crowd,{CROWD}\nobjectClass: group\nsAMAccountName: crowd\n"
    )
    .expect("writing to memory");
    for number in 0..CROWD_USERS {
        writeln!(ldif, "member: CN=c{number:04},{CROWD}").expect("writing to memory");
    }
    let ldif = String::from_utf8(ldif).expect("LDIF is text");
    at(Command::new("ldbadd").args(["-o", "batch_mode:1"]), &ldif);
}
