//! Real counterparts: SCIM servers that others wrote, each through the whole story of a directory.

mod probe;
mod story;

use crate::support::scim_servers::{Product, ScimServer, ScimTarget};
use crate::support::scim2_server::Scim2Server;

/// What the story has to know of a server.
pub struct Facts {
    /// How the tenant's `dialect` tells the relay to speak to it, in TOML.
    pub dialect: &'static str,
    /// The attribute by which its users are told apart: in the directory, and there.
    pub key: (&'static str, &'static str),
    /// Whether two accounts with one e-mail address are what two with one userName are elsewhere.
    pub email_is_name: bool,
    /// Mapped attributes that it cannot hold, each with the reason.
    pub lacks: &'static [(&'static str, &'static str)],
    /// Steps of the story that it cannot do, each with the reason.
    pub cannot: &'static [(Step, &'static str)],
}

/// A part of the story that some servers have no way to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An account with our externalId that was there before is taken under management.
    AdoptUser,
    /// The same with a group.
    AdoptGroup,
    /// An account that was deleted at the target is created again.
    CreateAgain,
    /// A create that comes second finds the user that the first one made.
    FindUser,
    /// The same with a group.
    FindGroup,
    /// Anything with groups.
    Groups,
    /// A group gets another name.
    RenameGroup,
    /// A user gets another userName.
    RenameUser,
    /// All links are lost, and found again.
    LostLinks,
}

/// A server that does all that the RFC asks of it.
const STRICT: Facts = Facts {
    dialect: "{}",
    key: ("entryUUID", "externalId"),
    email_is_name: false,
    lacks: &[],
    cannot: &[NAMES_OF_GROUPS],
};

const NAMES_OF_GROUPS: (Step, &str) = (
    Step::FindGroup,
    "names of groups are not unique, so the second create is carried out",
);

/// Keeps a user of its own for each account, which outlives it.
const BETTER_AUTH: Facts = Facts {
    cannot: &[(
        Step::CreateAgain,
        "a deleted account leaves a user behind that keeps its e-mail address, and a new account with it is refused",
    )],
    ..STRICT
};

/// Shows no members, and looks for e-mail addresses whatever a filter names.
const JACKSON: Facts = Facts {
    dialect: "{ userUpdates = \"put\", membersPerCreate = 0, membersReadable = false, userFilters = [], groupFilters = [] }",
    email_is_name: true,
    cannot: &[],
    ..STRICT
};

/// Keeps few attributes, and changes users by PUT and groups by PATCH.
const DJANGO: Facts = Facts {
    // Without a word on filters of users: by externalId it finds nobody, and by userName the relay finds its own.
    dialect: "{ userUpdates = \"put\", memberRemovals = \"values\", membersPerCreate = 0, elementTypes = false, \
        elementUpdates = \"whole\", immutableGroupAttributes = [\"displayName\"], groupFilters = [] }",
    lacks: &[
        ("name.formatted", "made of first and last name"),
        ("displayName", "made of first and last name"),
        ("phone", "not kept"),
        ("mobile", "not kept"),
        ("title", "not kept"),
        ("userType", "not kept"),
        ("language", "not kept"),
        ("department", "not kept"),
        ("employeeNumber", "not kept"),
        (story::CITY, "not kept"),
    ],
    cannot: &[(Step::RenameGroup, "PATCH of a group knows members only")],
    ..STRICT
};

/// An IAM with a data model of its own.
const CANAILLE: Facts = Facts {
    // Without a word on filters: it ignores them, and the relay finds out.
    dialect: "{ elementTypes = false, elementUpdates = \"whole\", paging = \"none\", \
        omittedAttributes = [\"externalId\"], immutableUserAttributes = [\"userName\"] }",
    key: ("uid", "userName"),
    lacks: &[
        (
            "mobile",
            "telephone numbers have no type, so only one can be told from others",
        ),
        ("userType", "refused"),
    ],
    cannot: &[
        (Step::FindUser, "externalId is accepted and not stored"),
        (Step::FindGroup, "there are no groups"),
        (Step::AdoptUser, "externalId is accepted and not stored"),
        (Step::LostLinks, "externalId is accepted and not stored"),
        (Step::RenameUser, "userName is immutable"),
        (Step::AdoptGroup, "there are no groups"),
        (Step::RenameGroup, "there are no groups"),
        (
            Step::Groups,
            "a member has its userName for an id and wants a $ref, and a group without members is refused",
        ),
    ],
    ..STRICT
};

fn told(target: &dyn ScimTarget, facts: &Facts) {
    story::Story::new(target, facts).tell();
}

#[test]
fn target_scim2_server_goes_through_the_story() {
    told(&Scim2Server::start(), &STRICT);
}

#[test]
fn target_scimmy_goes_through_the_story() {
    told(&ScimServer::start(Product::Scimmy), &STRICT);
}

#[test]
fn target_better_auth_goes_through_the_story() {
    told(&ScimServer::start(Product::BetterAuth), &BETTER_AUTH);
}

#[test]
fn target_jackson_goes_through_the_story() {
    told(&ScimServer::start(Product::Jackson), &JACKSON);
}

#[test]
fn target_django_scim2_goes_through_the_story() {
    told(&ScimServer::start(Product::Django), &DJANGO);
}

#[test]
fn target_canaille_goes_through_the_story() {
    told(&ScimServer::start(Product::Canaille), &CANAILLE);
}
