//! Whatever a directory or a target holds, it stays text: markup and scripts in every attribute, DN, group name and error.

use std::fmt::Write as _;

use serde_json::json;

use super::{open_place, places, run, signed_in, sync};
use crate::admin_api::directories::Fresh;
use crate::support::browser::Look;
use crate::support::fault_target::{Fault, Rule};
use crate::support::slapd::{GROUPS, PEOPLE};

/// Ways in which text becomes markup, an attribute, an address or a template where it is not kept apart.
const CORPUS: &[&str] = &[
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "\"><script>alert(1)</script>",
    "'><img src=x onerror=alert(1)>",
    "\" autofocus onfocus=alert(1) x=\"",
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "<math><mi//xlink:href=\"data:x,<script>alert(1)</script>\">",
    "<details open ontoggle=alert(1)>",
    "<style>@import 'javascript:alert(1)';</style>",
    "<base href=//example.invalid/>",
    "<form action=//example.invalid><button>go</button></form>",
    "<a href=javascript:alert(1)>click</a>",
    "<link rel=stylesheet href=//example.invalid/x.css>",
    "\u{202e}<script>alert(1)</script>",
    "=HYPERLINK(\"//example.invalid\")",
    "__proto__",
    "<template><script>alert(1)</script></template>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
];

/// RFC 4514 §2.4: what a value of a DN must escape.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            write!(text, "\\{byte:02x}").unwrap();
        }
    }
    text
}

/// A person whose every attribute is the text, the name that the DN has too.
fn person(number: usize, text: &str) -> String {
    let line = |name: &str, value: &str| {
        use base64::Engine as _;
        let value = base64::engine::general_purpose::STANDARD.encode(value);
        format!("{name}:: {value}\n")
    };
    let uid = format!("u{number}{text}");
    let mut entry = format!(
        "dn: uid={},{PEOPLE}\nobjectClass: inetOrgPerson\n",
        escaped(&uid)
    );
    for (name, value) in [
        ("uid", uid.as_str()),
        ("cn", text),
        ("sn", text),
        ("givenName", text),
        ("displayName", text),
        ("mail", text.trim_matches(|c: char| !c.is_ascii())),
        ("title", text),
    ] {
        if name != "mail" || value.is_ascii() {
            entry.push_str(&line(name, value));
        }
    }
    entry + "\n"
}

fn group(number: usize, text: &str) -> String {
    let name = format!("g{number}{text}");
    let member = format!("uid={},{PEOPLE}", escaped(&format!("u{number}{text}")));
    format!(
        "dn: cn={},{GROUPS}\nobjectClass: groupOfNames\nmember: {member}\n\n",
        escaped(&name)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn console_hostile_values_are_text_on_every_page() {
    let fresh = Fresh::new(2).await;
    let directory = fresh.created();
    let entries: String = CORPUS
        .iter()
        .enumerate()
        .map(|(number, text)| person(number, text) + &group(number, text))
        .collect();
    fresh.slapd.add(&entries);
    let mapping = json!({ "attributeMapping": { "title": "title" }, "groupAttributeMapping": { "name": "cn" } });
    let changed = fresh.put(&directory, &mapping);
    assert_eq!(changed.status, 200, "{changed:?}");
    // What the target says of each of them is hostile, too.
    let refusals = CORPUS.iter().zip(1..).map(|(detail, number)| {
        let refusal = Fault::Status {
            code: 400,
            scim_type: Some("invalidValue"),
            detail,
            numeric: false,
        };
        Rule::on("POST", "/Users", refusal).nth(number)
    });
    fresh.target.set_rules(refusals.collect());
    let preview = run(&fresh, &directory, &json!({ "mode": "preview" }));
    let failed = sync(&fresh, &directory);
    assert!(failed["errorCount"].as_u64() >= Some(10), "{failed:#}");
    fresh.target.set_rules(Vec::new());
    let renamed = json!({ "name": "hq <script>alert(1)</script>" });
    assert_eq!(fresh.put(&directory, &renamed).status, 200);

    let browser = signed_in(&fresh.serving.base_url(), Look::Usual).await;
    let mut seen = 0;
    let mut visited = places(&directory);
    for job in [&preview, &failed] {
        let job = job["id"].as_str().unwrap();
        visited.push(format!("directories/{directory}/jobs/{job}"));
        visited.push(format!("directories/{directory}/jobs/{job}?errors=true"));
    }
    for (number, text) in CORPUS.iter().enumerate() {
        let dn = format!("uid={},{PEOPLE}", escaped(&format!("u{number}{text}")));
        let name: String = form_encoded(&dn);
        visited.push(format!("directories/{directory}/explain?entry={name}"));
        // What somebody makes others click on is in the address as well.
        let text = form_encoded(text);
        visited.push(format!(
            "directories/{directory}/users?text={text}&state={text}"
        ));
        visited.push(format!("{text}/{text}"));
    }
    for place in &visited {
        open_place(&browser, place).await;
        open_all(&browser).await;
        browser.assert_quiet(place).await;
        let made = browser
            .run("return [...document.querySelectorAll('script, iframe, style, base, object, embed, img, form[action]')].map(one => one.outerHTML)")
            .await;
        let made = made.as_array().unwrap().iter().filter(|html| {
            let html = html.as_str().unwrap();
            !html.contains("/console/app.js") && !html.contains("/console/icon.svg")
        });
        assert_eq!(made.count(), 0, "{place} has markup that is not its own");
        seen += usize::from(browser.text().await.contains("<script>alert(1)</script>"));
    }
    assert!(seen > 10, "the corpus is seen as text on {seen} pages only");
    let moved = browser.run("return location.origin").await;
    assert_eq!(moved, json!(fresh.serving.base_url()));
    browser.close().await;
}

/// What is folded away is shown, and every field is passed over as a person's pointer and keyboard would.
async fn open_all(browser: &crate::support::browser::Browser) {
    browser
        .run(
            "document.querySelectorAll('main details').forEach(one => { one.open = true; });
             document.querySelectorAll('main *').forEach(one => {
                 one.dispatchEvent(new MouseEvent('mouseover'));
                 one.dispatchEvent(new FocusEvent('focus'));
             });",
        )
        .await;
}

fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}
