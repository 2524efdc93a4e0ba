//! Evicts pods from nodes whose taints they do not tolerate, or not for longer.
//!
//! In: nodes and pods. Out: the condition `DisruptionTarget`, then a deletion with the pod's own grace. The times are in
//! [`step`].

mod step;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::step::{Stay, Timers};
use super::event::{Draft, Recorder, Severity};
use super::queue::{Queue, work};
use super::store::{Key, Stores, locked};
use super::write::{WriteError, Writer, unless_gone};
use super::{Context, node_taint, pod};
use crate::clock::wall_now;

/// The name in events.
const COMPONENT: &str = "taint-eviction-controller";

/// How often an eviction is tried; after that only a change of the pod or the node brings it back.
const TRIES: usize = 5;
const RETRY_DELAY: Duration = Duration::from_millis(10);

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(5);

#[derive(Clone)]
struct Eviction {
    stores: Arc<Stores>,
    writer: Writer,
    recorder: Recorder,
    queue: Arc<Queue<Subject>>,
    state: Arc<Mutex<State>>,
    /// Told when a timer was set.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// The taints that evict, of each node that has any.
    tainted: BTreeMap<String, Vec<Taint>>,
    timers: Timers,
}

/// What changed. Nodes go first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Node(String),
    Pod(Key),
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let eviction = Eviction {
        recorder: context.recorder.of(COMPONENT),
        queue: Queue::new(RETRY_DELAY_FIRST),
        writer: context.writer,
        stores: context.stores,
        state: Arc::default(),
        changed: Arc::default(),
    };
    eviction.listen();
    async move {
        eviction.stores.nodes.synced().await;
        eviction.stores.pods.synced().await;
        tokio::join!(
            work("taint_eviction", &eviction.queue, |subject| {
                eviction.look_at(&subject);
                std::future::ready(Ok(()))
            }),
            eviction.evict_in_time(),
        );
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => formatter.write_str(name),
            Self::Pod(key) => key.fmt(formatter),
        }
    }
}

// === impl Eviction ===

impl Eviction {
    fn listen(&self) {
        let queue = Arc::clone(&self.queue);
        self.stores.nodes.on_change(move |before, after| {
            let evicting =
                |node: Option<&Node>| node.map(|node| step::evicting(node_taint::of(node)));
            let is_same = before.is_some() && evicting(before) == evicting(after);
            if let (false, Some(node)) = (is_same, after.or(before)) {
                queue.add(Subject::Node(
                    node.metadata.name.clone().unwrap_or_default(),
                ));
            }
        });
        let queue = Arc::clone(&self.queue);
        self.stores.pods.on_change(move |before, after| {
            let is_same = before.is_some_and(|before| {
                after.is_some_and(|after| {
                    tolerations(before) == tolerations(after)
                        && pod::node_name(before) == pod::node_name(after)
                })
            });
            if let (false, Some(pod)) = (is_same, after.or(before)) {
                queue.add(Subject::Pod(Key::of(pod)));
            }
        });
    }

    fn look_at(&self, subject: &Subject) {
        match subject {
            Subject::Node(name) => self.look_at_node(name),
            Subject::Pod(key) => match self.stores.pods.get(key) {
                None => self.cancel(key),
                Some(pod) => {
                    let node = pod::node_name(&pod).unwrap_or_default();
                    let taints = locked(&self.state).tainted.get(node).cloned();
                    if let Some(taints) = taints {
                        self.look_at_pod(&pod, &taints);
                    }
                }
            },
        }
    }

    fn look_at_node(&self, name: &str) {
        let Some(node) = self.stores.nodes.get(&Key::new("", name)) else {
            locked(&self.state).tainted.remove(name);
            return;
        };
        let taints = step::evicting(node_taint::of(&node));
        if taints.is_empty() {
            locked(&self.state).tainted.remove(name);
        } else {
            locked(&self.state)
                .tainted
                .insert(name.to_owned(), taints.clone());
        }
        let pods = self.stores.pods.all().into_iter();
        for pod in pods.filter(|pod| pod::node_name(pod) == Some(name)) {
            if taints.is_empty() {
                self.cancel(&Key::of(&*pod));
            } else {
                self.look_at_pod(&pod, &taints);
            }
        }
    }

    fn look_at_pod(&self, pod: &Pod, taints: &[Taint]) {
        let key = Key::of(pod);
        let stay = step::stay(tolerations(pod), taints);
        let is_cancelled = locked(&self.state).timers.look(&key, stay, Instant::now());
        if is_cancelled {
            self.tell(&key, format!("Cancelling deletion of Pod {key}"));
        }
        if stay != Stay::Forever {
            self.changed.notify_one();
        }
    }

    fn cancel(&self, key: &Key) {
        let is_cancelled = locked(&self.state).timers.cancel(key);
        if is_cancelled {
            self.tell(key, format!("Cancelling deletion of Pod {key}"));
        }
    }

    /// Evicts each pod when its time is over, any number of them at the same time.
    async fn evict_in_time(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            let due = locked(&self.state).timers.due(Instant::now());
            for key in due {
                running.push(async move {
                    self.evict(&key).await;
                    locked(&self.state).timers.ended(&key);
                });
            }
            let next = locked(&self.state).timers.next();
            let wait = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(()) = running.next(), if !running.is_empty() => {}
                () = self.changed.notified() => {}
                () = wait => {}
            }
        }
    }

    async fn evict(&self, key: &Key) {
        self.tell(key, format!("Marking for deletion Pod {key}"));
        for attempt in 1..=TRIES {
            match self.mark_and_delete(key).await {
                Ok(()) => return,
                Err(error) if attempt == TRIES => {
                    tracing::warn!(pod = %key, %error, reason = error.reason(), "not evicted");
                }
                Err(_) => tokio::time::sleep(RETRY_DELAY).await,
            }
        }
    }

    async fn mark_and_delete(&self, key: &Key) -> Result<(), WriteError> {
        let api = self.writer.api::<Pod>(key);
        let Some(pod) = unless_gone(self.writer.send(api.get(&key.name)).await)? else {
            return Ok(());
        };
        if let Some(patch) = pod::disruption(
            &pod,
            "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint",
            Time(wall_now()),
        ) {
            let patch = json!({ "metadata": { "uid": pod::uid(&pod) }, "status": { "conditions": [patch] } });
            self.writer.patch_status::<Pod>(key, &patch).await?;
        }
        let deleted = self
            .writer
            .send(api.delete(&key.name, &DeleteParams::default()))
            .await;
        unless_gone(deleted).map(drop)
    }

    fn tell(&self, key: &Key, message: String) {
        self.recorder.record(Draft {
            about: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                ..ObjectReference::default()
            },
            severity: Severity::Normal,
            reason: "TaintManagerEviction",
            message,
        });
    }
}

fn tolerations(pod: &Pod) -> &[Toleration] {
    let spec = pod.spec.as_ref();
    let tolerations = spec.and_then(|spec| spec.tolerations.as_deref());
    tolerations.unwrap_or_default()
}
