//! Tokens as the API and the command line ask for them and show them.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::{Grant, Permission, Tenants, Token, TokenId};
use crate::audit::{Actor, Deed, Event};
use crate::document::{Fields, Node, Problems};
use crate::id::TenantName;
use crate::secret::Secret;
use crate::vault;

/// The longest name, in characters.
const NAME_MAX: usize = 100;
/// The longest time that a token may be given, in days.
const DAYS_MAX: i64 = 3_650;
/// What stands for every tenant, those too that come later.
const EVERY: &str = "*";

/// Reads what a token is to be; the tenants are those that it can be for.
///
/// # Errors
/// All mistakes at once.
pub fn read(body: &Node, in_force: &[TenantName], now: DateTime<Utc>) -> Result<Grant, Problems> {
    let mut problems = Problems::default();
    let mut fields = Fields::of(body, "", &mut problems);
    let name = read_name(&mut fields, &mut problems);
    let tenants = read_tenants(&mut fields, in_force, &mut problems);
    let permissions = read_permissions(&mut fields, &mut problems);
    let expires_at = read_expiry(&mut fields, now, &mut problems);
    fields.finish(&mut problems);
    let grant = || {
        Some(Grant {
            name: name?,
            tenants: tenants?,
            permissions: permissions?,
            expires_at,
        })
    };
    problems.verdict(grant())
}

fn read_name(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<String> {
    let name = fields.required_text("name", "what the token is for, in words", problems)?;
    if name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        let message = format!("must be one line of at most {NAME_MAX} characters");
        fields.refuse("name", message, problems);
        return None;
    }
    Some(name.to_owned())
}

/// A list that must be there and hold something; each text is read further.
fn read_list<T: Ord>(
    fields: &mut Fields<'_>,
    name: &'static str,
    what: &str,
    problems: &mut Problems,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<BTreeSet<T>> {
    let is_there = fields.has(name);
    let texts = fields.texts(name, problems);
    if !is_there || texts.as_ref().is_some_and(Vec::is_empty) {
        let verb = if is_there { "is empty" } else { "is missing" };
        fields.refuse(name, format!("{verb}: {what}"), problems);
        return None;
    }
    let texts = texts?;
    let mut items = BTreeSet::new();
    for (at, text) in texts.iter().enumerate() {
        match read(text) {
            Ok(item) => {
                items.insert(item);
            }
            Err(message) => {
                problems.add(None, &format!("{}/{at}", fields.pointer_of(name)), message);
            }
        }
    }
    Some(items)
}

fn read_tenants(
    fields: &mut Fields<'_>,
    in_force: &[TenantName],
    problems: &mut Problems,
) -> Option<Tenants> {
    let what = "the names of the tenants that it is for, or [\"*\"] for all of them";
    let names = read_list(fields, "tenants", what, problems, |text| {
        let found = in_force.iter().find(|tenant| tenant.0 == text).cloned();
        match found {
            Some(tenant) => Ok(tenant),
            None if text == EVERY => Ok(TenantName(EVERY.to_owned())),
            None => Err(format!(
                "`{}` is not a tenant that it can be for; there are: {}",
                text.escape_debug(),
                in_force
                    .iter()
                    .map(|tenant| tenant.0.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        }
    })?;
    let every = TenantName(EVERY.to_owned());
    if !names.contains(&every) {
        return Some(Tenants::Only(names));
    }
    if names.len() > 1 {
        let message = "has `*` beside names: write [\"*\"] for all tenants, or only names";
        fields.refuse("tenants", message, problems);
    }
    Some(Tenants::All)
}

fn read_permissions(
    fields: &mut Fields<'_>,
    problems: &mut Problems,
) -> Option<BTreeSet<Permission>> {
    let what = format!(
        "what it permits, of {}",
        Permission::ALL.map(Permission::as_str).join(", ")
    );
    read_list(
        fields,
        "permissions",
        &what,
        problems,
        Permission::from_word,
    )
}

fn read_expiry(
    fields: &mut Fields<'_>,
    now: DateTime<Utc>,
    problems: &mut Problems,
) -> Option<DateTime<Utc>> {
    let latest = now + TimeDelta::days(DAYS_MAX);
    let at = fields.parsed("expiresAt", problems, |text| {
        let at = DateTime::parse_from_rfc3339(text)
            .map_err(|_| "is not a time such as 2027-01-31T00:00:00Z (RFC 3339)".to_owned())?
            .to_utc();
        match at {
            _ if at <= now => Err("lies in the past".to_owned()),
            _ if at > latest => Err(format!(
                "lies more than {DAYS_MAX} days ahead; leave it out for a token without end"
            )),
            _ => Ok(at),
        }
    });
    let has_days = fields.has("expiresInDays");
    let days = fields.integer("expiresInDays", 1, 1..=DAYS_MAX, problems);
    if has_days && fields.has("expiresAt") {
        fields.refuse(
            "expiresInDays",
            "stands beside expiresAt; leave one of them out",
            problems,
        );
    }
    at.or_else(|| has_days.then(|| now + TimeDelta::days(days)))
}

/// Issues a token: as it is kept, its text, and what the audit log is to say.
///
/// # Errors
/// When the system gives no random numbers.
pub fn issue(
    grant: Grant,
    actor: Actor,
    now: DateTime<Utc>,
) -> Result<(Token, Secret, Event), vault::Error> {
    let (token, text) = grant.issue(TokenId(Uuid::now_v7()), &vault::random()?, now);
    let expires_at = token.expires_at.map(|end| end.to_rfc3339());
    let details = [
        ("tenants", Some(tenants(&token).join(" "))),
        ("permissions", Some(permissions(&token).join(" "))),
        ("expiresAt", expires_at),
    ];
    let details = details
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    let event = Event::of_token(now, actor, Deed::TokenCreate, &token, details);
    Ok((token, text, event))
}

fn tenants(token: &Token) -> Vec<&str> {
    match &token.tenants {
        Tenants::All => vec![EVERY],
        Tenants::Only(tenants) => tenants.iter().map(|tenant| tenant.0.as_str()).collect(),
    }
}

fn permissions(token: &Token) -> Vec<&'static str> {
    token
        .permissions
        .iter()
        .map(|permission| permission.as_str())
        .collect()
}

/// A token as it is shown; its text is not known any more.
pub fn shown(token: &Token) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "tenants": tenants(token),
        "permissions": permissions(token),
        "createdAt": token.created_at,
        "expiresAt": token.expires_at,
        "lastUsedAt": token.last_used_at,
    })
}

