//! What becomes of nodes: whether they are there, the taints that follow, and what is said of the pods of lost ones.
//!
//! In: nodes, their leases, pods. Out: conditions `Unknown`, taints, pods that are not ready. Every node is looked at in
//! passes ([`monitor`]); a change of a node changes its `NoSchedule` taints at once ([`reconcile`]); `NoExecute` taints wait
//! for their turn ([`taint_queue`]), so that a fault of ours does not evict everybody. Who evicts is
//! [`super::taint_eviction`].

mod health;
mod monitor;
mod pods;
mod reconcile;
mod taint_queue;
mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::Patch;
use rand::rngs::SmallRng;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::health::{Health, Status};
use self::taint_queue::TaintQueue;
use super::event::Recorder;
use super::node_taint::{NOT_READY, Name, Tainter, UNREACHABLE};
use super::queue::{Queue, work};
use super::store::{Key, Stores, locked};
use super::write::{WriteError, Writer, unless_gone};
use super::{Context, pod};

/// The name in events.
const COMPONENT: &str = "node-controller";

/// How often the queues of taints are looked at.
const TAINT_TICK: Duration = Duration::from_millis(100);

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(5);

const EVICT_UNREACHABLE: Name = Name::no_execute(UNREACHABLE);
const EVICT_NOT_READY: Name = Name::no_execute(NOT_READY);

/// How patient the cluster is with its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeMonitor {
    /// Between the end of a pass over all nodes and the next one.
    pub period: Duration,
    /// A node that was not heard of for longer is unknown.
    pub grace_period: Duration,
}

struct Lifecycle {
    stores: Arc<Stores>,
    writer: Writer,
    tainter: Tainter,
    recorder: Recorder,
    monitor: NodeMonitor,
    state: Mutex<State>,
    /// Told when a node waits for its taint.
    queued: Notify,
}

/// What is kept between passes; nothing of it survives a restart.
#[derive(Default)]
struct State {
    /// The nodes of the last pass, and their uids.
    known: BTreeMap<String, Option<String>>,
    health: BTreeMap<String, Health>,
    zones: BTreeMap<String, zones::State>,
    queues: BTreeMap<String, TaintQueue>,
    /// Nodes not all of whose pods could be marked.
    retry: BTreeSet<String>,
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context, rng: SmallRng) -> impl Future<Output = ()> + Send {
    let lifecycle = Lifecycle {
        tainter: Tainter::new(context.writer.clone(), rng),
        recorder: context.recorder.of(COMPONENT),
        monitor: context.options.node_monitor,
        writer: context.writer,
        stores: context.stores,
        state: Mutex::default(),
        queued: Notify::new(),
    };
    let nodes = Queue::new(RETRY_DELAY_FIRST);
    let adder = Arc::clone(&nodes);
    lifecycle.stores.nodes.on_change(move |_, after| {
        if let Some(node) = after {
            adder.add(Key::of(node));
        }
    });
    let pods = Queue::new(RETRY_DELAY_FIRST);
    let adder = Arc::clone(&pods);
    lifecycle.stores.pods.on_change(move |before, after| {
        if let Some(after) = after
            && pod::node_name(after).is_some()
            && before.and_then(pod::node_name) != pod::node_name(after)
        {
            adder.add(Key::of(after));
        }
    });
    async move {
        let lifecycle = &lifecycle;
        lifecycle.stores.leases.synced().await;
        lifecycle.stores.nodes.synced().await;
        lifecycle.stores.pods.synced().await;
        tokio::join!(
            work("node", &nodes, |key: Key| async move {
                lifecycle.reconcile(&key).await
            }),
            work("node_pod", &pods, |key: Key| async move {
                lifecycle.look_at_pod(&key).await
            }),
            lifecycle.taint_in_turn(),
            lifecycle.monitor(),
        );
    }
}

// === impl NodeMonitor ===

impl Default for NodeMonitor {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(5),
            grace_period: Duration::from_secs(50),
        }
    }
}

// === impl Lifecycle ===

impl Lifecycle {
    /// What follows from the present state of one node.
    async fn reconcile(&self, key: &Key) -> Result<(), WriteError> {
        let Some(node) = self.stores.nodes.get(key) else {
            return Ok(());
        };
        let (add, remove) = reconcile::taints(&node);
        self.tainter.swap(&node, &add, &remove).await?;
        let labels = reconcile::labels(&node);
        if labels.is_empty() {
            return Ok(());
        }
        let api: Api<Node> = Api::all(self.writer.client());
        let patch = Patch::Strategic(json!({ "metadata": { "labels": labels } }));
        let params = self.writer.patch_params();
        unless_gone(
            self.writer
                .send(api.patch(&key.name, &params, &patch))
                .await,
        )
        .map(drop)
    }

    /// Gives nodes the taint that evicts, as fast as their zone allows.
    async fn taint_in_turn(&self) {
        let start = Instant::now();
        loop {
            // Ticks are a fixed time apart, as if somebody looked at each of them.
            let next = tick_after(start, Instant::now());
            if self.is_nobody_queued() {
                self.queued.notified().await;
            }
            tokio::time::sleep_until(tick_after(start, Instant::now()).max(next)).await;
            let zones: Vec<String> = locked(&self.state).queues.keys().cloned().collect();
            for zone in zones {
                while let Some(name) = self.next_in(&zone) {
                    if let Err(error) = self.taint(&name).await {
                        tracing::warn!(node = name, %error, reason = error.reason(), "cannot taint the node; trying again");
                        self.in_queue(&zone, |queue, now| queue.retry(&name, now));
                    }
                }
            }
        }
    }

    async fn taint(&self, name: &str) -> Result<(), WriteError> {
        let Some(node) = self.stores.nodes.get(&Key::new("", name)) else {
            return Ok(());
        };
        match health::ready(&node) {
            Some(Status::False) => {
                self.tainter
                    .swap(&node, &[EVICT_NOT_READY], &[EVICT_UNREACHABLE])
                    .await
            }
            Some(Status::Unknown) => {
                self.tainter
                    .swap(&node, &[EVICT_UNREACHABLE], &[EVICT_NOT_READY])
                    .await
            }
            // As last seen it is ready. When that is out of date, the next pass queues it again, and the turn is lost.
            Some(Status::True) | None => Ok(()),
        }
    }

    fn is_nobody_queued(&self) -> bool {
        locked(&self.state)
            .queues
            .values()
            .all(TaintQueue::is_empty)
    }

    fn next_in(&self, zone: &str) -> Option<String> {
        self.in_queue(zone, TaintQueue::next).flatten()
    }

    /// Does something with the queue of a zone; nothing when the zone is not known.
    fn in_queue<T>(
        &self,
        zone: &str,
        act: impl FnOnce(&mut TaintQueue, Instant) -> T,
    ) -> Option<T> {
        let mut state = locked(&self.state);
        let queue = state.queues.get_mut(zone)?;
        Some(act(queue, Instant::now()))
    }

    /// What a node said of itself when it was last heard of.
    fn known_status(&self, node: &str) -> Option<Status> {
        locked(&self.state).health.get(node)?.ready()
    }
}

/// The first tick after `now`.
fn tick_after(start: Instant, now: Instant) -> Instant {
    let ticks = now.saturating_duration_since(start).as_millis() / TAINT_TICK.as_millis() + 1;
    let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
    start + TAINT_TICK * ticks
}
