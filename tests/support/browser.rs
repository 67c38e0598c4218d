//! Real Chromium, driven by chromedriver (W3C WebDriver) as a person would use it: by labels, buttons and links.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::process::Process;
use crate::support::wait_for;

const READY: Duration = Duration::from_secs(30);
/// More than a page of a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Notes what no page may do: breach its own policy, run what came from outside, fail.
const WATCH: &str = "
    if (window.breaches) return;
    window.breaches = [];
    addEventListener('securitypolicyviolation', event => breaches.push(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
    addEventListener('error', event => breaches.push(`error: ${event.message}`));
    addEventListener('unhandledrejection', event => breaches.push(`rejection: ${event.reason}`));
    for (const name of ['alert', 'confirm', 'prompt', 'print']) window[name] = () => breaches.push(`executed: ${name}`);
";

/// What a person sees of the page, in JavaScript.
const SEEN: &str = "(() => {
    const choices = document.querySelectorAll('select, datalist');
    choices.forEach(one => { one.hidden = true; });
    const text = (document.querySelector('dialog[open]') ?? document.body).innerText;
    choices.forEach(one => { one.hidden = false; });
    return text;
})()";

/// What the browser's window is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Wide and light.
    Usual,
    /// As wide as a telephone, and dark.
    NarrowAndDark,
}

