//! Probing a tenant's target: what its profiles map in, what the probe found out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::{Connected, Relays};
use crate::canary;
use crate::directory::profile::Profile;
use crate::id::TenantName;
use crate::identity::Kind;
use crate::scim::evidence::Findings;
use crate::scim::path::AttributePath;

/// How long experiments may take for the API; what is left of a request's minute is for the removal of canaries.
const TIME_LIMIT: Duration = Duration::from_secs(45);

/// Probes the target of one of the tenants that connections lead to; `None` when none of them does.
pub async fn probe(
    connections: &[Connected],
    tenant: &TenantName,
    stop: CancellationToken,
) -> Option<Findings> {
    let of_tenant = || {
        connections
            .iter()
            .filter(|connected| connected.tenant.name == *tenant)
    };
    let first = of_tenant().next()?;
    let settings = canary::Settings {
        tenant: first.tenant.clone(),
        provider: first.provider.clone(),
        mapped: mapped(of_tenant().map(|connected| &*connected.profile)),
        stop,
    };
    Some(canary::run(&settings).await)
}

impl Relays {
    /// See [`crate::admin::probe::Probe::probe_target`].
    pub(super) async fn probe_target(
        &self,
        name: &TenantName,
        stop: CancellationToken,
    ) -> Result<Findings, String> {
        let contents = self.catalog.contents();
        let (tenant, provider) = self
            .reach(&contents, name)
            .map_err(|problems| problems.join("; "))?;
        let directories: Vec<_> = contents
            .directories_of(name)
            .into_iter()
            .map(|entry| Arc::clone(&entry.definition))
            .collect();
        let profiles = directories.iter().flat_map(|directory| &directory.profiles);
        let settings = canary::Settings {
            mapped: mapped(profiles),
            stop: stop.clone(),
            tenant,
            provider,
        };
        // The probe is never dropped on its way, as its canaries would stay.
        let probe = canary::run(&settings);
        tokio::pin!(probe);
        tokio::select! {
            findings = &mut probe => return Ok(findings),
            () = tokio::time::sleep(TIME_LIMIT) => stop.cancel(),
        }
        Ok(probe.await)
    }
}

/// The attributes of users that profiles map.
fn mapped<'a>(profiles: impl Iterator<Item = &'a Profile>) -> BTreeSet<AttributePath> {
    profiles
        .flat_map(|profile| profile.mapping.maintained(Kind::User))
        .collect()
}
