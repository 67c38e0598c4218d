//! The command-line tools of OpenLDAP, with the eyes of one account of one server.

use std::process::Command;

use crate::support::ldif::{self, Entry};
use crate::support::process::run_tool;

/// A server and an account.
pub struct LdapTools<'a> {
    /// `ldap://HOST:PORT`
    pub url: &'a str,
    /// The account.
    pub dn: &'a str,
    /// Its password.
    pub password: &'a str,
}

impl LdapTools<'_> {
    /// Applies LDIF change records.
    pub fn modify(&self, ldif: &str) {
        run_tool(&mut self.tool("ldapmodify"), ldif);
    }

    /// Adds LDIF entries.
    pub fn add(&self, ldif: &str) {
        run_tool(&mut self.tool("ldapadd"), ldif);
    }

    /// Deletes one entry.
    pub fn delete(&self, dn: &str) {
        run_tool(self.tool("ldapdelete").arg(dn), "");
    }

    /// Renames an entry and, with `superior`, moves it; the old name's value goes.
    pub fn modrdn(&self, dn: &str, rdn: &str, superior: Option<&str>) {
        let mut tool = self.tool("ldapmodrdn");
        tool.arg("-r");
        if let Some(superior) = superior {
            tool.args(["-s", superior]);
        }
        run_tool(tool.args([dn, rdn]), "");
    }

    /// Searches the subtree of `base`; no attributes named: all user attributes.
    pub fn search(&self, base: &str, filter: &str, attributes: &[&str]) -> Vec<Entry> {
        self.search_with(&[], base, filter, attributes)
    }

    /// The same with further options of ldapsearch, such as a control.
    pub fn search_with(
        &self,
        options: &[&str],
        base: &str,
        filter: &str,
        attributes: &[&str],
    ) -> Vec<Entry> {
        let mut tool = self.tool("ldapsearch");
        tool.args(options)
            .args(["-LLL", "-o", "ldif-wrap=no", "-b", base, filter])
            .args(attributes);
        ldif::parse(&String::from_utf8_lossy(&run_tool(&mut tool, "")))
    }

    /// A tool that is told the server and the account, and nothing else.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.args(["-x", "-H", self.url, "-D", self.dn, "-w", self.password]);
        command
    }
}
