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
//! [`session`] with [`bind`] and its [`scope`]s, and on top [`reader`] and [`look`], which share [`ranges`].

mod anchor;
mod answer;
mod ber;
mod bind;
mod entry;
mod frame;
mod look;
mod ranges;
mod reader;
mod request;
mod scope;
mod session;
mod socket;
mod tls;
mod wire;
mod words;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

use crate::fault::Fault;
use crate::identity::RowKey;
use crate::identity::known::Known;
use crate::identity::observation::{Look, Observation, ReadEnd};
use crate::source::ldap::session::Session;
use crate::source::{Error, Settings, Source, Stage};

/// One connection; its operations run one after the other.
struct Ldap {
    session: Mutex<Session>,
}

/// Checks the settings, connects and binds.
pub(super) async fn open(settings: &Settings) -> Result<Box<dyn Source>, Error> {
    let server = words::server(settings);
    // Either would be an anonymous bind, which succeeds and then shows an empty directory (RFC 4513 §5.1).
    for (empty, what) in [
        (settings.bind_dn.is_empty(), "bind DN"),
        (settings.bind_password.is_empty(), "bind password"),
    ] {
        if empty {
            let message =
                format!("{server}: the {what} is empty, which would be an anonymous bind");
            let stage = Stage::Authentication;
            return Err(Error::new(stage, Fault::Denied, message));
        }
    }
    let session = Session::open(settings, server).await?;
    Ok(Box::new(Ldap {
        session: Mutex::new(session),
    }))
}

#[async_trait]
impl Source for Ldap {
    async fn read(
        &self,
        known: &mut Known,
        sink: mpsc::Sender<Observation>,
    ) -> Result<ReadEnd, Error> {
        let mut session = self.session.lock().await;
        reader::read(&mut session, known, sink).await
    }

    async fn look(&self, key: &RowKey) -> Result<Look, Error> {
        let mut session = self.session.lock().await;
        look::look(&mut session, key).await
    }

    async fn close(&self) {
        self.session.lock().await.wire.unbind().await;
    }
}
