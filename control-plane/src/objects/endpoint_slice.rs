//! What we read of an EndpointSlice. Pure.

use std::sync::Arc;

use k8s_openapi::api::discovery::v1;

use super::{Content, Object, name_of};

/// The label that names the Service of a slice.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// An EndpointSlice: some of the endpoints of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Name of its Service; empty when it has none.
    pub service: String,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// The ports, by the names of the Service's ports.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One port of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Name of the Service port; empty when it has none.
    pub name: String,
    /// Port of the pods. None: every port.
    pub number: Option<i32>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its address. The API lets a slice give several, says that they are the same endpoint, and that only the first counts.
    pub address: String,
    /// Whether it may get requests.
    pub readiness: Readiness,
    /// `targetRef.uid`: which pod it is.
    pub pod_uid: Option<String>,
}

/// Whether an endpoint may get requests (EndpointSlice, "conditions").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// `ready`, or nothing is said.
    Ready,
    /// Not ready, but `serving` while it is `terminating`: for want of a ready one.
    Draining,
    /// Neither.
    NotReady,
}

// === impl EndpointSlice ===

impl From<v1::EndpointSlice> for Object {
    fn from(slice: v1::EndpointSlice) -> Self {
        let name = name_of(&slice.metadata);
        let read = EndpointSlice {
            service: slice
                .metadata
                .labels
                .and_then(|mut labels| labels.remove(SERVICE_LABEL))
                .unwrap_or_default(),
            address_type: slice.address_type,
            ports: slice
                .ports
                .unwrap_or_default()
                .into_iter()
                .filter(|port| port.protocol.as_deref().is_none_or(|name| name == "TCP"))
                .map(|port| SlicePort {
                    name: port.name.unwrap_or_default(),
                    number: port.port,
                })
                .collect(),
            endpoints: slice
                .endpoints
                .unwrap_or_default()
                .into_iter()
                .map(SliceEndpoint::from)
                .collect(),
        };
        Self {
            name,
            content: Content::EndpointSlice(Arc::new(read)),
        }
    }
}

// === impl SliceEndpoint ===

impl From<v1::Endpoint> for SliceEndpoint {
    fn from(endpoint: v1::Endpoint) -> Self {
        Self {
            address: endpoint.addresses.into_iter().next().unwrap_or_default(),
            readiness: Readiness::from(endpoint.conditions.unwrap_or_default()),
            pod_uid: endpoint
                .target_ref
                .and_then(|target| target.uid)
                .filter(|uid| !uid.is_empty()),
        }
    }
}

// === impl Readiness ===

impl From<v1::EndpointConditions> for Readiness {
    /// What is not said counts as ready, as serving, and as not terminating (the API's own rule).
    fn from(conditions: v1::EndpointConditions) -> Self {
        if conditions.ready.unwrap_or(true) {
            Self::Ready
        } else if conditions.serving.unwrap_or(true) && conditions.terminating.unwrap_or(false) {
            Self::Draining
        } else {
            Self::NotReady
        }
    }
}
