//! Makes the model of everything seen. Pure and total: no object can stop it.
//!
//! In: [`Objects`] and [`Scope`]. Out: a [`Model`], and a [`Condition`] for everything that is wrong, which names the object and
//! the field. A bad object costs only its own rule: a path whose backend is wrong stays claimed and is answered with 503, so
//! that its requests never fall to another rule; a rule whose host or path is wrong is left out. The result does not depend on
//! the order of arrival: claims are judged oldest first, then by namespace and name.

pub mod annotation;
mod certificate;
mod claim;
pub mod condition;
pub mod increment;
mod ingress;
pub mod secret;
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use tiergate_data_plane::table::{BackendName, Certificate, Redirect};

use crate::model::tenant::Tenant;
use crate::model::{Model, TenantModel};
use crate::objects::ingress::Ingress;
use crate::objects::{Kind, Objects};
use crate::scope::{CONTROLLER, ObjectName, Scope};

use annotation::OfPaths;
use claim::Claims;
use condition::{Condition, ObjectReference, Reason};
use secret::{Named, Wanted};
use service::{Resolved, Services};

/// What was made of the objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What shall be served.
    pub model: Model,
    /// What is wrong, sorted, each once.
    pub conditions: Vec<Condition>,
    /// The Ingresses that are ours, served or not.
    pub ingresses: Vec<ObjectName>,
    /// The Secrets that a tier which reads them by their names wants.
    pub secrets: Wanted,
}

/// Makes the model.
#[must_use]
pub fn translate(objects: &Objects, scope: &Scope) -> Translation {
    let names = objects.ingresses().keys().map(|name| &**name);
    let part = part(objects, scope, names);
    let of_backends = part.backends.into_values();
    let mut conditions = part.conditions;
    conditions.extend(of_backends.flat_map(|resolved| resolved.conditions));
    conditions.sort();
    conditions.dedup();
    Translation {
        model: part.model,
        conditions,
        ingresses: part.ingresses,
        secrets: part.secrets,
    }
}

/// What was made of some of the Ingresses. Where these share no host with the others, it is their part of the whole.
struct Part {
    model: Model,
    /// What is wrong with the Ingresses and with what the scope names.
    conditions: Vec<Condition>,
    /// All Service ports that are named, with what is wrong with them.
    backends: BTreeMap<BackendName, Resolved>,
    ingresses: Vec<ObjectName>,
    /// Whole only when the Ingresses are all.
    secrets: Wanted,
}

fn part<'a>(
    objects: &'a Objects,
    scope: &Scope,
    names: impl Iterator<Item = &'a ObjectName>,
) -> Part {
    let mut conditions = Vec::new();
    let ingresses = in_order_of_claim(objects, scope, names, &mut conditions);
    let mut claims = Claims::default();
    let mut services = Services::new(objects, scope);
    let mut secrets = Named::new(objects, &scope.secrets);
    // First, so that no number of Ingresses takes its place among those that are read.
    let default_certificate = certificate::default(scope, &mut secrets, &mut conditions);
    let guarded = annotation::guarded_hosts(&ingresses);
    let default_redirect = OfPaths::default().redirect(scope.ssl_redirect);
    for our in &ingresses {
        let (policy, of_paths) = annotation::policy(our, &guarded, &mut secrets, &mut conditions);
        ingress::translate(our, &of_paths, &mut claims, &mut services, &mut conditions);
        if policy.as_ref().is_some_and(|policy| policy.is_closed) {
            ingress::close(our, &mut claims, &mut services);
        }
        claims.asked(our, policy, &of_paths, default_redirect);
        // Not after all rules: a younger rule of another tenant must not take a certificate away.
        certificate::translate(our, &mut secrets, &mut claims, &mut conditions);
    }
    let default_backend = default_backend(scope, objects, &mut services, &mut conditions);
    let backends = services.finish();
    let named = |name: BackendName| {
        let backend = backends.get(&name)?.backend.clone();
        Some((name, backend))
    };
    Part {
        model: Model {
            tenants: tenants(claims, &backends, default_redirect),
            default_backend: default_backend.and_then(named),
            default_certificate,
        },
        conditions,
        ingresses: ingresses.into_iter().map(|our| our.name).collect(),
        secrets: secrets.finish(),
        backends,
    }
}

/// An Ingress that is ours.
struct OurIngress<'a> {
    name: ObjectName,
    tenant: Tenant,
    ingress: &'a Ingress,
}

// === impl OurIngress ===

impl OurIngress<'_> {
    /// Who was there before, in words for the owner of this one. Objects of other namespaces are not named.
    fn holder(&self, tenant: &Tenant, ingress: &str) -> String {
        let holder = if *tenant == self.tenant {
            format!("Ingress {tenant}/{ingress}")
        } else {
            "an Ingress of another namespace".to_owned()
        };
        format!("{holder}, which is older or comes first by name")
    }

    fn condition(&self, field: impl Into<String>, reason: Reason, message: String) -> Condition {
        Condition {
            object: ObjectReference {
                kind: Kind::Ingress,
                name: self.name.clone(),
            },
            field: field.into(),
            reason,
            message,
        }
    }
}

