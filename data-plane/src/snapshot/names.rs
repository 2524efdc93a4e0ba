//! What lives longer than one table, by name. Only publications come here.
//!
//! In: the table before with its live state, and the new one. Out: the live state of the new one, where what has a name in both is the same;
//! and what nothing needs any more. What both tables share is not looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;
use tokio::time::Instant;

use super::{Known, Live, LiveRoute, Snapshot};
use crate::balance::{LiveBackend, LiveEndpoint, Traffic};
use crate::metrics::{Metrics, Overflow, OwnerHandles, TenantHandles};
use crate::table::shards::Shards;
use crate::table::{BackendName, Endpoint, HashKey, RouteOwner, Table};

/// What lives longer than one table, by name.
#[derive(Debug)]
pub(super) struct Names {
    /// Found by their names, which stand in them.
    owners: HashTable<Used<OwnerHandles>>,
    key: HashKey,
    tenants: BTreeMap<Arc<str>, Used<TenantHandles>>,
    traffic: BTreeMap<BackendName, Used<Traffic>>,
    overflow: Overflow,
    /// What the times of endpoints are counted from.
    epoch: Instant,
}

/// Something with a name, and how many need it.
#[derive(Debug)]
struct Used<T> {
    handles: Arc<T>,
    uses: usize,
}

/// What nothing of the new table needs any more.
#[derive(Default)]
pub(super) struct Gone {
    owners: Vec<Arc<OwnerHandles>>,
    tenants: Vec<Arc<TenantHandles>>,
}

// === impl Names ===

impl Names {
    /// Nothing has a name yet.
    pub(super) fn new(overflow: Overflow) -> Self {
        Self {
            owners: HashTable::new(),
            key: HashKey::default(),
            tenants: BTreeMap::new(),
            traffic: BTreeMap::new(),
            overflow,
            epoch: Instant::now(),
        }
    }

    /// The live state of `table`: what has a name in the one before is kept, the rest begins anew.
    pub(super) fn carry_over(
        &mut self,
        before: &Snapshot,
        table: &Table,
        metrics: &Metrics,
        gone: &mut Gone,
    ) -> Live {
        let mut live = before.live.clone();
        if before.generation == 0 {
            live.endpoints = Shards::new(table.hash_key());
            self.key = table.hash_key();
        }
        self.follow_routes(&before.table, table, &mut live, metrics, gone);
        self.follow_backends(&before.table, table, &mut live);
        live
    }

    fn follow_routes(
        &mut self,
        before: &Table,
        table: &Table,
        live: &mut Live,
        metrics: &Metrics,
        gone: &mut Gone,
    ) {
        let (before, after) = (before.route_slots(), table.route_slots());
        let mut released = Vec::new();
        for number in after.unshared(before) {
            let (known, route) = (before.get(number), after.get(number));
            if route == known {
                continue;
            }
            released.extend(known.map(|route| &route.owner));
            let live_route = route.map(|route| LiveRoute {
                handles: self.owner(&route.owner, metrics),
                backend: route.backend,
                policy: route.policy.clone(),
                of_path: route.of_path.clone(),
            });
            live.of_route.set(number, live_route);
        }
        // Last, so that an owner whose route only got another number keeps its handles.
        for owner in released {
            self.release(owner, gone);
        }
    }

    fn follow_backends(&mut self, before: &Table, table: &Table, live: &mut Live) {
        let (before, after) = (before.backend_slots(), table.backend_slots());
        let mut gone = Vec::new();
        for number in after.unshared(before) {
            let (known, backend) = (before.get(number), after.get(number));
            if known == backend {
                continue;
            }
            let live_backend = backend.map(|backend| LiveBackend {
                traffic: self.traffic(&backend.name),
                endpoints: self.endpoints(&backend.endpoints, live),
            });
            gone.extend(known);
            live.of_backend.set(number, live_backend);
        }
        // Last, so that a backend that only changed or got another number keeps its traffic, and an endpoint that stays its state.
        for backend in gone {
            for endpoint in &backend.endpoints {
                leave(endpoint, live);
            }
            if let Some(known) = self.traffic.get_mut(&backend.name) {
                known.uses -= 1;
                if known.uses == 0 {
                    self.traffic.remove(&backend.name);
                }
            }
        }
    }

    fn traffic(&mut self, name: &BackendName) -> Arc<Traffic> {
        let epoch = self.epoch;
        let known = self.traffic.entry(name.clone()).or_insert_with(|| Used {
            handles: Arc::new(Traffic::new(epoch, Instant::now())),
            uses: 0,
        });
        known.uses += 1;
        Arc::clone(&known.handles)
    }

    fn endpoints(&self, endpoints: &[Endpoint], live: &mut Live) -> Arc<[Arc<LiveEndpoint>]> {
        let endpoints = endpoints.iter().map(|endpoint| {
            let known = live.endpoints.get_or_insert_with(endpoint, || Known {
                live: Arc::new(LiveEndpoint::new(endpoint, self.epoch)),
                uses: 0,
            });
            known.uses += 1;
            known.live.clone()
        });
        endpoints.collect()
    }

    fn owner(&mut self, owner: &RouteOwner, metrics: &Metrics) -> Arc<OwnerHandles> {
        let key = self.key;
        let hashed = key.hash(owner);
        let is_it = |used: &Used<OwnerHandles>| used.handles.is_of(owner);
        if let Some(known) = self.owners.find_mut(hashed, is_it) {
            known.uses += 1;
            return Arc::clone(&known.handles);
        }
        let tenant = self
            .tenants
            .entry(owner.tenant.clone())
            .or_insert_with(|| Used {
                handles: Arc::new(TenantHandles::new(metrics, owner.tenant.clone())),
                uses: 0,
            });
        tenant.uses += 1;
        let handles = OwnerHandles::new(metrics, &tenant.handles, owner, &self.overflow);
        let handles = Arc::new(handles);
        let used = Used {
            handles: Arc::clone(&handles),
            uses: 1,
        };
        let hash_of = |used: &Used<OwnerHandles>| key.hash(&used.handles.owner());
        self.owners.insert_unique(hashed, used, hash_of);
        handles
    }

    fn release(&mut self, owner: &RouteOwner, gone: &mut Gone) {
        let is_it = |used: &Used<OwnerHandles>| used.handles.is_of(owner);
        let Ok(mut known) = self.owners.find_entry(self.key.hash(owner), is_it) else {
            return;
        };
        known.get_mut().uses -= 1;
        if known.get().uses > 0 {
            return;
        }
        gone.owners.push(known.remove().0.handles);
        let Some(tenant) = self.tenants.get_mut(&owner.tenant) else {
            return;
        };
        tenant.uses -= 1;
        if tenant.uses == 0 {
            let tenant = self.tenants.remove(&owner.tenant);
            gone.tenants.extend(tenant.map(|used| used.handles));
        }
    }
}

/// One backend less has this endpoint.
fn leave(endpoint: &Endpoint, live: &mut Live) {
    let Some(known) = live.endpoints.get(endpoint) else {
        return;
    };
    if known.uses > 1 {
        let fewer = Known {
            uses: known.uses - 1,
            ..known.clone()
        };
        live.endpoints.insert(endpoint, fewer);
    } else {
        live.endpoints.remove(endpoint);
    }
}

// === impl Gone ===

impl Gone {
    pub(super) fn retire(self, metrics: &Metrics) {
        self.owners.iter().for_each(|handles| handles.retire());
        self.tenants
            .iter()
            .for_each(|handles| handles.retire(metrics));
    }
}
