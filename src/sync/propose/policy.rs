//! How the profile that runs decides, with what its tenant's target can change.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use crate::directory::profile::Linking;
use crate::identity::Kind;
use crate::mapping::resource_type;
use crate::plan::decide::Policy;
use crate::plan::grace::Grace;
use crate::scim::path::AttributePath;
use crate::snapshot::{Row, Seen, Standing};
use crate::sync::Relay;
use crate::sync::propose::Draft;

/// The policy of a run.
pub(super) fn of(relay: &Relay, now: DateTime<Utc>) -> Policy {
    let (profile, dialect) = (&relay.profile, &relay.tenant.dialect);
    let changeable = |kind| {
        let mut paths = profile.mapping.maintained(kind);
        paths.retain(|path| dialect.changes(resource_type(kind), path));
        paths
    };
    Policy {
        population: profile.population,
        keeps_active: dialect.changes(resource_type(Kind::User), &AttributePath::active()),
        user_attributes: changeable(Kind::User),
        group_attributes: changeable(Kind::Group),
        link_by_name: profile.linking == Linking::Automatic,
        protected: relay.tenant.protected.clone(),
        deprovisioning: profile.deprovisioning,
        grace: Grace {
            period: profile.grace_period,
            now,
            changed_at: None,
        },
        absent_groups: profile.absent_groups,
        members_with_create: dialect.members_per_create,
    }
}

impl Draft<'_> {
    /// How a row is decided: of one that nobody sees any more its owner's word counts, whichever run finds it gone.
    pub(super) fn policy_for(&self, row: &Row, seen: &Seen) -> Cow<'_, Policy> {
        if seen.standing == Standing::Present {
            return Cow::Borrowed(&self.policy);
        }
        let owner = self.relay.profile_of(row);
        Cow::Owned(Policy {
            deprovisioning: owner.deprovisioning,
            absent_groups: owner.absent_groups,
            grace: self.grace_of(row),
            ..self.policy.clone()
        })
    }
}
