//! What one request works with: a table, its generation, and the live state of its routes and backends.
//!
//! Live state (metric handles, round-robin positions) is carried over from generation to generation by name, so a change
//! elsewhere moves nothing. [`SnapshotCell`] is one pointer: one swap publishes, one load reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;

use crate::metrics::{Metrics, NO_OWNER, OVERFLOW, OWNERS_MAX, OwnerHandles, TenantHandles};
use crate::table::{BackendId, BackendName, Endpoint, RouteId, RouteOwner, Table};

/// A published table.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of the publication: 0 before the first.
    pub generation: u64,
    /// What is served.
    pub table: Table,
    live: Live,
}

/// What lives longer than one table.
#[derive(Debug)]
struct Live {
    owners: BTreeMap<RouteOwner, Arc<OwnerHandles>>,
    tenants: BTreeMap<Arc<str>, Arc<TenantHandles>>,
    positions: BTreeMap<BackendName, Arc<AtomicUsize>>,
    unrouted: Arc<OwnerHandles>,
    overflow: Arc<OwnerHandles>,
    /// Beside [`Table::routes`].
    of_route: Vec<Arc<OwnerHandles>>,
    /// Beside [`Table::backends`].
    of_backend: Vec<Arc<AtomicUsize>>,
    endpoints: BTreeSet<Endpoint>,
}

/// The one place where the data plane finds its snapshot.
#[derive(Debug)]
pub struct SnapshotCell {
    current: ArcSwap<Snapshot>,
    metrics: Metrics,
}

// === impl SnapshotCell ===

impl SnapshotCell {
    /// A cell with an empty table, generation 0.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let empty = Snapshot {
            generation: 0,
            table: Table::default(),
            live: Live::new(&metrics),
        };
        Self {
            current: ArcSwap::from_pointee(empty),
            metrics,
        }
    }

    /// The snapshot of this moment. One handshake or one request calls this once.
    #[must_use]
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Metric handles of what no route takes; the same for all tables.
    pub(crate) fn unrouted(&self) -> Arc<OwnerHandles> {
        self.load_full().live.unrouted.clone()
    }

    /// Replaces the table and returns its generation. Only the control plane's `publish` calls this, from one task.
    pub fn publish(&self, table: Table) -> u64 {
        let before = self.load_full();
        let generation = before.generation + 1;
        let live = before.live.carry_over(&table, &self.metrics);
        let gone = before.live.gone_from(&live);
        let families = self.metrics.families();
        families
            .generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.current.store(Arc::new(Snapshot {
            generation,
            table,
            live,
        }));
        // Only after the swap: a request that begins meanwhile must not count on series that are gone.
        gone.retire();
        generation
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Metric handles of the Ingress of this route.
    pub(crate) fn owner_handles(&self, route: RouteId) -> &Arc<OwnerHandles> {
        &self.live.of_route[route.index()]
    }

    /// Metric handles of requests that no route takes.
    pub(crate) fn unrouted(&self) -> &Arc<OwnerHandles> {
        &self.live.unrouted
    }

    /// Round-robin position of this backend.
    pub(crate) fn position(&self, backend: BackendId) -> &AtomicUsize {
        &self.live.of_backend[backend.index()]
    }

    /// Whether some backend has this endpoint.
    pub(crate) fn has_endpoint(&self, endpoint: &Endpoint) -> bool {
        self.live.endpoints.contains(endpoint)
    }
}

// === impl Live ===

struct Gone {
    owners: Vec<Arc<OwnerHandles>>,
    tenants: Vec<Arc<TenantHandles>>,
}

impl Live {
    fn new(metrics: &Metrics) -> Self {
        let shared = |name: &str| {
            let name: Arc<str> = name.into();
            let tenant = Arc::new(TenantHandles::new(metrics, name.clone()));
            Arc::new(OwnerHandles::new(metrics, &tenant, name.clone(), name))
        };
        Self {
            owners: BTreeMap::new(),
            tenants: BTreeMap::new(),
            positions: BTreeMap::new(),
            unrouted: shared(NO_OWNER),
            overflow: shared(OVERFLOW),
            of_route: Vec::new(),
            of_backend: Vec::new(),
            endpoints: BTreeSet::new(),
        }
    }

