//! What we read of a Service. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Content, Object, name_of};

/// A Service: its type and its ports. Its addresses are not read: requests go to endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `spec.type`; `ClusterIP` when none is given.
    pub service_type: String,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.externalName`; nothing but of a Service of type ExternalName.
    pub external_name: Option<String>,
}

/// The type of Services that stand for a name in DNS.
pub const EXTERNAL_NAME: &str = "ExternalName";

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty when it has none.
    pub name: String,
    /// Its number.
    pub number: i32,
    /// The port of the pods; the number above when none is given.
    pub target: Target,
    /// `TCP`, `UDP` or `SCTP`; `TCP` when none is given.
    pub protocol: String,
    /// What is spoken on the port.
    pub app_protocol: Option<String>,
}

/// The port of the pods behind a Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Its number.
    Number(i32),
    /// The name that the containers give it.
    Name(String),
}

// === impl Service ===

impl From<v1::Service> for Object {
    fn from(service: v1::Service) -> Self {
        let name = name_of(&service.metadata);
        let spec = service.spec.unwrap_or_default();
        let service_type = spec.type_.unwrap_or_else(|| "ClusterIP".to_owned());
        let is_name = service_type == EXTERNAL_NAME;
        let read = Service {
            service_type,
            external_name: spec.external_name.filter(|_| is_name),
            ports: spec
                .ports
                .unwrap_or_default()
                .into_iter()
                .map(ServicePort::from)
                .collect(),
        };
        Self {
            name,
            content: Content::Service(Arc::new(read)),
        }
    }
}

// === impl ServicePort ===

impl From<v1::ServicePort> for ServicePort {
    fn from(port: v1::ServicePort) -> Self {
        Self {
            name: port.name.unwrap_or_default(),
            number: port.port,
            target: match port.target_port {
                Some(IntOrString::Int(number)) => Target::Number(number),
                Some(IntOrString::String(name)) => Target::Name(name),
                None => Target::Number(port.port),
            },
            protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
            app_protocol: port.app_protocol,
        }
    }
}