/// Our Ingresses, those with the older claim first.
fn in_order_of_claim<'a>(
    objects: &'a Objects,
    scope: &Scope,
    names: impl Iterator<Item = &'a ObjectName>,
    conditions: &mut Vec<Condition>,
) -> Vec<OurIngress<'a>> {
    let mut ours = Vec::new();
    for name in names {
        let Some(ingress) = objects.ingresses().get(name) else {
            continue;
        };
        if !is_ours(name, ingress, objects, scope) {
            continue;
        }
        match Tenant::try_from(&*name.namespace) {
            Ok(tenant) => ours.push(OurIngress {
                name: name.clone(),
                tenant,
                ingress,
            }),
            Err(error) => conditions.push(Condition {
                object: ObjectReference {
                    kind: Kind::Ingress,
                    name: name.clone(),
                },
                field: "metadata.namespace".to_owned(),
                reason: Reason::InvalidNamespace,
                message: error.to_string(),
            }),
        }
    }
    // A document without a time was never stored: its claim is younger than all others.
    ours.sort_by_key(|our| (our.ingress.created.is_none(), our.ingress.created));
    ours
}

/// What a namespace asks for lapses when it is deleted: its pods go, and others may want its hosts. Then class selection: the class must be one of ours, and a class object that exists must name our controller.
fn is_ours(name: &ObjectName, ingress: &Ingress, objects: &Objects, scope: &Scope) -> bool {
    if !scope.covers_namespace(&name.namespace) {
        return false;
    }
    let namespace = ObjectName::new("", name.namespace.as_str());
    let namespace = objects.namespaces().get(&namespace);
    if namespace.is_some_and(|namespace| namespace.is_terminating) {
        return false;
    }
    let Some(class) = ingress.class() else {
        return scope.without_class;
    };
    let is_of_another = scope.reads_cluster_objects
        && objects
            .ingress_classes()
            .get(&ObjectName::new("", class))
            .is_some_and(|object| object.controller != CONTROLLER);
    scope.names_class(class) && !is_of_another
}

fn default_backend(
    scope: &Scope,
    objects: &Objects,
    services: &mut Services<'_>,
    conditions: &mut Vec<Condition>,
) -> Option<BackendName> {
    let name = scope.default_backend.as_ref()?;
    let problem = match objects.services().get(name) {
        Some(service) => match service.ports.first() {
            Some(port) => return Some(services.by_number(name, port.number)),
            None => (Reason::ServicePortNotFound, "it has no port"),
        },
        None if !scope.covers_namespace(&name.namespace) => (
            Reason::ServiceNotFound,
            "its namespace is not the one that is watched",
        ),
        None => (Reason::ServiceNotFound, "there is no such Service"),
    };
    conditions.push(Condition {
        object: ObjectReference {
            kind: Kind::Service,
            name: name.clone(),
        },
        field: "--default-backend-service".to_owned(),
        reason: problem.0,
        message: format!("the default backend {name} cannot be used: {}", problem.1),
    });
    None
}

/// Sorts what was claimed by tenant, each with the backends that its routes name.
fn tenants(
    mut claims: Claims,
    backends: &BTreeMap<BackendName, Resolved>,
    default_redirect: Redirect,
) -> BTreeMap<Tenant, TenantModel> {
    let mut tenants: BTreeMap<Tenant, TenantModel> = BTreeMap::new();
    for (host, owners) in std::mem::take(&mut claims.hosts) {
        for tenant in owners {
            tenants
                .entry(tenant)
                .or_default()
                .hosts
                .insert(host.clone());
        }
    }
    for (key, (tenant, mut target)) in std::mem::take(&mut claims.routes) {
        let who = (&tenant, &target.ingress);
        target.of_path.redirect = claims.redirect(&key.host, who, default_redirect);
        let model = tenants.entry(tenant).or_default();
        if let Some(backend) = backends.get(&target.backend) {
            model
                .backends
                .entry(target.backend.clone())
                .or_insert_with(|| backend.backend.clone());
        }
        model.routes.insert(key, target);
    }
    for ((tenant, ingress), policy) in claims.policies {
        if let Some(model) = tenants.get_mut(&tenant) {
            model.policies.insert(ingress, policy);
        }
    }
    for (host, certified) in claims.certificates {
        let model = tenants.entry(certified.tenant).or_default();
        model.certificates.insert(host, certified.certificate);
    }
    tenants
}

/// The certificate of a Secret in the form of the data plane.
fn table_certificate(
    secret: &ObjectName,
    certificate: &crate::objects::certificate::Certificate,
) -> Certificate {
    Certificate {
        secret: secret.to_string().into(),
        fingerprint: certificate.fingerprint,
        alternative: None,
        key: Arc::clone(&certificate.key),
    }
}

#[cfg(test)]
mod tests;
