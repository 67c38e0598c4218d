//! The cases: what the pure rooms do for each entry, row or request, on input that is the same in every run.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use chrono::{DateTime, Utc};
use scim_relay::id::ProfileName;
use scim_relay::identity::digest::Digest;
use scim_relay::identity::dn::Dn;
use scim_relay::identity::known::Known;
use scim_relay::identity::observation::Coverage;
use scim_relay::identity::{
    Anchor, DirectoryType, Identity, Kind, MemberKey, RowKey, Value as DirectoryValue,
};
use scim_relay::mapping::rule::{Rule, Source};
use scim_relay::mapping::status::StatusRules;
use scim_relay::mapping::{Desired, Mapping, default_rules};
use scim_relay::plan::decide::{self, Policy, Population};
use scim_relay::plan::deprovisioning::Deprovisioning;
use scim_relay::plan::grace::Grace;
use scim_relay::plan::guard::{self, Evidence, Limits};
use scim_relay::plan::membership::{AbsentGroups, NestedGroups, membership};
use scim_relay::plan::protected::Protected;
use scim_relay::plan::tally::Tally;
use scim_relay::plan::{Action, Class, Reason};
use scim_relay::scim::dialect::Dialect;
use scim_relay::scim::encode::{self, Request};
use scim_relay::scim::merge::merged;
use scim_relay::scim::path::AttributePath;
use scim_relay::scim::{AttributeChange, Attributes, ResourceType, Value, resource, shape};
use scim_relay::snapshot::{Applied, LinkedCounts, ResolvedMember, Row, Seen, Standing};
use serde_json::Value as Json;
use uuid::Uuid;

/// How often a case is called while it is counted.
pub const CALLS: usize = 20;

/// What is counted.
pub struct Case {
    /// Its name in `counts.toml`.
    pub name: &'static str,
    /// Makes the input, and what is called with it.
    pub prepare: fn() -> Call,
}

/// One call; there may be one more than are counted.
pub type Call = Box<dyn FnMut()>;

const fn case(name: &'static str, prepare: fn() -> Call) -> Case {
    Case { name, prepare }
}

/// All of them, in the order of a run.
pub const CASES: &[Case] = &[
    #[cfg(feature = "fuzzing")]
    case("ldap_user", || ldap_answer(USER)),
    #[cfg(feature = "fuzzing")]
    case("ldap_group_of_100", || ldap_answer(&group_of_100())),
    case("digest_entry", digest_entry),
    case("member_key", member_key),
    case("known_1000", known),
    case("map_user", || {
        map(DirectoryType::Ldap, &TEN_RULES, Kind::User, USER)
    }),
    case("map_user_ad", map_user_ad),
    case("map_user_expression", map_user_expression),
    case("map_group", || {
        map(DirectoryType::Ldap, &TEN_RULES, Kind::Group, GROUP)
    }),
    case("decide_user_unchanged", || {
        decide_user(Some(applied()), desired())
    }),
    case("decide_user_changed", decide_user_changed),
    case("decide_user_disabled", decide_user_disabled),
    case("decide_user_created", || decide_user(None, desired())),
    case("decide_member_added_to_1000", decide_member_added),
    case("membership_of_1000", membership_of_1000),
    case("tally_1000", tally_1000),
    case("guard", guard_holds),
    case("encode_user", encode_user),
    case("encode_change", encode_change),
    case("encode_100_members_added", || encode_members(encode_added)),
    case("encode_100_members_removed", || {
        encode_members(encode::remove_members)
    }),
    case("merge_change", merge_change),
    case("compare_resource", compare_resource),
];

/// Calls with input that each call takes for itself; what comes out of a call is freed in it.
fn each<I: 'static, O>(make: impl Fn() -> I, work: impl Fn(I) -> O + 'static) -> Call {
    let mut inputs: Vec<I> = (0..=CALLS).map(|_| make()).collect();
    Box::new(move || {
        let input = inputs.pop().expect("an input for each call");
        black_box(work(black_box(input)));
    })
}

/// Calls with input that they only look at.
fn same<I: 'static, O>(input: I, work: impl Fn(&I) -> O + 'static) -> Call {
    Box::new(move || {
        black_box(work(black_box(&input)));
    })
}

// --- What there is ---------------------------------------------------------------------------------------------------

const DN: &str = "uid=anna.jorgensen,ou=People,ou=Copenhagen,dc=staff,dc=example,dc=org";

/// A person as an LDAP server has him, by the attributes that ten rules ask for, and some more.
const USER: &[(&str, &str)] = &[
    ("uid", "anna.jorgensen"),
    ("mail", "anna.jorgensen@staff.example.org"),
    ("givenName", "Anna"),
    ("sn", "Jørgensen"),
    ("telephoneNumber", "+45 30 1234567"),
    ("displayName", "Anna Jørgensen"),
    ("title", "Senior software engineer"),
    ("departmentNumber", "0400"),
    ("employeeNumber", "E00001234"),
    ("mobile", "+45 170 1234567"),
    ("objectClass", "inetOrgPerson"),
    ("entryUUID", "01890000-0000-7000-8000-000000000001"),
];

