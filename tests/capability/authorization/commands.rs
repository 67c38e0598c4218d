//! The first token, and `token` at the command line: before the first start, and through a running relay.

use serde_json::Value;

use crate::admin_api::{Site, two_tenants};
use crate::program::{Api, Program, run_with};
use crate::support::relay::{API_TOKEN, Relay};
use crate::support::slapd::READER_PASSWORD;

/// A relay whose configuration names no token.
struct Bare {
    relay: Relay,
}

impl Bare {
    fn new(site: &Site) -> Self {
        let relay = site.relay();
        relay.spawn(&["--version"]).wait();
        let config = relay.config_path();
        let text = std::fs::read_to_string(&config).unwrap();
        let bare = text.replace("token = \"env:SCIM_RELAY_TOKEN\"\n", "");
        assert_ne!(text, bare);
        std::fs::write(&config, bare).unwrap();
        Self { relay }
    }

    const SECRETS: [(&str, &str); 2] =
        [("SCIM_TOKEN", "token"), ("LDAP_PASSWORD", READER_PASSWORD)];

    fn serve(&self) -> (Program, String) {
        let config = self.relay.config_path();
        let mut program = Program::start(
            &["--config", config.to_str().unwrap(), "serve"],
            &Self::SECRETS,
        );
        let base = program.listening();
        (program, base)
    }

    /// Runs `token …` and gives what it printed as JSON.
    fn token(&self, arguments: &[&str], more: &[(&str, &str)], code: i32) -> Value {
        let environment = [&Self::SECRETS[..], more].concat();
        let arguments = [&["token", "--output", "json"], arguments].concat();
        let ended = run_with(&self.relay.config_path(), &arguments, &environment);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        ended.json()
    }
}

fn names(listed: &Value) -> Vec<&str> {
    let items = listed["items"].as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

fn tokens_in(text: &str) -> Vec<&str> {
    text.split_whitespace()
        .filter(|word| word.starts_with("srt_"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_the_first_start_shows_a_token_once() {
    let site = Site::new().await;
    let bare = Bare::new(&site);
    let (program, base) = bare.serve();
    let out = program.stdout();
    let [token] = tokens_in(&out)[..] else {
        panic!("no token, or several: {out}")
    };
    assert_eq!(
        tokens_in(&program.stderr()),
        Vec::<&str>::new(),
        "it is in the log"
    );
    let api = Api::with_token(base, token);
    assert_eq!(api.get("/directories").status, 200);
    assert_eq!(names(&api.get("/tokens").json()), ["first"]);
    program.signal("TERM");
    assert_eq!(program.wait().code, Some(0));

    let (program, base) = bare.serve();
    assert_eq!(program.stdout(), "");
    assert_eq!(
        Api::with_token(base, token).get("/directories").status,
        200,
        "it does not outlive the start"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_commands_work_alone_and_through_a_relay() {
    let site = Site::new().await;
    let bare = Bare::new(&site);
    // Before the first start, in the store itself.
    let create = |name: &'static str, permission: &'static str| {
        [
            "create",
            "--name",
            name,
            "--tenant",
            "acme",
            "--permission",
            permission,
        ]
    };
    let admin = bare.token(&create("operations", "admin"), &[], 0);
    let (id, text) = (
        admin["id"].as_str().unwrap(),
        admin["token"].as_str().unwrap(),
    );
    let mistakes = bare.token(
        &[
            "create",
            "--name",
            "x",
            "--tenant",
            "initech",
            "--permission",
            "root",
        ],
        &[],
        2,
    );
    let mistakes = mistakes["error"].as_str().unwrap();
    for word in [
        "tenants.0",
        "there are: acme",
        "permissions.0",
        "audit:read",
    ] {
        assert!(mistakes.contains(word), "no `{word}`: {mistakes}");
    }
    let listed = bare.token(&["list"], &[], 0);
    assert_eq!(names(&listed), ["operations"]);
    assert!(!listed.to_string().contains(text));

    let (program, base) = bare.serve();
    assert_eq!(program.stdout(), "", "there is a token already");
    // Now through the API, with a token from each place that one can be in.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let place = format!("file:{}", file.path().display());
    let url = ("SCIM_RELAY_URL", base.as_str());
    let refused = bare.token(&["list"], &[], 5);
    assert!(
        refused["error"].as_str().unwrap().contains("--token"),
        "{refused}"
    );
    let listed = bare.token(&["list", "--token", &place], &[url], 0);
    assert_eq!(names(&listed), ["operations"]);
    let mine = [url, ("SCIM_RELAY_TOKEN", text)];
    let second = bare.token(
        &[&create("second", "admin")[..], &["--expires-in", "90d"]].concat(),
        &mine,
        0,
    );
    assert!(second["expiresAt"].is_string(), "{second}");
    let forbidden = bare.token(&create("x", "audit:read"), &mine, 1);
    assert!(
        forbidden["error"].as_str().unwrap().contains("audit:read"),
        "{forbidden}"
    );
    let mistakes = bare.token(
        &[
            "create",
            "--name",
            "",
            "--tenant",
            "initech",
            "--permission",
            "admin",
        ],
        &mine,
        2,
    );
    for word in ["name: ", "tenants/0: "] {
        assert!(
            mistakes["error"].as_str().unwrap().contains(word),
            "{mistakes}"
        );
    }
    // A token in place of its place is not repeated.
    let repeated = bare.token(&["list", "--token", text], &[url], 2);
    assert!(
        !repeated.to_string().contains(text) && repeated.to_string().contains("--token"),
        "{repeated}"
    );
    bare.token(&["revoke", second["id"].as_str().unwrap()], &mine, 0);
    let gone = Api::with_token(base.clone(), second["token"].as_str().unwrap());
    assert_eq!(gone.get("/tokens").status, 401);
    bare.token(&["revoke", second["id"].as_str().unwrap()], &mine, 1);
    program.signal("TERM");
    assert_eq!(program.wait().code, Some(0));

    // Alone again.
    bare.token(&["revoke", id], &[], 0);
    let missing = bare.token(&["revoke", id], &[], 1);
    assert!(
        missing["error"].as_str().unwrap().contains("token list"),
        "{missing}"
    );
    assert_eq!(names(&bare.token(&["list"], &[], 0)), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_commands_name_the_tenant_among_several() {
    let site = Site::new().await;
    let relay = two_tenants(&site, "info");
    let config = relay.folder.path().join("relay.toml");
    let secrets = [
        ("TOKEN", API_TOKEN),
        ("SCIM", "token"),
        ("LDAP", READER_PASSWORD),
    ];
    let preview = |more: &[&str]| {
        let url = ("SCIM_RELAY_URL", relay.base.as_str());
        let environment = [&secrets[..], &[url]].concat();
        run_with(&config, &[&["preview"], more].concat(), &environment)
    };
    let unsaid = preview(&[]);
    assert_eq!(unsaid.code, Some(1), "{unsaid:?}");
    assert!(unsaid.stderr.contains("X-Tenant-ID"), "{unsaid:?}");
    for tenant in ["acme", "globex"] {
        let ended = preview(&["--tenant", tenant]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    assert_eq!(preview(&["--tenant", "initech"]).code, Some(1));
    relay.program.signal("TERM");
    assert_eq!(relay.program.wait().code, Some(0));
    for (tenant, code) in [("acme", 0), ("initech", 2)] {
        let ended = run_with(&config, &["preview", "--tenant", tenant], &secrets);
        assert_eq!(ended.code, Some(code), "{ended:?}");
    }
}
