//! The nodes' place in the cluster: when pods can be bound to them, and how they leave without a trace.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::error::{AttachError, with_causes};
use super::settings::Settings;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_millis(100);

/// How long leaving may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A pod that the scheduler bound while its node was being deleted appears within this time.
const LATE_POD_DELAY: Duration = Duration::from_millis(500);

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Waits until the cluster's controllers let pods onto the nodes.
pub(super) async fn joined(client: &kube::Client, settings: &Settings) -> Result<(), AttachError> {
    let until = Instant::now() + READY_TIMEOUT;
    loop {
        let missing = match missing(client, settings).await? {
            None => return Ok(()),
            Some(missing) => missing,
        };
        if Instant::now() >= until {
            return Err(AttachError::NotReady {
                seconds: READY_TIMEOUT.as_secs(),
                missing,
            });
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What is not there yet.
async fn missing(
    client: &kube::Client,
    settings: &Settings,
) -> Result<Option<String>, AttachError> {
    let nodes: Api<Node> = Api::all(client.clone());
    for node in nodes.list(&ListParams::default()).await?.items {
        let name = node.name_any();
        if !settings.nodes.iter().any(|place| place.name == name) {
            continue;
        }
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let of_state = |key: &str| key.starts_with("node.kubernetes.io/");
        if let Some(taint) = taints.iter().find(|taint| of_state(&taint.key)) {
            return Ok(Some(format!(
                "node {name} still has the taint {}",
                taint.key
            )));
        }
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    Ok(match accounts.get_opt("default").await? {
        Some(_) => None,
        None => Some("the namespace default has no ServiceAccount default".to_owned()),
    })
}

/// Removes the nodes, their leases and the pods that were bound to them. The pods' processes have ended before.
///
/// The nodes go first, so that the scheduler and the DaemonSet controller bind nothing more to them; then the pods, at once, because
/// no kubelet is left that could report their end. A pod that is bound after all is for the cluster's own garbage collection.
pub(super) async fn leave(client: &kube::Client, nodes: &[String]) -> Result<(), AttachError> {
    let leaving = join_all(nodes.iter().map(|name| async move {
        let removed = remove(client, name).await;
        removed.map_err(|error| (name.clone(), error))
    }));
    let Ok(results) = tokio::time::timeout(LEAVE_TIMEOUT, leaving).await else {
        return Err(AttachError::Left {
            nodes: nodes.to_vec(),
            reason: format!("it took longer than {LEAVE_TIMEOUT:?}"),
        });
    };
    let failed: Vec<(String, kube::Error)> = results.into_iter().filter_map(Result::err).collect();
    match failed.first() {
        None => Ok(()),
        Some((_, error)) => Err(AttachError::Left {
            reason: with_causes(error),
            nodes: failed.iter().map(|(name, _)| name.clone()).collect(),
        }),
    }
}

async fn remove(client: &kube::Client, name: &str) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    gone(nodes.delete(name, &DeleteParams::default()).await)?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    gone(leases.delete(name, &DeleteParams::default()).await)?;
    remove_pods(client, name).await?;
    tokio::time::sleep(LATE_POD_DELAY).await;
    remove_pods(client, name).await
}

async fn remove_pods(client: &kube::Client, node: &str) -> Result<(), kube::Error> {
    let pods: Api<Pod> = Api::all(client.clone());
    let bound = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let bound = pods.list(&bound).await?;
    let removals = bound.items.into_iter().map(|pod| async move {
        let namespace = pod.namespace().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let now = DeleteParams::default()
            .grace_period(0)
            .preconditions(Preconditions {
                uid: pod.uid(),
                ..Preconditions::default()
            });
        gone(pods.delete(&pod.name_any(), &now).await)
    });
    join_all(removals).await.into_iter().collect()
}

/// What was gone already, or has become another object, is as good as removed.
fn gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}
