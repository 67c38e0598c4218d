//! The fields of the description are held against those of the readers, and against the example file.
#![allow(clippy::unwrap_used, clippy::panic)]
use std::collections::BTreeSet;

use chrono::DateTime;

use super::*;
use crate::admin::tokens;
use crate::directory::{Origin, read, tenant as tenant_reader};
use crate::document::{Node, Problems};
use crate::identity::DirectoryType;

const EXAMPLE: &str = include_str!("../../../../config/scim-relay.toml");

type Reader = fn(&Node, &mut Problems);

fn readers() -> Vec<(&'static str, Vec<Field>, Reader)> {
    let own = [needed("name", Kind::Text), field("enabled", Kind::Truth)];
    let profile: Vec<Field> = own.iter().chain(PROFILE).copied().collect();
    let mut directory: Vec<Field> = CONNECTION.iter().chain(PROFILE).copied().collect();
    directory.push(field("profiles", Kind::Profiles));
    vec![
        ("[[directories]]", directory, |node, problems| {
            read::directory(node, "", &Origin::File, problems);
        }),
        ("[[directories.profiles]]", profile, |node, problems| {
            read::profile_table(node, "", DirectoryType::Ldap, None, problems);
        }),
        ("[[tenants]]", TENANT.to_vec(), |node, problems| {
            tenant_reader::read(node, "", false, problems);
        }),
        ("a token", TOKEN.to_vec(), |node, problems| {
            let read = tokens::read(node, &[], DateTime::UNIX_EPOCH);
            problems
                .0
                .extend(read.err().into_iter().flat_map(|problems| problems.0));
        }),
    ]
}

/// What a reader says of a field; the field stands within these tables.
fn said(read: Reader, within: &[&str], name: &str, value: Value) -> String {
    let mut document = json!({ name: value });
    let mut pointer = format!("/{name}");
    for table in within.iter().rev() {
        document = json!({ *table: document });
        pointer = format!("/{table}{pointer}");
    }
    let mut problems = Problems::default();
    read(&Node::of_json(document), &mut problems);
    let found = problems.0.iter().find(|problem| problem.pointer == pointer);
    found.map_or_else(String::new, |problem| problem.message.clone())
}

fn check(read: Reader, within: &[&str], field: &Field) {
    let said = |value| said(read, within, field.name, value);
    let (value, answer) = match field.kind {
        Kind::Text | Kind::Format(_) | Kind::Secret => {
            (Value::Null, "a text is expected".to_owned())
        }
        Kind::Truth => (Value::Null, "true or false is expected".to_owned()),
        Kind::Texts => (Value::Null, "a list of texts is expected".to_owned()),
        Kind::Profiles | Kind::Tables(_) => {
            (Value::Null, "a list of tables is expected".to_owned())
        }
        Kind::Mapping => (Value::Null, "must be a table".to_owned()),
        Kind::Table(_) | Kind::Headers => (Value::Null, "a table is expected".to_owned()),
        Kind::Rate => (Value::Null, "must be a number of requests".to_owned()),
        Kind::Number(least, most) => {
            let answer = format!("must lie between {least} and {most}");
            assert!(said(json!(least - 1)).contains(&answer), "{field:?}");
            (json!(most + 1), answer)
        }
        Kind::Words(words) => (json!("?"), format!("must be one of: {}", words.join(", "))),
    };
    let heard = said(value);
    assert!(heard.contains(&answer), "{within:?} {field:?}: {heard}");
    if let Kind::Table(fields) = field.kind {
        let within = [within, &[field.name]].concat();
        for field in fields {
            check(read, &within, field);
        }
    }
}

