//! LDAP behind the source's front door.
//!
//! The wire is ours: it owns the socket and TLS, cuts the stream into messages with limits on length and depth, and
//! decodes search answers as slices of those messages. It is pulled, one message at a time, by whoever reads: nothing is
//! read from the socket that nobody has asked for, so a slow reader slows the server down and no queue can grow. ldap3
//! speaks the bind and "Who am I?" through it (see [`bind`]), parses filters and makes controls; lber encodes requests.
//! Searches do not go through ldap3, because there a cut in the second page reads as success, a deeply nested answer ends
//! the process, and nothing pushes back.
//!
//! From the socket upwards: [`socket`] and [`tls`], [`frame`] over [`ber`], [`wire`] with [`request`] and [`answer`],
//! [`silence`] and [`gathering`], [`session`] at one of several [`servers`] with [`bind`], its [`scope`]s, which
//! [`controller`] answers, what it says of [`missing`] ones, and on top [`reader`], [`look`], [`find`], [`examine`],
//! [`explain`] with the [`clauses`] of filters, and the change feeds: [`feed`] and [`listen`], with [`paged`] searches;
//! whoever reads entries follows [`ranges`] and members by [`primary`] group; [`units`] have theirs by where these lie.

mod anchor;
mod answer;
mod ber;
mod bind;
mod clauses;
mod controller;
mod entry;
mod examine;
mod explain;
mod feed;
mod find;
mod frame;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod gathering;
mod listen;
mod look;
mod missing;
mod paged;
mod primary;
mod ranges;
mod reader;
mod request;
mod scope;
mod servers;
mod session;
mod silence;
mod socket;
mod tls;
mod units;
mod wire;
mod words;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

use crate::identity::feed::{Changes, Ladder, Position, Rung};
use crate::identity::known::Known;
use crate::identity::observation::{Look, Observation, ReadEnd, Statement};
use crate::identity::{Anchor, RowKey};
use crate::source::examination::{Examination, Questions, Server};
use crate::source::explanation::{Explained, Inquiry};
use crate::source::ldap::reader::Part;
use crate::source::ldap::servers::Refused;
use crate::source::ldap::session::Session;
use crate::source::{Bell, Depth, Error, Names, NamingGroup, Settings, Source};

/// One connection; its operations run one after the other.
struct Ldap {
    session: Mutex<Session>,
}

/// Checks the settings, connects and binds.
pub(super) async fn open(settings: &Settings) -> Result<Box<dyn Source>, Error> {
    let session = servers::open(settings).await?;
    Ok(Box::new(Ldap {
        session: Mutex::new(session),
    }))
}

/// Connects, and listens for changes.
pub(super) async fn listen(settings: &Settings, since: &Position) -> Result<Box<dyn Bell>, Error> {
    listen::listen(settings, since).await
}

/// Connects, binds where that is asked for, and goes no further.
pub(super) async fn reach(settings: &Settings, depth: Depth) -> Result<Server, Error> {
    let mut refused = Refused::default();
    for settings in servers::in_order(settings) {
        match reach_one(&settings, depth).await {
            Ok(server) => {
                let passed_over = refused.words();
                return Ok(Server {
                    passed_over,
                    ..server
                });
            }
            Err(error) => refused.next_after(error)?,
        }
    }
    Err(refused.into_error())
}

async fn reach_one(settings: &Settings, depth: Depth) -> Result<Server, Error> {
    let server = words::server(settings);
    let (mut wire, peer) = session::connect(settings, &server).await?;
    if depth == Depth::Authentication {
        bind::bind(&mut wire, settings, &server).await?;
    }
    wire.unbind().await;
    Ok(Server {
        address: settings.address(),
        peer: Some(peer),
        ..Server::default()
    })
}

/// Tries the servers behind the one that answered, all at once; says what is wrong with each that has something wrong.
pub(super) async fn try_further(
    settings: &Settings,
    answered: &Server,
    depth: Depth,
) -> Vec<String> {
    let further: Vec<Settings> = servers::in_order(settings)
        .skip_while(|settings| settings.address() != answered.address)
        .skip(1)
        .collect();
    let tried = further.iter().map(|settings| async move {
        let tried = match controller::cannot_tell_members(settings) {
            true => Err(controller::no_members(&words::server(settings))),
            false => reach_one(settings, depth).await,
        };
        let error = tried.err()?;
        Some(format!("{error}. It could not take over (fallbackHosts)"))
    });
    let tried = futures_util::future::join_all(tried).await;
    tried.into_iter().flatten().collect()
}

#[async_trait]
impl Source for Ldap {
    async fn read(
        &self,
        known: &mut Known,
        sink: mpsc::Sender<Statement>,
    ) -> Result<ReadEnd, Error> {
        let mut session = self.session.lock().await;
        reader::read(&mut session, Part::All, known, sink).await
    }

    async fn read_these(
        &self,
        anchors: &[Anchor],
        known: &mut Known,
        sink: mpsc::Sender<Statement>,
    ) -> Result<ReadEnd, Error> {
        let mut session = self.session.lock().await;
        reader::read(&mut session, Part::These(anchors), known, sink).await
    }

    async fn groups_naming(&self, dns: &[String]) -> Result<Vec<NamingGroup>, Error> {
        feed::groups_naming(&mut *self.session.lock().await, dns).await
    }

    async fn ladder(&self) -> Result<Ladder, Error> {
        feed::ladder(&mut *self.session.lock().await).await
    }

    async fn position(&self, rung: Rung) -> Result<Position, Error> {
        feed::position(&mut *self.session.lock().await, rung).await
    }

    async fn changes(&self, since: &Position) -> Result<Changes, Error> {
        feed::changes(&mut *self.session.lock().await, since).await
    }

    async fn look(&self, key: &RowKey) -> Result<Look, Error> {
        let mut session = self.session.lock().await;
        look::look(&mut session, key).await
    }

    async fn find(&self, selector: &str, names: &Names) -> Result<Option<Observation>, Error> {
        let mut session = self.session.lock().await;
        find::find(&mut session, selector, names).await
    }

    async fn explain(&self, inquiry: &Inquiry) -> Result<Explained, Error> {
        let mut session = self.session.lock().await;
        explain::explain(&mut session, inquiry).await
    }

    async fn examine(&self, questions: &Questions) -> Result<Examination, Error> {
        let mut session = self.session.lock().await;
        examine::examine(&mut session, questions).await
    }

    async fn server(&self) -> Server {
        self.session.lock().await.answering.clone()
    }

    async fn close(&self) {
        self.session.lock().await.wire.unbind().await;
    }
}
