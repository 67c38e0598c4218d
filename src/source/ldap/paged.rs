//! One search read page by page (RFC 2696), its entries given one by one to whoever asked; the full read has its own.

use lber::structure::StructureTag;
use ldap3::controls::RawControl;

use crate::source::ldap::ber::Malformed;
use crate::source::ldap::frame::Message;
use crate::source::ldap::reader::Stop;
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::session::Session;
use crate::source::ldap::wire::{Reply, WireError};

/// A search of a subtree.
pub(super) struct Paged<'a> {
    /// Where it starts.
    pub(super) base: &'a str,
    /// Which entries match.
    pub(super) filter: &'a StructureTag,
    /// The attributes that are wanted.
    pub(super) attributes: &'a [&'a str],
    /// The controls beside that of the page.
    pub(super) controls: Vec<RawControl>,
}

/// What a page has.
pub(super) enum Met<'a> {
    /// An entry.
    Entry(&'a Message),
    /// Places that the search does not cover.
    Reference(Vec<String>),
}

/// Runs a search to its end; what is met goes to `take`.
pub(super) async fn each(
    session: &mut Session,
    paged: &Paged<'_>,
    mut take: impl FnMut(Met<'_>) -> Result<(), Malformed>,
) -> Result<(), Stop> {
    let mut cookie = Vec::new();
    loop {
        let search = Search {
            base: paged.base,
            reach: Reach::Subtree,
            filter: paged.filter.clone(),
            entries_max: 0,
            attributes: paged.attributes,
            names_only: paged.attributes == [request::NO_ATTRIBUTES],
        };
        let controls = paged.controls.clone();
        let entries_max = session.page_entries;
        session
            .wire
            .page(search, controls, entries_max, &cookie)
            .await?;
        let mut entries = 0u64;
        let (answer, next) = loop {
            match session.wire.reply().await? {
                Reply::Entry(message) => {
                    entries += 1;
                    take(Met::Entry(&message)).map_err(WireError::from)?;
                }
                Reply::Reference(uris) => take(Met::Reference(uris)).map_err(WireError::from)?,
                Reply::Done(answer, next) => break (answer, next),
            }
        };
        if !answer.is_success() {
            return Err(Stop::Answer(answer));
        }
        match next {
            None => return Err(Stop::NoCookie),
            Some(next) if next.is_empty() => return Ok(()),
            Some(next) if next == cookie && entries == 0 => return Err(Stop::NoProgress),
            Some(next) => cookie = next,
        }
    }
}
