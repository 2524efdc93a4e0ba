//! The twin of a [`Table`]. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use tiergate_data_plane::table::{Certificate, HostPaths, PathMatch, RouteId, Table};

use super::{BackendTwin, CertificateTwin, PathPolicyTwin, PolicyTwin, VERSION};

/// A table with its generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableTwin {
    version: u32,
    generation: u64,
    hosts: BTreeMap<String, HostTwin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_backend: Option<RouteTwin>,
    backends: BTreeMap<String, BackendTwin>,
    certificates: BTreeMap<String, CertificateTwin>,
}

/// The paths of a host; `/` is the root in `prefix`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct HostTwin {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exact: BTreeMap<String, RouteTwin>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    prefix: BTreeMap<String, RouteTwin>,
    /// In the order in which they are asked; of several namespaces one after another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    expressions: Vec<ExpressionTwin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<RouteTwin>,
}

/// A path that is a regular expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExpressionTwin {
    expression: String,
    below: String,
    #[serde(flatten)]
    route: RouteTwin,
}

/// A route: who asked for it and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteTwin {
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress: Option<String>,
    backend: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyTwin>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    of_path: Option<PathPolicyTwin>,
}

// === impl TableTwin ===

impl TableTwin {
    pub(super) fn new(table: &Table, generation: u64) -> Self {
        let mut hosts: BTreeMap<String, HostTwin> = BTreeMap::new();
        for (name, host) in table.hosts().in_order() {
            hosts.insert(name.to_string(), HostTwin::new(table, host));
        }
        for (parent, host) in table.wildcards().in_order() {
            hosts.insert(format!("*.{parent}"), HostTwin::new(table, host));
        }
        let any = HostTwin::new(table, table.any());
        if any != HostTwin::default() {
            hosts.insert("*".to_owned(), any);
        }
        Self {
            version: VERSION,
            generation,
            hosts,
            default_backend: table.default_backend().map(|id| RouteTwin::new(table, id)),
            backends: table
                .backends()
                .iter()
                .map(|&backend| (backend.name.to_string(), BackendTwin::from(backend)))
                .collect(),
            certificates: certificates(table),
        }
    }
}

fn certificates(table: &Table) -> BTreeMap<String, CertificateTwin> {
    let certificates = table.certificates();
    let twin = |(name, certificate): (String, &Certificate)| (name, certificate.into());
    let exact = certificates
        .exact
        .in_order()
        .into_iter()
        .map(|(name, it)| (name.to_string(), it));
    let wildcard = certificates
        .wildcard
        .in_order()
        .into_iter()
        .map(|(parent, it)| (format!("*.{parent}"), it));
    let default = certificates.default.iter().map(|it| ("*".to_owned(), it));
    exact.chain(wildcard).chain(default).map(twin).collect()
}

// === impl HostTwin ===

impl HostTwin {
    fn new(table: &Table, host: &HostPaths) -> Self {
        let mut twin = Self {
            default: host.default_route().map(|id| RouteTwin::new(table, id)),
            expressions: host
                .expressions()
                .map(|(expression, id)| ExpressionTwin {
                    expression: expression.text().to_owned(),
                    below: format!("{}/", expression.beginning()),
                    route: RouteTwin::new(table, id),
                })
                .collect(),
            ..Self::default()
        };
        for ((kind, path), id) in host.in_order() {
            let route = RouteTwin::new(table, id);
            match kind {
                PathMatch::Exact => twin.exact.insert(path, route),
                PathMatch::Prefix if path.is_empty() => twin.prefix.insert("/".to_owned(), route),
                PathMatch::Prefix => twin.prefix.insert(path, route),
            };
        }
        twin
    }
}

// === impl RouteTwin ===

impl RouteTwin {
    fn new(table: &Table, id: RouteId) -> Self {
        let route = table.route(id);
        let owner = &route.owner;
        Self {
            ingress: (!owner.ingress.is_empty())
                .then(|| format!("{}/{}", owner.tenant, owner.ingress)),
            backend: table.backend(route.backend).name.to_string(),
            policy: route.policy.as_deref().map(PolicyTwin::from),
            of_path: PathPolicyTwin::of(&route.of_path),
        }
    }
}
