//! Attributes of which the server gives only a part at a time (`member;range=0-1499`), followed to their end, and members
//! that it keeps elsewhere.

use crate::source::ldap::ber::Malformed;
use crate::source::ldap::entry::{Description, Entry, ValueRange};
use crate::source::ldap::frame::Message;
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::scope::Scope;
use crate::source::ldap::wire::{Wire, WireError};

/// How often an entry that changes while its ranges are read is started over.
const ATTEMPTS_MAX: usize = 3;

/// What came of following an entry's ranges.
#[derive(Debug)]
pub(super) enum Followed {
    /// The entry, then the further ranges: all of its values, as they were at one time.
    Whole(Vec<Message>),
    /// A gap remains; why, and what cures it.
    Gap(String),
}

/// One attempt, which a change of the entry in the middle makes worthless.
enum Attempt {
    Ended(Followed),
    Changed,
}

fn gap(why: String) -> Attempt {
    Attempt::Ended(Followed::Gap(why))
}

/// Reads an entry again by its name, with all values of the attributes that the server gives in parts.
///
/// All of it together may be `bytes_max` long.
pub(super) async fn follow(
    wire: &mut Wire,
    scope: &Scope,
    dn: &str,
    bytes_max: usize,
) -> Result<Followed, WireError> {
    for _ in 0..ATTEMPTS_MAX {
        if let Attempt::Ended(followed) = attempt(wire, scope, dn, bytes_max).await? {
            return Ok(followed);
        }
    }
    Ok(Followed::Gap(format!(
        "it changed {ATTEMPTS_MAX} times while its values were read in parts; the next run tries again"
    )))
}

async fn attempt(
    wire: &mut Wire,
    scope: &Scope,
    dn: &str,
    bytes_max: usize,
) -> Result<Attempt, WireError> {
    let stamps = [scope.anchor_attribute.as_str(), version_attribute(scope)];
    let mut attributes: Vec<&str> = scope.wanted.iter().map(String::as_str).collect();
    attributes.push(stamps[1]);
    let first = match read_one(wire, scope, dn, &attributes).await? {
        Ok(entry) => entry,
        Err(why) => return Ok(gap(why)),
    };
    let stamp = values_of(&first, &stamps)?;
    let mut bytes = first.bytes().len();
    let mut messages = vec![first];
    for (name, mut range, mut values) in ranges(scope, &messages[0])? {
        let mut wanted = 0;
        loop {
            match range.next_after(wanted, values) {
                Ok(None) => break,
                Ok(Some(next)) => wanted = next,
                Err(why) => return Ok(gap(format!("`{name}` has a gap: {why}"))),
            }
            let request = format!("{name};range={wanted}-*");
            let attributes = [request.as_str(), stamps[0], stamps[1]];
            let part = match read_one(wire, scope, dn, &attributes).await? {
                Ok(part) => part,
                Err(why) => return Ok(gap(why)),
            };
            if values_of(&part, &stamps)? != stamp {
                return Ok(Attempt::Changed);
            }
            let mut parts = ranges(scope, &part)?;
            parts.retain(|(found, _, _)| *found == name);
            let Some((_, found, count)) = parts.pop() else {
                return Ok(gap(format!("`{name}` ended before its last value")));
            };
            (range, values) = (found, count);
            bytes += part.bytes().len();
            if bytes > bytes_max {
                return Ok(gap(format!(
                    "it is longer than the {bytes_max} bytes that are accepted"
                )));
            }
            messages.push(part);
        }
    }
    let group_id = scope.primary_group_id(&scope.parts(&messages)?);
    if let (Some(group_id), Some(users)) = (group_id, &scope.primary) {
        let left = bytes_max.saturating_sub(bytes);
        match users.of_group(wire, group_id, left).await? {
            Ok(users) => messages.extend(users),
            Err(why) => return Ok(gap(why)),
        }
    }
    Ok(Attempt::Ended(Followed::Whole(messages)))
}

/// The attribute that changes whenever the entry does. Where it may not be read, changes go unnoticed.
fn version_attribute(scope: &Scope) -> &'static str {
    if scope.active_directory {
        "usnchanged"
    } else {
        "modifytimestamp"
    }
}

/// Reads one entry by its name; the inner error says why it could not be.
async fn read_one(
    wire: &mut Wire,
    scope: &Scope,
    dn: &str,
    attributes: &[&str],
) -> Result<Result<Message, String>, WireError> {
    let search = Search {
        base: dn,
        reach: Reach::Base,
        filter: request::any_entry(),
        entries_max: 0,
        attributes,
        names_only: false,
    };
    let mut found = wire.find(search, scope.controls()).await?;
    if !found.answer.is_success() {
        let words = found.answer.words();
        return Ok(Err(format!("it could not be read by its name: {words}")));
    }
    match (found.entries.pop(), found.entries.is_empty()) {
        (Some(entry), true) => Ok(Ok(entry)),
        (Some(_), false) => Err(WireError::Unexpected),
        (None, _) => Ok(Err(
            "it was renamed or removed while its values were read in parts".to_owned(),
        )),
    }
}

type Ranged = (String, ValueRange, usize);

/// The wanted attributes of which only a range came, with the number of values that came.
fn ranges(scope: &Scope, message: &Message) -> Result<Vec<Ranged>, Malformed> {
    let mut entry = Entry::decode(message)?;
    let mut found = Vec::new();
    while let Some(attribute) = entry.next()? {
        let Description { name, range } = attribute.description;
        if let (Some(at), Some(range)) = (scope.position(name), range) {
            let mut values = Vec::new();
            attribute.collect_into(&mut values)?;
            found.push((scope.wanted[at].clone(), range, values.len()));
        }
    }
    Ok(found)
}

/// The values of a few attributes, to be compared.
fn values_of(message: &Message, names: &[&str]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut entry = Entry::decode(message)?;
    let mut found = vec![Vec::new(); names.len()];
    while let Some(attribute) = entry.next()? {
        let name = attribute.description.name;
        let at = names
            .iter()
            .position(|found| found.eq_ignore_ascii_case(name));
        if let Some(at) = at {
            let mut values = Vec::new();
            attribute.collect_into(&mut values)?;
            found[at] = values.concat();
        }
    }
    Ok(found)
}
