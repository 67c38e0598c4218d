//! Who may call: every route of the program's own table, times everybody who might call it.

mod commands;
mod tokens;

use scim_relay::access::{Permission, text_of};
use scim_relay::admin::routes::{Route, Scope};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admin_api::{Site, TwoTenants, two_tenants};
use crate::program::{Answer, Api};

/// A token that was issued through the API.
struct Issued {
    id: String,
    text: String,
}

/// Issues a token.
fn issue(api: &Api, name: &str, tenants: &[&str], permissions: &[&str]) -> Issued {
    let body = json!({ "name": name, "tenants": tenants, "permissions": permissions });
    issued(&api.post("/tokens", &body.to_string()))
}

fn issued(answer: &Answer) -> Issued {
    assert_eq!(answer.status, 201, "{answer:?}");
    let token = answer.json();
    let text = |field: &str| token[field].as_str().unwrap().to_owned();
    Issued {
        id: text("id"),
        text: text("token"),
    }
}

fn all_permissions() -> [&'static str; 4] {
    Permission::ALL.map(Permission::as_str)
}

/// The objects of two tenants, by the names that parameters of paths have.
struct Company {
    relay: TwoTenants,
    root: Api,
    objects: Vec<(&'static str, String, String)>,
}

impl Company {
    fn start(site: &Site) -> Self {
        let relay = two_tenants(site, "info");
        let root = Api::new(relay.base.clone());
        let of = |tenant: &str| {
            let api = root.with("x-tenant-id", tenant);
            let directory = api.directory(&format!("hq-{tenant}"));
            // A preview keeps its plan.
            let path = format!("/directories/{directory}/sync");
            let started = api.post(&path, r#"{"mode": "preview"}"#).json();
            let job = started["jobId"].as_str().unwrap().to_owned();
            api.finished_job(&directory, &job);
            let token = issue(&root, "object", &[tenant], &["audit:read"]);
            (directory, job, token.id)
        };
        let (ours, theirs) = (of("acme"), of("globex"));
        let objects = vec![
            ("id", ours.0, theirs.0),
            ("jobId", ours.1, theirs.1),
            ("tokenId", ours.2, theirs.2),
            // Nobody has one here: what belongs to whom is shown with the conflicts themselves.
            (
                "conflictId",
                Uuid::now_v7().to_string(),
                Uuid::now_v7().to_string(),
            ),
            ("name", "acme".to_owned(), "globex".to_owned()),
            ("profileId", "default".to_owned(), "of-globex".to_owned()),
        ];
        Self {
            relay,
            root,
            objects,
        }
    }

    /// A caller with a token of its own.
    fn caller(&self, tenants: &[&str], permissions: &[&str]) -> Api {
        let token = issue(&self.root, "caller", tenants, permissions);
        Api::with_token(self.relay.base.clone(), &token.text)
    }

    /// The id of an object of acme, or of globex.
    fn object(&self, parameter: &str, of_acme: bool) -> &str {
        let found = self.objects.iter().find(|(name, ..)| *name == parameter);
        let (_, ours, theirs) = found.unwrap_or_else(|| {
            panic!(
                "a path has the new parameter {{{parameter}}}: add an object of each tenant above"
            )
        });
        if of_acme { ours } else { theirs }
    }

    /// What a caller without rights could have changed: jobs, and tokens that are objects.
    fn state(&self) -> Vec<String> {
        let mut state = Vec::new();
        for (tenant, of_acme) in [("acme", true), ("globex", false)] {
            let api = self.root.with("x-tenant-id", tenant);
            let jobs = api.jobs(self.object("id", of_acme));
            state.push(Value::from(jobs).to_string());
            let token = format!("/tokens/{}", self.object("tokenId", of_acme));
            state.push(self.root.get(&token).text);
        }
        state
    }
}

/// The names of a path's parameters, in order.
fn parameters(path: &str) -> Vec<&str> {
    let parts = path.split('/');
    parts
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .collect()
}

/// A path with values in place of its parameters.
fn filled(path: &str, value: impl Fn(usize, &str) -> String) -> String {
    let mut filled = format!("/api/v1{path}");
    for (at, name) in parameters(path).into_iter().enumerate() {
        filled = filled.replace(&format!("{{{name}}}"), &value(at, name));
    }
    filled
}

/// A path to what nobody has.
fn nowhere(path: &str) -> String {
    filled(path, |_, _| Uuid::now_v7().to_string())
}

fn call(api: &Api, route: &Route, path: &str, body: Option<&str>) -> Answer {
    let api = api.with("content-type", "application/json");
    let mut answer = api.call(route.method.as_str(), path, body);
    // The request's own id differs from one to the next, as its date does.
    answer.headers.retain(|(name, _)| name != "x-request-id");
    answer
}

fn is_let_in(answer: &Answer) -> bool {
    !matches!(answer.status, 401 | 403 | 429)
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_no_route_without_a_good_token() {
    let site = Site::new().await;
    let company = Company::start(&site);
    let root = &company.root;
    let with = |text: &str| Api::with_token(company.relay.base.clone(), text);
    let good = issue(root, "good", &["*"], &all_permissions());
    let expired = issue(root, "expired", &["acme"], &all_permissions());
    let rotate = format!("/tokens/{}/rotate", expired.id);
    assert_eq!(root.post(&rotate, r#"{"overlapSeconds": 0}"#).status, 201);
    let revoked = issue(root, "revoked", &["acme"], &all_permissions());
    assert_eq!(root.delete(&format!("/tokens/{}", revoked.id)).status, 204);
    let last = if good.text.ends_with('A') { "B" } else { "A" };
    let mistyped = format!("{}{last}", &good.text[..good.text.len() - 1]);
    let mut anonymous = with("");
    anonymous.headers.clear();
    let callers = [
        ("nobody", anonymous),
        ("mistyped", with(&mistyped)),
        ("unknown", with(text_of(&[7; 32]).expose())),
        ("expired", with(&expired.text)),
        ("revoked", with(&revoked.text)),
    ];
    let before = company.state();
    for route in scim_relay::admin::routes() {
        let path = filled(route.path, |_, name| company.object(name, true).to_owned());
        let mut refusals = Vec::new();
        for (name, caller) in &callers {
            let caller = caller.elsewhere();
            let answer = call(&caller, route, &path, None);
            assert_eq!(
                answer.status, 401,
                "{name} {} {path}: {answer:?}",
                route.method
            );
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            // A tenant's name does not help, and is not looked at first.
            let named = caller.with("x-tenant-id", "nobody");
            assert_eq!(call(&named, route, &path, None), answer, "{name}");
            refusals.push(answer);
        }
        for other in &refusals[2..] {
            assert_eq!(
                other, &refusals[1],
                "the answer tells what is wrong with a token"
            );
        }
        let path = nowhere(route.path);
        let answer = call(
            &with(&good.text).with("x-tenant-id", "acme"),
            route,
            &path,
            None,
        );
        assert!(is_let_in(&answer), "{} {path}: {answer:?}", route.method);
    }
    assert_eq!(
        company.state(),
        before,
        "somebody without a token changed something"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_each_route_takes_its_permission_and_no_other() {
    let site = Site::new().await;
    let company = Company::start(&site);
    for permission in Permission::ALL {
        // For all tenants, because some routes of the relay take no less.
        let caller = company.caller(&["*"], &[permission.as_str()]);
        let caller = caller.with("x-tenant-id", "acme");
        for route in scim_relay::admin::routes() {
            let what = format!(
                "{} {} with {}",
                route.method,
                route.path,
                permission.as_str()
            );
            if route.permission.is_none_or(|needed| needed == permission) {
                let answer = call(&caller, route, &nowhere(route.path), None);
                assert!(is_let_in(&answer), "{what}: {answer:?}");
                continue;
            }
            let path = filled(route.path, |_, name| company.object(name, true).to_owned());
            let answer = call(&caller, route, &path, None);
            assert_eq!(answer.status, 403, "{what}: {answer:?}");
            let problem = answer.json();
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                route
                    .permission
                    .is_some_and(|needed| detail.contains(needed.as_str())),
                "{what}: {detail}"
            );
        }
    }
    let of_relay = scim_relay::admin::routes()
        .iter()
        .filter(|route| route.scope == Scope::Relay);
    assert!(of_relay.clone().count() >= 5);
    for route in of_relay {
        assert_eq!(route.permission, Some(Permission::Admin), "{}", route.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_the_tenant_is_the_tokens_own() {
    let site = Site::new().await;
    let company = Company::start(&site);
    let (one, both) = (
        company.caller(&["acme"], &all_permissions()),
        company.caller(&["acme", "globex"], &all_permissions()),
    );
    for route in scim_relay::admin::routes() {
        let path = nowhere(route.path);
        let ask = |api: &Api| call(api, route, &path, None);
        let what = format!("{} {}", route.method, route.path);
        let foreign = ask(&one.with("x-tenant-id", "globex"));
        let missing = ask(&one.with("x-tenant-id", "nobody"));
        let unsaid = ask(&both);
        match route.scope {
            Scope::Tenant => {
                assert_eq!(foreign.status, 403, "{what}: {foreign:?}");
                assert_eq!(foreign, missing, "{what}: it shows which tenants there are");
                assert_eq!(unsaid.status, 400, "{what}: {unsaid:?}");
                assert!(unsaid.text.contains("X-Tenant-ID"), "{what}: {unsaid:?}");
            }
            Scope::Relay | Scope::Caller => {
                let own = ask(&one);
                assert_ne!(own.status, 400, "{what}: {own:?}");
                assert_eq!(foreign.status, 403, "{what}: {foreign:?}");
                assert_eq!(foreign, missing, "{what}: it shows which tenants there are");
                continue;
            }
        }
        for (api, tenant) in [(&one, "acme"), (&both, "acme"), (&both, "globex")] {
            let own = ask(&api.with("x-tenant-id", tenant));
            assert!(is_let_in(&own), "{what} of {tenant}: {own:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_a_foreign_object_is_as_one_that_does_not_exist() {
    let site = Site::new().await;
    let company = Company::start(&site);
    let ours = company.caller(&["acme"], &all_permissions());
    let before = company.state();
    let bodies = [
        None,
        Some("{}"),
        Some("nonsense"),
        Some(r#"{"mode": "full"}"#),
        Some(r#"{"overlapSeconds": 0}"#),
    ];
    let mut compared = 0;
    for route in scim_relay::admin::routes() {
        let names = parameters(route.path);
        if names.is_empty() {
            let answer = call(&ours, route, &nowhere(route.path), None);
            for (_, _, theirs) in &company.objects {
                assert!(
                    !answer.text.contains(theirs.as_str()),
                    "{}: {answer:?}",
                    route.path
                );
            }
        }
        // Foreign from one parameter on, our own before it.
        for first in 0..names.len() {
            let foreign = filled(route.path, |at, name| {
                company.object(name, at < first).to_owned()
            });
            for missing in [Uuid::now_v7().to_string(), "no-id-at-all".to_owned()] {
                let missing = filled(route.path, |at, name| match at < first {
                    true => company.object(name, true).to_owned(),
                    false => missing.clone(),
                });
                for body in bodies {
                    let foreign = call(&ours, route, &foreign, body);
                    assert_eq!(
                        foreign,
                        call(&ours, route, &missing, body),
                        "{} {missing}",
                        route.method
                    );
                    // Of a directory of the file nothing can be changed, whatever is asked of it.
                    let expected = matches!(foreign.status, 404 | 409);
                    assert!(body.is_some() || expected, "{foreign:?}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 100, "{compared}");
    assert_eq!(company.state(), before, "acme changed something of globex");
    // The same paths lead somewhere for those who own what is there.
    let theirs = company.caller(&["globex"], &all_permissions());
    for route in scim_relay::admin::routes()
        .iter()
        .filter(|route| route.method == "GET")
    {
        let path = filled(route.path, |_, name| company.object(name, false).to_owned());
        let answer = call(&theirs, route, &path, None);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
}
