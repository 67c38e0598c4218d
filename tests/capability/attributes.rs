//! Every attribute that a mapping can give is sent on creation, changed, removed, and read back as what was sent.

use serde_json::{Value, json};

use crate::support::fault_target::FaultTarget;
use crate::support::relay::{Finished, Relay};
use crate::support::scim_servers::{Product, ScimServer, ScimTarget};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{PEOPLE, Slapd};
use crate::support::world::World;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
/// An extension that nobody but the target's own administrator knows.
const OWN: &str = "urn:example:params:scim:schemas:extension:acme:2.0:User";

/// Left-hand names, and the LDAP attributes that they take here; whatever that one is meant for.
const MAPPED: [(&str, &str); 30] = [
    ("title", "title"),
    ("mobile", "mobile"),
    ("department", "departmentNumber"),
    ("division", "ou"),
    ("organization", "o"),
    ("costCenter", "roomNumber"),
    ("employeeNumber", "employeeNumber"),
    ("manager", "manager"),
    ("locale", "initials"),
    ("timezone", "description"),
    ("language", "preferredLanguage"),
    ("userType", "employeeType"),
    ("nickName", "physicalDeliveryOfficeName"),
    ("profileUrl", "labeledURI"),
    ("name.formatted", "cn"),
    ("name.middleName", "internationaliSDNNumber"),
    ("name.honorificPrefix", "personalTitle"),
    ("name.honorificSuffix", "generationQualifier"),
    ("emails[type eq \"home\"].value", "homePostalAddress"),
    ("phoneNumbers[type eq \"home\"].value", "homePhone"),
    (
        "phoneNumbers[type eq \"fax\"].value",
        "facsimileTelephoneNumber",
    ),
    ("ims[type eq \"xmpp\"].value", "host"),
    ("addresses[type eq \"work\"].streetAddress", "street"),
    ("addresses[type eq \"work\"].locality", "l"),
    ("addresses[type eq \"work\"].region", "st"),
    ("addresses[type eq \"work\"].postalCode", "postalCode"),
    ("addresses[type eq \"work\"].country", "co"),
    ("addresses[type eq \"work\"].formatted", "postalAddress"),
    ("roles", "businessCategory"),
    ("entitlements", "carLicense"),
];

fn mapping() -> String {
    let rows = MAPPED.map(|(name, attribute)| format!("{} = \"{attribute}\"", Value::from(name)));
    format!("attributeMapping = {{ {} }}", rows.join(", "))
}

/// What two states of the entry say in each attribute, in the order of the table; roles and entitlements have several.
fn values(state: usize, attribute: &str) -> Vec<String> {
    let text = |text: String| vec![text];
    match attribute {
        "manager" => text(format!("uid=u000000{},{PEOPLE}", state + 1)),
        "preferredLanguage" => text(["de-DE", "fr-FR"][state].to_owned()),
        "initials" => text(["de-DE", "fr"][state].to_owned()),
        "description" => text(["Europe/Berlin", "Europe/Paris"][state].to_owned()),
        "labeledURI" => text(format!("https://people.example.org/{state}")),
        "homePostalAddress" => text(format!("home{state}@example.net")),
        "homePhone" | "mobile" => text(format!("+49 30 {state}23")),
        "facsimileTelephoneNumber" => text(format!("+49 30 {state}99")),
        "internationaliSDNNumber" => text(format!("123{state}")),
        "co" => text(["DE", "FR"][state].to_owned()),
        "businessCategory" => vec!["admin".to_owned(), format!("role{state}")],
        "carLicense" => vec![format!("car{state}"), "vpn".to_owned()],
        _ => text(format!("{attribute} {state} é")),
    }
}

fn modify(slapd: &Slapd, state: Option<usize>) {
    let mut ldif = format!("dn: uid=u0000000,{PEOPLE}\nchangetype: modify\n");
    for (_, attribute) in MAPPED {
        // cn is required of a person.
        let values = state.map_or_else(Vec::new, |state| values(state, attribute));
        if attribute == "cn" && values.is_empty() {
            continue;
        }
        ldif.push_str(&format!("replace: {attribute}\n"));
        for value in values {
            ldif.push_str(&format!("{attribute}: {value}\n"));
        }
        ldif.push_str("-\n");
    }
    slapd.modify(&ldif);
}

fn user(target: &dyn ScimTarget, name: &str) -> Value {
    let users = target.users();
    let found = users.into_iter().find(|user| user["userName"] == name);
    found.unwrap_or_else(|| panic!("{name} is not at the target"))
}

/// The element of a type, without what says so.
fn element(user: &Value, list: &str, kind: &str) -> Value {
    let elements = user[list].as_array().cloned().unwrap_or_default();
    let found = elements.into_iter().find(|element| element["type"] == kind);
    found.unwrap_or_default()
}

fn texts(user: &Value, list: &str) -> Vec<String> {
    let elements = user[list].as_array().cloned().unwrap_or_default();
    let text = |element: &Value| element["value"].as_str().unwrap().to_owned();
    let mut texts: Vec<String> = elements.iter().map(text).collect();
    texts.sort();
    texts
}

