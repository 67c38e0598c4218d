//! A directory is tried: every kind of failure has its own code, and what is found is what a run would meet.

use scim_relay::admin::probe::{Code, PreviewRefused, Stage};
use scim_relay::app::{self, Connected};
use scim_relay::config;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::fault_target::FaultTarget;
use crate::support::relay::Relay;
use crate::support::slapd::{ADMIN, GROUPS, Options, PEOPLE, READER, READER_PASSWORD, Slapd};
use crate::support::tls::Certificates;
use crate::support::world::World;
use crate::truth::anchor_of;

const STAGES: [&str; 6] = [
    "network",
    "tls",
    "authentication",
    "base_dn",
    "permission",
    "filter",
];

/// A saved directory with these lines in place of the usual ones.
fn saved(port: u16, lines: &str) -> (Connected, TempDir) {
    let files = tempfile::tempdir().unwrap();
    let secret = |name: &str, value: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, value).unwrap();
        toml::Value::from(format!("file:{}", path.display()))
    };
    let mut table: toml::Table = format!(
        r#"
tenant = "acme"
name = "hq"
type = "ldap"
host = "127.0.0.1"
port = {port}
useTLS = false
allowPlainLdap = true
bindDN = "{READER}"
bindPassword = {password}
baseDN = "dc=example,dc=org"
usersDN = "{PEOPLE}"
groupsDN = "{GROUPS}""#,
        password = secret("password", READER_PASSWORD),
    )
    .parse()
    .unwrap();
    let mut lines: toml::Table = lines.parse().unwrap();
    // A password stands in the lines as it is, and in the file as it must.
    if let Some(toml::Value::String(password)) = lines.remove("password") {
        table.insert("bindPassword".to_owned(), secret("other", &password));
    }
    table.extend(lines);
    let token = secret("token", "any");
    let mut text: toml::Table = format!(
        "[[tenants]]\nname = \"acme\"\nbaseUrl = \"http://127.0.0.1:9\"\nauth = {{ type = \"bearer\", token = {token} }}"
    )
    .parse()
    .unwrap();
    text.insert("directories".to_owned(), vec![table].into());
    let text = toml::to_string(&text).unwrap();
    let config = config::parse(&text, |_| None).unwrap();
    let mut connected = app::connections(&config).unwrap();
    (connected.remove(0), files)
}

/// Tests a directory with these lines in place of the usual ones.
pub async fn test(port: u16, lines: &str, stage: Stage) -> Value {
    let (connected, _files) = saved(port, lines);
    let report = app::probe::test(
        &connected.source,
        &connected.profile,
        &connected.tenant.dialect,
        stage,
    )
    .await;
    serde_json::to_value(report).unwrap()
}

