//! Objects without what nobody here reads. Pure.
//!
//! In: JSON of the API server. Out: an object whose metadata holds only what we read. Managed fields are most of an
//! Ingress and of an EndpointSlice; passed over in the text, they cost neither time nor memory when thousands are listed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::{core, discovery, networking};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};

use crate::objects::Object;

/// An object of kind `K` of which only that is decoded which [`Object`] is made of.
#[derive(Clone, Debug)]
pub(super) struct Slim<K>(K);

/// A kind that can be decoded so.
pub(super) trait Decode: Sized {
    /// Decodes what is read of it.
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    uid: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    annotations: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
    managed_fields: Option<Vec<Manager>>,
}

/// Who manages fields, without which.
#[derive(Deserialize)]
struct Manager {
    manager: Option<String>,
    operation: Option<String>,
}

/// An object with a specification.
#[derive(Deserialize)]
struct Specified<S> {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default = "none")]
    spec: Option<S>,
}

/// An object of which only the metadata matters.
#[derive(Deserialize)]
struct Bare {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Ingress {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<networking::v1::IngressSpec>,
    status: Option<networking::v1::IngressStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slice {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    address_type: String,
    endpoints: Option<Vec<discovery::v1::Endpoint>>,
    ports: Option<Vec<discovery::v1::EndpointPort>>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    metadata: Metadata,
    data: Option<BTreeMap<String, ByteString>>,
}

fn none<S>() -> Option<S> {
    None
}

// === impl Slim ===

impl<'de, K: Decode> Deserialize<'de> for Slim<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        K::decode(deserializer).map(Self)
    }
}

impl<K> From<Slim<K>> for Object
where
    Object: From<K>,
{
    fn from(slim: Slim<K>) -> Self {
        Self::from(slim.0)
    }
}

impl<K: Resource> Resource for Slim<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &K::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &K::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &K::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &K::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

// === impl Metadata ===

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        Self {
            name: metadata.name,
            namespace: metadata.namespace,
            resource_version: metadata.resource_version,
            uid: metadata.uid,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            annotations: metadata.annotations,
            labels: metadata.labels,
            managed_fields: metadata.managed_fields.map(|all| {
                let entry = |one: Manager| ManagedFieldsEntry {
                    manager: one.manager,
                    operation: one.operation,
                    ..ManagedFieldsEntry::default()
                };
                all.into_iter().map(entry).collect()
            }),
            ..Self::default()
        }
    }
}

// === impl Decode ===

impl Decode for networking::v1::Ingress {
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Ingress {
            metadata,
            spec,
            status,
        } = Ingress::deserialize(deserializer)?;
        Ok(Self {
            metadata: metadata.into(),
            spec,
            status,
        })
    }
}

impl Decode for networking::v1::IngressClass {
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Specified { metadata, spec } = Specified::deserialize(deserializer)?;
        Ok(Self {
            metadata: metadata.into(),
            spec,
        })
    }
}

impl Decode for core::v1::Namespace {
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Bare { metadata } = Bare::deserialize(deserializer)?;
        Ok(Self {
            metadata: metadata.into(),
            ..Self::default()
        })
    }
}

impl Decode for core::v1::Service {
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Specified { metadata, spec } = Specified::deserialize(deserializer)?;
        Ok(Self {
            metadata: metadata.into(),
            spec,
            ..Self::default()
        })
    }
}

impl Decode for discovery::v1::EndpointSlice {
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slice = Slice::deserialize(deserializer)?;
        Ok(Self {
            metadata: slice.metadata.into(),
            address_type: slice.address_type,
            endpoints: slice.endpoints,
            ports: slice.ports,
        })
    }
}

impl Decode for core::v1::Secret {
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Data { metadata, data } = Data::deserialize(deserializer)?;
        Ok(Self {
            metadata: metadata.into(),
            data,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    /// What is read of an object is the same, however it is decoded.
    fn assert_same<K>(object: &Value)
    where
        K: Decode + DeserializeOwned,
        Object: From<K>,
    {
        let whole: K = serde_json::from_value(object.clone()).unwrap();
        let slim: Slim<K> = serde_json::from_str(&object.to_string()).unwrap();
        assert_eq!(<Object as From<Slim<K>>>::from(slim), Object::from(whole));
    }

    #[test]
    fn nothing_that_is_read_is_left_out() {
        let metadata = json!({
            "name": "web", "namespace": "shop", "resourceVersion": "7", "uid": "8e5b6e9c-21d1-4c32-9d8e-0f4f0f6f7c11", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"kubernetes.io/ingress.class": "tiergate", "other": "x"},
            "labels": {"kubernetes.io/service-name": "web"},
            "managedFields": [{"manager": "m", "operation": "Apply", "fieldsV1": {"f:spec": {"f:rules": {}}}}],
        });
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        for ingress in [
            json!({"metadata": metadata, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "a.example"}]}}, "spec": {
                "ingressClassName": "c", "defaultBackend": backend, "tls": [{"hosts": ["a"], "secretName": "s"}],
                "rules": [{"host": "a", "http": {"paths": [{"path": "/", "pathType": "Exact", "backend": backend}]}}],
            }}),
            json!({"metadata": {"name": "bare", "annotations": null}}),
        ] {
            assert_same::<networking::v1::Ingress>(&ingress);
        }
        assert_same::<networking::v1::IngressClass>(
            &json!({"metadata": {"name": "c"}, "spec": {"controller": "tiergate.dev/ingress"}}),
        );
        assert_same::<core::v1::Namespace>(
            &json!({"metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Terminating"}}),
        );
        assert_same::<core::v1::Service>(&json!({"metadata": metadata, "status": {}, "spec": {
            "type": "NodePort", "clusterIP": "10.0.0.1", "ports": [
                {"name": "http", "port": 80, "targetPort": "web", "appProtocol": "h2c"}],
        }}));
        assert_same::<discovery::v1::EndpointSlice>(
            &json!({"metadata": metadata, "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"uid": "p"}}],
            }),
        );
        assert_same::<discovery::v1::EndpointSlice>(
            &json!({"metadata": metadata, "addressType": "IPv4", "ports": null, "endpoints": null}),
        );
        assert_same::<core::v1::Secret>(
            &json!({"metadata": metadata, "type": "kubernetes.io/tls", "data": {"tls.crt": "YQ==", "tls.key": ""}}),
        );
    }
}