const GROUP: &[(&str, &str)] = &[("cn", "Engineers of Copenhagen")];

const TEN_RULES: [(&str, &str); 10] = [
    ("username", "uid"),
    ("email", "mail"),
    ("firstName", "givenName"),
    ("lastName", "sn"),
    ("phone", "telephoneNumber"),
    ("displayName", "displayName"),
    ("title", "title"),
    ("department", "departmentNumber"),
    ("employeeNumber", "employeeNumber"),
    ("mobile", "mobile"),
];

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

fn key(kind: Kind, number: u128) -> RowKey {
    // Neighbours by number are none by anchor, as with random UUIDs.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    RowKey {
        kind,
        anchor: Anchor::Uuid(Uuid::from_u128(mixed)),
    }
}

/// So many users, in order.
fn users(count: u128) -> Vec<RowKey> {
    let users: BTreeSet<RowKey> = (0..count).map(|number| key(Kind::User, number)).collect();
    users.into_iter().collect()
}

fn identity(kind: Kind, attributes: &[(&str, &str)]) -> Identity {
    let value = |text: &str| vec![DirectoryValue::Text(text.to_owned())];
    Identity {
        kind,
        anchor: key(kind, 0).anchor,
        dn: DN.to_owned(),
        attributes: attributes
            .iter()
            .map(|(name, text)| (name.to_ascii_lowercase(), value(text)))
            .collect(),
        members: Vec::new(),
        names: Vec::new(),
    }
}

fn mapping(directory_type: DirectoryType, rules: &[(&str, Source)]) -> Mapping {
    let rules = rules.iter().map(|(name, source)| Rule {
        name: (*name).to_owned(),
        path: AttributePath::from_rule(name).expect("a path"),
        source: source.clone(),
        required: *name == "username",
    });
    let status = StatusRules::of(directory_type, Vec::new());
    Mapping::new(rules.collect(), Source::Attribute("cn".to_owned()), status).expect("a mapping")
}

fn attribute_rules<'a>(rules: &[(&'a str, &str)]) -> Vec<(&'a str, Source)> {
    let source = |attribute: &str| Source::Attribute(attribute.to_owned());
    let rules = rules.iter();
    rules
        .map(|(name, attribute)| (*name, source(attribute)))
        .collect()
}

fn ten_rules() -> Mapping {
    mapping(DirectoryType::Ldap, &attribute_rules(&TEN_RULES))
}

fn desired() -> Desired {
    ten_rules().desired(&identity(Kind::User, USER), now())
}

fn attributes() -> Attributes {
    desired().resource.expect("what is desired")
}

fn applied() -> Applied {
    let mut attributes = attributes();
    attributes.insert(AttributePath::active(), Value::Bool(true));
    Applied {
        id: "2819c223-7f76-453a-919d-413861904646".to_owned(),
        attributes,
    }
}

fn policy() -> Policy {
    let mapping = ten_rules();
    Policy {
        population: Population::All,
        keeps_active: true,
        user_attributes: mapping.maintained(Kind::User),
        group_attributes: mapping.maintained(Kind::Group),
        link_by_name: false,
        protected: Protected::default(),
        deprovisioning: Deprovisioning::Deactivate,
        grace: Grace::default(),
        absent_groups: AbsentGroups::Empty,
        members_with_create: 10_000,
    }
}

fn row(identity: Identity, applied: Option<Applied>) -> (Row, Seen) {
    let seen = Seen {
        digest: Digest::default(),
        standing: Standing::Present,
        identity,
    };
    let row = Row {
        key: seen.identity.key(),
        seen: vec![(ProfileName::default(), seen.clone())],
        applied,
        found: None,
        decision: None,
        last: Default::default(),
    };
    (row, seen)
}

// --- What a directory says -------------------------------------------------------------------------------------------

#[cfg(feature = "fuzzing")]
fn group_of_100() -> Vec<(&'static str, &'static str)> {
    let mut group = GROUP.to_vec();
    group.push(("entryUUID", "01890000-0000-7000-8000-000000000002"));
    group.extend((0..100).map(|_| ("member", DN)));
    group
}

