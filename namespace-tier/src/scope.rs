//! What a namespace tier looks at. Pure.

use tiergate_control_plane::scope::{Scope, Secrets};

use crate::Config;

/// One namespace, and no object of the cluster: classes go by their names.
#[must_use]
pub fn scope(config: &Config) -> Scope {
    Scope {
        namespace: Some(config.watch_namespace.clone()),
        classes: config.common.ingress_classes.clone(),
        without_class: config.common.watch_ingress_without_class,
        reads_cluster_objects: false,
        default_backend: config.common.default_backend_service.clone(),
        default_certificate: config.common.default_ssl_certificate.clone(),
        ssl_redirect: config.common.ssl_redirect,
        secrets: Secrets::Watched,
        families: config.common.upstream_families.unwrap_or_default(),
        external_names: config.common.external_names.clone(),
    }
}
