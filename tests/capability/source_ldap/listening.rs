//! Listening to a domain controller that tells of changes by itself, as Windows does: at once, and with the entry alone. Imitated by
//! the scripted server, because Samba tells so late that it is asked before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use scim_relay::identity::DirectoryType;
use scim_relay::identity::feed::Rung;
use scim_relay::source::{Bell, Ring, Search, Settings, listen};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{PATIENCE, open, settings};
use crate::support::fault_ldap::{
    FaultLdap, Request, Step, done, entry, last_page, message, result, tlv,
};

const DOMAIN: &str = "DC=windows,DC=example";
const SERVICE: &str = "CN=NTDS Settings,CN=DC1,CN=Configuration,DC=windows,DC=example";
const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
/// How often the controller is asked when it does not tell by itself.
const LOOK: Duration = Duration::from_secs(1);
const CHANGES: u32 = 10;

/// What becomes of whoever asks to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Notifies {
    AtOnce,
    /// It does not offer it.
    Not,
    /// It offers it, and is unwilling.
    Refuses,
    /// It offers it, and closes the connection.
    Closes,
    /// It offers it, and has no room for the connection that it takes.
    Busy,
}

/// A domain controller with one person who changes.
struct Controller {
    notifies: Notifies,
    /// highestCommittedUSN.
    usn: AtomicUsize,
    /// How often it was asked for that number.
    looks: AtomicUsize,
    /// How many connections were opened.
    binds: AtomicUsize,
    /// How often somebody asked to be told.
    listeners: AtomicUsize,
    changed: Arc<Notify>,
}

impl Controller {
    async fn start(notifies: Notifies) -> (Arc<Self>, FaultLdap, Settings) {
        let controller = Arc::new(Self {
            notifies,
            usn: AtomicUsize::new(100),
            looks: AtomicUsize::new(0),
            binds: AtomicUsize::new(0),
            listeners: AtomicUsize::new(0),
            changed: Arc::default(),
        });
        let script = controller.clone();
        let server = FaultLdap::start(move |request| script.answer(request)).await;
        let settings = Settings {
            directory_type: DirectoryType::ActiveDirectory,
            anchor_attribute: "objectGUID".into(),
            users: Search {
                base: format!("OU=People,{DOMAIN}"),
                filter: "(objectClass=user)".into(),
                attributes: vec!["sAMAccountName".into()],
            },
            groups: None,
            ..settings(server.address.port())
        };
        (controller, server, settings)
    }

