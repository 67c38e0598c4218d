//! The domain of an Active Directory and the controller that answers for it: what its feeds have in common.

use uuid::Uuid;

use crate::identity::feed::{Doubt, Lost, Mark, Position, Rung, Step};
use crate::source::Error;
use crate::source::examination::Caveat;
use crate::source::ldap::feed::{address, anchored_by, dirsync, nearest, subtrees};
use crate::source::ldap::request;
use crate::source::ldap::session::{NAMING_CONTEXTS, Session};
use crate::source::ldap::words;

/// The attribute by which the feeds name entries.
pub(super) const OBJECT_GUID: &str = "objectGUID";
/// The highest update sequence number of the controller (MS-ADTS §3.1.1.3.2.11).
const HIGHEST_USN: &str = "highestCommittedUSN";
/// The entry of the controller's own settings (MS-ADTS §3.1.1.3.2.8).
const SERVICE: &str = "dsServiceName";
/// Which copy of the database it is; a new one after a restore that was done right (MS-ADTS §3.1.1.1.9).
const INVOCATION: &str = "invocationId";
/// Where deleted entries go (MS-ADTS §6.1.1.4.2).
const DELETED_OBJECTS: &str = "CN=Deleted Objects";

/// The controller that answers, and how far it is.
pub(in crate::source::ldap) struct Controller {
    /// The naming context that holds the scope.
    pub(in crate::source::ldap) domain: String,
    /// Which copy of the database it is, in words.
    pub(super) server: String,
    /// The sequence number of its last change.
    pub(super) usn: u64,
}

/// The rungs of Active Directory, best first.
pub(super) async fn steps(session: &mut Session) -> Result<Vec<Step>, Error> {
    let obstacle = match anchored_by(session, OBJECT_GUID) {
        Some(why) => Some(why),
        None if session.answering.caveats.contains(&Caveat::GlobalCatalog) => {
            Some("a global catalog has it not".to_owned())
        }
        None => ask(session).await?.err(),
    };
    let Some(obstacle) = obstacle else {
        let controller = controller(session).await?;
        let blind = blindness(session, &controller.domain).await?;
        let dirsync = dirsync::obstacle(session, &controller).await?;
        return Ok(vec![
            step(Rung::Dirsync, dirsync, blind.clone()),
            step(Rung::UsnChanged, None, blind),
        ]);
    };
    Ok(vec![
        step(Rung::Dirsync, Some(obstacle.clone()), None),
        step(Rung::UsnChanged, Some(obstacle), None),
    ])
}

fn step(rung: Rung, obstacle: Option<String>, blind: Option<String>) -> Step {
    Step {
        rung,
        obstacle,
        blind,
    }
}

/// The controller that answers.
pub(in crate::source::ldap) async fn controller(
    session: &mut Session,
) -> Result<Controller, Error> {
    ask(session)
        .await?
        .map_err(|what| words::unreadable(&session.server, "the change feed", &what))
}

/// The controller that answers, or why it cannot be told apart from others.
async fn ask(session: &mut Session) -> Result<Result<Controller, String>, Error> {
    let root = session
        .root(&[NAMING_CONTEXTS, HIGHEST_USN, SERVICE])
        .await?;
    let value = |name: &str| {
        root.iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.clone())
    };
    let usn = value(HIGHEST_USN).and_then(|usn| usn.parse().ok());
    let (Some(usn), Some(service)) = (usn, value(SERVICE)) else {
        return Ok(Err(format!(
            "the server does not show {HIGHEST_USN} and {SERVICE} in its root DSE"
        )));
    };
    let contexts = root.iter().filter(|(name, _)| *name == NAMING_CONTEXTS);
    let contexts: Vec<&String> = contexts.map(|(_, context)| context).collect();
    let Some(domain) = holder(&subtrees(session), &contexts) else {
        let why = "the search bases are not in one naming context of the server";
        return Ok(Err(why.to_owned()));
    };
    let settings = session
        .entry_at(&service, Vec::new(), &[INVOCATION])
        .await?;
    let invocation = settings
        .unwrap_or_default()
        .into_iter()
        .find_map(|(_, value)| Some(Uuid::from_bytes_le(value.try_into().ok()?)));
    let Some(invocation) = invocation else {
        return Ok(Err(format!(
            "the account may not read {INVOCATION} of `{service}`, which tells one controller's numbers from another's"
        )));
    };
    let name = session.answering.name.clone();
    let name = name.unwrap_or_else(|| address(session));
    Ok(Ok(Controller {
        domain,
        server: format!("{name} ({INVOCATION} {invocation})"),
        usn,
    }))
}

/// The nearest naming context that holds all of the subtrees.
fn holder(subtrees: &[String], contexts: &[&String]) -> Option<String> {
    let (first, rest) = subtrees.split_first()?;
    let holder = nearest(first, contexts.iter().copied())?;
    rest.iter()
        .all(|base| nearest(base, contexts.iter().copied()) == Some(holder))
        .then(|| holder.clone())
}

/// Why deletions are not told, if they are not: whoever may not read the container of deleted entries gets success and
/// none of them.
async fn blindness(session: &mut Session, domain: &str) -> Result<Option<String>, Error> {
    let dn = format!("{DELETED_OBJECTS},{domain}");
    let seen = session
        .entry_at(&dn, vec![request::show_deleted()], &[OBJECT_GUID])
        .await;
    Ok(match seen {
        Ok(Some(attributes)) if !attributes.is_empty() => None,
        _ => Some(format!(
            "the account may not read `{dn}`, so deletions are not told; a full scan finds them"
        )),
    })
}

/// Why a position does not hold with the controller that answers now.
pub(super) fn lost(controller: &Controller, since: &Position) -> Option<Lost> {
    if controller.server != since.server {
        return Some(Lost {
            why: format!(
                "{} answers, and before it was {}; their sequence numbers differ",
                controller.server, since.server
            ),
            doubt: Some(Doubt::AnotherServer),
        });
    }
    let (Mark::UsnChanged(usn) | Mark::Dirsync { usn, .. }) = since.mark else {
        return None;
    };
    (controller.usn < usn).then(|| Lost {
        why: format!(
            "{} is at sequence number {}, and was at {usn} at the last run: it was restored from a copy",
            controller.server, controller.usn
        ),
        doubt: Some(Doubt::Restored),
    })
}
