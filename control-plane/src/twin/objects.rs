//! The twin of [`Objects`]. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::IngressSpec;
use serde::Serialize;

use super::VERSION;
use crate::objects::certificate::Secret;
use crate::objects::endpoint_slice::{EndpointSlice, Readiness};
use crate::objects::ingress::Ingress;
use crate::objects::service::{Service, Target};
use crate::objects::{Objects, Seen};

/// What is read of every object, by kind and name.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectsTwin {
    version: u32,
    ingresses: BTreeMap<String, IngressTwin>,
    /// Controllers by class.
    ingress_classes: BTreeMap<String, String>,
    services: BTreeMap<String, ServiceTwin>,
    endpoint_slices: BTreeMap<String, SliceTwin>,
    /// What is in each Secret: a fingerprint, or why it cannot be used.
    secrets: BTreeMap<String, String>,
    /// What the API server does not give at present: what is above may be old.
    troubles: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct IngressTwin {
    created: Option<String>,
    class: Option<String>,
    /// Those of ingress-nginx without their prefix, and ours.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    spec: IngressSpec,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceTwin {
    r#type: String,
    ports: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SliceTwin {
    service: String,
    address_type: String,
    ports: Vec<String>,
    endpoints: Vec<String>,
}

// === impl ObjectsTwin ===

impl ObjectsTwin {
    pub(super) fn new(objects: &Objects, troubles: BTreeMap<String, String>) -> Self {
        Self {
            version: VERSION,
            ingresses: by_name(objects.ingresses(), IngressTwin::from),
            ingress_classes: by_name(objects.ingress_classes(), |class| class.controller.clone()),
            services: by_name(objects.services(), ServiceTwin::from),
            endpoint_slices: by_name(objects.endpoint_slices(), SliceTwin::from),
            secrets: by_name(objects.secrets(), describe_secret),
            troubles,
        }
    }
}

fn by_name<'s, T, Twin>(seen: &'s Seen<T>, twin: impl Fn(&'s T) -> Twin) -> BTreeMap<String, Twin> {
    seen.iter()
        .map(|(name, object)| (name.to_string(), twin(object)))
        .collect()
}

fn describe_secret(secret: &Secret) -> String {
    match &secret.certificate {
        Ok(certificate) => super::short_hex(&certificate.fingerprint),
        Err(error) => error.to_string(),
    }
}

// === impl IngressTwin ===

impl From<&Ingress> for IngressTwin {
    fn from(ingress: &Ingress) -> Self {
        Self {
            created: ingress.created.map(|time| time.to_string()),
            class: ingress.class().map(str::to_owned),
            annotations: ingress
                .annotations
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            spec: (&ingress.spec).into(),
        }
    }
}

// === impl ServiceTwin ===

impl From<&Service> for ServiceTwin {
    fn from(service: &Service) -> Self {
        let ports = service.ports.iter().map(|port| {
            let target = match &port.target {
                Target::Number(number) => number.to_string(),
                Target::Name(name) => name.clone(),
            };
            let protocol = port.app_protocol.as_deref().unwrap_or(&port.protocol);
            format!("{} {} → {target} {protocol}", port.name, port.number)
        });
        Self {
            r#type: service.service_type.clone(),
            ports: ports.collect(),
        }
    }
}

// === impl SliceTwin ===

impl From<&EndpointSlice> for SliceTwin {
    fn from(slice: &EndpointSlice) -> Self {
        let ports = slice.ports.iter().map(|port| {
            let number = port.number.map_or("all".to_owned(), |it| it.to_string());
            format!("{} {number}", port.name)
        });
        let endpoints = slice.endpoints.iter().map(|endpoint| {
            let readiness = match endpoint.readiness {
                Readiness::Ready => "ready",
                Readiness::Draining => "draining",
                Readiness::NotReady => "not ready",
            };
            let pod = endpoint.pod_uid.as_deref().unwrap_or("no pod");
            format!("{} {readiness} ({pod})", endpoint.address)
        });
        Self {
            service: slice.service.clone(),
            address_type: slice.address_type.clone(),
            ports: ports.collect(),
            endpoints: endpoints.collect(),
        }
    }
}
