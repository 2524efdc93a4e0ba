//! The DaemonSet controller: one pod on each node that fits.
//!
//! In: DaemonSets, nodes, pods, revisions. Out: pods, which the scheduler binds, revisions, and the DaemonSet's status. The
//! decisions are in [`step`]; this file carries them out.

mod backoff;
mod revision;
mod roll;
mod step;
mod template;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::backoff::Backoff;
use self::step::{Action, Observed};
use super::owner::{self, controller_of};
use super::pod_control::{self, PodControl};
use super::queue::{Queue, work};
use super::store::{Key, Stores, locked};
use super::write::{WriteError, Writer, unless_gone};
use super::{CONTROLLER_MANAGER, Context, pod};
use crate::clock::wall_now;

/// The first retry after a failure, as client-go's queues have it.
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(5);

struct Controller {
    stores: Arc<Stores>,
    pods: PodControl,
    queue: Arc<Queue<Key>>,
    backoff: Arc<Mutex<Backoff>>,
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let controller = Controller {
        pods: PodControl {
            writer: Writer::new(context.client, CONTROLLER_MANAGER).limited(context.requests),
            recorder: context.recorder.of("daemonset-controller"),
            expectations: Arc::default(),
        },
        queue: Queue::new(RETRY_DELAY_FIRST),
        backoff: Arc::default(),
        stores: context.stores,
    };
    controller.listen();
    async move {
        controller.stores.pods.synced().await;
        controller.stores.nodes.synced().await;
        controller.stores.revisions.synced().await;
        controller.stores.daemon_sets.synced().await;
        work("daemon_set", &controller.queue, |key| {
            controller.reconcile(key)
        })
        .await;
    }
}

// === impl Controller ===

impl Controller {
    fn listen(&self) {
        let (queue, expectations) = (Arc::clone(&self.queue), Arc::clone(&self.pods.expectations));
        let backoff = Arc::clone(&self.backoff);
        self.stores.daemon_sets.on_change(move |before, after| {
            if let (Some(gone), None) = (before, after) {
                locked(&expectations).forget(&Key::of(gone));
                locked(&backoff).forget(gone.metadata.uid.as_deref().unwrap_or_default());
            }
            queue.add(Key::of(after.or(before).expect("a change has a side")));
        });
        let queue = Arc::clone(&self.queue);
        self.stores.revisions.on_change(move |before, after| {
            let owners = [before, after].map(|revision| {
                let meta = &revision?.metadata;
                owning_set(meta.namespace.as_deref(), controller_of(meta)?)
            });
            for owner in owners.into_iter().flatten() {
                queue.add(owner);
            }
        });
        let queue = Arc::clone(&self.queue);
        let stores = Arc::downgrade(&self.stores);
        // A node that goes takes its pods with it, one after the other; there is nothing to do before.
        self.stores.nodes.on_change(move |before, after| {
            if let (Some(after), Some(stores)) = (after, stores.upgrade())
                && before.is_none_or(|before| offer(before) != offer(after))
            {
                for set in stores.daemon_sets.all() {
                    queue.add(Key::of(&*set));
                }
            }
        });
        pod_control::listen(
            &self.stores,
            &self.queue,
            &self.pods.expectations,
            set_of_pod,
            sets_that_select,
        );
    }

    async fn reconcile(&self, key: Key) -> Result<(), WriteError> {
        let Some(daemon_set) = self.stores.daemon_sets.get(&key) else {
            return Ok(());
        };
        let is_current = locked(&self.pods.expectations).are_met(&key, Instant::now());
        let step = {
            let observed = Observed {
                daemon_set: &daemon_set,
                nodes: &self.stores.nodes.all(),
                pods: &self.stores.pods.list(&key.namespace),
                revisions: &self.stores.revisions.list(&key.namespace),
                is_current,
                now: wall_now(),
            };
            step::reconcile(&observed, &mut locked(&self.backoff))
        };
        let Some((actions, status)) = step else {
            return Ok(());
        };
        let mut result = Ok(());
        for action in actions {
            result = self.act(&daemon_set, &key, action).await;
            if result.is_err() {
                break;
            }
        }
        // What was seen is told also when something could not be done.
        if daemon_set.status.as_ref() != Some(&status) {
            let mut changed = DaemonSet::clone(&daemon_set);
            changed.status = Some(status);
            unless_gone(self.pods.writer.replace_status(&changed).await)?;
        }
        result
    }