/// A search result entry (RFC 4511 §4.5.2), read by the fuzzers' door: as a user and as a group, of both directory types.
#[cfg(feature = "fuzzing")]
fn ldap_answer(attributes: &[(&str, &str)]) -> Call {
    let ber = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).expect("less than 64 KiB");
        let [high, low] = length.to_be_bytes();
        [&[tag, 0x82, high, low], content].concat()
    };
    let mut values: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (at, (name, text)) in attributes.iter().enumerate() {
        // No two members are the same.
        let text = match *name {
            "member" => format!("uid=u{at},{text}"),
            _ => (*text).to_owned(),
        };
        let values = values.entry(name).or_default();
        values.extend(ber(0x04, text.as_bytes()));
    }
    let attributes = values.iter().map(|(name, values)| {
        ber(
            0x30,
            &[ber(0x04, name.as_bytes()), ber(0x31, values)].concat(),
        )
    });
    let attributes: Vec<u8> = attributes.flatten().collect();
    let entry = [ber(0x04, DN.as_bytes()), ber(0x30, &attributes)].concat();
    let message = [vec![0x02, 0x01, 0x02], ber(0x64, &entry)].concat();
    same(ber(0x30, &message), |bytes| {
        scim_relay::source::fuzzing::answers(bytes);
    })
}

fn digest_entry() -> Call {
    let make = || -> Vec<(&'static str, Vec<&'static [u8]>)> {
        let attributes = USER.iter();
        attributes
            .map(|(name, text)| (*name, vec![text.as_bytes()]))
            .collect()
    };
    each(make, |mut attributes| Digest::of_entry(DN, &mut attributes))
}

fn member_key() -> Call {
    same(DN, |name| {
        MemberKey::of_dn(&name.parse::<Dn>().expect("a name"))
    })
}

/// A read that meets a thousand entries, all as they were.
fn known() -> Call {
    let met: Vec<(RowKey, Digest)> = users(1_000)
        .into_iter()
        .map(|key| (key, Digest::default()))
        .collect();
    let rows = met.clone();
    each(
        move || Known::from_rows(rows.iter().cloned()),
        move |mut known| {
            for (key, digest) in &met {
                black_box(known.meet(key, *digest));
            }
            known.unmet()
        },
    )
}

// --- Mapping ---------------------------------------------------------------------------------------------------------

fn map(
    directory_type: DirectoryType,
    rules: &[(&str, &str)],
    kind: Kind,
    entry: &[(&str, &str)],
) -> Call {
    let mapping = mapping(directory_type, &attribute_rules(rules));
    same(identity(kind, entry), move |identity| {
        mapping.desired(identity, now())
    })
}

fn map_user_ad() -> Call {
    let kind = DirectoryType::ActiveDirectory;
    let entry = [
        USER,
        &[
            ("sAMAccountName", "anna.jorgensen"),
            ("userAccountControl", "512"),
            ("accountExpires", "135000000000000000"),
        ],
    ];
    map(kind, &default_rules(kind), Kind::User, &entry.concat())
}

fn map_user_expression() -> Call {
    let rules = [
        ("username", Source::Attribute("uid".to_owned())),
        (
            "displayName",
            Source::Expression("{{ givenName }} {{ sn }}".to_owned()),
        ),
    ];
    let mapping = mapping(DirectoryType::Ldap, &rules);
    same(identity(Kind::User, USER), move |identity| {
        mapping.desired(identity, now())
    })
}

// --- Plan ------------------------------------------------------------------------------------------------------------

fn decide_user(applied: Option<Applied>, desired: Desired) -> Call {
    let (row, seen) = row(identity(Kind::User, USER), applied);
    let policy = policy();
    each(
        move || desired.clone(),
        move |desired| decide::user(&row, &seen, desired, &policy),
    )
}

/// The title is another one.
fn decide_user_changed() -> Call {
    let mut applied = applied();
    let title = Value::Text("Software engineer".to_owned());
    applied
        .attributes
        .insert(AttributePath::core("title"), title);
    decide_user(Some(applied), desired())
}

fn decide_user_disabled() -> Call {
    let desired = Desired {
        active: Some(false),
        ..desired()
    };
    decide_user(Some(applied()), desired)
}

fn decide_member_added() -> Call {
    let mapping = ten_rules();
    let group = identity(Kind::Group, GROUP);
    let desired = mapping.desired(&group, now());
    let applied = Applied {
        id: "7".to_owned(),
        attributes: desired.resource.clone().expect("what is desired"),
    };
    let (row, seen) = row(group, Some(applied));
    let policy = policy();
    let wanted = users(1_001);
    let mut present = wanted.clone();
    present.remove(500);
    each(
        move || desired.clone(),
        move |desired| decide::group(&row, &seen, desired, &wanted, &present, &policy),
    )
}

fn membership_of_1000() -> Call {
    let group = key(Kind::Group, 0);
    let members = users(1_000).into_iter().map(|row| ResolvedMember {
        name: MemberKey::of_uid(&row.anchor.to_string()),
        row: Some(row),
    });
    let named = BTreeMap::from([(group.clone(), members.collect())]);
    same(named, move |named| {
        membership(&group, NestedGroups::Direct, named)
    })
}

