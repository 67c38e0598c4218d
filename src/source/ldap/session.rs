//! A bound connection with the searches of a profile: what reading and looking have in common.

use std::net::SocketAddr;
use std::sync::Arc;

use ldap3::controls::RawControl;

use crate::identity::dn::Dn;
use crate::identity::{DirectoryType, Kind};
use crate::source::examination::{Caveat, Server};
use crate::source::ldap::entry::Entry;
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::scope::{Scope, Sought};
use crate::source::ldap::wire::{Wire, WireError};
use crate::source::ldap::{bind, controller, missing, socket, words};
use crate::source::{Error, Security, Settings};

/// The attribute of the root DSE that names the naming contexts of a server (RFC 4512 §5.1).
pub(super) const NAMING_CONTEXTS: &str = "namingContexts";

/// The result code of an entry that is not there, or not to be seen (RFC 4511 §4.1.9).
pub(super) const NO_SUCH_OBJECT: u32 = 32;

/// A bound connection.
pub(super) struct Session {
    /// The connection.
    pub(super) wire: Wire,
    /// The server as an administrator writes it.
    pub(super) server: String,
    /// Entries asked for in one page.
    pub(super) page_entries: u16,
    /// The longest message, and the longest entry with all its ranges.
    pub(super) message_bytes_max: usize,
    /// Whether the connection is not protected.
    pub(super) plain: bool,
    /// Whether the server is Active Directory.
    pub(super) active_directory: bool,
    /// Which server answers.
    pub(super) answering: Server,
    scopes: Vec<Searched>,
    naming_contexts: Vec<Dn>,
}

struct Searched {
    scope: Arc<Scope>,
    /// What is known of the base on this connection.
    base: Base,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Unknown,
    /// It is there, but it may not be read itself.
    Hidden,
    Readable,
}

/// Connects, and protects the connection; answers where the server was reached, too.
pub(super) async fn connect(
    settings: &Settings,
    server: &str,
) -> Result<(Wire, SocketAddr), Error> {
    let (stream, peer) = socket::connect(settings, server).await?;
    let bytes_max = settings.message_bytes_max;
    let wire = Wire::new(stream, bytes_max, settings.answer_timeout);
    Ok((wire, peer))
}

impl Session {
    /// Connects, binds, checks the searches, and asks for what is needed to judge answers.
    pub(super) async fn open(settings: &Settings, server: String) -> Result<Self, Error> {
        let (mut wire, peer) = connect(settings, &server).await?;
        let proof = bind::bind(&mut wire, settings, &server).await?;
        let mut scopes = Vec::new();
        for sought in Sought::ALL {
            if let Some(scope) = Scope::prepare(settings, sought, &server)? {
                scopes.push(Searched {
                    scope: Arc::new(scope),
                    base: Base::Unknown,
                });
            }
        }
        let active_directory = settings.directory_type == DirectoryType::ActiveDirectory;
        let mut session = Self {
            wire,
            server,
            page_entries: settings.page_entries.max(1),
            message_bytes_max: settings.message_bytes_max,
            plain: settings.security == Security::Plain,
            active_directory,
            answering: Server {
                address: settings.address(),
                peer: Some(peer),
                ..Server::default()
            },
            scopes,
            naming_contexts: Vec::new(),
        };
        if active_directory || proof == bind::Proof::Unsupported {
            let [host_name, capabilities] = controller::ATTRIBUTES;
            let root = session
                .root(&[NAMING_CONTEXTS, host_name, capabilities])
                .await?;
            session.naming_contexts = root
                .iter()
                .filter(|(name, _)| *name == NAMING_CONTEXTS)
                .filter_map(|(_, text)| text.parse().ok())
                .collect();
            if active_directory {
                controller::describe(&mut session.answering, &root);
            }
        }
        Ok(session)
    }

    /// The searches, in the order of [`Sought::ALL`].
    pub(super) fn scopes(&self) -> Vec<Arc<Scope>> {
        self.scopes
            .iter()
            .map(|searched| Arc::clone(&searched.scope))
            .collect()
    }

    /// The searches for one kind.
    pub(super) fn scopes_of(&self, kind: Kind) -> Vec<Arc<Scope>> {
        let mut scopes = self.scopes();
        scopes.retain(|scope| scope.kind == kind);
        scopes
    }

    /// Makes sure that what is read here means what it seems to: a global catalog cannot tell who is in a group.
    ///
    /// A look needs no such proof, so that a profile of users goes on there beside one that reads groups.
    pub(super) fn check_server(&self) -> Result<(), Error> {
        let is_catalog = self.answering.caveats.contains(&Caveat::GlobalCatalog);
        if is_catalog
            && self
                .scopes()
                .iter()
                .any(|scope| scope.sought == Sought::Groups)
        {
            return Err(controller::no_members(&self.server));
        }
        Ok(())
    }