/// What the target holds of an attribute, as texts.
fn held(target: &dyn ScimTarget, user: &Value, name: &str) -> Vec<String> {
    let value = match name {
        "roles" | "entitlements" => return texts(user, name),
        "manager" => {
            let id = &user[ENTERPRISE]["manager"]["value"];
            let users = target.users();
            let manager = users.iter().find(|user| user["id"] == *id);
            let dn = |user: &Value| format!("uid={},{PEOPLE}", user["userName"].as_str().unwrap());
            return manager.map(dn).into_iter().collect();
        }
        "mobile" => element(user, "phoneNumbers", "mobile")["value"].clone(),
        "language" => user["preferredLanguage"].clone(),
        "department" | "division" | "organization" | "costCenter" | "employeeNumber" => {
            user[ENTERPRISE][name].clone()
        }
        path => match (path.split_once("[type eq \""), path.split_once('.')) {
            (Some((list, rest)), _) => {
                let (kind, sub) = rest.split_once("\"].").unwrap();
                element(user, list, kind)[sub].clone()
            }
            (None, Some((name, sub))) => user[name][sub].clone(),
            (None, None) => user[path].clone(),
        },
    };
    value.as_str().map(str::to_owned).into_iter().collect()
}

fn reconcile(relay: &Relay) -> Finished {
    let run = relay.spawn(&["sync", "--mode", "reconcile", "--output", "json"]);
    run.wait().completed()
}

fn assert_holds(target: &dyn ScimTarget, state: Option<usize>) {
    let user = user(target, "u0000000");
    for (name, attribute) in MAPPED {
        let mut wanted = match (state, attribute) {
            (None, "cn") => values(1, attribute),
            (None, _) => Vec::new(),
            (Some(state), _) => values(state, attribute),
        };
        wanted.sort();
        assert_eq!(held(target, &user, name), wanted, "{name} in {user:#}");
    }
    let work = element(&user, "emails", "work");
    assert_eq!(work["value"], "u0000000@example.org", "{user:#}");
    assert_eq!(
        work["primary"], true,
        "the address of another type leaves it the primary one"
    );
    assert_ne!(element(&user, "emails", "home")["primary"], true);
}

/// All at once: created with everything, everything changed, everything taken away, and given again.
fn goes_through_all_states(target: &dyn ScimTarget) {
    let slapd = Slapd::with(&World::new(51, 3, 0).ldif());
    slapd.modify(&format!(
        "dn: uid=u0000000,{PEOPLE}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n"
    ));
    modify(&slapd, Some(0));
    let relay = Relay::between(&slapd, &target.base_url(), target.token())
        .tenant("settleSeconds = 0")
        .directory(&mapping());
    // The manager of the first state has no resource yet, so that he is set after the creations.
    assert_eq!(relay.sync().completed().writes(), 4);
    for (state, writes) in [
        (Some(0), 0),
        (Some(1), 1),
        (None, 1),
        (Some(0), 1),
        (Some(1), 1),
    ] {
        modify(&slapd, state);
        let run = relay.sync().completed();
        assert_eq!(run.writes(), writes, "{state:?}: {run:?}");
        assert_holds(target, state);
        let again = reconcile(&relay);
        assert_eq!(again.writes(), 0, "{state:?}: {again:?}\n{}", target.log());
    }
}

#[test]
fn attributes_of_every_kind_are_kept_by_a_server_by_others() {
    goes_through_all_states(&Scim2Server::start());
}

#[test]
fn attributes_of_every_kind_are_kept_by_a_library_that_services_embed() {
    goes_through_all_states(&ScimServer::start(Product::Scimmy));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_of_the_targets_own_extension_are_sent_under_its_urn() {
    let target = FaultTarget::start(Vec::new()).await;
    let slapd = Slapd::with(&World::new(51, 1, 0).ldif());
    let mapping = format!(
        "attributeMapping = {{ \"{OWN}:badge\" = \"employeeNumber\", \"{OWN}:place.floor\" = \"departmentNumber\" }}"
    );
    let relay = Relay::between(&slapd, target.base_url(), "any")
        .tenant("settleSeconds = 0")
        .directory(&mapping);
    // This target does not know it: what was sent is in its journal.
    assert_eq!(relay.sync().code, Some(3));
    let journal = target.journal();
    let create = journal
        .iter()
        .find(|exchange| exchange.call.method == "POST")
        .unwrap();
    let body = create.call.body.as_ref().unwrap();
    let floor = World::new(51, 1, 0).people[0].department.clone();
    assert_eq!(
        body[OWN],
        json!({"badge": "E1000000", "place": {"floor": floor}})
    );
    assert!(body["schemas"].as_array().unwrap().contains(&json!(OWN)));
}

#[test]
fn attributes_of_the_targets_own_extension_are_changed_and_removed() {
    let target = ScimServer::start(Product::Jackson);
    let slapd = Slapd::with(&World::new(51, 1, 0).ldif());
    let mapping =
        format!("attributeMapping = {{ \"{OWN}:badge\" = \"employeeNumber\", title = \"title\" }}");
    let relay = Relay::between(&slapd, &target.base_url(), target.token())
        .tenant("settleSeconds = 0\ndialect = { userUpdates = \"put\", membersPerCreate = 0, membersReadable = false, userFilters = [], groupFilters = [] }")
        .directory(&mapping);
    let badge = || user(&target, "u0000000")[OWN]["badge"].clone();
    for (change, wanted) in [
        ("", json!("E1000000")),
        (
            "replace: employeeNumber\nemployeeNumber: B 7 é\n",
            json!("B 7 é"),
        ),
        ("replace: employeeNumber\n", Value::Null),
        (
            "replace: employeeNumber\nemployeeNumber: 0042\n",
            json!("0042"),
        ),
    ] {
        if !change.is_empty() {
            slapd.modify(&format!(
                "dn: uid=u0000000,{PEOPLE}\nchangetype: modify\n{change}"
            ));
        }
        assert_eq!(relay.sync().completed().writes(), 1, "{change}");
        assert_eq!(badge(), wanted, "{change}");
        let again = reconcile(&relay);
        assert_eq!(again.writes(), 0, "{change}: {}", target.log());
    }
}