    /// The live state of `table`: what has a name there already is kept, the rest begins anew.
    fn carry_over(&self, table: &Table, metrics: &Metrics) -> Self {
        let mut next = Self {
            owners: BTreeMap::new(),
            tenants: BTreeMap::new(),
            positions: BTreeMap::new(),
            unrouted: self.unrouted.clone(),
            overflow: self.overflow.clone(),
            of_route: Vec::with_capacity(table.routes().len()),
            of_backend: Vec::with_capacity(table.backends().len()),
            endpoints: BTreeSet::new(),
        };
        let names: BTreeSet<&RouteOwner> =
            table.routes().iter().map(|route| &route.owner).collect();
        let (known, new): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|owner| self.owners.contains_key(*owner));
        let overflowed = (known.len() + new.len()).saturating_sub(OWNERS_MAX);
        for owner in known.into_iter().chain(new).take(OWNERS_MAX) {
            let handles = self.owner(owner, &mut next.tenants, metrics);
            next.owners.insert(owner.clone(), handles);
        }
        metrics
            .families()
            .owners_overflowed
            .set(i64::try_from(overflowed).unwrap_or(i64::MAX));
        for route in table.routes() {
            let handles = next.owners.get(&route.owner).unwrap_or(&self.overflow);
            next.of_route.push(handles.clone());
        }
        for backend in table.backends() {
            let position = self
                .positions
                .get(&backend.name)
                .cloned()
                .unwrap_or_default();
            next.positions
                .insert(backend.name.clone(), position.clone());
            next.of_backend.push(position);
            next.endpoints.extend(backend.endpoints.iter().cloned());
        }
        next
    }

    fn owner(
        &self,
        owner: &RouteOwner,
        tenants: &mut BTreeMap<Arc<str>, Arc<TenantHandles>>,
        metrics: &Metrics,
    ) -> Arc<OwnerHandles> {
        let tenant = tenants.entry(owner.tenant.clone()).or_insert_with(|| {
            let known = self.tenants.get(&owner.tenant).cloned();
            known.unwrap_or_else(|| Arc::new(TenantHandles::new(metrics, owner.tenant.clone())))
        });
        let known = self.owners.get(owner).cloned();
        known.unwrap_or_else(|| {
            let (name, ingress) = (owner.tenant.clone(), owner.ingress.clone());
            Arc::new(OwnerHandles::new(metrics, tenant, name, ingress))
        })
    }

    fn gone_from(&self, next: &Self) -> Gone {
        let owners = self.owners.iter();
        let tenants = self.tenants.iter();
        Gone {
            owners: owners
                .filter(|(name, _)| !next.owners.contains_key(*name))
                .map(|(_, handles)| handles.clone())
                .collect(),
            tenants: tenants
                .filter(|(name, _)| !next.tenants.contains_key(*name))
                .map(|(_, handles)| handles.clone())
                .collect(),
        }
    }
}

impl Gone {
    fn retire(self) {
        self.owners.iter().for_each(|handles| handles.retire());
        self.tenants.iter().for_each(|handles| handles.retire());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::table::{Backend, Protocol, TableBuilder};

    /// A table with these Ingresses, each with a Service of its name.
    fn table(names: impl IntoIterator<Item = String>) -> Table {
        let mut builder = TableBuilder::new();
        for name in names {
            let id = builder.backend(Backend {
                name: BackendName {
                    namespace: "team".into(),
                    service: name.as_str().into(),
                    port: "80".into(),
                },
                protocol: Protocol::Http1,
                endpoints: Vec::new(),
            });
            let (tenant, ingress) = ("team".into(), name.into());
            builder.route(RouteOwner { tenant, ingress }, id);
        }
        builder.build()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn position(snapshot: &Snapshot, service: &str) -> usize {
        let routes = snapshot.table.routes().iter();
        let backend = |id| snapshot.table.backend(id);
        let ids = routes.map(|route| route.backend);
        let id = ids
            .into_iter()
            .find(|&id| &*backend(id).name.service == service);
        snapshot
            .position(id.unwrap())
            .fetch_add(1, Ordering::Relaxed)
    }

    #[test]
    fn a_backend_keeps_its_position_while_others_come_and_go() {
        let cell = SnapshotCell::new(Metrics::register(&mut Registry::default()));
        assert_eq!(cell.publish(table(names(&["b"]))), 1);
        assert_eq!(position(&cell.load_full(), "b"), 0);
        assert_eq!(cell.publish(table(names(&["a", "b", "c"]))), 2);
        assert_eq!(position(&cell.load_full(), "b"), 1);
        assert_eq!(position(&cell.load_full(), "a"), 0);
        cell.publish(table(names(&["a"])));
        cell.publish(table(names(&["b"])));
        assert_eq!(position(&cell.load_full(), "b"), 0, "a new one begins anew");
    }

    #[test]
    fn owners_beyond_the_limit_share_one_series_and_known_ones_keep_theirs() {
        let mut registry = Registry::default();
        let cell = SnapshotCell::new(Metrics::register(&mut registry));
        let known = format!("z{OWNERS_MAX}");
        cell.publish(table([known.clone()]));
        let many = (1..=OWNERS_MAX).map(|number| format!("i{number:06}"));
        cell.publish(table(many.chain([known.clone()])));
        let snapshot = cell.load_full();
        for handles in &snapshot.live.of_route {
            handles.ended(200, std::time::Duration::ZERO);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let count = |label: &str| {
            let sample = format!("requests_total{{tenant=\"{label}\"");
            text.lines()
                .filter(|line| line.starts_with(&sample))
                .count()
        };
        assert_eq!(count("team"), OWNERS_MAX);
        assert_eq!(count(OVERFLOW), 1);
        assert!(text.contains(&format!("ingress=\"{known}\"")));
        assert!(text.contains("metrics_owners_overflowed 1\n"));
    }
}