    /// Makes sure, once on a connection, that every search base is there.
    pub(super) async fn check_bases(&mut self) -> Result<(), Error> {
        for at in 0..self.scopes.len() {
            if self.scopes[at].base != Base::Unknown {
                continue;
            }
            let scope = Arc::clone(&self.scopes[at].scope);
            let doing = format!("the search base `{}` for {}s", scope.base, scope.sought);
            let found = self.wire.find(scope.base_search(), scope.controls()).await;
            let found = found.map_err(|error| words::broken(&self.server, &doing, &error))?;
            if found.answer.code == NO_SUCH_OBJECT {
                return Err(missing::explained(self, &scope, &doing, &found.answer).await?);
            }
            if !found.answer.is_success() {
                return Err(words::refused(&self.server, &doing, &found.answer));
            }
            self.scopes[at].base = if found.entries.len() == 1 {
                Base::Readable
            } else {
                Base::Hidden
            };
        }
        Ok(())
    }

    /// Whether the base of a search could be read itself on this connection.
    pub(super) fn base_is_readable(&self, sought: Sought) -> bool {
        self.scopes
            .iter()
            .any(|searched| searched.scope.sought == sought && searched.base == Base::Readable)
    }

    /// Whether a reference leads to one of the other naming contexts of an Active Directory, which the search does not
    /// cover. Of any other server, a reference is a part of the subtree that somebody else holds.
    pub(super) fn leads_elsewhere(&self, uris: &[String]) -> bool {
        !uris.is_empty()
            && uris.iter().all(|uri| {
                reference_dn(uri).is_some_and(|dn| {
                    self.naming_contexts.contains(&dn)
                        && self.scopes.iter().all(|searched| {
                            searched.scope.active_directory
                                && searched.scope.base.parse().ok().as_ref() != Some(&dn)
                        })
                })
            })
    }

    /// Reads attributes of the root DSE (RFC 4512 §5.1), by the names that were asked for: the server answers, and says
    /// what it holds and can do.
    pub(super) async fn root(
        &mut self,
        attributes: &[&'static str],
    ) -> Result<Vec<(&'static str, String)>, Error> {
        let read = self.entry_at("", Vec::new(), attributes).await?;
        let texts = read.unwrap_or_default().into_iter();
        let texts = texts
            .filter_map(|(name, value)| String::from_utf8(value).ok().map(|text| (name, text)));
        Ok(texts.collect())
    }

    /// Reads attributes of one entry by its name, by the names that were asked for; `None` when it is not there, or not
    /// to be seen.
    pub(super) async fn entry_at(
        &mut self,
        dn: &str,
        controls: Vec<RawControl>,
        attributes: &[&'static str],
    ) -> Result<Option<Vec<(&'static str, Vec<u8>)>>, Error> {
        let doing = match dn {
            "" => "the root DSE".to_owned(),
            dn => format!("the entry `{dn}`"),
        };
        let search = Search {
            base: dn,
            reach: Reach::Base,
            filter: request::any_entry(),
            entries_max: 0,
            attributes,
            names_only: false,
        };
        let broken = |error: WireError| words::broken(&self.server, &doing, &error);
        let found = self.wire.find(search, controls).await.map_err(broken)?;
        match found.answer.code {
            0 if found.entries.is_empty() => return Ok(None),
            0 => {}
            NO_SUCH_OBJECT => return Ok(None),
            _ => return Err(words::refused(&self.server, &doing, &found.answer)),
        }
        let mut read = Vec::new();
        for message in &found.entries {
            let mut entry = Entry::decode(message).map_err(|error| broken(error.into()))?;
            while let Some(attribute) = entry.next().map_err(|error| broken(error.into()))? {
                let name = attribute.description.name;
                let wanted = attributes
                    .iter()
                    .find(|wanted| wanted.eq_ignore_ascii_case(name));
                let mut values = Vec::new();
                let collected = attribute.collect_into(&mut values);
                collected.map_err(|error| broken(error.into()))?;
                let owned = values.into_iter().map(<[u8]>::to_vec);
                read.extend(
                    wanted
                        .into_iter()
                        .flat_map(|name| owned.clone().map(|value| (*name, value))),
                );
            }
        }
        Ok(Some(read))
    }
}

/// The DN of an LDAP URL (RFC 4516): what stands between the host and the first `?`, percent-decoded.
fn reference_dn(uri: &str) -> Option<Dn> {
    let (_, rest) = uri.split_once("://")?;
    let (_, rest) = rest.split_once('/')?;
    let dn = rest.split('?').next()?;
    let mut bytes = Vec::with_capacity(dn.len());
    let mut left = dn.bytes();
    while let Some(byte) = left.next() {
        if byte == b'%' {
            let mut digit = || char::from(left.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let dn = String::from_utf8(bytes).ok()?;
    (!dn.is_empty()).then(|| dn.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_a_reference_is_found() {
        for (uri, dn) in [
            (
                "ldap://dc/CN=Configuration,DC=x",
                Some("cn=configuration,dc=x"),
            ),
            ("ldap://dc/CN=a%20b,DC=x??sub", Some("cn=a b,dc=x")),
            ("ldap://dc/", None),
            ("ldap://dc", None),
            ("ldap://dc/%zz", None),
            ("ldap://dc/nobody", None),
        ] {
            let wanted = dn.and_then(|dn| dn.parse().ok());
            assert_eq!(reference_dn(uri), wanted, "{uri}");
        }
    }
}
