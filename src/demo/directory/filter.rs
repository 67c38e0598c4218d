//! Evaluates a search filter over an entry, in three-valued logic (RFC 4511 section 4.5.1.7).
use std::cmp::Ordering;

use ldap3_proto::proto::{LdapFilter, LdapMatchingRuleAssertion, LdapSubstringFilter};

use crate::demo::directory::dn::{self, Key};
use crate::demo::directory::entries::{Entry, is_dn_valued};

/// Whether the entry matches; `None` is "undefined", which the negation leaves undefined.
pub fn matches(filter: &LdapFilter, entry: &Entry) -> Option<bool> {
    match filter {
        LdapFilter::And(inner) => unless(Some(false), inner, entry),
        LdapFilter::Or(inner) => unless(Some(true), inner, entry),
        LdapFilter::Not(inner) => matches(inner, entry).map(|result| !result),
        LdapFilter::Present(name) => Some(!values(entry, name).is_empty()),
        LdapFilter::Equality(name, wanted) | LdapFilter::Approx(name, wanted) => {
            Some(any(entry, name, |held| equal(name, held, wanted)))
        }
        LdapFilter::Substring(name, parts) => Some(any(entry, name, |held| has_parts(held, parts))),
        LdapFilter::GreaterOrEqual(name, wanted) => Some(any(entry, name, |held| {
            order(held, wanted) != Ordering::Less
        })),
        LdapFilter::LessOrEqual(name, wanted) => Some(any(entry, name, |held| {
            order(held, wanted) != Ordering::Greater
        })),
        LdapFilter::Extensible(assertion) => extensible(assertion, entry),
    }
}

/// `decisive` if one of the filters gives it; else undefined if one is; else the opposite.
fn unless(decisive: Option<bool>, inner: &[LdapFilter], entry: &Entry) -> Option<bool> {
    let results: Vec<Option<bool>> = inner.iter().map(|one| matches(one, entry)).collect();
    if results.contains(&decisive) {
        return decisive;
    }
    match results.contains(&None) {
        true => None,
        false => decisive.map(|decisive| !decisive),
    }
}

fn any(entry: &Entry, name: &str, test: impl Fn(&str) -> bool) -> bool {
    values(entry, name).iter().any(|held| test(held))
}

/// The values that are text; others match nothing but presence, since the protocol crate reads assertion values as text.
fn values(entry: &Entry, name: &str) -> Vec<String> {
    let operational = entry.operational();
    let found = operational
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    match found {
        Some((_, value)) => vec![value],
        None => {
            let values = entry.values(name).iter();
            values
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect()
        }
    }
}

/// Whether a value is the wanted one: as DNs where the attribute holds DNs, without case and extra spaces elsewhere.
pub fn equal(name: &str, held: &str, wanted: &str) -> bool {
    if is_dn_valued(name) || name.eq_ignore_ascii_case("entryDN") {
        let held = Key::parse(held);
        return held.is_some() && held == Key::parse(wanted);
    }
    dn::fold(held) == dn::fold(wanted)
}

fn has_parts(held: &str, parts: &LdapSubstringFilter) -> bool {
    let held = held.to_lowercase();
    let mut rest = held.as_str();
    if let Some(initial) = &parts.initial {
        match rest.strip_prefix(&initial.to_lowercase()) {
            Some(more) => rest = more,
            None => return false,
        }
    }
    if let Some(last) = &parts.final_ {
        match rest.strip_suffix(&last.to_lowercase()) {
            Some(more) => rest = more,
            None => return false,
        }
    }
    parts
        .any
        .iter()
        .all(|part| match rest.split_once(&part.to_lowercase()) {
            Some((_, more)) => {
                rest = more;
                true
            }
            None => false,
        })
}

fn order(held: &str, wanted: &str) -> Ordering {
    match (held.parse::<i64>(), wanted.parse::<i64>()) {
        (Ok(held), Ok(wanted)) => held.cmp(&wanted),
        _ => dn::fold(held).cmp(&dn::fold(wanted)),
    }
}

fn extensible(assertion: &LdapMatchingRuleAssertion, entry: &Entry) -> Option<bool> {
    let wanted = assertion.match_value.as_str();
    let rule = assertion
        .matching_rule
        .as_deref()
        .map(str::to_ascii_lowercase);
    let test = |name: &str, held: &str| -> Option<bool> {
        let number = || Some((held.parse::<i64>().ok()?, wanted.parse::<i64>().ok()?));
        match rule.as_deref() {
            None | Some("2.5.13.2" | "caseignorematch") => Some(equal(name, held, wanted)),
            Some("2.5.13.5" | "caseexactmatch") => Some(held == wanted),
            // The bit rules of Active Directory: all of the bits, any of them.
            Some("1.2.840.113556.1.4.803") => {
                Some(number().is_some_and(|(held, wanted)| held & wanted == wanted))
            }
            Some("1.2.840.113556.1.4.804") => {
                Some(number().is_some_and(|(held, wanted)| held & wanted != 0))
            }
            Some(_) => None,
        }
    };
    let mut candidates: Vec<(String, String)> = Vec::new();
    if let Some(name) = &assertion.type_ {
        candidates.extend(
            values(entry, name)
                .into_iter()
                .map(|held| (name.clone(), held)),
        );
    }
    if assertion.dn_attributes {
        for rdn in dn::prefix_above(&entry.dn, "") {
            let parts = dn::assertions(rdn).unwrap_or_default().into_iter();
            let wanted_name = |name: &str| {
                assertion
                    .type_
                    .as_ref()
                    .is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))
            };
            let parts = parts.filter(|(name, _)| wanted_name(name));
            candidates.extend(parts.map(|(name, held)| (name.to_owned(), held)));
        }
    }
    test("", "")?;
    Some(
        candidates
            .iter()
            .any(|(name, held)| test(name, held) == Some(true)),
    )
}
