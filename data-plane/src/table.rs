//! The routing table: immutable, made by the control plane's `compile`, compared in tests. Pure.
//!
//! In: hosts, paths, backends, endpoints and certificates that are known to be valid. Out: what `route` looks
//! up and `balance` picks from. Routes and backends are numbered, so that live state (counters, round-robin
//! positions) can stand beside the table. Two tables of one builder share everything that did not change between them:
//! a change costs what it changes, in the making of a table, in its publication, and when the last request lets go of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

mod balancing;
mod builder;
mod certificate;
mod expression;
mod hosts;
mod path_policy;
mod paths;
mod policy;
mod rewrite;
pub(crate) mod shards;
pub(crate) mod slots;
mod upstream_tls;

pub use balancing::{Affinity, AffinityMode, Algorithm, HashBy, HashPart, InvalidAlgorithm};
pub use builder::TableBuilder;
pub use certificate::Certificate;
pub use expression::{Expression, InvalidExpression, PATH_BYTES_MAX};
pub use hosts::Hosts;
pub use path_policy::{PathPolicy, Redirect};
pub use paths::{HostPaths, Met};
pub use policy::Policy;
pub use rewrite::{InvalidTarget, Prefix, Rewrite, Target};
pub use shards::HashKey;
use slots::Slots;
pub use upstream_tls::{Authorities, UpstreamTls};

/// Everything a tier serves. Build with [`TableBuilder`]. A copy shares what is in it.
#[derive(Clone, Default)]
pub struct Table {
    routes: Slots<Arc<Route>>,
    backends: Slots<Arc<Backend>>,
    hosts: Hosts<Arc<HostPaths>>,
    wildcards: Hosts<Arc<HostPaths>>,
    any: Arc<HostPaths>,
    default_backend: Option<RouteId>,
    certificates: Certificates,
}

/// Number of a route in its table. One more is kept, so that a place for one that may be missing takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteId(NonZeroU32);

/// Number of a backend in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendId(u32);

/// Who asked for a route: the labels of its metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteOwner {
    /// Namespace of the Ingress.
    pub tenant: Arc<str>,
    /// Name of the Ingress.
    pub ingress: Arc<str>,
}

/// Where the requests of one Ingress for one backend go, as far as the same is done to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The Ingress that asked for it.
    pub owner: RouteOwner,
    /// Where the requests go.
    pub backend: BackendId,
    /// What the Ingress asks for beside. None: nothing.
    pub policy: Option<Arc<Policy>>,
    /// What is done to its requests before.
    pub of_path: PathPolicy,
}

/// What a route is, whatever its number.
type Named<'t> = (&'t RouteOwner, &'t BackendName, &'t PathPolicy);

/// Name of a Service port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendName {
    /// Namespace of the Service.
    pub namespace: Arc<str>,
    /// Name of the Service.
    pub service: Arc<str>,
    /// The port as the Ingress names it: a name or a number.
    pub port: Arc<str>,
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}

/// How a backend is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge over plain TCP (`appProtocol: kubernetes.io/h2c`).
    H2c,
    /// HTTP/1.1 within TLS (RFC 9110 §4.2.2).
    Https,
    /// HTTP/2 within TLS, when the endpoint agrees to it by ALPN (RFC 9113 §3.2); else HTTP/1.1 within TLS.
    H2,
}

/// A Service port with the endpoints that may get requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The Service port.
    pub name: BackendName,
    /// How its endpoints are spoken to.
    pub protocol: Protocol,
    /// Usable endpoints, sorted. None: requests are answered with 503.
    pub endpoints: Vec<Endpoint>,
}

/// One address that serves a backend. Its identity is the pod behind it as well: an address that moves to another pod
/// is another endpoint, so no pooled connection outlives its pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Where to connect to.
    pub address: SocketAddr,
    /// UID of the pod (`targetRef.uid`), or the name of the slice when there is none.
    pub identity: Arc<str>,
}

/// Certificates by the name the client asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Certificates {
    /// For one host.
    pub exact: Hosts<Certificate>,
    /// For `*.name`, by the name.
    pub wildcard: Hosts<Certificate>,
    /// For every other name, and for clients that send none.
    pub default: Option<Certificate>,
}

/// How a path of a rule is compared (Kubernetes, "Ingress", path types). `ImplementationSpecific` is [`Self::Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathMatch {
    /// Byte for byte.
    Exact,
    /// By path elements; a trailing slash makes no difference.
    Prefix,
}

// === impl Table ===

impl Table {
    /// The route with this number.
    ///
    /// # Panics
    /// When the number is of another table.
    #[must_use]
    pub fn route(&self, id: RouteId) -> &Route {
        let route = self.routes.get(id.index());
        route.expect("a number is used with the table that gave it")
    }

