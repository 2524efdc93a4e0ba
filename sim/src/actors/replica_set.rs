//! The ReplicaSet controller: keeps as many pods as asked for.
//!
//! In: ReplicaSets and pods. Out: pods, and the ReplicaSet's status. The decisions are in [`step`]; this file carries them
//! out, in batches that double while all goes well.

mod expectations;
mod rank;
mod step;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::time::Instant;

use self::expectations::Expectations;
use self::step::{Action, Failure, Observed};
use super::event::{Draft, Recorder};
use super::owner::{self, controller_of};
use super::queue::{Queue, work};
use super::store::{Key, Stores, locked};
use super::write::{WriteError, Writer, unless_gone};
use super::{CONTROLLER_MANAGER, Context, pod};
use crate::clock::wall_now;

/// The first retry after a failure, as client-go's queues have it.
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(5);

struct Controller {
    stores: Arc<Stores>,
    writer: Writer,
    recorder: Recorder,
    queue: Arc<Queue<Key>>,
    expectations: Arc<Mutex<Expectations>>,
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let controller = Controller {
        writer: Writer::new(context.client, CONTROLLER_MANAGER),
        recorder: context.recorder.of("replicaset-controller"),
        queue: Queue::new(RETRY_DELAY_FIRST),
        expectations: Arc::default(),
        stores: context.stores,
    };
    controller.listen();
    async move {
        controller.stores.pods.synced().await;
        controller.stores.replica_sets.synced().await;
        work("replica_set", &controller.queue, |key| {
            controller.reconcile(key)
        })
        .await;
    }
}

// === impl Controller ===

impl Controller {
    fn listen(&self) {
        let (queue, expectations) = (Arc::clone(&self.queue), Arc::clone(&self.expectations));
        self.stores.replica_sets.on_change(move |before, after| {
            if let (Some(gone), None) = (before, after) {
                locked(&expectations).forget(&Key::of(gone));
            }
            queue.add(Key::of(after.or(before).expect("a change has a side")));
        });
        let (queue, expectations) = (Arc::clone(&self.queue), Arc::clone(&self.expectations));
        let stores = Arc::downgrade(&self.stores);
        self.stores.pods.on_change(move |before, after| {
            note(&mut locked(&expectations), before, after);
            let owners = [before, after].map(|pod| pod.and_then(owning_set));
            for owner in owners.into_iter().flatten() {
                queue.add(owner);
            }
            let orphan = after.filter(|pod| controller_of(&pod.metadata).is_none());
            if let (Some(pod), Some(stores)) = (orphan, stores.upgrade()) {
                for set in sets_that_select(&stores, pod) {
                    queue.add(set);
                }
            }
        });
    }

    async fn reconcile(&self, key: Key) -> Result<(), WriteError> {
        let Some(replica_set) = self.stores.replica_sets.get(&key) else {
            return Ok(());
        };
        let is_current = locked(&self.expectations).are_met(&key, Instant::now());
        let pods = self.stores.pods.list(&key.namespace);
        let replica_sets = self.stores.replica_sets.list(&key.namespace);
        let observed = Observed {
            replica_set: &replica_set,
            pods: &pods,
            replica_sets: &replica_sets,
            is_current,
            now: wall_now(),
        };
        let mut failure = None;
        for action in step::reconcile(&observed) {
            if let Err(failed) = self.act(&replica_set, &key, action).await {
                failure = Some(failed);
            }
        }
        let reason = failure.as_ref().and_then(|(reason, _)| reason.as_ref());
        let status = step::status(&observed, reason);
        if replica_set.status.as_ref() != Some(&status) {
            let mut changed = ReplicaSet::clone(&replica_set);
            changed.status = Some(status);
            unless_gone(self.writer.replace_status(&changed).await)?;
        }
        failure.map_or(Ok(()), |(_, error)| Err(error))
    }

    async fn act(
        &self,
        replica_set: &ReplicaSet,
        key: &Key,
        action: Action,
    ) -> Result<(), (Option<Failure>, WriteError)> {
        match action {
            Action::Adopt(pod) => {
                let patch = owner::adoption(replica_set, pod::uid(&pod));
                self.patch(&pod, &patch)
                    .await
                    .map_err(|error| (None, error))
            }
            Action::Release(pod) => {
                let own_uid = replica_set.metadata.uid.as_deref().unwrap_or_default();
                let patch = owner::release(own_uid, pod::uid(&pod));
                self.patch(&pod, &patch)
                    .await
                    .map_err(|error| (None, error))
            }
            Action::Create(count) => self
                .create(replica_set, key, count)
                .await
                .map_err(|error| (Some(Failure::new("FailedCreate", &error)), error)),
            Action::Delete(pods) => self
                .delete(replica_set, key, &pods)
                .await
                .map_err(|error| (Some(Failure::new("FailedDelete", &error)), error)),
            Action::LookAgain(delay) => {
                self.queue.add_after(key.clone(), delay);
                Ok(())
            }
        }
    }

