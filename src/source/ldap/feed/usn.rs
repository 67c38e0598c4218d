//! Entries whose `uSNChanged` is higher than the last that was read (MS-ADTS §3.1.1.1.9).
//!
//! The whole naming context is asked, with deleted entries and whatever their class, so that an entry is named too that
//! left the scope. The numbers also rise with every logon, so most hints lead to nothing.

use crate::identity::feed::{Changes, Hint, Mark, Position};
use crate::source::Error;
use crate::source::ldap::anchor::AnchorForm;
use crate::source::ldap::ber::Malformed;
use crate::source::ldap::feed::domain::{self, Controller, OBJECT_GUID};
use crate::source::ldap::feed::{Hints, OBJECT_CLASS, each, is_container, values};
use crate::source::ldap::frame::Message;
use crate::source::ldap::paged::Paged;
use crate::source::ldap::request;
use crate::source::ldap::session::Session;

/// The attribute.
const USN_CHANGED: &str = "uSNChanged";

/// The position of now.
pub(super) async fn position(session: &mut Session) -> Result<Position, Error> {
    Ok(at(&domain::controller(session).await?))
}

fn at(controller: &Controller) -> Position {
    Position {
        server: controller.server.clone(),
        mark: Mark::UsnChanged(controller.usn),
    }
}

/// What changed since a number.
pub(super) async fn changes(
    session: &mut Session,
    since: &Position,
    usn: u64,
) -> Result<Changes, Error> {
    // Read before the search: what changes in between is told again the next time.
    let controller = domain::controller(session).await?;
    if let Some(lost) = domain::lost(&controller, since) {
        return Ok(Changes::Lost(lost));
    }
    let mut hints = Hints::default();
    if controller.usn > usn {
        let take = |message: &Message| -> Result<(), Malformed> {
            let [guids, classes] = values(message, [OBJECT_GUID, OBJECT_CLASS])?;
            let guid = guids.first();
            if let Some(anchor) = guid.and_then(|guid| AnchorForm::MixedEndian.decode(guid)) {
                hints.add(Hint {
                    anchor,
                    container: is_container(&classes),
                });
            }
            Ok(())
        };
        let paged = Paged {
            base: &controller.domain,
            filter: &request::at_least(USN_CHANGED, &(usn + 1).to_string()),
            attributes: &[OBJECT_GUID, OBJECT_CLASS],
            controls: vec![request::domain_scope(), request::show_deleted()],
        };
        each(session, &paged, take).await?;
    }
    Ok(hints.ended(at(&controller)))
}
