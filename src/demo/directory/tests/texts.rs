//! LDIF and distinguished names.
use crate::demo::directory::dn::{Key, assertions, rdn};
use crate::demo::directory::ldif::{self, LdifError};

#[test]
fn ldif_is_read() {
    let text = "# comment\n  folded into the comment\nversion: 1\n\ndn: dc=x\ndc: x\ndescription: one\n  two\nDescription:: w6k=\n\
        empty:\n# between\nlast:value\n\n\ndn:: ZGM9w6k=\r\ndc: y\r\n";
    let records = ldif::parse(text).unwrap();
    let texts = |at: usize| -> Vec<(String, Vec<String>)> {
        let attributes = records[at].attributes.iter();
        let text = |value: &Vec<u8>| String::from_utf8(value.clone()).unwrap();
        attributes
            .map(|(name, values)| (name.clone(), values.iter().map(text).collect()))
            .collect()
    };
    let one = |name: &str, values: &[&str]| {
        (
            name.to_owned(),
            values.iter().map(|value| (*value).to_owned()).collect(),
        )
    };
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].dn, "dc=x");
    let expected: Vec<(String, Vec<String>)> = vec![
        one("dc", &["x"]),
        one("description", &["one two", "é"]),
        one("empty", &[""]),
        one("last", &["value"]),
    ];
    assert_eq!(texts(0), expected);
    assert_eq!(
        (records[1].dn.as_str(), texts(1)),
        ("dc=é", vec![one("dc", &["y"])])
    );
    let broken = [
        ("cn: x\n", 1),
        ("dn: dc=x\n\n\ncn: x\n", 4),
        ("dn: dc=x\nno colon\n", 2),
        ("dn: dc=x\nphoto:< file:///x\n", 2),
        ("dn: dc=x\ncn:: ***\n", 2),
        ("dn:: /w==\n", 1),
        ("dn: dc=x\nchangetype: delete\n", 2),
    ];
    for (text, line) in broken {
        let error: LdifError = ldif::parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
    }
}

#[test]
fn distinguished_names_are_compared_by_meaning() {
    let same = [
        ("cn=a,dc=x", "CN = A , DC=X"),
        ("cn=a\\, b,dc=x", "cn=\"a, b\",dc=x"),
        ("cn=a\\2c b,dc=x", "cn=a\\, b,dc=x"),
        ("cn=\\C3\\A9,dc=x", "cn=É,dc=x"),
        ("cn=a+uid=b,dc=x", "UID=b+CN=a,dc=x"),
        ("cn=a  b,dc=x", "cn=a b,dc=x"),
    ];
    for (one, other) in same {
        assert_eq!(Key::parse(one), Key::parse(other), "{one} and {other}");
        assert!(Key::parse(one).is_some(), "{one}");
    }
    for (one, other) in [
        ("cn=a,dc=x", "cn=a,dc=y"),
        ("cn=a\\,dc=x", "cn=a,dc=x"),
        ("cn=a+uid=b", "cn=a,uid=b"),
    ] {
        assert_ne!(Key::parse(one), Key::parse(other), "{one} and {other}");
    }
    for broken in ["cn", "=a", "cn=a,", "cn=\\", "cn=\\fg", "cn=\\ff"] {
        assert_eq!(Key::parse(broken), None, "{broken}");
    }
    assert_eq!(Key::parse("").map(|key| key.depth()), Some(0));
    assert_eq!(rdn("cn=a\\, b,dc=x"), "cn=a\\, b");
    assert_eq!(assertions("cn= a\\  ").unwrap(), [("cn", "a ".to_owned())]);
}
