//! Places for work that takes a while, of which one tenant never has all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::TenantName;

/// The places.
#[derive(Clone)]
pub(super) struct Shares(Arc<Inner>);

struct Inner {
    /// In all.
    total: usize,
    /// Of one tenant.
    each: usize,
    taken: Mutex<HashMap<TenantName, usize>>,
}

/// A place, given back when it is dropped.
pub(super) struct Share {
    shares: Shares,
    tenant: TenantName,
}

impl Shares {
    /// So many in all, and so many of one tenant.
    pub(super) fn new(total: usize, each: usize) -> Self {
        Self(Arc::new(Inner {
            total,
            each,
            taken: Mutex::default(),
        }))
    }

    /// Takes a place for a tenant; `None` when it has its share already, or all are taken.
    pub(super) fn take(&self, tenant: &TenantName) -> Option<Share> {
        let mut taken = self.taken();
        let own = taken.get(tenant).copied().unwrap_or_default();
        if own >= self.0.each || taken.values().sum::<usize>() >= self.0.total {
            return None;
        }
        taken.insert(tenant.clone(), own + 1);
        Some(Share {
            shares: self.clone(),
            tenant: tenant.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<TenantName, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(own) = taken.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_never_has_all_places() {
        let [acme, globex] = ["acme", "globex"].map(|name| TenantName(name.into()));
        let shares = Shares::new(3, 2);
        let held = [shares.take(&acme), shares.take(&acme)];
        assert!(held.iter().all(Option::is_some));
        assert!(shares.take(&acme).is_none());
        let other = shares.take(&globex);
        assert!(other.is_some());
        assert!(shares.take(&globex).is_none(), "all are taken");
        drop(held);
        assert!(shares.take(&acme).is_some());
    }
}