/// A token as it is shown once, with its text.
pub fn shown_once(token: &Token, text: &Secret) -> Value {
    let mut shown = shown(token);
    shown["token"] = text.expose().into();
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn read_json(body: Value) -> Result<Grant, Vec<String>> {
        let in_force = ["acme", "globex"].map(|name| TenantName(name.into()));
        read(&Node::of_json(body), &in_force, now())
            .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_token_is_read() {
        let grant = read_json(json!({
            "name": "exporter", "tenants": ["acme", "acme"], "permissions": ["audit:read"], "expiresInDays": 2,
        }));
        let expected = Grant {
            name: "exporter".into(),
            tenants: Tenants::Only([TenantName("acme".into())].into()),
            permissions: [Permission::AuditRead].into(),
            expires_at: Some(now() + TimeDelta::days(2)),
        };
        assert_eq!(grant, Ok(expected));
        let all = json!({
            "name": "all", "tenants": ["*"], "permissions": ["admin"], "expiresAt": "2027-01-01T01:00:00+01:00",
        });
        let all = read_json(all).unwrap();
        assert_eq!(all.tenants, Tenants::All);
        assert_eq!(
            all.expires_at,
            Some("2027-01-01T00:00:00Z".parse().unwrap())
        );
    }

    #[test]
    fn every_mistake_of_a_token_is_told() {
        let told = read_json(json!({
            "name": "a\nb", "tenants": ["acme", "initech"], "permissions": ["root", "admin", "x"],
            "expiresAt": "2026-11-21T12:00:00Z", "expiresInDays": 0, "token": "srt_x",
        }));
        let told = told.unwrap_err();
        let expected = [
            "name: must be one line",
            "tenants.1: `initech` is not a tenant that it can be for; there are: acme, globex",
            "permissions.0: `root` is not a permission",
            "permissions.2: `x` is not a permission",
            "expiresAt: lies in the past",
            "expiresInDays: is 0",
            "expiresInDays: stands beside",
            "token: is not a known key",
        ];
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told}");
        }
        let told = read_json(json!({ "tenants": [], "permissions": "admin", "expiresAt": "soon" }));
        let told = told.unwrap_err().join("\n");
        for expected in [
            "name: is missing",
            "tenants: is empty",
            "permissions: is a text",
            "expiresAt: is not a time",
        ] {
            assert!(told.contains(expected), "{told}");
        }
        let both = json!({ "name": "x", "tenants": ["*", "acme"], "permissions": ["admin"] });
        assert!(read_json(both).unwrap_err()[0].starts_with("tenants: has `*` beside names"));
        let far = json!({ "name": "x", "tenants": ["*"], "permissions": ["admin"], "expiresAt": "9999-01-01T00:00:00Z" });
        assert!(read_json(far).unwrap_err()[0].contains("more than 3650 days"));
    }
}