    async fn patch(&self, pod: &Pod, patch: &Value) -> Result<(), WriteError> {
        let patched = self.writer.patch::<Pod>(&Key::of(pod), patch).await;
        unless_gone(patched).map(|_| ())
    }

    /// Creates `count` pods: one, then two, then four …, and stops after a batch with an error, so that a quota or a bad
    /// template costs few requests.
    async fn create(&self, set: &ReplicaSet, key: &Key, count: usize) -> Result<(), WriteError> {
        locked(&self.expectations).expect_creations(key, count, Instant::now());
        let pod = step::new_pod(set);
        let (mut left, mut batch) = (count, 1);
        let mut result = Ok(());
        while left > 0 && result.is_ok() {
            let size = batch.min(left);
            for created in join_all((0..size).map(|_| self.writer.create(&pod))).await {
                match created {
                    Ok(pod) => {
                        let name = pod.metadata.name.unwrap_or_default();
                        let message = format!("Created pod: {name}");
                        self.recorder
                            .record(Draft::normal(set, "SuccessfulCreate", message));
                    }
                    Err(error) => {
                        locked(&self.expectations).creation_seen(key);
                        // The namespace takes the ReplicaSet with it; there is nothing to complain about.
                        if !matches!(error, WriteError::NamespaceTerminating) {
                            let message = format!("Error creating: {error}");
                            self.recorder
                                .record(Draft::warning(set, "FailedCreate", message));
                            result = Err(error);
                        }
                    }
                }
            }
            left -= size;
            batch *= 2;
        }
        for _ in 0..left {
            locked(&self.expectations).creation_seen(key);
        }
        result
    }

    async fn delete(
        &self,
        set: &ReplicaSet,
        key: &Key,
        pods: &[Arc<Pod>],
    ) -> Result<(), WriteError> {
        let uids = pods.iter().map(|pod| pod::uid(pod).to_owned());
        locked(&self.expectations).expect_deletions(key, uids, Instant::now());
        let deletions = pods.iter().map(|pod| async move {
            let pod_key = Key::of(&**pod);
            let deleted = self.writer.delete::<Pod>(&pod_key, pod::uid(pod)).await;
            (pod, pod_key, deleted)
        });
        let mut result = Ok(());
        for (pod, pod_key, deleted) in join_all(deletions).await {
            match deleted {
                Ok(()) => {
                    let message = format!("Deleted pod: {}", pod_key.name);
                    self.recorder
                        .record(Draft::normal(set, "SuccessfulDelete", message));
                }
                // Somebody else deleted it, or it is another pod of this name.
                Err(WriteError::NotFound | WriteError::Conflict) => {
                    locked(&self.expectations).deletion_seen(key, pod::uid(pod));
                }
                Err(error) => {
                    locked(&self.expectations).deletion_seen(key, pod::uid(pod));
                    let message = format!("Error deleting: {error}");
                    self.recorder
                        .record(Draft::warning(set, "FailedDelete", message));
                    result = Err(error);
                }
            }
        }
        result
    }
}

// === impl Failure ===

impl Failure {
    fn new(reason: &'static str, error: &WriteError) -> Self {
        Self {
            reason,
            message: error.to_string(),
        }
    }
}

/// Takes what the watch shows off the list of what is expected.
fn note(expectations: &mut Expectations, before: Option<&Pod>, after: Option<&Pod>) {
    if before.is_none()
        && let Some(owner) = after.and_then(owning_set)
    {
        expectations.creation_seen(&owner);
    }
    let is_going = after.is_none_or(pod::is_terminating);
    let pod = after.or(before).expect("a change has a side");
    if is_going && let Some(owner) = owning_set(pod) {
        expectations.deletion_seen(&owner, pod::uid(pod));
    }
}

/// The ReplicaSet that controls a pod.
fn owning_set(pod: &Pod) -> Option<Key> {
    let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet")?;
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    Some(Key::new(namespace, owner.name.clone()))
}

/// The ReplicaSets that would take a pod without controller.
fn sets_that_select(stores: &Stores, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let sets = stores.replica_sets.list(namespace);
    let selecting = sets.iter().filter(|set| {
        let selector = owner::parse_selector(&set.spec.selector);
        selector.is_some_and(|selector| owner::selects(&selector, &pod.metadata))
    });
    selecting.map(|set| Key::of(&**set)).collect()
}
