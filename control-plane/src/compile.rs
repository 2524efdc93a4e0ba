//! Makes the data plane's table of a model. Pure.
//!
//! In: a [`Model`]. Out: a [`Table`], the same one for equal models.

use std::sync::Arc;

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{
    Backend, BackendId, BackendName, RouteOwner, Table, TableBuilder,
};

use crate::model::path::PathKind;
use crate::model::{Model, RouteKey, TenantModel, backend};

/// Makes the table.
#[must_use]
pub fn compile(model: &Model) -> Table {
    let mut builder = TableBuilder::new();
    for tenant in model.tenants.values() {
        for (host, certificate) in &tenant.certificates {
            builder.certificate(host, Some(certificate.clone()));
        }
    }
    builder.certificate(&HostPattern::Any, model.default_certificate.clone());
    add(model, &mut builder);
    builder.sweep();
    builder.build()
}

/// Adds hosts, routes and backends of a model. A backend that is there already stays as it is.
pub(crate) fn add(model: &Model, builder: &mut TableBuilder) {
    for (tenant, of_tenant) in &model.tenants {
        for host in &of_tenant.hosts {
            builder.host(host);
        }
        add_routes(&tenant.to_shared(), of_tenant, builder);
    }
    let default = model.default_backend.as_ref().map(|(name, backend)| {
        let owner = RouteOwner {
            tenant: name.namespace.clone(),
            // No Ingress asked for it.
            ingress: "".into(),
        };
        let backend = add_backend(name, backend, builder);
        builder.route(owner, backend)
    });
    builder.default_backend(default);
}

fn add_routes(tenant: &Arc<str>, model: &TenantModel, builder: &mut TableBuilder) {
    for (RouteKey { host, path }, target) in &model.routes {
        let Some(backend) = model.backends.get(&target.backend) else {
            continue;
        };
        let owner = RouteOwner {
            tenant: tenant.clone(),
            ingress: target.ingress.clone(),
        };
        let backend = add_backend(&target.backend, backend, builder);
        let route = builder.route_of_path(owner, backend, target.of_path.clone());
        builder.policy(route, model.policies.get(&target.ingress).cloned());
        let holder = match path {
            Some(path) => match path.kind() {
                PathKind::Literal(kind) => builder.path(host, *kind, path.path(), route),
                PathKind::Expression(expression) => {
                    builder.expression(host, Arc::clone(expression), route)
                }
            },
            None => builder.default(host, route),
        };
        debug_assert!(holder.is_none(), "no two tenants hold one path");
    }
}

fn add_backend(
    name: &BackendName,
    backend: &backend::Backend,
    builder: &mut TableBuilder,
) -> BackendId {
    let known = builder.find_backend(name);
    known.unwrap_or_else(|| builder.backend(table_backend(name, backend)))
}

/// A backend in the form of the data plane.
pub(crate) fn table_backend(name: &BackendName, backend: &backend::Backend) -> Backend {
    Backend {
        name: name.clone(),
        protocol: backend.protocol,
        endpoints: backend.endpoints.as_slice().to_vec(),
    }
}