/// Each field is one that its reader knows, with the same kind, range and words, and the same ones must be there.
#[test]
fn openapi_fields_are_those_of_the_readers() {
    for (what, fields, read) in readers() {
        for field in &fields {
            check(read, &[], field);
        }
        let mut problems = Problems::default();
        read(&Node::of_json(json!({})), &mut problems);
        let missing: BTreeSet<&str> = problems
            .0
            .iter()
            .filter(|problem| problem.message.starts_with("is missing"))
            .map(|problem| problem.pointer.trim_start_matches('/'))
            .collect();
        let required = fields.iter().filter(|field| field.required);
        let mut required: BTreeSet<&str> = required.map(|field| field.name).collect();
        match what {
            "[[directories]]" => required.extend(["tenant", "host"]),
            "[[tenants]]" => required.extend(["auth"]),
            _ => {}
        }
        assert_eq!(missing, required, "{what}");
    }
}

#[test]
fn openapi_authentication_of_tenants_is_that_of_the_reader() {
    let read: Reader = |node, problems| {
        tenant_reader::read(node, "", false, problems);
    };
    let bearer = json!({ "type": "bearer" });
    let oauth2 = json!({ "type": "oauth2" });
    let jwt = json!({ "type": "oauth2", "clientAuthentication": "private_key_jwt" });
    for (way, fields) in [(bearer, BEARER), (oauth2, OAUTH2), (jwt, OAUTH2_JWT)] {
        let said = |name: &str, value: Value| {
            let mut auth = way.clone();
            auth[name] = value;
            let mut problems = Problems::default();
            read(&Node::of_json(json!({ "auth": auth })), &mut problems);
            let pointer = format!("/auth/{name}");
            let said = problems.0.iter().find(|problem| problem.pointer == pointer);
            said.map(|problem| problem.message.clone())
        };
        for field in fields {
            let heard = match field.kind {
                Kind::Words(words) => {
                    assert!(
                        words
                            .iter()
                            .all(|word| said(field.name, json!(word)).is_none())
                    );
                    continue;
                }
                _ => said(field.name, Value::Null).unwrap(),
            };
            assert!(heard.contains("a text is expected"), "{heard}");
        }
    }
    let words = said(read, &["auth"], "type", json!("?"));
    assert!(words.ends_with("one of: bearer, oauth2"), "{words}");
}

/// The keys of a table of the example file, those too that stand in comments.
fn keys(table: &str) -> BTreeSet<&'static str> {
    let plain = |line: &'static str| line.strip_prefix("# ").unwrap_or(line);
    let lines = EXAMPLE.lines().map(plain);
    let lines = lines.skip_while(|line| *line != table).skip(1);
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("[[")).collect();
    // A table of its own, such as [directories.guard], is the last key, and has keys of its own.
    let (own, within) = lines.split_at(
        lines
            .iter()
            .position(|line| line.starts_with("[directories."))
            .unwrap_or(lines.len()),
    );
    let tables = within.first().and_then(|line| {
        let name = line.strip_prefix('[')?.strip_suffix(']')?;
        name.rsplit_once('.').map(|(_, key)| key)
    });
    own.iter()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| key.chars().all(|c| c.is_ascii_alphanumeric()))
        .chain(tables)
        .collect()
}

/// With the test that the example names every key of the readers, this closes the ring.
#[test]
fn openapi_fields_are_those_of_the_example_file() {
    for (table, fields, _) in readers() {
        if !table.starts_with("[[") {
            continue;
        }
        let named = |name: &str| fields.iter().any(|field| field.name == name);
        let keys = keys(table);
        assert!(!keys.is_empty(), "{table}");
        for key in &keys {
            let elsewhere = matches!((table, *key), ("[[directories]]", "tenant"))
                || matches!((table, *key), ("[[tenants]]", "auth"));
            assert!(named(key) || elsewhere, "{key} of {table} is not described");
        }
        if table == "[[directories.profiles]]" {
            continue;
        }
        for field in fields
            .iter()
            .filter(|field| field.name != "profiles" && field.name != "url")
        {
            assert!(
                keys.contains(field.name),
                "{} is not in {table}",
                field.name
            );
        }
    }
}
