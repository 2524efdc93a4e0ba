//! What a cluster tier looks at. Pure.

use tiergate_control_plane::scope::{Scope, Secrets};

use crate::Config;

/// All namespaces, and objects of the cluster: the class of another controller is left alone, and so is a namespace that goes.
#[must_use]
pub fn scope(config: &Config) -> Scope {
    Scope {
        namespace: None,
        classes: config.common.ingress_classes.clone(),
        without_class: config.common.watch_ingress_without_class,
        reads_cluster_objects: true,
        default_backend: config.common.default_backend_service.clone(),
        default_certificate: config.common.default_ssl_certificate.clone(),
        ssl_redirect: config.common.ssl_redirect,
        secrets: Secrets::ByName {
            namespaces: config.secret_namespaces.iter().cloned().collect(),
            refresh: config.secret_refresh,
        },
        families: config.common.upstream_families.unwrap_or_default(),
        external_names: config.common.external_names.clone(),
    }
}
