//! How many pods the controller of a pod wants.
//!
//! In: the reference to the controller. Out: who decides and how many: a Deployment for its ReplicaSets, else the `scale`
//! subresource of whatever it is.

use k8s_openapi::api::autoscaling;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Api, discovery};

use super::super::owner::controller_of;
use super::super::store::{Key, Stores};
use super::super::write::{WriteError, Writer};

/// Who decides about a number of pods, by uid, and the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) uid: String,
    pub(crate) replicas: i32,
}

/// What the controller `owner` of a pod in `namespace` wants; none when it is not there any more.
///
/// # Errors
/// Says in words for users why that cannot be known.
pub(crate) async fn find(
    stores: &Stores,
    writer: &Writer,
    namespace: &str,
    owner: &OwnerReference,
) -> Result<Option<Scale>, String> {
    if owner.kind == "ReplicaSet"
        && let Some(scale) = of_replica_set(stores, namespace, owner)
    {
        return Ok(Some(scale));
    }
    let (group, version) = owner
        .api_version
        .split_once('/')
        .unwrap_or(("", &owner.api_version));
    let kind = GroupVersionKind::gvk(group, version, &owner.kind);
    let found = writer
        .send(discovery::pinned_kind(&writer.client(), &kind))
        .await;
    let (resource, capabilities) = found.map_err(|error| error.told())?;
    let is_scalable = capabilities
        .subresources
        .iter()
        .any(|(subresource, _)| subresource.plural == "scale");
    if !is_scalable {
        let name = format!("{}.{group}", resource.plural);
        return Err(format!("{name} does not implement the scale subresource"));
    }
    let api: Api<DynamicObject> = Api::namespaced_with(writer.client(), namespace, &resource);
    match writer.send(api.get_scale(&owner.name)).await {
        Ok(scale) => Ok(of_scale(scale, owner)),
        Err(WriteError::NotFound) => Ok(None),
        Err(error) => Err(error.told()),
    }
}

/// A ReplicaSet of a Deployment has no say of its own.
fn of_replica_set(stores: &Stores, namespace: &str, owner: &OwnerReference) -> Option<Scale> {
    let set = stores
        .replica_sets
        .get(&Key::new(namespace, owner.name.clone()))?;
    if set.metadata.uid.as_ref() != Some(&owner.uid) {
        return None;
    }
    let above = controller_of(&set.metadata).filter(|above| above.kind == "Deployment");
    let Some(above) = above else {
        let replicas = set.spec.replicas.unwrap_or(1);
        let uid = owner.uid.clone();
        return Some(Scale { uid, replicas });
    };
    let deployment = stores
        .deployments
        .get(&Key::new(namespace, above.name.clone()))?;
    (deployment.metadata.uid.as_ref() == Some(&above.uid)).then(|| Scale {
        uid: above.uid.clone(),
        replicas: deployment.spec.replicas.unwrap_or(1),
    })
}

fn of_scale(scale: autoscaling::v1::Scale, owner: &OwnerReference) -> Option<Scale> {
    let uid = scale.metadata.uid.filter(|uid| *uid == owner.uid)?;
    let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
    Some(Scale { uid, replicas })
}
