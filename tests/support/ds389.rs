//! 389 Directory Server, one for each test: own temporary directory, own port of this machine only, no service manager.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use crate::support::ldap_tools::LdapTools;
use crate::support::ldif::Entry;
use crate::support::process::{INSTALL, Process, run_tool};
use crate::support::slapd::{GROUPS, PEOPLE, READER, READER_PASSWORD, SUFFIX, daemon, free_port};
use crate::support::wait_for;

const ADMIN: &str = "cn=Directory Manager";
const READY: Duration = Duration::from_secs(60);
const STARTS: u32 = 10;
/// What the package makes servers of: the configuration, and that of one database.
const TEMPLATES: [&str; 2] = [
    "/usr/share/dirsrv/data/template-dse.ldif",
    "/usr/share/dirsrv/data/template-suffix-db.ldif",
];
/// What the feed needs, and what keeps groups in step with people.
const PLUGINS: [&str; 4] = [
    "Content Synchronization",
    "MemberOf Plugin",
    "Retro Changelog Plugin",
    "referential integrity postoperation",
];
/// What is not needed, and configured where only the package's own account may read.
const NOT_NEEDED: &str = "Internationalization Plugin";
/// Without it the change log does not say which entries changed, and the feed tells none.
pub const NAMES_ENTRIES: &str = "nsslapd-attribute: nsuniqueid:targetUniqueId";

/// A running server; dropping it kills it and removes its files.
pub struct Ds389 {
    process: Option<Process>,
    port: u16,
    password: String,
    directory: TempDir,
}

impl Drop for Ds389 {
    fn drop(&mut self) {
        self.process = None; // kills it, before its files go
        if let Some(name) = self.directory.path().file_name() {
            // Its statistics are in shared memory, outside of its directory; one that never started has none.
            let _ = std::fs::remove_file(format!("/dev/shm/sem.{}.stats", name.display()));
        }
    }
}

impl Ds389 {
    /// A directory with the two organizational units, the reader's account and nobody else.
    pub fn start() -> Self {
        Self::start_with(NAMES_ENTRIES)
    }

    /// The same with these lines in the configuration of the change log.
    pub fn start_with(change_log: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("scim-relay-389-")
            .tempdir()
            .expect("a temporary directory");
        let mut server = Self {
            process: None,
            port: 0,
            // Known to this server only: an answer to it cannot come from a neighbour on the same port.
            password: Uuid::now_v7().to_string(),
            directory,
        };
        server.launch(change_log);
        server.add(&format!(
            "dn: {SUFFIX}\nobjectClass: domain\ndc: example\n\
             aci: (targetattr != \"userPassword\")(version 3.0; acl \"reader\"; allow (read, search, compare) \
             userdn = \"ldap:///{READER}\";)\n\n\
             dn: {READER}\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\nuserPassword: {READER_PASSWORD}\n\n\
             dn: {PEOPLE}\nobjectClass: organizationalUnit\n\n\
             dn: {GROUPS}\nobjectClass: organizationalUnit\n\n"
        ));
        server
    }