/// A thousand steps, as a plan has them.
fn steps() -> Vec<(RowKey, Class, Action, Reason)> {
    let title = |number: usize| AttributeChange {
        path: AttributePath::core("title"),
        before: None,
        after: Some(Value::Text(format!("Title {}", number % 100))),
    };
    let inactive = || AttributeChange {
        path: AttributePath::active(),
        before: Some(Value::Bool(true)),
        after: Some(Value::Bool(false)),
    };
    let changes = |change| Action::Change {
        changes: vec![change],
    };
    let create = || Action::Create {
        attributes: attributes(),
        members: Vec::new(),
    };
    let of = |number: usize| match number % 20 {
        0 => (Class::Deactivate, changes(inactive()), Reason::Absent),
        1 => (Class::CreateUser, create(), Reason::New),
        _ => (Class::Update, changes(title(number)), Reason::Changed),
    };
    users(1_000)
        .into_iter()
        .enumerate()
        .map(|(number, key)| {
            let (class, action, reason) = of(number);
            (key, class, action, reason)
        })
        .collect()
}

fn tally(steps: &[(RowKey, Class, Action, Reason)]) -> Tally {
    let mut tally = Tally::default();
    for (key, class, action, reason) in steps {
        tally.add(key, *class, action, *reason, 0);
    }
    tally
}

fn tally_1000() -> Call {
    same(steps(), |steps| tally(steps))
}

fn guard_holds() -> Call {
    let evidence = Evidence {
        coverage: Coverage::Complete,
        rights_in_doubt: None,
        implausible: None,
        baseline: None,
        first_load_done: true,
        restored: false,
        definition_changed: false,
        takes_away: true,
        plan: tally(&steps()),
        spent: tally(&steps()[..100]),
        linked: LinkedCounts {
            users: 10_000,
            active_users: 10_000,
            groups: 400,
            members: 100_000,
        },
        members: BTreeMap::new(),
        groups_of_leavers: Vec::new(),
    };
    same(evidence, |evidence| {
        guard::holds(&Limits::default(), evidence)
    })
}

// --- Requests --------------------------------------------------------------------------------------------------------

/// The body as it is sent.
fn sent(request: &Request, dialect: &Dialect) -> Option<String> {
    shape::body(request, dialect).map(|body| body.to_string())
}

fn encode_user() -> Call {
    let dialect = Dialect::default();
    same(attributes(), move |attributes| {
        let request = encode::create(ResourceType::User, attributes, &[]);
        sent(&request, &dialect)
    })
}

/// What changes of a person who was married, and how.
fn marriage() -> (Attributes, Vec<AttributeChange>) {
    let base = applied().attributes;
    let mut wanted = base.clone();
    for (name, text) in [("lastName", "Müller"), ("email", "anna.muller@example.org")] {
        let path = AttributePath::from_rule(name).expect("a path");
        wanted.insert(path, Value::Text(text.to_owned()));
    }
    let changes = decide::changes(&base, &wanted, &policy().user_attributes);
    (base, changes)
}

fn encode_change() -> Call {
    let dialect = Dialect::default();
    same(marriage(), move |(base, changes)| {
        let request = encode::update(ResourceType::User, "7", base, changes, &dialect);
        sent(&request, &dialect)
    })
}

fn encode_members(encode: fn(&str, &[String]) -> Request) -> Call {
    let members = users(100).into_iter().map(|user| user.anchor.to_string());
    let dialect = Dialect::default();
    same(members.collect::<Vec<_>>(), move |members| {
        sent(&encode("7", members), &dialect)
    })
}

fn encode_added(id: &str, members: &[String]) -> Request {
    encode::add_members(id, members, &Dialect::default())
}

// --- What a target answers -------------------------------------------------------------------------------------------

/// A user as a target shows him.
fn shown() -> Json {
    let create = encode::create(ResourceType::User, &applied().attributes, &[]);
    let mut shown = create.body.expect("a body");
    shown["id"] = Json::from("7");
    shown["meta"] =
        serde_json::json!({ "resourceType": "User", "version": "W/\"3694e05e9dff590\"" });
    shown["groups"] = Json::Array(Vec::new());
    shown
}

fn merge_change() -> Call {
    let (known, changes) = marriage();
    let request = encode::update(
        ResourceType::User,
        "7",
        &known,
        &changes,
        &Dialect::default(),
    );
    let operations = encode::operations(&request).to_vec();
    each(shown, move |resource| {
        merged(resource, known.iter(), &operations)
    })
}

fn compare_resource() -> Call {
    let paths = policy().user_attributes;
    let dialect = Dialect::default();
    same(shown(), move |shown| {
        resource::project(shown, &paths, |_, _| true, &dialect)
    })
}
