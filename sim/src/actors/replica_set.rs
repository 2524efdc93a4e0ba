//! The ReplicaSet controller: keeps as many pods as asked for.
//!
//! In: ReplicaSets and pods. Out: pods, and the ReplicaSet's status. The decisions are in [`step`]; this file carries them
//! out.

mod rank;
mod step;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use self::step::{Action, Failure, Observed};
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
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let controller = Controller {
        pods: PodControl {
            writer: Writer::new(context.client, CONTROLLER_MANAGER).limited(context.requests),
            recorder: context.recorder.of("replicaset-controller"),
            expectations: Arc::default(),
        },
        queue: Queue::new(RETRY_DELAY_FIRST),
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
        let (queue, expectations) = (Arc::clone(&self.queue), Arc::clone(&self.pods.expectations));
        self.stores.replica_sets.on_change(move |before, after| {
            if let (Some(gone), None) = (before, after) {
                locked(&expectations).forget(&Key::of(gone));
            }
            queue.add(Key::of(after.or(before).expect("a change has a side")));
        });
        pod_control::listen(
            &self.stores,
            &self.queue,
            &self.pods.expectations,
            owning_set,
            sets_that_select,
        );
    }

    async fn reconcile(&self, key: Key) -> Result<(), WriteError> {
        let Some(replica_set) = self.stores.replica_sets.get(&key) else {
            return Ok(());
        };
        let is_current = locked(&self.pods.expectations).are_met(&key, Instant::now());
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
            unless_gone(self.pods.writer.replace_status(&changed).await)?;
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
                self.pods
                    .patch(&pod, &patch)
                    .await
                    .map_err(|error| (None, error))
            }
            Action::Release(pod) => {
                let own_uid = replica_set.metadata.uid.as_deref().unwrap_or_default();
                let patch = owner::release(own_uid, pod::uid(&pod));
                self.pods
                    .patch(&pod, &patch)
                    .await
                    .map_err(|error| (None, error))
            }
            Action::Create(count) => self
                .pods
                .create(replica_set, key, &vec![step::new_pod(replica_set); count])
                .await
                .map_err(|error| (Some(Failure::new("FailedCreate", &error)), error)),
            Action::Delete(pods) => self
                .pods
                .delete(replica_set, key, &pods)
                .await
                .map_err(|error| (Some(Failure::new("FailedDelete", &error)), error)),
            Action::LookAgain(delay) => {
                self.queue.add_after(key.clone(), delay);
                Ok(())
            }
        }
    }
}

// === impl Failure ===

impl Failure {
    fn new(reason: &'static str, error: &WriteError) -> Self {
        Self {
            reason,
            message: error.told(),
        }
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