    /// The backend with this number.
    ///
    /// # Panics
    /// When the number is of another table.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> &Backend {
        let backend = self.backends.get(id.index());
        backend.expect("a number is used with the table that gave it")
    }

    /// All routes, in the order of their numbers.
    #[must_use]
    pub fn routes(&self) -> Vec<&Route> {
        self.routes.iter().map(|(_, route)| &**route).collect()
    }

    /// All backends, in the order of their numbers.
    #[must_use]
    pub fn backends(&self) -> Vec<&Backend> {
        let backends = self.backends.iter();
        backends.map(|(_, backend)| &**backend).collect()
    }

    /// Hosts that are named in full.
    #[must_use]
    pub fn hosts(&self) -> &Hosts<Arc<HostPaths>> {
        &self.hosts
    }

    /// Hosts that are named by wildcard, by the name behind `*.`.
    #[must_use]
    pub fn wildcards(&self) -> &Hosts<Arc<HostPaths>> {
        &self.wildcards
    }

    /// Rules without a host.
    #[must_use]
    pub fn any(&self) -> &HostPaths {
        &self.any
    }

    /// The tier's own default backend (`--default-backend-service`), for requests that no rule matches.
    #[must_use]
    pub fn default_backend(&self) -> Option<RouteId> {
        self.default_backend
    }

    /// The certificates.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    pub(crate) fn hash_key(&self) -> HashKey {
        self.hosts.key()
    }

    pub(crate) fn route_slots(&self) -> &Slots<Arc<Route>> {
        &self.routes
    }

    pub(crate) fn backend_slots(&self) -> &Slots<Arc<Backend>> {
        &self.backends
    }

    fn named(&self, id: RouteId) -> Named<'_> {
        let route = self.route(id);
        let backend = &self.backend(route.backend).name;
        (&route.owner, backend, &route.of_path)
    }

    fn named_expressions<'t>(&'t self, paths: &'t HostPaths) -> Vec<(&'t str, Named<'t>)> {
        let expressions = paths.expressions();
        expressions
            .map(|(expression, id)| (expression.text(), self.named(id)))
            .collect()
    }

    fn named_paths<'t>(
        &'t self,
        paths: &HostPaths,
    ) -> BTreeMap<Option<(PathMatch, String)>, Named<'t>> {
        let default = paths.default_route().map(|id| (None, self.named(id)));
        let paths = paths.in_order().into_iter();
        paths
            .map(|(path, id)| (Some(path), self.named(id)))
            .chain(default)
            .collect()
    }
}

/// A route without its number.
type NamedRoute<'t> = (Named<'t>, &'t Option<Arc<Policy>>);

/// Equal tables serve the same: their numbers and what they share do not matter.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        fn routes(table: &Table) -> Vec<NamedRoute<'_>> {
            let routes = table.routes.iter();
            let mut named: Vec<NamedRoute<'_>> = routes
                .map(|(_, route)| {
                    let backend = &table.backend(route.backend).name;
                    ((&route.owner, backend, &route.of_path), &route.policy)
                })
                .collect();
            named.sort_by_key(|(name, _)| *name);
            named
        }
        let backends = |table: &Self| -> BTreeMap<BackendName, Arc<Backend>> {
            let backends = table.backends.iter();
            backends
                .map(|(_, backend)| (backend.name.clone(), Arc::clone(backend)))
                .collect()
        };
        let is_same = |one: &Arc<HostPaths>, another: &Arc<HostPaths>| {
            self.named_paths(one) == other.named_paths(another)
                && self.named_expressions(one) == other.named_expressions(another)
        };
        self.hosts.is_same(&other.hosts, is_same)
            && self.wildcards.is_same(&other.wildcards, is_same)
            && is_same(&self.any, &other.any)
            && self.default_backend.map(|id| self.named(id))
                == other.default_backend.map(|id| other.named(id))
            && self.certificates == other.certificates
            && routes(self) == routes(other)
            && backends(self) == backends(other)
    }
}

/// In the order of names, as far as it is not that of numbers.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("routes", &self.routes())
            .field("backends", &self.backends())
            .field("hosts", &self.hosts)
            .field("wildcards", &self.wildcards)
            .field("any", &self.any)
            .field("default_backend", &self.default_backend)
            .field("certificates", &self.certificates)
            .finish()
    }
}

// === impl Protocol ===

impl Protocol {
    /// Whether requests go within TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        match self {
            Self::Http1 | Self::H2c => false,
            Self::Https | Self::H2 => true,
        }
    }

    /// Whether many requests share a connection.
    #[must_use]
    pub fn is_http2(self) -> bool {
        match self {
            Self::Http1 | Self::Https => false,
            Self::H2c | Self::H2 => true,
        }
    }

    /// The same by HTTP/1.1, as encrypted as it is.
    #[must_use]
    pub fn by_http1(self) -> Self {
        match self {
            Self::Http1 | Self::H2c => Self::Http1,
            Self::Https | Self::H2 => Self::Https,
        }
    }
}

// === impl RouteId, BackendId ===

impl RouteId {
    fn new(position: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add(number(position)))
    }

    /// Position in [`Table::routes`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl BackendId {
    /// Position in [`Table::backends`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

fn number(position: usize) -> u32 {
    u32::try_from(position)
        .expect("a table has fewer than 2^32 routes: each takes more than a byte of an object")
}
