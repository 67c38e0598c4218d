//! Entries with a later `modifyTimestamp` (RFC 4512 §3.4.4): any LDAP server has it, and it does not tell who left.

use crate::identity::Anchor;
use crate::identity::feed::{Changes, Hint, Mark, Position};
use crate::source::Error;
use crate::source::ldap::feed::{
    Hints, OBJECT_CLASS, address, each, elsewhere, first_scope, is_container, subtrees, values,
};
use crate::source::ldap::paged::Paged;
use crate::source::ldap::request;
use crate::source::ldap::session::Session;

/// When an entry was changed last.
const MODIFY_TIMESTAMP: &str = "modifyTimestamp";
/// Before everything.
const EPOCH: &str = "19700101000000Z";

/// The newest time in scope. It is asked of the server, because nobody's clock but its own counts.
pub(super) async fn position(session: &mut Session) -> Result<Position, Error> {
    let mut newest = Newest {
        time: EPOCH.to_owned(),
        containers: Vec::new(),
    };
    since(session, EPOCH, |anchor, time, container| {
        newest.take(time, container.then_some(anchor));
    })
    .await?;
    Ok(newest.position(session))
}

/// Entries that were changed at this time or later. The time itself is asked for again: more may have been changed in
/// the same second.
pub(super) async fn changes(
    session: &mut Session,
    position: &Position,
    time: &str,
    containers: &[Anchor],
) -> Result<Changes, Error> {
    if let Some(lost) = elsewhere(session, position) {
        return Ok(Changes::Lost(lost));
    }
    let mut hints = Hints::default();
    let mut newest = Newest {
        time: time.to_owned(),
        containers: Vec::new(),
    };
    since(session, time, |anchor, changed, container| {
        newest.take(changed, container.then_some(anchor));
        // One that is only told again must not make every run read everything.
        let told = changed == time && containers.contains(anchor);
        hints.add(Hint {
            anchor: anchor.clone(),
            container: container && !told,
        });
    })
    .await?;
    Ok(hints.ended(newest.position(session)))
}

/// The newest time that was met.
struct Newest {
    time: String,
    containers: Vec<Anchor>,
}

impl Newest {
    /// Takes in when an entry was changed; and the entry, where it is a container. Servers write the time in one form, in
    /// which the order of texts is that of times.
    fn take(&mut self, time: &str, container: Option<&Anchor>) {
        if time > self.time.as_str() {
            time.clone_into(&mut self.time);
            self.containers.clear();
        }
        if time == self.time {
            self.containers.extend(container.cloned());
        }
    }

    fn position(self, session: &Session) -> Position {
        let Self { time, containers } = self;
        Position {
            server: address(session),
            mark: Mark::ModifyTimestamp { time, containers },
        }
    }
}

/// The entries since a time: each with when it was changed, and whether it is a container.
async fn since(
    session: &mut Session,
    time: &str,
    mut take: impl FnMut(&Anchor, &str, bool),
) -> Result<(), Error> {
    let Some(scope) = first_scope(session) else {
        return Ok(());
    };
    let attributes = [
        scope.anchor_attribute.as_str(),
        OBJECT_CLASS,
        MODIFY_TIMESTAMP,
    ];
    for base in subtrees(session) {
        let paged = Paged {
            base: &base,
            filter: &request::at_least(MODIFY_TIMESTAMP, time),
            attributes: &attributes,
            controls: scope.controls(),
        };
        each(session, &paged, |message| {
            let [anchors, classes, times] = values(message, attributes)?;
            let anchor = anchors
                .first()
                .and_then(|value| scope.anchor_form.decode(value));
            let times = times
                .iter()
                .filter_map(|time| std::str::from_utf8(time).ok());
            if let (Some(anchor), Some(time)) = (anchor, times.max()) {
                take(&anchor, time, is_container(&classes));
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}
