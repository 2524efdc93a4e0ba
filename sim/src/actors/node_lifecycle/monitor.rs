//! The passes over all nodes: who is new, who is gone, who was not heard of for too long, and how the zones are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use tokio::time::Instant;

use super::super::store::{Key, locked};
use super::super::write::WriteError;
use super::health::{self, Health, Seen, Status};
use super::pods::name_of;
use super::taint_queue::TaintQueue;
use super::zones::{self, Change, Count};
use super::{EVICT_NOT_READY, EVICT_UNREACHABLE, Lifecycle, State};
use crate::clock::wall_now;

/// Nodes that are looked at at the same time: writing their pods takes long.
const WORKERS: usize = 8;

/// How often a node is tried in one pass when somebody else writes it.
const TRIES: usize = 5;
const RETRY_DELAY: Duration = Duration::from_millis(20);

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// A node after a look at it.
struct Checked {
    node: Arc<Node>,
    /// `Ready` before the look, and after it.
    before: Option<Status>,
    ready: Option<Status>,
}

/// What differs from the last pass.
#[derive(Default)]
struct Changes {
    added: Vec<Arc<Node>>,
    removed: Vec<(String, Option<String>)>,
}

// === impl Lifecycle ===

impl Lifecycle {
    /// Passes without end: the time between two of them is the period and what the first one took.
    pub(super) async fn monitor(&self) {
        loop {
            self.pass().await;
            tokio::time::sleep(self.monitor.period).await;
        }
    }

    async fn pass(&self) {
        let nodes = self.stores.nodes.all();
        let changes = locked(&self.state).classify(&nodes, Instant::now());
        for node in &changes.added {
            let name = name_of(node);
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            self.tell(
                name,
                node.metadata.uid.as_deref(),
                "RegisteredNode",
                message,
            );
            self.spare(node).await;
        }
        for (name, uid) in &changes.removed {
            let message = format!("Node {name} event: Removing Node {name} from Controller");
            self.tell(name, uid.as_deref(), "RemovingNode", message);
        }
        let counts: Mutex<BTreeMap<String, Count>> = Mutex::default();
        stream::iter(&nodes)
            .for_each_concurrent(WORKERS, |node| self.look_at(node, &counts))
            .await;
        let counts = counts.into_inner().expect("no holder of this lock panics");
        self.follow_zones(&counts, &nodes).await;
    }

    async fn look_at(&self, node: &Arc<Node>, counts: &Mutex<BTreeMap<String, Count>>) {
        let checked = match self.check(node).await {
            Ok(checked) => checked,
            Err(error) => {
                tracing::debug!(node = name_of(node), %error, reason = error.reason(), "node not checked");
                return;
            }
        };
        let node = &checked.node;
        if zones::counts(node) {
            let is_ready = checked.ready == Some(Status::True);
            locked(counts)
                .entry(zones::of(node))
                .or_default()
                .add(is_ready);
        }
        let name = name_of(node);
        if let Some(ready) = checked.ready {
            let pods = self.pods_on(name);
            self.follow_ready(node, ready).await;
            let was_lost = checked.before == Some(Status::True) && ready != Status::True;
            let is_due =
                locked(&self.state).retry.contains(name) && checked.before != Some(Status::True);
            if was_lost {
                let message = format!("Node {name} status is now: NodeNotReady");
                self.tell(name, node.metadata.uid.as_deref(), "NodeNotReady", message);
            }
            if (was_lost || is_due) && self.mark_not_ready(&pods).await.is_err() {
                // What is missing comes with the next pass.
                locked(&self.state).retry.insert(name.to_owned());
                return;
            }
        }
        locked(&self.state).retry.remove(name);
    }

