//! The routing table: immutable, made by the control plane's `compile`, compared in tests. Pure.
//!
//! In: hosts, paths, backends, endpoints and certificates that are known to be valid. Out: what `route` looks
//! up and `balance` picks from. Routes and backends are numbered, so that live state (counters, round-robin
//! positions) can stand beside the table in a slice of the same length.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use crate::host::{HostName, HostPattern};

/// Everything a tier serves. Build with [`TableBuilder`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    routes: Vec<Route>,
    backends: Vec<Backend>,
    hosts: BTreeMap<HostName, HostPaths>,
    wildcards: BTreeMap<HostName, HostPaths>,
    any: HostPaths,
    default_backend: Option<RouteId>,
    certificates: Certificates,
}

/// Number of a route in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteId(u32);

/// Number of a backend in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendId(u32);

/// Who asked for a route: the labels of its metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteOwner {
    /// Namespace of the Ingress.
    pub tenant: Arc<str>,
    /// Name of the Ingress.
    pub ingress: Arc<str>,
}

/// Where the requests of one Ingress for one backend go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The Ingress that asked for it.
    pub owner: RouteOwner,
    /// Where the requests go.
    pub backend: BackendId,
}

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where to connect to.
    pub address: SocketAddr,
    /// UID of the pod (`targetRef.uid`), or the name of the slice when there is none.
    pub identity: Arc<str>,
}

/// The paths of one host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostPaths {
    /// Paths that must be equal.
    pub exact: BTreeMap<Arc<str>, RouteId>,
    /// Paths that match element by element, without their trailing slash: `/` is the empty text.
    pub prefix: BTreeMap<Arc<str>, RouteId>,
    /// For paths that match nothing above: the `defaultBackend` of an Ingress that names this host.
    pub default: Option<RouteId>,
}

/// A certificate chain with its key, ready to sign.
#[derive(Clone)]
pub struct Certificate {
    /// `namespace/name` of its Secret.
    pub secret: Arc<str>,
    /// Changes whenever chain or key change.
    pub fingerprint: [u8; 32],
    /// What rustls signs with.
    pub key: Arc<CertifiedKey>,
}

/// Certificates by the name the client asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Certificates {
    /// For one host.
    pub exact: BTreeMap<HostName, Certificate>,
    /// For `*.name`, by the name.
    pub wildcard: BTreeMap<HostName, Certificate>,
    /// For every other name, and for clients that send none.
    pub default: Option<Certificate>,
}

/// Builds a [`Table`]. The first claim of a host and path wins; the caller sorts.
#[derive(Debug, Default)]
pub struct TableBuilder {
    table: Table,
    backend_ids: BTreeMap<BackendName, BackendId>,
    route_ids: BTreeMap<(RouteOwner, BackendId), RouteId>,
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
        &self.routes[id.index()]
    }

    /// The backend with this number.
    ///
    /// # Panics
    /// When the number is of another table.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> &Backend {
        &self.backends[id.index()]
    }

    /// All routes, in the order of their numbers.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// All backends, in the order of their numbers.
    #[must_use]
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Hosts that are named in full.
    #[must_use]
    pub fn hosts(&self) -> &BTreeMap<HostName, HostPaths> {
        &self.hosts
    }

    /// Hosts that are named by wildcard, by the name behind `*.`.
    #[must_use]
    pub fn wildcards(&self) -> &BTreeMap<HostName, HostPaths> {
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
}

// === impl RouteId, BackendId ===

impl RouteId {
    /// Position in [`Table::routes`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
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

// === impl TableBuilder ===

impl TableBuilder {
    /// An empty table to fill.
    #[must_use]
    pub fn new() -> Self {
        <Self as Default>::default()
    }

    /// Adds a backend, or finds the one that has its name already.
    pub fn backend(&mut self, backend: Backend) -> BackendId {
        if let Some(&id) = self.backend_ids.get(&backend.name) {
            return id;
        }
        let id = BackendId(number(self.table.backends.len()));
        self.backend_ids.insert(backend.name.clone(), id);
        self.table.backends.push(backend);
        id
    }

    /// Adds a route, or finds the one of the same owner and backend.
    pub fn route(&mut self, owner: RouteOwner, backend: BackendId) -> RouteId {
        let key = (owner, backend);
        if let Some(&id) = self.route_ids.get(&key) {
            return id;
        }
        let id = RouteId(number(self.table.routes.len()));
        self.table.routes.push(Route {
            owner: key.0.clone(),
            backend,
        });
        self.route_ids.insert(key, id);
        id
    }

    /// Names a host. Its requests do not fall to rules without a host, even when none of its paths is served.
    pub fn host(&mut self, host: &HostPattern) {
        self.host_paths(host);
    }

    /// Sends a path of a host to a route. Returns the route that holds it already, and changes nothing, when it is taken.
    pub fn path(
        &mut self,
        host: &HostPattern,
        kind: PathMatch,
        path: &str,
        route: RouteId,
    ) -> Option<RouteId> {
        let paths = self.host_paths(host);
        let (map, path) = match kind {
            PathMatch::Exact => (&mut paths.exact, path),
            PathMatch::Prefix => (&mut paths.prefix, path.trim_end_matches('/')),
        };
        if let Some(&holder) = map.get(path) {
            return Some(holder);
        }
        map.insert(path.into(), route);
        None
    }

    /// Sets the route for paths of a host that match nothing else. Returns the holder when there is one already.
    pub fn default(&mut self, host: &HostPattern, route: RouteId) -> Option<RouteId> {
        let paths = self.host_paths(host);
        if paths.default.is_some() {
            return paths.default;
        }
        paths.default = Some(route);
        None
    }

    /// Sets the tier's own default backend.
    pub fn default_backend(&mut self, route: RouteId) {
        self.table.default_backend = Some(route);
    }

    /// Sets the certificates.
    pub fn certificates(&mut self, certificates: Certificates) {
        self.table.certificates = certificates;
    }

    /// The finished table.
    #[must_use]
    pub fn build(self) -> Table {
        self.table
    }

    fn host_paths(&mut self, host: &HostPattern) -> &mut HostPaths {
        match host {
            HostPattern::Exact(name) => self.table.hosts.entry(name.clone()).or_default(),
            HostPattern::Wildcard(parent) => {
                self.table.wildcards.entry(parent.clone()).or_default()
            }
            HostPattern::Any => &mut self.table.any,
        }
    }
}

// === impl Certificate ===

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.secret == other.secret && self.fingerprint == other.fingerprint
    }
}

/// Shows neither chain nor key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, ", self.secret)?;
        self.fingerprint[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}
