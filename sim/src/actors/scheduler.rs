//! The scheduler: binds each pod to a node.
//!
//! In: pods and nodes. Out: bindings, or the condition `PodScheduled` and an event that tell why no node will do. The
//! choice is made in [`fit`]; this file remembers the bindings that the store does not show yet, and tries pods again
//! when something changed that could help them.

pub(crate) mod fit;
mod ports;
mod preference;
mod resources;
mod topology;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::Status;
use serde_json::json;

use self::fit::{Placed, Surroundings};
use super::event::{Draft, Recorder};
use super::queue::{Queue, work};
use super::store::{Key, Store, Stores, locked};
use super::write::{WriteError, Writer, unless_gone};
use super::{Context, pod};
use crate::clock::wall_now;

/// The name of the scheduler, in pods and as a writer.
const SCHEDULER: &str = "default-scheduler";
const WRITER: &str = "kube-scheduler";

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(20);

/// How long a pod waits for a change before it is tried again anyway.
const UNSCHEDULABLE_RETRY_DELAY: Duration = Duration::from_secs(300);

struct Scheduler {
    stores: Arc<Stores>,
    writer: Writer,
    recorder: Recorder,
    queue: Arc<Queue<Key>>,
    /// The nodes of pods that were bound and that the store still shows without one, by uid.
    assumed: Mutex<BTreeMap<String, String>>,
}

/// Makes the scheduler listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let scheduler = Scheduler {
        writer: Writer::new(context.client, WRITER).limited(context.requests),
        recorder: context.recorder.of(SCHEDULER),
        queue: Queue::new(RETRY_DELAY_FIRST),
        assumed: Mutex::default(),
        stores: context.stores,
    };
    scheduler.listen();
    async move {
        scheduler.stores.namespaces.synced().await;
        scheduler.stores.nodes.synced().await;
        scheduler.stores.pods.synced().await;
        work("scheduler", &scheduler.queue, |key| {
            scheduler.reconcile(key)
        })
        .await;
    }
}

// === impl Scheduler ===

impl Scheduler {
    fn listen(&self) {
        let queue = Arc::clone(&self.queue);
        let stores = Arc::downgrade(&self.stores);
        self.stores.pods.on_change(move |before, after| {
            if let Some(pod) = after.filter(|pod| fit::is_waiting(pod)) {
                // Only what is written about a pod by ourselves changes without its spec changing.
                if before.is_none_or(|before| before.spec != pod.spec) {
                    queue.add(Key::of(pod));
                }
            }
            let freed = before.is_some_and(|before| {
                pod::node_name(before).is_some() && !pod::is_finished(before)
            }) && after.is_none_or(pod::is_finished);
            let Some(stores) = stores.upgrade() else {
                return;
            };
            if freed {
                add_waiting(&queue, &stores.pods, |_| true);
            } else if after.is_some_and(|after| moved(before, after)) {
                // A pod that waits for company, or for the others to be spread.
                add_waiting(&queue, &stores.pods, topology::looks_at_pods);
            }
        });
        let queue = Arc::clone(&self.queue);
        let stores = Arc::downgrade(&self.stores);
        self.stores.nodes.on_change(move |before, after| {
            if after.is_some()
                && before.map(offer) != after.map(offer)
                && let Some(stores) = stores.upgrade()
            {
                add_waiting(&queue, &stores.pods, |_| true);
            }
        });
    }

    async fn reconcile(&self, key: Key) -> Result<(), WriteError> {
        let Some(pod) = self
            .stores
            .pods
            .get(&key)
            .filter(|pod| fit::is_waiting(pod))
        else {
            return Ok(());
        };
        let chosen = {
            let mut assumed = locked(&self.assumed);
            if assumed.contains_key(pod::uid(&pod)) {
                return Ok(());
            }
            let placed = self.placed(&mut assumed);
            let chosen = self.choose(&pod, &placed);
            if let Ok(node) = &chosen {
                assumed.insert(pod::uid(&pod).to_owned(), node.clone());
            }
            chosen
        };
        match chosen {
            Ok(node) => {
                let bound = self.bind(&key, &pod, &node).await;
                if bound.is_err() {
                    locked(&self.assumed).remove(pod::uid(&pod));
                }
                unless_gone(bound).map(|_| ())
            }
            Err(message) => {
                self.queue.add_after(key.clone(), UNSCHEDULABLE_RETRY_DELAY);
                self.explain(&key, &pod, message).await
            }
        }
    }

    fn choose(&self, pod: &Pod, placed: &[Placed]) -> Result<String, String> {
        let around = Surroundings {
            nodes: &self.stores.nodes.all(),
            placed,
            namespaces: &self.stores.namespaces.all(),
        };
        fit::choose(pod, &around)
    }

    /// Where all pods are; forgets the assumptions that the store has caught up with.
    fn placed(&self, assumed: &mut BTreeMap<String, String>) -> Vec<Placed> {
        let pods = self.stores.pods.all();
        let mut still_assumed = BTreeMap::new();
        let mut placed = Vec::new();
        for pod in pods.into_iter().filter(|pod| !pod::is_finished(pod)) {
            let node = match pod::node_name(&pod) {
                Some(node) => node.to_owned(),
                None => match assumed.remove_entry(pod::uid(&pod)) {
                    Some((uid, node)) => {
                        still_assumed.insert(uid, node.clone());
                        node
                    }
                    None => continue,
                },
            };
            placed.push(Placed { pod, node });
        }
        *assumed = still_assumed;
        placed
    }

    async fn bind(&self, key: &Key, pod: &Pod, node: &str) -> Result<(), WriteError> {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                uid: pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let api = self.writer.api::<Pod>(key);
        let params = self.writer.post_params();
        let binding = api.create_subresource::<_, Status>("binding", &key.name, &params, &binding);
        self.writer.send(binding).await?;
        let message = format!("Successfully assigned {key} to {node}");
        self.recorder
            .record(Draft::normal(pod, "Scheduled", message));
        Ok(())
    }

    /// Tells why the pod waits, once for each reason.
    async fn explain(&self, key: &Key, pod: &Pod, message: String) -> Result<(), WriteError> {
        let known = pod::condition(pod, "PodScheduled");
        if known.is_some_and(|known| {
            known.status == "False" && known.message.as_ref() == Some(&message)
        }) {
            return Ok(());
        }
        let draft = Draft::warning(pod, "FailedScheduling", message.clone());
        self.recorder.record(draft);
        let patch = json!({ "status": { "conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": Time(wall_now()),
        }] } });
        unless_gone(self.writer.patch_status::<Pod>(key, &patch).await)?;
        Ok(())
    }
}

fn add_waiting(queue: &Queue<Key>, pods: &Store<Pod>, is_helped: impl Fn(&Pod) -> bool) {
    let waiting = pods.all();
    let waiting = waiting.iter().filter(|pod| fit::is_waiting(pod));
    for pod in waiting.filter(|pod| is_helped(pod)) {
        queue.add(Key::of(&**pod));
    }
}

/// Whether a pod was bound or has other labels.
fn moved(before: Option<&Pod>, after: &Pod) -> bool {
    pod::node_name(after).is_some()
        && before.is_none_or(|before| {
            pod::node_name(before).is_none() || before.metadata.labels != after.metadata.labels
        })
}

/// What a node offers to pods: heartbeats change nothing of it.
fn offer(node: &Node) -> impl PartialEq {
    let spec = node.spec.clone();
    let allocatable = node
        .status
        .as_ref()
        .and_then(|status| status.allocatable.clone());
    (
        node.metadata.labels.clone(),
        spec,
        allocatable,
        fit::is_ready(node),
    )
}
