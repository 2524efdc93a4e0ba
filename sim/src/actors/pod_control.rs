//! Creates and deletes the pods of a workload, as its controller.
//!
//! In: the owner, and pods to create or delete. Out: requests, an event for each, and what the store must show before the
//! owner's pods are counted again; and the owners of pods that change. It decides nothing.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use serde_json::Value;
use tokio::time::Instant;

use super::event::{Draft, Recorder};
use super::expectations::Expectations;
use super::owner::controller_of;
use super::pod;
use super::queue::Queue;
use super::store::{Key, Stores, locked};
use super::write::{WriteError, Writer, unless_gone};

/// What one controller writes pods with.
pub(crate) struct PodControl {
    pub(crate) writer: Writer,
    pub(crate) recorder: Recorder,
    pub(crate) expectations: Arc<Mutex<Expectations>>,
}

// === impl PodControl ===

impl PodControl {
    /// Changes a pod; one that is gone needs no change.
    pub(crate) async fn patch(&self, pod: &Pod, patch: &Value) -> Result<(), WriteError> {
        let patched = self.writer.patch::<Pod>(&Key::of(pod), patch).await;
        unless_gone(patched).map(|_| ())
    }

    /// Creates `pods`: one, then two, then four …, and stops after a batch with an error, so that a quota or a bad
    /// template costs few requests.
    pub(crate) async fn create<K>(
        &self,
        owner: &K,
        key: &Key,
        pods: &[Pod],
    ) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = ()> + Debug,
    {
        locked(&self.expectations).expect_creations(key, pods.len(), Instant::now());
        let (mut left, mut batch) = (pods, 1);
        let mut result = Ok(());
        while !left.is_empty() && result.is_ok() {
            let (now, later) = left.split_at(batch.min(left.len()));
            for created in join_all(now.iter().map(|pod| self.writer.create(pod))).await {
                if let Err(error) = self.note_creation(owner, key, created) {
                    result = Err(error);
                }
            }
            left = later;
            batch *= 2;
        }
        for _ in left {
            locked(&self.expectations).creation_seen(key);
        }
        result
    }

    fn note_creation<K>(
        &self,
        owner: &K,
        key: &Key,
        created: Result<Pod, WriteError>,
    ) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = ()>,
    {
        match created {
            Ok(pod) => {
                let name = pod.metadata.name.unwrap_or_default();
                let message = format!("Created pod: {name}");
                self.recorder
                    .record(Draft::normal(owner, "SuccessfulCreate", message));
                Ok(())
            }
            Err(error) => {
                locked(&self.expectations).creation_seen(key);
                // The namespace takes the owner with it; there is nothing to complain about.
                if matches!(error, WriteError::NamespaceTerminating) {
                    return Ok(());
                }
                let message = format!("Error creating: {}", error.told());
                self.recorder
                    .record(Draft::warning(owner, "FailedCreate", message));
                Err(error)
            }
        }
    }

    /// Deletes `pods`, all at once.
    pub(crate) async fn delete<K>(
        &self,
        owner: &K,
        key: &Key,
        pods: &[Arc<Pod>],
    ) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = ()>,
    {
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
                        .record(Draft::normal(owner, "SuccessfulDelete", message));
                }
                // Somebody else deleted it, or it is another pod of this name.
                Err(WriteError::NotFound | WriteError::Conflict) => {
                    locked(&self.expectations).deletion_seen(key, pod::uid(pod));
                }
                Err(error) => {
                    locked(&self.expectations).deletion_seen(key, pod::uid(pod));
                    let message = format!("Error deleting: {}", error.told());
                    self.recorder
                        .record(Draft::warning(owner, "FailedDelete", message));
                    result = Err(error);
                }
            }
        }
        result
    }
}

/// Puts the owners of every pod that changes into the queue, and those that would take a pod without controller.
pub(crate) fn listen(
    stores: &Arc<Stores>,
    queue: &Arc<Queue<Key>>,
    expectations: &Arc<Mutex<Expectations>>,
    owner_of: fn(&Pod) -> Option<Key>,
    selecting: fn(&Stores, &Pod) -> Vec<Key>,
) {
    let (queue, expectations) = (Arc::clone(queue), Arc::clone(expectations));
    let others = Arc::downgrade(stores);
    stores.pods.on_change(move |before, after| {
        note(&mut locked(&expectations), before, after, owner_of);
        let owners = [before, after].map(|pod| pod.and_then(owner_of));
        for owner in owners.into_iter().flatten() {
            queue.add(owner);
        }
        let orphan = after.filter(|pod| controller_of(&pod.metadata).is_none());
        if let (Some(pod), Some(stores)) = (orphan, others.upgrade()) {
            for owner in selecting(&stores, pod) {
                queue.add(owner);
            }
        }
    });
}

/// Takes what the watch shows off the list of what is expected; `owner_of` names the owner of a pod, if it is one of this
/// controller's.
fn note(
    expectations: &mut Expectations,
    before: Option<&Pod>,
    after: Option<&Pod>,
    owner_of: impl Fn(&Pod) -> Option<Key>,
) {
    if before.is_none()
        && let Some(owner) = after.and_then(&owner_of)
    {
        expectations.creation_seen(&owner);
    }
    let is_going = after.is_none_or(pod::is_terminating);
    let pod = after.or(before).expect("a change has a side");
    if is_going && let Some(owner) = owner_of(pod) {
        expectations.deletion_seen(&owner, pod::uid(pod));
    }
}
