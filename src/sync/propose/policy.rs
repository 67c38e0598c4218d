//! How the profile that runs decides, with what its tenant's target can change.

use chrono::{DateTime, Utc};

use crate::directory::profile::Linking;
use crate::identity::Kind;
use crate::mapping::resource_type;
use crate::plan::decide::Policy;
use crate::plan::grace::Grace;
use crate::sync::Relay;

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
        user_attributes: changeable(Kind::User),
        group_attributes: changeable(Kind::Group),
        link_by_name: profile.linking == Linking::Automatic,
        protected: relay.tenant.protected.clone(),
        deprovisioning: profile.deprovisioning,
        grace: Grace {
            period: profile.grace_period,
            now,
        },
        absent_groups: profile.absent_groups,
        members_with_create: dialect.members_per_create,
    }
}