    /// Looks at one node, and writes that it is unknown when its grace is over.
    async fn check(&self, node: &Arc<Node>) -> Result<Checked, WriteError> {
        let api: Api<Node> = Api::all(self.writer.client());
        let mut node = Arc::clone(node);
        for attempt in 1..=TRIES {
            let name = name_of(&node).to_owned();
            let lease = self.stores.leases.get(&Key::new(LEASE_NAMESPACE, &*name));
            let now = Instant::now();
            let seen = Seen {
                node: &node,
                lease: lease.as_deref(),
                age: age(&node),
                now,
            };
            let is_overdue = {
                let mut state = locked(&self.state);
                let health = Health::observe(state.health.get(&name), &seen);
                let is_overdue = health.is_overdue(self.monitor.grace_period, now);
                state.health.insert(name.clone(), health);
                is_overdue
            };
            let before = health::ready(&node);
            let unknown = if is_overdue {
                health::unknown(&node, wall_now())
            } else {
                None
            };
            let Some(unknown) = unknown else {
                let ready = before;
                return Ok(Checked {
                    node,
                    before,
                    ready,
                });
            };
            let params = self.writer.post_params();
            match self
                .writer
                .send(api.replace_status(&name, &params, &unknown))
                .await
            {
                Ok(_) => {
                    let mut state = locked(&self.state);
                    if let Some(health) = state.health.get_mut(&name) {
                        *health = health.written(&unknown, lease.as_deref());
                    }
                    let ready = Some(Status::Unknown);
                    return Ok(Checked {
                        node: Arc::new(unknown),
                        before,
                        ready,
                    });
                }
                Err(error) if attempt == TRIES => return Err(error),
                Err(_) => {
                    node = Arc::new(self.writer.send(api.get(&name)).await?);
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
        Err(WriteError::Conflict)
    }

    /// The taint that evicts follows `Ready`: it is swapped at once, put on in turn, and taken off.
    async fn follow_ready(&self, node: &Node, ready: Status) {
        let (wanted, other) = match ready {
            Status::True => return self.spare(node).await,
            Status::False => (EVICT_NOT_READY, EVICT_UNREACHABLE),
            Status::Unknown => (EVICT_UNREACHABLE, EVICT_NOT_READY),
        };
        let name = name_of(node);
        if other.is_on(node) {
            if let Err(error) = self.tainter.swap(node, &[wanted], &[other]).await {
                tracing::warn!(node = name, %error, reason = error.reason(), "cannot swap taints; trying again");
            }
            return;
        }
        self.in_queue(&zones::of(node), |queue, now| {
            if !wanted.is_on(node) {
                queue.remove(name);
            }
            queue.add(name, now);
        });
        self.queued.notify_one();
    }

    /// Takes the taints that evict off a node.
    async fn spare(&self, node: &Node) {
        for taint in [EVICT_UNREACHABLE, EVICT_NOT_READY] {
            if let Err(error) = self.tainter.remove(node, &[taint]).await {
                tracing::warn!(node = name_of(node), %error, reason = error.reason(), "cannot take off a taint; trying again");
                return;
            }
        }
        self.in_queue(&zones::of(node), |queue, _| queue.remove(name_of(node)));
    }

    async fn follow_zones(&self, counts: &BTreeMap<String, Count>, nodes: &[Arc<Node>]) {
        let change = zones::step(&mut locked(&self.state).zones, counts);
        let intervals = match change {
            Change::Intervals(intervals) => intervals,
            Change::AllAway(zones) => {
                tracing::warn!(
                    reason = "all_nodes_away",
                    "no node is ready: evictions stop"
                );
                for node in nodes {
                    self.spare(node).await;
                }
                zones.into_iter().map(|zone| (zone, None)).collect()
            }
            Change::Back(intervals) => {
                tracing::info!("a node is ready again: evictions go on");
                let now = Instant::now();
                let mut state = locked(&self.state);
                state
                    .health
                    .values_mut()
                    .for_each(|health| health.heard(now));
                intervals
            }
        };
        for (zone, interval) in intervals {
            self.in_queue(&zone, |queue, now| queue.set_interval(interval, now));
        }
    }
}

// === impl State ===

impl State {
    /// Takes the nodes of a new pass.
    fn classify(&mut self, nodes: &[Arc<Node>], now: Instant) -> Changes {
        let mut changes = Changes::default();
        let mut gone = std::mem::take(&mut self.known);
        for node in nodes {
            let zone = zones::of(node);
            if !self.zones.contains_key(&zone) {
                self.zones.insert(zone.clone(), zones::State::Initial);
                self.queues
                    .insert(zone, TaintQueue::new(zones::TAINT_INTERVAL, now));
            }
            let name = name_of(node).to_owned();
            if gone.remove(&name).is_none() {
                changes.added.push(Arc::clone(node));
            }
            self.known.insert(name, node.metadata.uid.clone());
        }
        for name in gone.keys() {
            self.health.remove(name);
            self.retry.remove(name);
            self.queues
                .values_mut()
                .for_each(|queue| queue.remove(name));
        }
        self.queues.retain(|zone, _| self.zones.contains_key(zone));
        changes.removed = gone.into_iter().collect();
        changes
    }
}

/// For how long a node has existed, by the clock of the API server and ours.
fn age(node: &Node) -> Duration {
    let created = node.metadata.creation_timestamp.as_ref();
    let age = created.map(|created| wall_now().duration_since(created.0));
    age.and_then(|age| Duration::try_from(age).ok())
        .unwrap_or_default()
}
