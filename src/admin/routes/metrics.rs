//! Metrics in the OpenMetrics text format: what is linked, when it was last read, and how each profile is.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::admin::Admin;
use crate::admin::auth::Administrator;
use crate::admin::problem::Problem;
use crate::admin::routes::health;
use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::job::health::Colour;

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The labels of what a directory has.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfDirectory {
    tenant: String,
    directory: String,
}

/// The labels of what a profile has.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfProfile {
    tenant: String,
    directory: String,
    profile: String,
}

/// What is measured at one moment.
#[derive(Default)]
struct Metrics {
    users: Family<OfDirectory, Gauge>,
    active_users: Family<OfDirectory, Gauge>,
    groups: Family<OfDirectory, Gauge>,
    memberships: Family<OfDirectory, Gauge>,
    last_attempt: Family<OfProfile, Gauge>,
    last_complete_read: Family<OfProfile, Gauge>,
    health: Family<OfProfile, Gauge>,
}

/// Everything of the tenants that the caller may see.
pub(super) async fn metrics(admin: &Admin, caller: &Administrator) -> Result<Response, Problem> {
    let metrics = Metrics::default();
    let contents = admin.catalog.contents();
    let directories = contents
        .directories()
        .map(|entry| &entry.definition)
        .filter(|directory| caller.may_manage(&directory.tenant));
    for directory in directories {
        metrics.add_directory(admin, directory).await?;
        for profile in &directory.profiles {
            metrics.add_profile(admin, directory, profile).await?;
        }
    }
    let mut text = String::new();
    encode(&mut text, &metrics.registry()).map_err(|_| Problem::internal())?;
    let mut answer = text.into_response();
    let kind = HeaderValue::from_static(MEDIA_TYPE);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(answer)
}

impl Metrics {
    async fn add_directory(&self, admin: &Admin, directory: &Directory) -> Result<(), Problem> {
        let linked = admin.store.linked_counts(directory.id).await?;
        let labels = OfDirectory {
            tenant: directory.tenant.to_string(),
            directory: directory.name.clone(),
        };
        for (family, count) in [
            (&self.users, linked.users),
            (&self.active_users, linked.active_users),
            (&self.groups, linked.groups),
            (&self.memberships, linked.members),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            family.get_or_create(&labels).set(count);
        }
        Ok(())
    }

    async fn add_profile(
        &self,
        admin: &Admin,
        directory: &Directory,
        profile: &Profile,
    ) -> Result<(), Problem> {
        let key = directory.profile_key(&profile.name);
        let state = admin.store.profile_state(&key).await?;
        let labels = OfProfile {
            tenant: directory.tenant.to_string(),
            directory: directory.name.clone(),
            profile: profile.name.to_string(),
        };
        let set = |family: &Family<OfProfile, Gauge>, time: Option<DateTime<Utc>>| {
            if let Some(time) = time {
                family.get_or_create(&labels).set(time.timestamp());
            }
        };
        set(&self.last_attempt, state.last_attempt);
        set(&self.last_complete_read, state.last_complete_read);
        let status = match health::of_profile(admin, directory, profile).await? {
            Colour::Green => 0,
            Colour::Yellow => 1,
            Colour::Red => 2,
        };
        self.health.get_or_create(&labels).set(status);
        Ok(())
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("scim_relay");
        for (name, help, family) in [
            ("linked_users", "Users that are linked", &self.users),
            (
                "linked_active_users",
                "Linked users that the target holds active",
                &self.active_users,
            ),
            ("linked_groups", "Groups that are linked", &self.groups),
            (
                "memberships",
                "Members that the relay put into linked groups",
                &self.memberships,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        for (name, help, family) in [
            (
                "last_attempt_timestamp_seconds",
                "When the last run began",
                &self.last_attempt,
            ),
            (
                "last_complete_read_timestamp_seconds",
                "When the last read that was proved complete ended",
                &self.last_complete_read,
            ),
            (
                "health",
                "0 green, 1 yellow, 2 red, as GET /api/v1/health says with the reason",
                &self.health,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        registry
    }
}
