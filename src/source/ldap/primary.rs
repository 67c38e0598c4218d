//! Members of primary groups, which Active Directory keeps with the users: primaryGroupID is the end of the group's objectSid.

use lber::structure::StructureTag;

use crate::source::Settings;
use crate::source::ldap::frame::Message;
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::wire::{Reply, Wire, WireError};

/// The user's attribute that names the primary group.
pub(super) const GROUP_ID: &str = "primarygroupid";
/// The group's attribute that it is the end of.
pub(super) const SID: &str = "objectsid";
/// How the identifiers of a domain's own objects begin, S-1-5-21 and four numbers more (MS-DTYP §2.4.2.2). Those of all
/// domains alike, such as S-1-5-32, are nobody's primary group.
const DOMAIN_SID: [u8; 12] = [1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0];
/// The length of such an identifier.
const DOMAIN_SID_LENGTH: usize = 28;

/// Where users are who may belong to a group by their primaryGroupID.
pub(super) struct Users {
    base: String,
    filter: StructureTag,
    page_entries: u16,
}

impl Users {
    /// The users of the settings.
    pub(super) fn of(settings: &Settings, filter: StructureTag) -> Self {
        Self {
            base: settings.users.base.clone(),
            filter,
            page_entries: settings.page_entries.max(1),
        }
    }

    /// The users whose primary group this is, each with its [`GROUP_ID`] and nothing else; the inner error says why they
    /// cannot be had. All of them together may be `bytes_max` long.
    pub(super) async fn of_group(
        &self,
        wire: &mut Wire,
        group_id: u32,
        bytes_max: usize,
    ) -> Result<Result<Vec<Message>, String>, WireError> {
        let group_id = group_id.to_string();
        let mut users = Vec::new();
        let mut bytes = 0;
        let mut cookie = Vec::new();
        loop {
            let search = Search {
                base: &self.base,
                reach: Reach::Subtree,
                filter: request::narrowed(&self.filter, GROUP_ID, group_id.as_bytes()),
                entries_max: 0,
                attributes: &[GROUP_ID],
                names_only: false,
            };
            let controls = vec![request::domain_scope()];
            wire.page(search, controls, self.page_entries, &cookie)
                .await?;
            let before = users.len();
            let (answer, next) = loop {
                match wire.reply().await? {
                    Reply::Entry(user) => {
                        bytes += user.bytes().len();
                        if bytes <= bytes_max {
                            users.push(user);
                        }
                    }
                    // What another server holds is missing among the users too, and told of there.
                    Reply::Reference(_) => {}
                    Reply::Done(answer, next) => break (answer, next),
                }
            };
            if !answer.is_success() {
                let why = format!("the users of this primary group: {}", answer.words());
                return Ok(Err(why));
            }
            if bytes > bytes_max {
                let why = format!(
                    "the users of this primary group take more than the {bytes_max} bytes that are accepted"
                );
                return Ok(Err(why));
            }
            match next {
                Some(next) if next.is_empty() => return Ok(Ok(users)),
                Some(next) if next != cookie || users.len() > before => cookie = next,
                _ => {
                    let why =
                        "the search for the users of this primary group does not come to an end";
                    return Ok(Err(why.to_owned()));
                }
            }
        }
    }
}

/// The number by which users name a group as their primary one: the end of its identifier.
pub(super) fn group_id(sid: &[u8]) -> Option<u32> {
    let of_domain = sid.len() == DOMAIN_SID_LENGTH && sid.starts_with(&DOMAIN_SID);
    let end = of_domain.then(|| sid.last_chunk())??;
    Some(u32::from_le_bytes(*end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_domain_identifier_is_the_group() {
        let sid = [&DOMAIN_SID[..], &[7; 12], &[1, 2, 0, 0]].concat();
        assert_eq!(group_id(&sid), Some(513));
        let builtin = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0];
        for other in [
            &builtin[..],
            &sid[..24],
            &[],
            &[sid.as_slice(), &[0]].concat(),
        ] {
            assert_eq!(group_id(other), None, "{other:?}");
        }
    }
}