    /// The person is changed; whoever listens is told.
    fn change(&self) {
        self.usn.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    fn answer(&self, request: &Request) -> Option<Vec<Step>> {
        let id = request.id;
        if request.op == 0x60 {
            let before = self.binds.fetch_add(1, Ordering::SeqCst);
            // One that takes the position, one that asks.
            let is_busy = self.notifies == Notifies::Busy && before >= 2;
            return is_busy.then(|| {
                let refusal = message(id, tlv(0x61, &result(51, "busy")), &[]);
                vec![Step::Send(refusal)]
            });
        }
        if request.op != 0x63 {
            return None;
        }
        if request
            .controls
            .iter()
            .any(|control| control == NOTIFICATION)
        {
            return Some(self.tell(request));
        }
        if request.base == SERVICE {
            let invocation = vec![("invocationId", vec![vec![7; 16]])];
            let answer = [entry(id, SERVICE, &invocation), done(id, 0, "")].concat();
            return Some(vec![Step::Send(answer)]);
        }
        if request.base.is_empty() {
            return Some(vec![Step::Send(self.root(request))]);
        }
        if request.subtree && request.base == DOMAIN {
            let answer = [person(id), last_page(id)].concat();
            return Some(vec![Step::Send(answer)]);
        }
        None
    }

    fn root(&self, request: &Request) -> Vec<u8> {
        let asks = |name: &str| request.attributes.iter().any(|asked| asked == name);
        let usn = self.usn.load(Ordering::SeqCst).to_string();
        let offers = match self.notifies {
            Notifies::Not => "1.2.840.113556.1.4.319",
            _ => NOTIFICATION,
        };
        if asks("highestCommittedUSN") {
            self.looks.fetch_add(1, Ordering::SeqCst);
        }
        let all = [
            ("namingContexts", DOMAIN),
            ("dnsHostName", "dc1.windows.example"),
            ("dsServiceName", SERVICE),
            ("highestCommittedUSN", &usn),
            ("supportedControl", offers),
        ];
        let asked = all.into_iter().filter(|(name, _)| asks(name));
        let asked: Vec<_> = asked
            .map(|(name, value)| (name, vec![value.as_bytes().to_vec()]))
            .collect();
        [entry(request.id, "", &asked), done(request.id, 0, "")].concat()
    }

    /// Answers who asks to be told (MS-ADTS §3.1.1.3.4.1.9): of a subtree only that of a whole naming context, and only by a filter that
    /// every entry matches.
    fn tell(&self, request: &Request) -> Vec<Step> {
        self.listeners.fetch_add(1, Ordering::SeqCst);
        assert!(request.subtree && request.base == DOMAIN, "{request:?}");
        assert_eq!((request.entries_max, &request.cookie), (0, &None));
        let id = request.id;
        match self.notifies {
            Notifies::AtOnce => {
                let steps = (0..2 * CHANGES).flat_map(|_| {
                    let told = entry(id, &format!("CN=ann,OU=People,{DOMAIN}"), &[]);
                    [Step::Await(self.changed.clone()), Step::Send(told)]
                });
                steps.collect()
            }
            Notifies::Refuses => vec![Step::Send(done(id, 53, "too many of them"))],
            Notifies::Not | Notifies::Closes | Notifies::Busy => vec![Step::Close],
        }
    }
}

fn person(id: u8) -> Vec<u8> {
    let attributes = [
        ("objectGUID", vec![vec![1; 16]]),
        ("objectClass", vec![b"user".to_vec()]),
    ];
    entry(id, &format!("CN=ann,OU=People,{DOMAIN}"), &attributes)
}

/// Lets something change just after the controller was asked, when the next look is as far away as it can be; answers how long
/// that took to be told.
async fn told_after(controller: &Controller, bell: &mut Box<dyn Bell>) -> Duration {
    let looks = controller.looks();
    let change = async {
        while controller.looks() == looks {
            sleep(Duration::from_millis(1)).await;
        }
        // The look is over when its answers have arrived; until then it might find the change itself.
        sleep(LOOK / 20).await;
        controller.change();
        Instant::now()
    };
    let both = async { tokio::join!(bell.ring(), change) };
    let (ring, changed) = timeout(PATIENCE, both).await.expect("the bell rings");
    let Ok(Ring::Hints(hints)) = ring else {
        panic!("{ring:?}");
    };
    assert_eq!(hints.len(), 1, "{hints:?}");
    changed.elapsed()
}

async fn bell(settings: &Settings) -> Box<dyn Bell> {
    let source = open(settings).await.unwrap();
    let since = source.position(Rung::UsnChanged).await.unwrap();
    listen(settings, &since).await.unwrap()
}

#[tokio::test]
async fn feed_of_active_directory_that_tells_by_itself_is_not_waited_for() {
    let (controller, _server, settings) = Controller::start(Notifies::AtOnce).await;
    let mut bell = bell(&settings).await;
    let mut waited = Duration::ZERO;
    for _ in 0..CHANGES {
        waited += told_after(&controller, &mut bell).await;
    }
    // By looks alone it would be nearly one look for each.
    assert!(waited < LOOK * CHANGES / 2, "{waited:?}");
}

#[tokio::test]
async fn feed_of_active_directory_that_does_not_tell_by_itself_is_asked_for() {
    for (notifies, asked) in [
        (Notifies::Not, 0),
        (Notifies::Refuses, 1),
        (Notifies::Closes, 1),
        (Notifies::Busy, 0),
    ] {
        let (controller, _server, settings) = Controller::start(notifies).await;
        let mut bell = bell(&settings).await;
        for _ in 0..2 {
            told_after(&controller, &mut bell).await;
        }
        assert_eq!(
            controller.listeners.load(Ordering::SeqCst),
            asked,
            "{notifies:?}"
        );
    }
}
