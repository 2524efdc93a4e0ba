//! Makes the data plane's table of a model. Pure.
//!
//! In: a [`Model`]. Out: a [`Table`], the same one for equal models: everything is numbered in the order of names.

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{
    Backend, BackendName, Certificates, RouteOwner, Table, TableBuilder,
};

use crate::model::{Model, RouteKey, TenantModel, backend};

/// Makes the table.
#[must_use]
pub fn compile(model: &Model) -> Table {
    let mut builder: TableBuilder = Default::default();
    let mut certificates = Certificates {
        default: model.default_certificate.clone(),
        ..Certificates::default()
    };
    for (tenant, of_tenant) in &model.tenants {
        for host in &of_tenant.hosts {
            builder.host(host);
        }
        add_routes(&tenant.to_shared(), of_tenant, &mut builder);
        for (host, certificate) in &of_tenant.certificates {
            match host {
                HostPattern::Exact(name) => {
                    certificates.exact.insert(name, certificate.clone());
                }
                HostPattern::Wildcard(parent) => {
                    let wildcard = &mut certificates.wildcard;
                    wildcard.insert(parent, certificate.clone());
                }
                HostPattern::Any => {}
            }
        }
    }
    if let Some((name, backend)) = &model.default_backend {
        let owner = RouteOwner {
            tenant: name.namespace.clone(),
            // No Ingress asked for it.
            ingress: "".into(),
        };
        let backend = builder.backend(table_backend(name, backend));
        let route = builder.route(owner, backend);
        builder.default_backend(Some(route));
    }
    builder.certificates(certificates);
    builder.build()
}

fn add_routes(tenant: &std::sync::Arc<str>, model: &TenantModel, builder: &mut TableBuilder) {
    for (RouteKey { host, path }, target) in &model.routes {
        let Some(backend) = model.backends.get(&target.backend) else {
            continue;
        };
        let owner = RouteOwner {
            tenant: tenant.clone(),
            ingress: target.ingress.clone(),
        };
        let backend = builder.backend(table_backend(&target.backend, backend));
        let route = builder.route(owner, backend);
        let holder = match path {
            Some(path) => builder.path(host, path.kind(), path.path(), route),
            None => builder.default(host, route),
        };
        debug_assert!(holder.is_none(), "no two tenants hold one path");
    }
}

fn table_backend(name: &BackendName, backend: &backend::Backend) -> Backend {
    Backend {
        name: name.clone(),
        protocol: backend.protocol,
        endpoints: backend.endpoints.as_slice().to_vec(),
    }
}
