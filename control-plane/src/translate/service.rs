//! Finds the Service port that a rule names, and the endpoints behind it. Pure.
//!
//! In: a backend of an Ingress. Out: its name, the [`Backend`] behind that name, and a [`Problem`] when there is none to be
//! found: then the backend is without endpoints. Each Service port is resolved once, however many rules name it.

mod endpoints;
mod external;
mod port;

use std::borrow::Cow;
use std::collections::BTreeMap;

use tiergate_data_plane::table::{BackendName, Protocol};

use super::condition::{Condition, Reason};
use crate::model::backend::Backend;
use crate::objects::Objects;
use crate::objects::ingress::spec::{Backend as Named, ServicePort as NamedPort};
use crate::objects::service::{EXTERNAL_NAME, Service, ServicePort, Target};
use crate::scope::{ObjectName, Scope};
use endpoints::endpoints;
use port::PortName;

/// The Service ports that are named, as they are found.
pub(super) struct Services<'a> {
    objects: &'a Objects,
    scope: &'a Scope,
    backends: BTreeMap<BackendName, Resolved>,
}

/// A Service port as it is found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resolved {
    pub(super) backend: Backend,
    /// What is wrong with the Service or its slices.
    pub(super) conditions: Vec<Condition>,
}

/// Why a backend has no Service port.
pub(super) struct Problem {
    /// The field below that of the backend.
    pub(super) field: &'static str,
    pub(super) reason: Reason,
    pub(super) message: String,
}

// === impl Services ===

impl<'a> Services<'a> {
    pub(super) fn new(objects: &'a Objects, scope: &'a Scope) -> Self {
        Self {
            objects,
            scope,
            backends: BTreeMap::new(),
        }
    }

    /// The backend that a rule of this namespace names.
    pub(super) fn backend(
        &mut self,
        namespace: &str,
        named: &Named,
    ) -> (BackendName, Option<Problem>) {
        match named {
            Named::Service(port) => self.service(namespace, port),
            Named::Resource(resource) => {
                let shown = format!("{}/{}", resource.kind, resource.name);
                let problem = Problem {
                    field: "resource",
                    reason: Reason::BackendResourceUnsupported,
                    message: format!("{shown} is not a Service, and only Services are supported"),
                };
                (self.without_endpoints(namespace, &shown, ""), Some(problem))
            }
            Named::None => {
                let problem = Problem {
                    field: "service",
                    reason: Reason::InvalidBackend,
                    message: "no Service is named".to_owned(),
                };
                (self.without_endpoints(namespace, "", ""), Some(problem))
            }
        }
    }

    /// The backend of a Service by the number of one of its ports.
    pub(super) fn by_number(&mut self, service: &ObjectName, number: i32) -> BackendName {
        let named = NamedPort {
            service: service.name.as_str().into(),
            name: Box::default(),
            number,
        };
        self.service(&service.namespace, &named).0
    }

    /// All backends that were named.
    pub(super) fn finish(self) -> BTreeMap<BackendName, Resolved> {
        self.backends
    }

    fn service(&mut self, namespace: &str, named: &NamedPort) -> (BackendName, Option<Problem>) {
        let Some(port) = PortName::of(named) else {
            let problem = Problem {
                field: "service.port",
                reason: Reason::InvalidBackend,
                message: "a port needs either a name or a number".to_owned(),
            };
            return (
                self.without_endpoints(namespace, &named.service, ""),
                Some(problem),
            );
        };
        let name = backend_name(namespace, &named.service, &port.to_string());
        match resolve(self.objects, self.scope, &name, &port) {
            Ok(found) => {
                let (objects, scope) = (self.objects, self.scope);
                let known = self.backends.entry(name.clone());
                known.or_insert_with(|| resolved(objects, scope, &name, &found));
                (name, None)
            }
            Err(problem) => {
                self.backends.entry(name.clone()).or_default();
                (name, Some(problem))
            }
        }
    }

    fn without_endpoints(&mut self, namespace: &str, service: &str, port: &str) -> BackendName {
        let name = backend_name(namespace, service, port);
        self.backends.entry(name.clone()).or_default();
        name
    }
}

/// The name of what a rule of this namespace names: all that [`Services`] finds is found by it.
pub(super) fn name(namespace: &str, named: &Named) -> BackendName {
    match named {
        Named::Service(named) => {
            let port = PortName::of(named).map(|port| port.to_string());
            backend_name(namespace, &named.service, &port.unwrap_or_default())
        }
        Named::Resource(resource) => {
            let shown = format!("{}/{}", resource.kind, resource.name);
            backend_name(namespace, &shown, "")
        }
        Named::None => backend_name(namespace, "", ""),
    }
}

/// What is behind a name at present.
pub(super) fn find(objects: &Objects, scope: &Scope, name: &BackendName) -> Resolved {
    let found = PortName::parse(&name.port).map(|port| resolve(objects, scope, name, &port));
    match found {
        Some(Ok(found)) => resolved(objects, scope, name, &found),
        Some(Err(_)) | None => Resolved::default(),
    }
}

/// The Service of a backend.
pub(super) fn object(name: &BackendName) -> ObjectName {
    ObjectName::new(&*name.namespace, &*name.service)
}

/// A port of a Service.
struct Found<'o> {
    port: Cow<'o, ServicePort>,
    /// The name in DNS that the Service stands for.
    external: Option<&'o str>,
}