/// The stages as one text: `ok`, `failed` and `skipped` by their first letters.
fn stages(report: &Value) -> String {
    let stages = report["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, STAGES);
    stages
        .iter()
        .map(|stage| &stage["status"].as_str().unwrap()[..1])
        .collect()
}

/// Tests all, and expects this failure.
async fn assert_fails(port: u16, lines: &str, code: &str, passed: &str, words: &[&str]) {
    let report = test(port, lines, Stage::All).await;
    let message = report["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(report["error"]["code"], code, "{lines}: {report:#}");
    assert_eq!(stages(&report), passed, "{lines}: {report:#}");
    for word in words {
        assert!(message.contains(word), "{lines}: `{word}` in {message}");
    }
    let fields: Vec<&String> = report.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["error", "stages", "success"]);
    assert_eq!(report["success"], false);
    assert!(!report.to_string().contains(READER_PASSWORD), "{report}");
}

fn warnings(report: &Value) -> Vec<&str> {
    let warnings = report["warnings"].as_array();
    let warnings = warnings.unwrap_or_else(|| panic!("no warnings: {report:#}"));
    warnings.iter().map(|w| w.as_str().unwrap()).collect()
}

/// Whether a test warns of something.
pub fn warned(report: &Value, word: &str) -> bool {
    warnings(report)
        .iter()
        .any(|warning| warning.contains(word))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probe_tells_network_tls_and_authentication_apart() {
    let slapd = Slapd::with(&World::new(5, 3, 0).ldif());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().port();
    drop(free);
    assert_fails(nobody, "", "network", "fsssss", &["refused", "127.0.0.1"]).await;
    assert_fails(
        slapd.port(),
        "host = \"no-such-host.invalid\"",
        "network",
        "fsssss",
        &["the name cannot be resolved", "no-such-host.invalid"],
    )
    .await;
    let stranger = toml::Value::from(Certificates::generate().ca);
    let over_tls = format!("useTLS = true\nallowPlainLdap = false\ncaCertificate = {stranger}");
    let ldaps = slapd.ldaps_port();
    assert_fails(ldaps, &over_tls, "tls", "ofssss", &["certificate"]).await;
    let start_tls = format!("startTLS = true\nallowPlainLdap = false\ncaCertificate = {stranger}");
    assert_fails(slapd.port(), &start_tls, "tls", "ofssss", &["certificate"]).await;
    let own = toml::Value::from(format!("file:{}", slapd.ca_pem_path().display()));
    let wrong = format!(
        "useTLS = true\nallowPlainLdap = false\ncaCertificate = {own}\npassword = \"wrong\""
    );
    let cure = ["wrong bind DN or password", READER];
    assert_fails(ldaps, &wrong, "authentication", "oofsss", &cure).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probe_tells_a_base_that_is_missing_from_one_that_is_hidden() {
    let units = ["none", "disclose", "auth", "search", "open"].map(|name| {
        format!(
            "dn: ou={name},dc=example,dc=org\nobjectClass: organizationalUnit\nou: {name}\n\n\
             dn: cn=somebody,ou={name},dc=example,dc=org\nobjectClass: person\ncn: somebody\nsn: Somebody\n\n"
        )
    });
    let hidden = ["none", "disclose", "auth", "search"]
        .map(|level| format!("access to dn.subtree=\"ou={level},dc=example,dc=org\" by * {level}"));
    let slapd = Options::new()
        .ldif(&units.join(""))
        .database(&hidden.join("\n"))
        .start();
    let base = |dn: &str| format!("usersDN = \"{dn},dc=example,dc=org\"");
    for name in ["none", "disclose", "auth", "search"] {
        let lines = base(&format!("ou={name}"));
        let words = ["right to read", name];
        assert_fails(slapd.port(), &lines, "permission", "osoofs", &words).await;
    }
    // What is below a hidden entry cannot be told; that entry can be named.
    let words = ["`ou=none,dc=example,dc=org` above it", "cannot be told"];
    assert_fails(
        slapd.port(),
        &base("ou=deep,ou=none"),
        "permission",
        "osoofs",
        &words,
    )
    .await;
    let words = ["does not exist", "`dc=example,dc=org`"];
    for missing in ["ou=missing", "ou=deep,ou=missing"] {
        assert_fails(slapd.port(), &base(missing), "base_dn", "osofss", &words).await;
    }
    for below in ["disclose", "open"] {
        let lines = base(&format!("ou=missing,ou={below}"));
        let words = [format!("the nearest entry above it is `ou={below},")];
        let words = words.each_ref().map(String::as_str);
        assert_fails(slapd.port(), &lines, "base_dn", "osofss", &words).await;
    }
    let elsewhere = "usersDN = \"ou=people,dc=elsewhere\"";
    let words = ["does not exist", "the server holds `dc=example,dc=org`"];
    assert_fails(slapd.port(), elsewhere, "base_dn", "osofss", &words).await;
    // The groups' base counts as well.
    let groups = "groupsDN = \"ou=none,dc=example,dc=org\"";
    assert_fails(slapd.port(), groups, "permission", "osoofs", &["groups"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probe_says_when_missing_and_hidden_cannot_be_told_apart() {
    let everything =
        "access to attrs=userPassword by anonymous auth by * none\naccess to * by * none";
    let slapd = Options::new().database(everything).start();
    // The server's root names what it holds, so it is there.
    let words = ["the server holds `dc=example,dc=org` and shows nothing of it"];
    assert_fails(slapd.port(), "", "permission", "osoofs", &words).await;
    let slapd = Options::new()
        .global("access to dn.base=\"\" by * none")
        .database(everything)
        .start();
    let words = ["does not exist, or the account may not see it"];
    assert_fails(slapd.port(), "", "base_dn", "osofss", &words).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probe_names_a_filter_that_is_none() {
    let slapd = Slapd::with("");
    let (mut connected, _files) = saved(slapd.port(), "");
    connected.source.users.filter = "(uid=ann".to_owned();
    let report = app::probe::test(
        &connected.source,
        &connected.profile,
        &connected.tenant.dialect,
        Stage::All,
    )
    .await;
    let error = report.error.clone().unwrap();
    assert_eq!(error.code, Code::Filter);
    assert!(error.message.contains("`(uid=ann`"), "{}", error.message);
    assert_eq!(stages(&serde_json::to_value(report).unwrap()), "osossf");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probe_stops_where_it_is_told_to() {
    let slapd = Slapd::with("");
    let broken = "usersDN = \"ou=missing,dc=example,dc=org\"\npassword = \"wrong\"";
    let report = test(slapd.port(), broken, Stage::Connection).await;
    assert_eq!(
        (&report["success"], stages(&report)),
        (&json!(true), "osssss".into())
    );
    assert!(warned(&report, "without TLS"), "{report:#}");
    let report = test(slapd.port(), broken, Stage::Authentication).await;
    assert_eq!(report["error"]["code"], "authentication", "{report:#}");
    let broken = "usersDN = \"ou=missing,dc=example,dc=org\"";
    let report = test(slapd.port(), broken, Stage::Authentication).await;
    assert_eq!(
        (&report["success"], stages(&report)),
        (&json!(true), "ososss".into())
    );
    let fields: Vec<&String> = report.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["stages", "success", "warnings"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probe_counts_and_shows_a_user_as_it_is_sent() {
    let world = World::new(5, 25, 4);
    let slapd = Options::new()
        .ldif(&world.ldif())
        .database(&format!("limits dn.exact=\"{READER}\" size=unlimited"))
        .start();
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\ndelete: mail\n\ndn: {}\nchangetype: modify\nadd: userPassword\nuserPassword: x\n",
        world.people[7].dn(),
        world.people[8].dn(),
    ));
    let own = toml::Value::from(format!("file:{}", slapd.ca_pem_path().display()));
    let safe = format!(
        "useTLS = true\nallowPlainLdap = false\ncaCertificate = {own}\npageEntries = 10\n\
         attributeMapping = {{ email = {{ attribute = \"mail\", required = true }} }}"
    );
    let report = test(slapd.ldaps_port(), &safe, Stage::All).await;
    assert_eq!(report["success"], true, "{report:#}");
    assert_eq!(stages(&report), "oooooo");
    // Four groups and the five special ones of every such company.
    assert_eq!(
        (&report["usersFound"], &report["groupsFound"]),
        (&json!(25), &json!(9))
    );
    assert_eq!(warnings(&report).len(), 1, "{report:#}");
    assert!(
        warned(&report, "1 of 25 users have no `mail`"),
        "{report:#}"
    );
    assert_eq!(report["changeDetection"]["rung"], "full_scan");

    let target = FaultTarget::start(Vec::new()).await;
    Relay::between(&slapd, target.base_url(), "any")
        .sync()
        .completed();
    let sample = &report["sample"];
    let journal = target.journal();
    let sent = journal
        .iter()
        .filter(|exchange| exchange.call.method == "POST")
        .filter_map(|exchange| exchange.call.body.as_ref())
        .find(|body| body["externalId"] == sample["externalId"]);
    let mut sent = sent.expect("the sample is one of the users").clone();
    // Whether the target has such an attribute is asked when a user is sent.
    sent.as_object_mut().unwrap().remove("emailVerified");
    assert_eq!(*sample, sent);

    // With the eyes of the administrator: limits and access rules do not hold for it.
    let admin = format!(
        "bindDN = \"{ADMIN}\"\npassword = \"{}\"",
        slapd.admin_password()
    );
    let report = test(slapd.port(), &admin, Stage::All).await;
    assert!(warned(&report, "may read userPassword"), "{report:#}");
    assert!(warned(&report, "without TLS"), "{report:#}");
    assert_eq!(warnings(&report).len(), 2, "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probe_warns_of_what_it_could_not_see() {
    let world = World::new(5, 25, 4);
    let limit = format!("limits dn.exact=\"{READER}\" size.pr=5 size.prtotal=8");
    let slapd = Options::new().ldif(&world.ldif()).database(&limit).start();
    let report = test(slapd.port(), "pageEntries = 5", Stage::All).await;
    let found = report["usersFound"].as_u64().unwrap();
    assert!((1..25).contains(&found), "{report:#}");
    let least = format!("there are {found} users or more");
    assert!(warned(&report, &least), "{report:#}");
    assert!(warned(&report, "size.prtotal"), "{report:#}");

    // The base may be searched and not read, what is below it may.
    let unseen = format!("access to dn.base=\"{PEOPLE}\" by * search");
    let slapd = Options::new().ldif(&world.ldif()).database(&unseen).start();
    let report = test(slapd.port(), "", Stage::All).await;
    assert_eq!(report["usersFound"], 25);
    let words = format!("`{PEOPLE}` may not be read itself");
    assert!(warned(&report, &words), "{report:#}");

    let slapd = Slapd::with(&world.ldif());
    // An attribute that no server knows lets a filter match nobody, without an error.
    let typo = "userSearchFilter = \"(objektClass=person)\"\nsynchronizeGroups = false";
    let report = test(slapd.port(), typo, Stage::All).await;
    assert_eq!(report["usersFound"], 0);
    assert!(report.get("groupsFound").is_none() && report.get("sample").is_none());
    assert!(warned(&report, "no users match"), "{report:#}");
    // Organizational units that are groups are counted as such, with other groups or without.
    let units = "organizationalUnits = \"groups\"\nsynchronizeGroups = false";
    let report = test(slapd.port(), units, Stage::All).await;
    assert_eq!(report["groupsFound"], 1, "{report:#}");
    let groups = test(slapd.port(), "", Stage::All).await["groupsFound"].clone();
    let both = test(slapd.port(), "organizationalUnits = \"groups\"", Stage::All).await;
    assert_eq!(
        both["groupsFound"].as_u64(),
        groups.as_u64().map(|groups| groups + 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probe_says_what_the_server_offers_for_changes() {
    use crate::support::slapd::SYNCPROV;
    let slapd = Options::new().overlays(SYNCPROV).start();
    // The first change writes the state of the feed.
    slapd.modify(&format!(
        "dn: {PEOPLE}\nchangetype: modify\nadd: description\ndescription: x\n"
    ));
    let detection = |report: Value| report["changeDetection"].clone();
    let free = detection(test(slapd.port(), "", Stage::All).await);
    assert_eq!(free["rung"], "syncrepl", "{free}");
    let wanted = "changeDetection = \"modify_timestamp\"";
    let chosen = detection(test(slapd.port(), wanted, Stage::All).await);
    assert_eq!(chosen["rung"], "modify_timestamp", "{chosen}");
    assert!(
        chosen["reason"].to_string().contains("who left"),
        "{chosen}"
    );

    let hidden = "access to dn.base=\"dc=example,dc=org\" attrs=contextCSN by * none";
    let without = Slapd::with("");
    let slapd = Options::new().overlays(SYNCPROV).database(hidden).start();
    for (slapd, why) in [(&slapd, "contextCSN"), (&without, "syncprov")] {
        let full = detection(test(slapd.port(), "", Stage::All).await);
        assert_eq!(full["rung"], "full_scan", "{full}");
        assert!(full["reason"].to_string().contains(why), "{full}");
    }
}

/// The attributes and classes of Active Directory that matter here, as OpenLDAP takes them.
const AD_SCHEMA: &str = "attributetype ( 1.2.840.113556.1.4.914 NAME 'allowedAttributesEffective' SYNTAX 1.3.6.1.4.1.1466.115.121.1.38 )
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl' EQUALITY integerMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.221 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.2.840.113556.1.5.9 NAME 'user' SUP top AUXILIARY MAY ( userAccountControl $ sAMAccountName $ allowedAttributesEffective ) )
objectclass ( 1.2.840.113556.1.3.30 NAME 'computer' SUP user AUXILIARY )
objectclass ( 1.2.840.113556.1.5.15 NAME 'contact' SUP top AUXILIARY )";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probe_counts_computers_apart_and_notes_rights_to_write() {
    let account = |name: &str, class: &str| {
        format!(
            "dn: cn={name},{PEOPLE}\nobjectClass: person\nobjectClass: {class}\ncn: {name}\nsn: {name}\n\
             sAMAccountName: {name}\nuserAccountControl: 512\n"
        )
    };
    let writable = account("ann", "user") + "allowedAttributesEffective: sn\n";
    let ldif = [
        writable,
        account("bob", "user"),
        account("pc1$", "computer"),
        account("pc2$", "computer"),
        account("left-out$", "computer"),
    ];
    let slapd = Options::new()
        .global(AD_SCHEMA)
        .ldif(&ldif.join("\n"))
        .start();
    let lines = "type = \"active_directory\"\nanchorAttribute = \"entryUUID\"\nsynchronizeGroups = false\n\
                 userSearchFilter = \"(objectClass=person)\"\nexclusionFilter = \"(cn=left-out$)\"";
    let report = test(slapd.port(), lines, Stage::All).await;
    assert_eq!(report["usersFound"], 2, "{report:#}");
    assert!(warned(&report, "matches 2 computers"), "{report:#}");
    assert!(warned(&report, "may change users"), "{report:#}");
    assert_eq!(report["sample"]["active"], true, "{report:#}");
    // The usual filter of Active Directory leaves no computer to warn of; here nobody has the category that it asks for.
    let report = test(
        slapd.port(),
        "type = \"active_directory\"\nanchorAttribute = \"entryUUID\"\nsynchronizeGroups = false",
        Stage::All,
    )
    .await;
    assert!(!warned(&report, "computers"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probe_maps_one_entry_by_what_people_call_it() {
    let world = World::new(5, 6, 2);
    let slapd = Slapd::with(&world.ldif());
    let twin = |number: usize| {
        format!(
            "dn: cn=twin {number},{PEOPLE}\nobjectClass: inetOrgPerson\ncn: twin\nsn: Twin\nuid: twin\n\n"
        )
    };
    slapd.add(&format!(
        "{}{}dn: cn=nobody,{PEOPLE}\nobjectClass: person\ncn: nobody\nsn: Nobody\n",
        twin(1),
        twin(2)
    ));
    let (connected, _files) = saved(slapd.port(), "");
    let preview = async |selector: &str| {
        app::probe::preview_mapping(
            &connected.source,
            &connected.profile,
            &connected.tenant.dialect,
            selector,
        )
        .await
    };
    let ann = &world.people[2];
    let anchor = anchor_of(&slapd, &ann.dn());
    let upper = ann.dn().to_uppercase();
    for selector in [ann.dn().as_str(), &upper, &anchor, &ann.uid] {
        let found = preview(selector).await.unwrap();
        assert_eq!(found.dn, ann.dn());
        let resource = found.resource.unwrap();
        assert_eq!(resource["userName"], ann.uid.as_str());
        assert_eq!(resource["externalId"], anchor.as_str());
        assert_eq!(resource["active"], true);
    }
    let group = &world.groups[0];
    for selector in [
        group.dn().as_str(),
        &group.name,
        &anchor_of(&slapd, &group.dn()),
    ] {
        let found = serde_json::to_value(preview(selector).await.unwrap()).unwrap();
        assert_eq!(found["kind"], "group");
        assert_eq!(found["resource"]["displayName"], group.name.as_str());
        assert_eq!(found["membersNamed"], group.members.len());
    }
    let unmapped = preview(&format!("cn=nobody,{PEOPLE}")).await.unwrap();
    assert!(unmapped.resource.is_none() && unmapped.problems[0].contains("uid"));
    let Err(PreviewRefused::Directory(error)) = preview("twin").await else {
        panic!("two users of one name are not one");
    };
    assert!(
        error.message.contains("more than one user"),
        "{}",
        error.message
    );
    // Out of scope, out of the base, no name at all, and what would be a filter if it were put into one.
    for selector in [
        "ou=people,dc=example,dc=org",
        "cn=reader,dc=example,dc=org",
        "nobody-at-all",
        "*",
        "x)(uid=*",
        "a=b=,c",
        "01890000-0000-7000-8000-000000000000",
    ] {
        match preview(selector).await {
            Err(PreviewRefused::NotFound(words)) => {
                assert!(words.contains("anchor or userName"), "{words}")
            }
            found => panic!("{selector}: {found:?}"),
        }
    }
    // It is shown as the target gets it.
    let dialect = scim_relay::scim::dialect::Dialect {
        omitted: ["emails".parse().unwrap()].into(),
        booleans_as_text: true,
        ..Default::default()
    };
    let (source, profile) = (&connected.source, &connected.profile);
    let shaped = app::probe::preview_mapping(source, profile, &dialect, &ann.uid).await;
    let resource = shaped.unwrap().resource.unwrap();
    assert_eq!(
        (&resource["active"], resource.get("emails")),
        (&"True".into(), None)
    );
    let boss = format!(
        "dn: {}\nchangetype: modify\nadd: manager\nmanager: {}\n",
        ann.dn(),
        world.people[3].dn()
    );
    slapd.modify(&boss);
    let (connected, _files) = saved(slapd.port(), "attributeMapping = { manager = \"manager\" }");
    let found = app::probe::preview_mapping(
        &connected.source,
        &connected.profile,
        &connected.tenant.dialect,
        &ann.uid,
    )
    .await;
    let found = serde_json::to_value(found.unwrap()).unwrap();
    assert_eq!(found["managerNamed"], world.people[3].dn());
    let made = "attributeMapping = { username = { expression = \"{{ uid }}@x\" } }";
    let (connected, _files) = saved(slapd.port(), made);
    let refused = app::probe::preview_mapping(
        &connected.source,
        &connected.profile,
        &connected.tenant.dialect,
        &ann.uid,
    )
    .await;
    let Err(PreviewRefused::NotFound(words)) = refused else {
        panic!("a userName that is made is no attribute: {refused:?}");
    };
    assert!(words.contains("but not by userName"), "{words}");
}
