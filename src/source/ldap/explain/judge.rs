//! What each clause of a search says of an entry, asked of the server one by one, and what the entry has where one does not
//! take it.

use std::collections::BTreeSet;

use lber::structure::StructureTag;

use crate::source::Error;
use crate::source::explanation::{Clause, Inquiry};
use crate::source::ldap::answer::printable;
use crate::source::ldap::clauses::{self, Values};
use crate::source::ldap::entry::Entry;
use crate::source::ldap::explain::{Asking, is_below};
use crate::source::ldap::request::{self, Reach};
use crate::source::ldap::scope::{Scope, Sought};

/// Values of one attribute that are shown, and the characters of each.
const VALUES_MAX: usize = 3;
const VALUE_CHARS_MAX: usize = 100;

impl Asking<'_> {
    /// The clauses of the search for the entry, in order.
    pub(super) async fn clauses(
        &mut self,
        inquiry: &Inquiry,
        scope: &Scope,
        dn: &str,
    ) -> Result<Vec<Clause>, Error> {
        let below = is_below(dn, &scope.base);
        let outside = (!below).then(|| format!("it is not below `{}`", scope.base));
        let mut clauses = vec![Clause {
            name: "base",
            text: scope.base.clone(),
            passes: Some(below),
            reason: outside,
            parts: Vec::new(),
        }];
        let filters: Vec<(&'static str, StructureTag)> = match scope.sought {
            Sought::Users => {
                let parse = |(name, text): &(&'static str, String)| {
                    let parsed = request::filter(text).ok();
                    parsed.map(|parsed| (*name, parsed))
                };
                inquiry.users.iter().filter_map(parse).collect()
            }
            Sought::Groups => vec![("groupSearchFilter", scope.filter.clone())],
            Sought::Units => vec![("organizationalUnits", scope.filter.clone())],
        };
        for (name, filter) in filters {
            clauses.push(self.clause(dn, name, &filter).await?);
        }
        Ok(clauses)
    }

    async fn clause(
        &mut self,
        dn: &str,
        name: &'static str,
        filter: &StructureTag,
    ) -> Result<Clause, Error> {
        let parts = clauses::all(filter);
        let mut said = Vec::new();
        for part in &parts {
            said.push(self.matches(dn, part).await?);
        }
        let passes = said.first().copied().flatten();
        let values = match passes {
            Some(true) => Values::new(),
            _ => self.values(dn, &parts).await?,
        };
        let part = clauses::judged(filter, &mut said.into_iter(), &values);
        let reason = match passes {
            Some(true) => None,
            Some(false) => Some(clauses::reason(&part, true)),
            None => Some("the server does not say whether it matches".to_owned()),
        };
        Ok(Clause {
            name,
            text: part.filter.clone(),
            passes,
            reason,
            parts: part.parts,
        })
    }

    /// What the entry has of the attributes that these parts compare, as far as the account may read it.
    async fn values(&mut self, dn: &str, parts: &[&StructureTag]) -> Result<Values, Error> {
        let names = parts.iter().filter_map(|part| clauses::attribute(part));
        let names: BTreeSet<String> = names.filter(|name| is_shown(name)).collect();
        if names.is_empty() {
            return Ok(Values::new());
        }
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = self
            .ask(dn, Reach::Base, request::any_entry(), &asked)
            .await?;
        let mut values: Values = names
            .iter()
            .map(|name| {
                (
                    name.clone(),
                    format!("it has no {name} that the account may see"),
                )
            })
            .collect();
        for message in &found.entries {
            let mut entry = Entry::decode(message).map_err(|error| self.broken(&error.into()))?;
            while let Some(attribute) = entry.next().map_err(|error| self.broken(&error.into()))? {
                let name = attribute.description.name.to_owned();
                let mut read = Vec::new();
                let collected = attribute.collect_into(&mut read);
                collected.map_err(|error| self.broken(&error.into()))?;
                if !read.is_empty() {
                    values.insert(name.to_ascii_lowercase(), held(&name, &read));
                }
            }
        }
        Ok(values)
    }
}

/// Whether values of an attribute may be shown: never what people prove themselves with.
fn is_shown(name: &str) -> bool {
    let is_status = name == "pwdaccountlockedtime" || name == "pwdlastset";
    is_status
        || !["password", "pwd", "secret", "credential"]
            .iter()
            .any(|word| name.contains(word))
}

/// What an attribute holds, in words.
fn held(name: &str, values: &[&[u8]]) -> String {
    let shown = values
        .iter()
        .take(VALUES_MAX)
        .map(|value| match std::str::from_utf8(value) {
            Ok(_) => printable(value).chars().take(VALUE_CHARS_MAX).collect(),
            Err(_) => "(no text)".to_owned(),
        });
    let shown: Vec<String> = shown.collect();
    let more = match values.len().saturating_sub(VALUES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{name} is {}{more}", shown.join(", "))
}