fn resolve<'o>(
    objects: &'o Objects,
    scope: &Scope,
    name: &BackendName,
    port: &PortName<'_>,
) -> Result<Found<'o>, Problem> {
    let object = object(name);
    match objects.services().get(&object) {
        Some(service) if has_no_endpoints_by_type(objects, &object, service) => {
            if scope.external_names.is_none() {
                return Err(Problem {
                    field: "service.name",
                    reason: Reason::ServiceTypeUnsupported,
                    message: format!(
                        "Service {object} is of type ExternalName, which is served only with --external-names"
                    ),
                });
            }
            let found = find_port(&object, service, port);
            // Nobody needs to declare the ports of a host that is elsewhere.
            let found = found.or_else(|problem| external::port(port).ok_or(problem));
            found.map(|found| Found {
                external: Some(service.external_name.as_deref().unwrap_or_default()),
                ..found
            })
        }
        Some(service) => find_port(&object, service, port),
        None => Err(Problem {
            field: "service.name",
            reason: Reason::ServiceNotFound,
            message: format!("there is no Service {object}"),
        }),
    }
}

/// ExternalName: a name in DNS in place of endpoints. Somebody may still have made slices for it.
fn has_no_endpoints_by_type(objects: &Objects, name: &ObjectName, service: &Service) -> bool {
    service.service_type == EXTERNAL_NAME && objects.slices_of(name).next().is_none()
}

/// Finds protocol and endpoints.
fn resolved(objects: &Objects, scope: &Scope, name: &BackendName, found: &Found<'_>) -> Resolved {
    let object = object(name);
    let port = &found.port;
    let mut conditions = Vec::new();
    let protocol = protocol(port.app_protocol.as_deref());
    let endpoints = match found.external {
        Some(text) => external::endpoints(objects, scope, &object, text, port, &mut conditions),
        None => endpoints(objects, scope.families, &object, port, &mut conditions),
    };
    let backend = Backend {
        protocol,
        endpoints,
    };
    Resolved {
        backend,
        conditions,
    }
}

fn backend_name(namespace: &str, service: &str, port: &str) -> BackendName {
    BackendName {
        namespace: namespace.into(),
        service: service.into(),
        port: port.into(),
    }
}

/// By the port of the Service; else by the port of its pods, as ingress-nginx does and as many manifests rely on.
fn find_port<'s>(
    object: &ObjectName,
    service: &'s Service,
    named: &PortName<'_>,
) -> Result<Found<'s>, Problem> {
    let (field, shown) = match named {
        PortName::Number(number) => ("service.port.number", number.to_string()),
        PortName::Name(name) => ("service.port.name", format!("{name:?}")),
    };
    let is_named = |port: &ServicePort| match named {
        PortName::Number(number) => port.number == *number,
        PortName::Name(name) => port.name == *name,
    };
    let is_target = |port: &ServicePort| match (named, &port.target) {
        (PortName::Number(number), Target::Number(target)) => number == target,
        (PortName::Name(name), Target::Name(target)) => name == target,
        (PortName::Number(_), Target::Name(_)) | (PortName::Name(_), Target::Number(_)) => false,
    };
    let tcp = || {
        let ports = service.ports.iter();
        ports.filter(|port| port.protocol == "TCP")
    };
    tcp()
        .find(|port| is_named(port))
        .or_else(|| tcp().find(|port| is_target(port)))
        .map(|port| Found {
            port: Cow::Borrowed(port),
            external: None,
        })
        .ok_or_else(|| Problem {
            field,
            reason: Reason::ServicePortNotFound,
            message: format!(
                "Service {object} has no port {shown}; {}",
                list_ports(service)
            ),
        })
}

fn list_ports(service: &Service) -> String {
    const SHOWN_MAX: usize = 8;
    let ports: Vec<String> = service
        .ports
        .iter()
        .take(SHOWN_MAX)
        .map(|port| match (port.name.as_str(), port.protocol.as_str()) {
            ("", "TCP") => port.number.to_string(),
            (name, "TCP") => format!("{} ({name})", port.number),
            (_, protocol) => format!("{}/{protocol}", port.number),
        })
        .collect();
    match (ports.is_empty(), service.ports.len() > SHOWN_MAX) {
        (true, _) => "it has none".to_owned(),
        (false, false) => format!("it has {}", ports.join(", ")),
        (false, true) => format!("it has {}, …", ports.join(", ")),
    }
}

/// `kubernetes.io/h2c` and `kubernetes.io/wss` are Kubernetes' own words (KEP-3726): HTTP/2 over plain TCP, and WebSocket within TLS. `https` is the
/// IANA's; `h2c`, `http2`, `grpc`, `grpcs`, `wss` and `tls` are what Istio and others read likewise. Every other word says nothing about HTTP: HTTP/1.1,
/// as without a word.
fn protocol(app_protocol: Option<&str>) -> Protocol {
    match app_protocol {
        Some("kubernetes.io/h2c" | "h2c" | "http2" | "grpc") => Protocol::H2c,
        Some("https" | "kubernetes.io/wss" | "wss" | "tls") => Protocol::Https,
        Some("grpcs") => Protocol::H2,
        Some(_) | None => Protocol::Http1,
    }
}