/// A browser with one page; dropping it ends both.
pub struct Browser {
    client: Client,
    // After the client, so that it can still say goodbye.
    _driver: Process,
    directory: TempDir,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// When Chromium or its driver is missing.
    pub async fn start(look: Look) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("chromedriver.log");
        let mut command = Command::new("chromedriver");
        let driver = Process::spawn("chromedriver", command.arg("--port=0"), log);
        let port = wait_for("chromedriver's port", READY, || {
            let log = driver.log();
            let (_, after) = log.split_once("started successfully on port ")?;
            after.trim().trim_end_matches('.').parse::<u16>().ok()
        });
        let (size, dark) = match look {
            Look::Usual => ("1280,900", false),
            Look::NarrowAndDark => ("360,780", true),
        };
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={size}"),
        ];
        if dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let mut options = json!({
            "args": arguments,
            "prefs": { "download.default_directory": directory.path() },
        });
        if dark {
            // No window of a desktop is as narrow as a telephone.
            let metrics = json!({ "width": 360, "height": 780, "pixelRatio": 1.0, "touch": true });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let capabilities = json!({ "goog:chromeOptions": options });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|error| panic!("no browser ({error}): {}", driver.log()));
        Self {
            client,
            _driver: driver,
            directory,
        }
    }

    /// Opens an address as a whole, and watches the page from now on.
    pub async fn open(&self, address: &str) {
        self.client.goto(address).await.unwrap();
        self.run(WATCH).await;
    }

    /// Leads the page that is open to another place in the console.
    pub async fn go(&self, place: &str) {
        self.run(&format!("location.hash = {}", json!(place))).await;
    }

    /// Runs a script and answers what it returns.
    pub async fn run(&self, script: &str) -> Value {
        let answer = self.client.execute(script, Vec::new()).await;
        answer.unwrap_or_else(|error| panic!("{error}: {script}"))
    }

    /// The text that a person sees, of an open dialog alone if there is one. What a choice could be is not seen.
    pub async fn text(&self) -> String {
        let text = self.run(&format!("return {SEEN}")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a script's answer is neither null nor false.
    ///
    /// # Panics
    /// When it stays so; with what the page shows.
    pub async fn until(&self, what: &str, script: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.run(script).await;
            if !matches!(answer, Value::Null | Value::Bool(false)) {
                return answer;
            }
            if Instant::now() > end {
                self.shoot("failed").await;
                panic!("{what}: not within {PATIENCE:?} on: {}", self.text().await);
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Waits until a text is seen.
    pub async fn see(&self, text: &str) {
        let script = format!("return {SEEN}.includes({})", json!(text));
        self.until(&format!("`{text}` is seen"), &script).await;
    }

    /// Waits until the page with this heading is there, whole.
    pub async fn arrive(&self, heading: &str) {
        let script = format!(
            "return document.querySelector('main h1')?.innerText.includes({}) && !document.body.innerText.includes('Loading …')",
            json!(heading)
        );
        self.until(&format!("the page `{heading}`"), &script).await;
    }

    async fn find(&self, what: &str, path: &str) -> Element {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.client.find_all(Locator::XPath(path)).await.unwrap();
            for element in found {
                if element.is_displayed().await.unwrap_or_default()
                    && element.is_enabled().await.unwrap_or_default()
                {
                    return element;
                }
            }
            if Instant::now() > end {
                self.shoot("failed").await;
                panic!("no {what} on: {}", self.text().await);
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn field(&self, label: &str) -> Element {
        let path = format!(
            "//*[@id = //label[normalize-space() = {0}]/@for]",
            quoted(label)
        );
        self.find(&format!("field `{label}`"), &path).await
    }

    /// Writes into the field with this label, over what is there.
    pub async fn fill(&self, label: &str, text: &str) {
        let field = self.field(label).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Takes a choice of the field with this label by its value.
    pub async fn pick(&self, label: &str, value: &str) {
        let field = self.field(label).await;
        field.select_by_value(value).await.unwrap();
    }

    /// Ticks or clears the box with this label.
    pub async fn tick(&self, label: &str) {
        self.field(label).await.click().await.unwrap();
    }

    /// Presses the button with this text, in the open dialog if there is one.
    pub async fn press(&self, text: &str) {
        let inside = match self
            .run("return document.querySelector('dialog[open]') !== null")
            .await
        {
            Value::Bool(true) => "//dialog[@open]",
            _ => "",
        };
        let path = format!(
            "{inside}//*[self::button or self::a][normalize-space() = {}]",
            quoted(text)
        );
        let button = self.find(&format!("button `{text}`"), &path).await;
        self.click(button, text).await;
    }

    /// Follows the first link with this text.
    pub async fn follow(&self, text: &str) {
        let path = format!("//a[normalize-space() = {}]", quoted(text));
        let link = self.find(&format!("link `{text}`"), &path).await;
        self.click(link, text).await;
    }

    async fn click(&self, element: Element, what: &str) {
        if let Err(error) = element.click().await {
            panic!("`{what}` cannot be clicked: {error}");
        }
    }

    /// Sends keys to whatever has the focus.
    pub async fn keys(&self, keys: &str) {
        let focused = self.client.active_element().await.unwrap();
        focused.send_keys(keys).await.unwrap();
    }

    /// The downloaded file whose name ends so.
    pub async fn downloaded(&self, suffix: &str) -> String {
        let (folder, suffix) = (self.directory.path().to_owned(), suffix.to_owned());
        let found = tokio::task::spawn_blocking(move || downloaded(&folder, &suffix));
        std::fs::read_to_string(found.await.unwrap()).unwrap()
    }

    /// Keeps a picture of the whole page below `tests/.cache/console`, for people who look.
    pub async fn shoot(&self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache/console");
        std::fs::create_dir_all(&folder).unwrap();
        let (width, height) = self.client.get_window_size().await.unwrap();
        let whole = self
            .run("return document.documentElement.scrollHeight")
            .await;
        let whole = whole.as_u64().unwrap_or(height).clamp(height, 5_000) + 140;
        let set = |height: u64| {
            let size = (
                u32::try_from(width).unwrap(),
                u32::try_from(height).unwrap(),
            );
            self.client.set_window_size(size.0, size.1)
        };
        set(whole).await.unwrap();
        let picture = self.client.screenshot().await.unwrap();
        set(height).await.unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// Panics when axe-core finds what WCAG 2.1 A or AA does not allow on the page as it is now.
    pub async fn assert_accessible(&self, what: &str) {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache/axe");
        let axe = home.join("node_modules/axe-core/axe.min.js");
        let axe = std::fs::read_to_string(&axe)
            .unwrap_or_else(|error| panic!("{} ({error}); run tests/run console", axe.display()));
        self.run(&format!("if (!window.axe) {{ {axe} }}")).await;
        let script = "
            const done = arguments[arguments.length - 1];
            const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];
            axe.run(document, { runOnly: tags }).then(found => done({
                passes: found.passes.length,
                violations: found.violations.map(one => `${one.id}: ${one.help}: ${one.nodes.map(node => node.html).join(' | ')}`),
            }), error => done({ passes: 0, violations: [String(error)] }));
        ";
        let found = self.client.execute_async(script, Vec::new()).await.unwrap();
        assert_eq!(found["violations"], json!([]), "{what}");
        assert!(
            found["passes"].as_u64() > Some(10),
            "{what}: axe looked at nothing: {found}"
        );
    }

    /// Panics when the page breached its policy, ran what came from outside, or failed since it was opened.
    pub async fn assert_quiet(&self, what: &str) {
        let breaches = self.run("return window.breaches").await;
        assert_eq!(breaches, json!([]), "{what}");
    }

    /// Ends it.
    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}

fn downloaded(folder: &Path, suffix: &str) -> PathBuf {
    wait_for("the download", PATIENCE, || {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths.find(|path| path.to_string_lossy().ends_with(suffix))
    })
}

/// A text in XPath, which has no escapes.
fn quoted(text: &str) -> String {
    assert!(!text.contains('"'), "{text}");
    format!("\"{text}\"")
}
