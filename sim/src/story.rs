//! The objects of the seed's story: one cluster tier, two tenants, four applications. And of a cluster without it.
//!
//! In: a kube client and what the manifests leave open. Out: the objects, applied in order through the API as a user
//! would; `print` gives them to another cluster. The manifests are `sim/story/*.yaml`.

use std::net::Ipv4Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::Ipv4Net;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use serde::Deserialize;
use serde_json::json;

mod certificates;
pub mod print;

pub(crate) use certificates::Certificates;

/// The hosts that answer at the VIP.
pub const HOSTS: [&str; 4] = [
    "keystone.openstack.svc.cluster.local",
    "horizon.openstack.svc.cluster.local",
    "rgw.ceph.svc.cluster.local",
    "dashboard.ceph.svc.cluster.local",
];

/// The Secret of the certificate that the cluster tier shows for every name without one of its own.
const DEFAULT_CERTIFICATE: &str = "tiergate-default-certificate";

const FIELD_MANAGER: &str = "tiergate-sim";

const CLASSES: &str = include_str!("../story/00-classes.yaml");
const CLUSTER_TIER: &str = include_str!("../story/10-cluster-tier.yaml");
const OPENSTACK: &str = include_str!("../story/20-openstack.yaml");
const CEPH: &str = include_str!("../story/30-ceph.yaml");

/// What the manifests leave open.
#[derive(Debug, Clone, Copy)]
pub struct Values {
    /// The address of the cluster.
    pub vip: Ipv4Addr,
    /// Its port for plain HTTP.
    pub http_port: u16,
    /// Its port for HTTPS.
    pub https_port: u16,
    /// Where the cluster tier's pods have their addresses.
    pub pod_network: Ipv4Net,
}

/// Why an object of ours was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The manifest is wrong.
    #[error("a manifest of the story cannot be read: {0}")]
    Manifest(#[from] serde_norway::Error),
    /// The API server refuses it.
    #[error("cannot apply {kind} {name}: {error}")]
    Refused {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// The answer.
        error: kube::Error,
    },
}

/// Applies the classes and the cluster tier, and with `story` everything else.
///
/// # Errors
/// When the API server refuses an object.
pub(crate) async fn apply(
    client: &kube::Client,
    story: bool,
    values: &Values,
    certificates: &Certificates,
) -> Result<(), ApplyError> {
    apply_object(client, secret(certificates)).await?;
    for manifest in manifests(story) {
        for object in objects(manifest, values, further_classes(story))? {
            apply_object(client, object).await?;
        }
    }
    Ok(())
}

/// In the order in which they are applied.
fn manifests(story: bool) -> &'static [&'static str] {
    if story {
        &[CLASSES, CLUSTER_TIER, OPENSTACK, CEPH]
    } else {
        &[CLASSES, CLUSTER_TIER]
    }
}

/// Classes of the cluster tier beside its own.
fn further_classes(story: bool) -> &'static [&'static str] {
    if story { &[] } else { &["nginx"] }
}

/// The objects of a manifest.
fn objects(
    manifest: &str,
    values: &Values,
    further_classes: &[&str],
) -> Result<Vec<DynamicObject>, serde_norway::Error> {
    serde_norway::Deserializer::from_str(&text(manifest, values, further_classes))
        .map(DynamicObject::deserialize)
        .collect()
}

/// A manifest with its `${…}` filled in.
fn text(manifest: &str, values: &Values, further_classes: &[&str]) -> String {
    let classes: Vec<String> = further_classes
        .iter()
        .map(|class| format!("\n            - --ingress-class={class}"))
        .collect();
    manifest
        .replace("${VIP}", &values.vip.to_string())
        .replace("${HTTP_PORT}", &values.http_port.to_string())
        .replace("${HTTPS_PORT}", &values.https_port.to_string())
        .replace("${POD_CIDR}", &values.pod_network.to_string())
        .replace("${FURTHER_CLASSES}", &classes.concat())
}

fn secret(certificates: &Certificates) -> DynamicObject {
    let mut secret = DynamicObject {
        types: Some(TypeMeta {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
        }),
        metadata: kube::core::ObjectMeta::default(),
        data: json!({
            "type": "kubernetes.io/tls",
            "data": {
                "tls.crt": STANDARD.encode(&certificates.chain_pem),
                "tls.key": STANDARD.encode(&certificates.key_pem),
                "ca.crt": STANDARD.encode(&certificates.authority_pem),
            },
        }),
    };
    secret.metadata.name = Some(DEFAULT_CERTIFICATE.to_owned());
    secret.metadata.namespace = Some("kube-system".to_owned());
    secret
}

async fn apply_object(client: &kube::Client, object: DynamicObject) -> Result<(), ApplyError> {
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types
        .api_version
        .split_once('/')
        .unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.clone().unwrap_or_default();
    let parameters = PatchParams::apply(FIELD_MANAGER);
    match api.patch(&name, &parameters, &Patch::Apply(&object)).await {
        Ok(_) => Ok(()),
        Err(error) => Err(ApplyError::Refused {
            kind: types.kind,
            name,
            error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values {
            vip: Ipv4Addr::new(127, 0, 0, 254),
            http_port: 8080,
            https_port: 8443,
            pod_network: "127.10.0.0/16".parse().unwrap(),
        }
    }

    #[test]
    fn every_manifest_is_whole_and_names_its_objects() {
        for (manifest, count) in [(CLASSES, 2), (CLUSTER_TIER, 6), (OPENSTACK, 13), (CEPH, 13)] {
            assert!(!manifest.contains('\t'));
            let objects = objects(manifest, &values(), &["nginx"]).unwrap();
            for object in &objects {
                assert!(
                    object.types.is_some() && object.metadata.name.is_some(),
                    "{object:?}"
                );
                assert!(!object.data.to_string().contains("${"), "{object:?}");
            }
            assert_eq!(objects.len(), count, "{objects:#?}");
        }
    }

    #[test]
    fn further_classes_become_further_flags() {
        for (classes, expected) in [(&[][..], 1), (&["nginx"][..], 2)] {
            let objects = objects(CLUSTER_TIER, &values(), classes).unwrap();
            let deployment = objects.iter().find(|object| {
                object
                    .types
                    .as_ref()
                    .is_some_and(|types| types.kind == "Deployment")
            });
            let text = deployment.unwrap().data.to_string();
            assert_eq!(text.matches("--ingress-class=").count(), expected, "{text}");
        }
    }
}
