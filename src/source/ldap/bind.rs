//! The bind, and the proof that it was not anonymous: spoken by ldap3, over messages that the wire has checked.
//!
//! ldap3 talks into an in-process socket. What it asks goes out on the wire; what the server answers is decoded here
//! and written anew for ldap3, so that it never reads a byte that a server made up.

use std::os::unix::net::UnixStream as StdUnixStream;

use lber::common::TagClass;
use lber::structure::{PL, StructureTag};
use ldap3::exop::WhoAmI;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapResult, StdStream};
use tokio::net::UnixStream;

use crate::fault::Fault;
use crate::source::ldap::answer::Answer;
use crate::source::ldap::frame::{Framed, Message};
use crate::source::ldap::request::{self, primitive};
use crate::source::ldap::wire::{Wire, WireError};
use crate::source::ldap::words;
use crate::source::{Error, Settings, Stage};

const BIND_RESPONSE: u8 = 0x61;
const EXTENDED_RESPONSE: u8 = 0x78;
const EXTENDED_VALUE: u8 = 0x8b;
/// The longest request of ldap3's that is passed on.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Who the server says that we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Somebody: the server named an authorization identity.
    Named,
    /// The server does not answer "Who am I?" (RFC 4532).
    Unsupported,
}

/// Binds, and asks who we are.
pub(super) async fn bind(
    wire: &mut Wire,
    settings: &Settings,
    server: &str,
) -> Result<Proof, Error> {
    // Either would be an anonymous bind, which succeeds and then shows an empty directory (RFC 4513 §5.1).
    for (empty, what) in [
        (settings.bind_dn.is_empty(), "bind DN"),
        (settings.bind_password.is_empty(), "bind password"),
    ] {
        if empty {
            let message =
                format!("{server}: the {what} is empty, which would be an anonymous bind");
            return Err(Error::new(Stage::Authentication, Fault::Denied, message));
        }
    }
    let (near, far) = pair(server)?;
    let local = LdapConnSettings::new().set_std_stream(StdStream::Unix(near));
    let (connection, ldap) = LdapConnAsync::with_settings(local, "ldapi:///")
        .await
        .map_err(|error| ours(server, &error))?;
    let driver = tokio::spawn(connection.drive());
    let ended = tokio::select! {
        ended = talk(ldap, settings, server) => ended,
        error = carry(wire, far) => Err(words::broken(server, "bind", &error)),
    };
    driver.abort();
    ended
}

fn pair(server: &str) -> Result<(StdUnixStream, Framed<UnixStream>), Error> {
    let make = || {
        let (near, far) = StdUnixStream::pair()?;
        far.set_nonblocking(true)?;
        Ok((near, UnixStream::from_std(far)?))
    };
    let (near, far) = make().map_err(|error: std::io::Error| ours(server, &error))?;
    Ok((near, Framed::new(far, REQUEST_BYTES_MAX)))
}

/// An error on our own side of the conversation.
fn ours(server: &str, error: &dyn std::fmt::Display) -> Error {
    let message = format!("{server}: bind: the client side failed: {error}");
    Error::new(Stage::Authentication, Fault::Defect, message)
}

async fn talk(mut ldap: Ldap, settings: &Settings, server: &str) -> Result<Proof, Error> {
    let password = settings.bind_password.expose();
    let result = ldap
        .simple_bind(&settings.bind_dn, password)
        .await
        .map_err(|error| ours(server, &error))?;
    if result.rc != 0 {
        return Err(bind_error(server, &settings.bind_dn, result));
    }
    let (answer, result) = match ldap.extended(WhoAmI).await {
        Ok(ldap3::result::ExopResult(answer, result)) => (answer, result),
        Err(error) => return Err(ours(server, &error)),
    };
    if result.rc != 0 {
        return Ok(Proof::Unsupported);
    }
    match answer.val.as_deref() {
        None | Some(b"" | b"dn:" | b"u:") => {
            let message = format!(
                "{server}: the server took the bind as `{}` and treats it as anonymous; check the bind DN and the \
                 server's rules for simple binds",
                settings.bind_dn
            );
            Err(Error::new(Stage::Authentication, Fault::Denied, message))
        }
        Some(_) => Ok(Proof::Named),
    }
}

fn bind_error(server: &str, bind_dn: &str, result: LdapResult) -> Error {
    let answer = Answer {
        code: result.rc,
        text: result.text,
        referrals: result.refs,
        ..Answer::default()
    };
    let doing = format!("bind as `{bind_dn}`");
    let cure = match answer.code {
        49 => Some(words::bind_refused(&answer.text)),
        32 | 34 => Some("check the bind DN: the server takes no such name"),
        _ => None,
    };
    if let Some(cure) = cure {
        let message = format!("{server}: {doing}: {}; {cure}", answer.words());
        return Error::new(Stage::Authentication, Fault::Denied, message);
    }
    let error = words::refused(server, &doing, &answer);
    Error::new(Stage::Authentication, error.fault(), error.message)
}

/// Carries requests to the server and answers back, until something breaks.
async fn carry(wire: &mut Wire, mut far: Framed<UnixStream>) -> WireError {
    loop {
        let carried = async {
            let request = far.next().await?.ok_or(WireError::Closed)?;
            let answer = wire.exchange(request.id, request.bytes()).await?;
            let answer = rewritten(&answer)?;
            far.send(&answer).await?;
            Ok(())
        };
        if let Err(error) = carried.await {
            return error;
        }
    }
}

/// An answer with only what ldap3 needs, in the form that it expects.
fn rewritten(message: &Message) -> Result<Vec<u8>, WireError> {
    let (answer, mut rest) = Answer::decode(message.body())?;
    let octets = |content: &[u8]| primitive(TagClass::Universal, 4, content);
    let code = u8::try_from(answer.code).unwrap_or(80);
    let mut parts = vec![
        primitive(TagClass::Universal, 10, &[0, code]),
        octets(b""),
        octets(answer.text.as_bytes()),
    ];
    let id = match message.op {
        BIND_RESPONSE => 1,
        EXTENDED_RESPONSE => {
            while let Some((tag, content)) = rest.next()? {
                if tag == EXTENDED_VALUE {
                    parts.push(primitive(TagClass::Context, 11, content));
                }
            }
            24
        }
        _ => return Err(WireError::Unexpected),
    };
    let operation = StructureTag {
        class: TagClass::Application,
        id,
        payload: PL::C(parts),
    };
    Ok(request::message(message.id, operation, Vec::new()).to_vec())
}