    async fn act(
        &self,
        daemon_set: &DaemonSet,
        key: &Key,
        action: Action,
    ) -> Result<(), WriteError> {
        let own_uid = daemon_set.metadata.uid.as_deref().unwrap_or_default();
        match action {
            Action::AdoptPod(pod) => {
                let patch = owner::adoption(daemon_set, pod::uid(&pod));
                self.pods.patch(&pod, &patch).await
            }
            Action::ReleasePod(pod) => {
                let patch = owner::release(own_uid, pod::uid(&pod));
                self.pods.patch(&pod, &patch).await
            }
            Action::Relabel(pod, hash) => {
                let patch = json!({ "metadata": { "labels": { template::HASH_LABEL: hash } } });
                self.pods.patch(&pod, &patch).await
            }
            Action::AdoptRevision(revision) => {
                let patch = owner::adoption(daemon_set, uid(&revision));
                self.patch_revision(&revision, &patch).await
            }
            Action::ReleaseRevision(revision) => {
                let patch = owner::release(own_uid, uid(&revision));
                self.patch_revision(&revision, &patch).await
            }
            Action::CreateRevision(revision) => self.create_revision(daemon_set, &revision).await,
            Action::ReplaceRevision(revision) => {
                let replaced = self.pods.writer.replace::<ControllerRevision>(&revision);
                unless_gone(replaced.await).map(|_| ())
            }
            Action::DeleteRevision(revision) => {
                let key = Key::of(&*revision);
                let writer = &self.pods.writer;
                let deleted = writer.delete::<ControllerRevision>(&key, uid(&revision));
                unless_gone(deleted.await).map(|_| ())
            }
            Action::Create(pods) => self.pods.create(daemon_set, key, &pods).await,
            Action::Delete(pods) => self.pods.delete(daemon_set, key, &pods).await,
            Action::Report(draft) => {
                self.pods.recorder.record(draft);
                Ok(())
            }
            Action::LookAgain(delay) => {
                self.queue.add_after(key.clone(), delay);
                Ok(())
            }
        }
    }

    async fn patch_revision(
        &self,
        revision: &ControllerRevision,
        patch: &Value,
    ) -> Result<(), WriteError> {
        let key = Key::of(revision);
        let patched = self.pods.writer.patch::<ControllerRevision>(&key, patch);
        unless_gone(patched.await).map(|_| ())
    }

    /// Creates a revision. When the name is taken by the same template, the store is only behind; by another one, the hash
    /// collides and the next one is tried.
    async fn create_revision(
        &self,
        daemon_set: &DaemonSet,
        revision: &ControllerRevision,
    ) -> Result<(), WriteError> {
        let writer = &self.pods.writer;
        match writer.create(revision).await {
            Ok(_) => return Ok(()),
            Err(WriteError::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
        let key = Key::of(revision);
        let other = writer
            .send(writer.api::<ControllerRevision>(&key).get(&key.name))
            .await?;
        if other.data == revision.data {
            return Ok(());
        }
        let mut changed = daemon_set.clone();
        let status = changed.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        tracing::info!(daemon_set = %Key::of(daemon_set), revision = %key, reason = "hash_collision", "the name of a new revision is taken");
        writer.replace_status(&changed).await?;
        Err(WriteError::Stale)
    }
}

fn uid(revision: &ControllerRevision) -> &str {
    revision.metadata.uid.as_deref().unwrap_or_default()
}

/// What decides whether a node gets a pod.
fn offer(node: &Node) -> impl PartialEq {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
    (node.metadata.labels.clone(), taints)
}

/// The DaemonSet that controls a pod.
fn set_of_pod(pod: &Pod) -> Option<Key> {
    owning_set(
        pod.metadata.namespace.as_deref(),
        controller_of(&pod.metadata)?,
    )
}

fn owning_set(
    namespace: Option<&str>,
    owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference,
) -> Option<Key> {
    let is_ours = owner.kind == "DaemonSet";
    is_ours.then(|| Key::new(namespace.unwrap_or_default(), owner.name.clone()))
}

/// The DaemonSets that would take a pod without controller.
fn sets_that_select(stores: &Stores, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let sets = stores.daemon_sets.list(namespace);
    let selecting = sets.iter().filter(|set| {
        let selector = owner::parse_selector(&set.spec.selector);
        selector.is_some_and(|selector| owner::selects(&selector, &pod.metadata))
    });
    selecting.map(|set| Key::of(&**set)).collect()
}
