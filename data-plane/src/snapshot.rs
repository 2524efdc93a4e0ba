//! What one request works with: a table, its generation, and the live state of its routes and backends.
//!
//! Live state (metric handles, what `balance` knows of backends and endpoints) is carried over from generation to generation by name, so a
//! change elsewhere moves nothing. [`SnapshotCell`] is one pointer: one swap publishes, one load reads. Publishing costs what differs
//! from the table before: what both share is not looked at, and letting go of an old snapshot frees only what was its own.

mod names;

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use crate::balance::{LiveBackend, LiveEndpoint};
use crate::metrics::{Metrics, NO_OWNER, OwnerHandles, TenantHandles};
use crate::table::shards::Shards;
use crate::table::slots::Slots;
use crate::table::{BackendId, Endpoint, PathPolicy, Policy, RouteId, Table};
use names::{Gone, Names};

/// A published table.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of the publication: 0 before the first.
    pub generation: u64,
    /// What is served.
    pub table: Table,
    live: Live,
}

/// What lives longer than one table, as requests find it.
#[derive(Clone, Debug)]
struct Live {
    unrouted: Arc<OwnerHandles>,
    /// By the numbers of the routes.
    of_route: Slots<LiveRoute>,
    /// By the numbers of the backends.
    of_backend: Slots<LiveBackend>,
    endpoints: Shards<Endpoint, Known>,
}

/// An endpoint of the table.
#[derive(Clone, Debug)]
struct Known {
    live: Arc<LiveEndpoint>,
    /// How many backends have it.
    uses: usize,
}

/// What a request needs to know of its route, at one place.
#[derive(Clone, Debug)]
struct LiveRoute {
    handles: Arc<OwnerHandles>,
    backend: BackendId,
    policy: Option<Arc<Policy>>,
    of_path: PathPolicy,
}

/// The one place where the data plane finds its snapshot.
#[derive(Debug)]
pub struct SnapshotCell {
    current: ArcSwap<Snapshot>,
    metrics: Metrics,
    /// Locked by publications only.
    names: Mutex<Names>,
}

/// The cell as one worker reads it. Workers that only read share no count of references: the last snapshot is kept here,
/// and a request's share of it is the worker's own.
#[derive(Debug)]
pub(crate) struct Latest(RefCell<Held>);

#[derive(Debug)]
struct Held {
    cache: Cache<Current, Arc<Snapshot>>,
    shared: Rc<Share>,
}

/// A worker's share of a snapshot.
#[derive(Debug)]
pub(crate) struct Share(Arc<Snapshot>);

#[derive(Debug)]
struct Current(Arc<SnapshotCell>);

// === impl Latest ===

impl Latest {
    pub(crate) fn new(cell: Arc<SnapshotCell>) -> Self {
        let shared = Rc::new(Share(cell.load_full()));
        let cache = Cache::new(Current(cell));
        Self(RefCell::new(Held { cache, shared }))
    }

    /// The snapshot of this moment, as [`SnapshotCell::load_full`].
    pub(crate) fn load_full(&self) -> Rc<Share> {
        let held = &mut *self.0.borrow_mut();
        let newest = held.cache.load();
        if !Arc::ptr_eq(newest, &held.shared.0) {
            held.shared = Rc::new(Share(newest.clone()));
        }
        held.shared.clone()
    }
}

impl Deref for Share {
    type Target = Arc<Snapshot>;

    fn deref(&self) -> &Arc<Snapshot> {
        &self.0
    }
}

impl Deref for Current {
    type Target = ArcSwap<Snapshot>;

    fn deref(&self) -> &Self::Target {
        &self.0.current
    }
}

// === impl SnapshotCell ===

