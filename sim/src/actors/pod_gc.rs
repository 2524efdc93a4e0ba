//! Removes pods that no kubelet will ever remove: of nodes that are gone or out of service, never bound, or too many.
//!
//! In: pods and nodes, every 20 s. Out: the phase `Failed`, then a deletion without grace. The choice is in [`step`].

mod step;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::time::Instant;

use self::step::Quarantine;
use super::store::{Key, Stores};
use super::write::{WriteError, Writer, unless_gone};
use super::{Context, pod};
use crate::clock::wall_now;

const PERIOD: Duration = Duration::from_secs(20);

/// Pods that are removed at the same time, where their order does not matter.
const WORKERS: usize = 64;

struct Collector {
    stores: Arc<Stores>,
    writer: Writer,
}

/// Returns the work of the collector, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let collector = Collector {
        stores: context.stores,
        writer: context.writer,
    };
    async move {
        collector.stores.nodes.synced().await;
        collector.stores.pods.synced().await;
        let mut quarantine = Quarantine::default();
        loop {
            collector.pass(&mut quarantine).await;
            tokio::time::sleep(PERIOD).await;
        }
    }
}

// === impl Collector ===

impl Collector {
    async fn pass(&self, quarantine: &mut Quarantine) {
        let (pods, nodes) = (self.stores.pods.all(), self.stores.nodes.all());
        for chosen in [step::too_many(&pods), step::out_of_service(&pods, &nodes)] {
            stream::iter(chosen)
                .for_each_concurrent(WORKERS, async |pod| self.remove(&pod, None).await)
                .await;
        }
        let names: BTreeSet<String> = nodes
            .iter()
            .filter_map(|node| node.metadata.name.clone())
            .collect();
        let mut gone = BTreeSet::new();
        for name in quarantine.step(&pods, &names, Instant::now()) {
            match self.is_gone(&name).await {
                Ok(true) => _ = gone.insert(name),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(node = name, %error, reason = error.reason(), "cannot ask for a node");
                }
            }
        }
        for pod in &pods {
            if pod::node_name(pod).is_some_and(|node| gone.contains(node)) {
                self.remove(pod, Some("PodGC: node no longer exists")).await;
            }
        }
        for pod in step::unscheduled(&pods) {
            self.remove(&pod, None).await;
        }
    }

    /// Whether the API server knows no such node; its word counts, not that of a watch that may be behind.
    async fn is_gone(&self, name: &str) -> Result<bool, WriteError> {
        let api: Api<Node> = Api::all(self.writer.client());
        unless_gone(self.writer.send(api.get(name)).await).map(|node| node.is_none())
    }

    /// Fails a pod that has not ended, so that nobody takes it for running, and deletes it. What fails comes back.
    async fn remove(&self, pod: &Pod, why: Option<&str>) {
        let key = Key::of(pod);
        tracing::debug!(pod = %key, "removing a pod");
        if let Err(error) = self.fail_and_delete(&key, pod, why).await {
            tracing::warn!(pod = %key, %error, reason = error.reason(), "cannot remove a pod; trying again");
        }
    }

    async fn fail_and_delete(
        &self,
        key: &Key,
        pod: &Pod,
        why: Option<&str>,
    ) -> Result<(), WriteError> {
        if !pod::is_finished(pod) {
            let condition =
                why.and_then(|why| pod::disruption(pod, "DeletionByPodGC", why, Time(wall_now())));
            let mut status = json!({ "phase": "Failed" });
            if let Some(generation) = pod.metadata.generation {
                status["observedGeneration"] = json!(generation);
            }
            if let Some(condition) = condition {
                status["conditions"] = json!([condition]);
            }
            let patch = json!({ "metadata": { "uid": pod::uid(pod) }, "status": status });
            if unless_gone(self.writer.patch_status::<Pod>(key, &patch).await)?.is_none() {
                return Ok(());
            }
        }
        let api = self.writer.api::<Pod>(key);
        let params = DeleteParams::default().grace_period(0);
        unless_gone(self.writer.send(api.delete(&key.name, &params)).await).map(drop)
    }
}
