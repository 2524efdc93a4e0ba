//! What a tier shall serve, by tenant. Pure.
//!
//! In: names and paths that are checked when their types are made. Out: what `compile` numbers. A model cannot hold an invalid
//! value: a host, a path or an address is of a type that only its `TryFrom` makes, and a path has one holder.

pub mod backend;
pub mod external;
pub mod host;
pub mod path;
pub mod tenant;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{BackendName, Certificate, PathPolicy, Policy};

use backend::Backend;
use path::PathPattern;
use tenant::Tenant;

/// What a tier shall serve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// By namespace.
    pub tenants: BTreeMap<Tenant, TenantModel>,
    /// The tier's own default backend.
    pub default_backend: Option<(BackendName, Backend)>,
    /// The certificate for names that no other covers.
    pub default_certificate: Option<Certificate>,
}

/// What one tenant asked for and got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantModel {
    /// The hosts that its rules name, whether or not a path of theirs is served: their requests never fall to rules without a
    /// host, which may be another tenant's.
    pub hosts: BTreeSet<HostPattern>,
    /// Who answers where. No two tenants have the same key: `translate` decides.
    pub routes: BTreeMap<RouteKey, RouteTarget>,
    /// The Service ports that the routes name.
    pub backends: BTreeMap<BackendName, Backend>,
    /// What its Ingresses ask for beside; those that ask for nothing are not here.
    pub policies: BTreeMap<Arc<str>, Arc<Policy>>,
    /// The certificates for its hosts. No two tenants have the same key.
    pub certificates: BTreeMap<HostPattern, Certificate>,
}

/// What a request must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// Its host.
    pub host: HostPattern,
    /// Its path. None: every path of the host that no other key names.
    pub path: Option<PathPattern>,
}

/// Who gets the request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteTarget {
    /// The Ingress that asked for it.
    pub ingress: Arc<str>,
    /// The Service port; it is one of [`TenantModel::backends`].
    pub backend: BackendName,
    /// What is done to the request before.
    pub of_path: PathPolicy,
}