impl SnapshotCell {
    /// A cell with an empty table, generation 0.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let tenant = |name: &str| Arc::new(TenantHandles::new(&metrics, name.into()));
        let overflow = metrics.overflow();
        let unrouted = OwnerHandles::without_limit(&metrics, &tenant(NO_OWNER), &NO_OWNER.into());
        let empty = Snapshot {
            generation: 0,
            table: Table::default(),
            live: Live {
                unrouted: Arc::new(unrouted),
                of_route: Slots::default(),
                of_backend: Slots::default(),
                endpoints: Shards::default(),
            },
        };
        Self {
            current: ArcSwap::from_pointee(empty),
            metrics,
            names: Mutex::new(Names::new(overflow)),
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
        // A panic of another publication leaves names too many, which do no harm.
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Gone::default();
        let live = names.carry_over(&before, &table, &self.metrics, &mut gone);
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
        gone.retire(&self.metrics);
        generation
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Metric handles of the Ingress of this route, where it leads, what the Ingress asks for beside, and what is done to the requests.
    pub(crate) fn route(&self, route: RouteId) -> (&OwnerHandles, BackendId, &Policy, &PathPolicy) {
        let live = self.live.of_route.get(route.index());
        let live = live.expect("each route of the table has its handles");
        let policy = live.policy.as_deref().unwrap_or(Policy::NONE);
        (&live.handles, live.backend, policy, &live.of_path)
    }

    /// What is known of this backend.
    pub(crate) fn backend(&self, backend: BackendId) -> &LiveBackend {
        let live = self.live.of_backend.get(backend.index());
        live.expect("what is known of each backend of the table stands beside it")
    }

    /// Whether some backend has this endpoint.
    pub(crate) fn has_endpoint(&self, endpoint: &Endpoint) -> bool {
        self.live.endpoints.get(endpoint).is_some()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::metrics::{LANES, OVERFLOW, OWNERS_MAX};
    use crate::table::{Backend, BackendName, Protocol, RouteOwner, TableBuilder};

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
        let routes = snapshot.table.routes().into_iter();
        let backend = |id| snapshot.table.backend(id);
        let ids = routes.map(|route| route.backend);
        let id = ids
            .into_iter()
            .find(|&id| &*backend(id).name.service == service);
        snapshot.backend(id.unwrap()).traffic.turn()
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

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn owners_beyond_the_limit_share_one_series_until_there_is_a_place() {
        let mut registry = Registry::default();
        let cell = SnapshotCell::new(Metrics::register(&mut registry));
        let many = |first: usize| (first..=OWNERS_MAX).map(|number| format!("i{number:06}"));
        cell.publish(table(many(0)));
        let count_all = || {
            for (_, route) in cell.load_full().live.of_route.iter() {
                let owner = route.handles.on(LANES - 1);
                owner.ended(200, std::time::Duration::ZERO);
            }
        };
        let count = |text: &str, label: &str| {
            let sample = format!("requests_total{{tenant=\"{label}\"");
            text.lines()
                .filter(|line| line.starts_with(&sample))
                .count()
        };
        assert_eq!(count(&text(&registry), "team"), 0, "no request, no series");
        count_all();
        count_all();
        let full = text(&registry);
        assert_eq!(
            (count(&full, "team"), count(&full, OVERFLOW)),
            (OWNERS_MAX, 1)
        );
        assert!(full.contains("metrics_owners_overflowed 1\n"));
        let last = format!("ingress=\"i{OWNERS_MAX:06}\"");
        assert!(!full.contains(&last));

        cell.publish(table(many(1)));
        count_all();
        let fits = text(&registry);
        assert_eq!(count(&fits, "team"), OWNERS_MAX);
        assert!(
            fits.contains(&last),
            "it has the place of the one that is gone"
        );
        assert!(fits.contains("metrics_owners_overflowed 0\n"));
    }

    #[test]
    fn an_endpoint_is_known_as_long_as_a_backend_has_it() {
        let cell = SnapshotCell::new(Metrics::register(&mut Registry::default()));
        let endpoint = |last: u8| Endpoint {
            address: ([10, 0, 0, last], 80).into(),
            identity: "pod".into(),
        };
        let publish = |backends: &[(&str, &[u8])]| {
            let mut builder = TableBuilder::new();
            for &(name, endpoints) in backends {
                let id = builder.backend(Backend {
                    name: BackendName {
                        namespace: "team".into(),
                        service: name.into(),
                        port: "80".into(),
                    },
                    protocol: Protocol::Http1,
                    endpoints: endpoints.iter().map(|&last| endpoint(last)).collect(),
                });
                let (tenant, ingress) = ("team".into(), name.into());
                builder.route(RouteOwner { tenant, ingress }, id);
            }
            cell.publish(builder.build());
            let snapshot = cell.load_full();
            (1..=3)
                .filter(|&last| snapshot.has_endpoint(&endpoint(last)))
                .collect::<Vec<_>>()
        };
        assert_eq!(publish(&[("a", &[1, 2]), ("b", &[2])]), [1, 2]);
        assert_eq!(publish(&[("a", &[1]), ("b", &[2, 3])]), [1, 2, 3]);
        assert_eq!(publish(&[("b", &[2])]), [2]);
        assert_eq!(publish(&[]), [0_u8; 0]);
    }
}