    /// The port of plain LDAP.
    pub fn port(&self) -> u16 {
        self.port
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

    /// Ends the server in order.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(READY);
        }
    }

    /// Starts it again on the same port and data.
    pub fn restart(&mut self) {
        self.stop();
        assert!(
            self.run(),
            "ns-slapd does not start again: {}",
            self.errors()
        );
    }

    /// Takes everything but the last change out of the change log, as its age does in time.
    pub fn trim_change_log(&mut self) {
        let changes = self.search("cn=changelog", "(changeNumber=*)", &["changeNumber"]);
        let (_, old) = changes.split_last().expect("a change log with changes");
        let old = old.iter();
        let old: String = old
            .map(|entry| format!("dn: {}\nchangetype: delete\n\n", entry.dn))
            .collect();
        self.modify(&old);
        self.restart();
    }

    /// Lets the server have another name, as one behind the same address has.
    pub fn call_itself(&self, name: &str) {
        self.modify(&format!(
            "dn: cn=config\nchangetype: modify\nreplace: nsslapd-localhost\nnsslapd-localhost: {name}\n\n"
        ));
    }

    /// Keeps a copy of its databases, as a backup does.
    pub fn back_up(&mut self) {
        self.stop();
        self.copy("db", "backup");
        self.restart();
    }

    /// Goes back to that copy.
    pub fn restore(&mut self) {
        self.stop();
        self.copy("backup", "db");
        self.restart();
    }

    fn copy(&self, from: &str, to: &str) {
        let _ = std::fs::remove_dir_all(self.path(to));
        let mut tool = Command::new("cp");
        let tool = tool.args(["-a", "--sparse=always"]);
        run_tool(tool.arg(self.path(from)).arg(self.path(to)), "");
    }

    fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the server has said of its troubles.
    fn errors(&self) -> String {
        let logged = std::fs::read_to_string(self.path("log/errors")).unwrap_or_default();
        let printed = self.process.as_ref().map_or_else(String::new, Process::log);
        format!("{printed}{logged}")
    }

    fn tools<'a>(&'a self, url: &'a str) -> LdapTools<'a> {
        LdapTools {
            url,
            dn: ADMIN,
            password: &self.password,
        }
    }

    /// Starts on a free port; one that someone else took meanwhile is not an error, another is tried.
    fn launch(&mut self, change_log: &str) {
        for name in [
            "backups", "db", "inst", "ldif", "lock", "log", "run", "schema", "tmp",
        ] {
            std::fs::create_dir(self.path(name)).expect("a directory of the test's server");
        }
        // Where there is no file for the schema of its own, it does not find the others.
        std::fs::write(self.path("schema/99user.ldif"), "dn: cn=schema\n")
            .expect("a file for the server's own schema");
        for _ in 0..STARTS {
            self.port = free_port();
            let config = self.config(change_log);
            std::fs::write(self.path("dse.ldif"), config).expect("the server's configuration");
            if self.run() {
                return;
            }
        }
        panic!("ns-slapd did not start {STARTS} times: {}", self.errors());
    }

    /// The package's templates, filled in as its own installer does, which wants a service manager.
    fn config(&self, change_log: &str) -> String {
        let home = self.directory.path().display();
        let account = String::from_utf8(run_tool(Command::new("id").arg("-un"), ""));
        let account = account.expect("the name of an account");
        let (port, password) = (self.port, &self.password);
        let values = [
            ("schema_dir", format!("{home}/schema")),
            ("lock_dir", format!("{home}/lock")),
            ("tmp_dir", format!("{home}/tmp")),
            ("cert_dir", home.to_string()),
            ("ldif_dir", format!("{home}/ldif")),
            ("bak_dir", format!("{home}/backups")),
            ("run_dir", format!("{home}/run")),
            ("inst_dir", format!("{home}/inst")),
            ("log_dir", format!("{home}/log")),
            ("config_dir", home.to_string()),
            ("db_dir", format!("{home}/db")),
            ("db_home_dir", format!("{home}/db")),
            ("db_lib", "bdb".to_owned()),
            ("fqdn", "localhost".to_owned()),
            ("ds_port", port.to_string()),
            ("ds_user", account.trim().to_owned()),
            ("rootdn", ADMIN.to_owned()),
            ("ds_passwd", format!("{{CLEAR}}{password}")),
            ("ldapi_enabled", "off".to_owned()),
            ("ldapi", format!("{home}/ldapi")),
            ("ldapi_autobind", "off".to_owned()),
            ("ds_suffix", SUFFIX.to_owned()),
            ("ds_bename", "userroot".to_owned()),
        ];
        let mut config = String::new();
        for template in TEMPLATES {
            let text = std::fs::read_to_string(template);
            let text = text.unwrap_or_else(|error| panic!("{template}: {error}; {INSTALL}"));
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            config.extend(lines.map(|line| format!("{line}\n")));
        }
        for (name, value) in values {
            config = config.replace(&format!("%{name}%"), &value);
        }
        let entries = config.split("\n\n").map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty());
        let entries: Vec<String> = entries
            .map(|entry| adjusted(entry, change_log) + "\n\n")
            .collect();
        entries.concat()
    }

    /// Starts on the chosen port; false when it ended before it answered.
    fn run(&mut self) -> bool {
        let mut command = Command::new(daemon("ns-slapd"));
        // With a level it stays in the foreground, as our child; this one (that of containers) prints what it logs anyway.
        command
            .args(["-d", "266354688", "-D"])
            .arg(self.directory.path())
            .arg("-i")
            .arg(self.path("pid"));
        let log = self.path("output");
        self.process = Some(Process::spawn("ns-slapd", &mut command, log));
        wait_for("an answer of ns-slapd", READY, || {
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
            .args(["-LLL", "-s", "base", "-b", "", "1.1"])
            .output()
            .unwrap_or_else(|error| panic!("ldapsearch does not start ({error}); {INSTALL}"))
            .status
            .success()
    }
}

/// An entry of the configuration as the tests want it.
fn adjusted(entry: &str, change_log: &str) -> String {
    let is = |name: &str| entry.starts_with(&format!("dn: cn={name},"));
    let (on, off) = ("nsslapd-pluginenabled: on", "nsslapd-pluginenabled: off");
    let entry = match entry {
        _ if PLUGINS.into_iter().any(is) => entry.replace(off, on),
        _ if is(NOT_NEEDED) => entry.replace(on, off),
        _ if entry.starts_with("dn: cn=config\n") => {
            format!("{entry}\nnsslapd-listenhost: 127.0.0.1\nnsslapd-rootpwstoragescheme: CLEAR")
        }
        _ => entry.to_owned(),
    };
    match entry.starts_with("dn: cn=Retro Changelog Plugin,") && !change_log.is_empty() {
        true => format!("{entry}\n{change_log}"),
        false => entry,
    }
}
