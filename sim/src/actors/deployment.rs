//! The Deployment controller: one ReplicaSet per template, and the way from one to the next.
//!
//! In: Deployments, ReplicaSets, pods. Out: ReplicaSets, and the Deployment's status and revision. The decisions are in
//! [`step`]; this file carries them out.

mod bounds;
mod roll;
mod scale;
mod status;
mod step;
mod template;
mod work;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use self::step::Observed;
use self::work::Action;
use super::event::Recorder;
use super::owner::{self, controller_of};
use super::queue::{Queue, work};
use super::store::{Key, Stores};
use super::write::{WriteError, Writer, unless_gone};
use super::{CONTROLLER_MANAGER, Context};
use crate::clock::wall_now;

/// The first retry after a failure, as client-go's queues have it.
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(5);

struct Controller {
    stores: Arc<Stores>,
    writer: Writer,
    recorder: Recorder,
    queue: Arc<Queue<Key>>,
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let controller = Controller {
        writer: Writer::new(context.client, CONTROLLER_MANAGER).limited(context.requests),
        recorder: context.recorder.of("deployment-controller"),
        queue: Queue::new(RETRY_DELAY_FIRST),
        stores: context.stores,
    };
    controller.listen();
    async move {
        controller.stores.pods.synced().await;
        controller.stores.replica_sets.synced().await;
        controller.stores.deployments.synced().await;
        work("deployment", &controller.queue, |key| {
            controller.reconcile(key)
        })
        .await;
    }
}

// === impl Controller ===

impl Controller {
    fn listen(&self) {
        let queue = Arc::clone(&self.queue);
        self.stores.deployments.on_change(move |before, after| {
            queue.add(Key::of(after.or(before).expect("a change has a side")));
        });
        let queue = Arc::clone(&self.queue);
        let stores = Arc::downgrade(&self.stores);
        self.stores.replica_sets.on_change(move |before, after| {
            let owners = [before, after].map(|set| set.and_then(owning_deployment));
            for owner in owners.into_iter().flatten() {
                queue.add(owner);
            }
            let orphan = after.filter(|set| controller_of(&set.metadata).is_none());
            if let (Some(set), Some(stores)) = (orphan, stores.upgrade()) {
                for deployment in deployments_that_select(&stores, set) {
                    queue.add(deployment);
                }
            }
        });
        let queue = Arc::clone(&self.queue);
        let stores = Arc::downgrade(&self.stores);
        // A re-creation waits for its last old pod.
        self.stores.pods.on_change(move |before, after| {
            if let (Some(gone), None, Some(stores)) = (before, after, stores.upgrade())
                && let Some(owner) = deployment_of_pod(&stores, gone)
            {
                queue.add(owner);
            }
        });
    }

    async fn reconcile(&self, key: Key) -> Result<(), WriteError> {
        let Some(deployment) = self.stores.deployments.get(&key) else {
            return Ok(());
        };
        let replica_sets = self.stores.replica_sets.list(&key.namespace);
        let pods = self.stores.pods.list(&key.namespace);
        let actions = step::reconcile(&Observed {
            deployment: &deployment,
            replica_sets: &replica_sets,
            pods: &pods,
            now: wall_now(),
        });
        for action in actions {
            self.act(&deployment, &key, action).await?;
        }
        Ok(())
    }

    async fn act(
        &self,
        deployment: &Deployment,
        key: &Key,
        action: Action,
    ) -> Result<(), WriteError> {
        match action {
            Action::Adopt(set) => {
                let uid = set.metadata.uid.as_deref().unwrap_or_default();
                let patch = owner::adoption(deployment, uid);
                self.patch_set(&set, &patch).await
            }
            Action::Release(set) => {
                let uid = set.metadata.uid.as_deref().unwrap_or_default();
                let own_uid = deployment.metadata.uid.as_deref().unwrap_or_default();
                self.patch_set(&set, &owner::release(own_uid, uid)).await
            }
            Action::Create(set) => self.create_set(deployment, &set).await,
            Action::Replace(set) => {
                unless_gone(self.writer.replace::<ReplicaSet>(&set).await)?;
                Ok(())
            }
            Action::Delete(set) => {
                let uid = set.metadata.uid.as_deref().unwrap_or_default();
                unless_gone(self.writer.delete::<ReplicaSet>(&Key::of(&*set), uid).await)?;
                Ok(())
            }
            Action::ReplaceStatus(changed) => {
                unless_gone(self.writer.replace_status::<Deployment>(&changed).await)?;
                Ok(())
            }
            Action::Report(draft) => {
                self.recorder.record(draft);
                Ok(())
            }
            Action::LookAgain(delay) => {
                self.queue.add_after(key.clone(), delay);
                Ok(())
            }
        }
    }

    async fn patch_set(
        &self,
        set: &ReplicaSet,
        patch: &serde_json::Value,
    ) -> Result<(), WriteError> {
        let patched = self.writer.patch::<ReplicaSet>(&Key::of(set), patch).await;
        unless_gone(patched).map(|_| ())
    }

    /// Creates a set. When the name is taken by a set of our own with this template, the store is only behind; by any
    /// other, the hash collides and the next one is tried.
    async fn create_set(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
    ) -> Result<(), WriteError> {
        match self.writer.create(set).await {
            Ok(_) | Err(WriteError::NamespaceTerminating) => return Ok(()),
            Err(WriteError::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
        let key = Key::of(set);
        let api = self.writer.api::<ReplicaSet>(&key);
        let other = self.writer.send(api.get(&key.name)).await?;
        let is_ours = controller_of(&other.metadata)
            .is_some_and(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref());
        if is_ours && template_of(&other) == template_of(set) {
            return Err(WriteError::Stale);
        }
        let mut changed = deployment.clone();
        let status = changed.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        tracing::info!(deployment = %Key::of(deployment), set = %key, reason = "hash_collision", "the name of a new ReplicaSet is taken");
        self.writer.replace_status(&changed).await?;
        Err(WriteError::Stale)
    }
}

fn template_of(set: &ReplicaSet) -> Option<k8s_openapi::api::core::v1::PodTemplateSpec> {
    set.spec.template.as_ref().map(template::without_hash)
}

/// The Deployment that controls a ReplicaSet.
fn owning_deployment(set: &ReplicaSet) -> Option<Key> {
    let owner = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment")?;
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    Some(Key::new(namespace, owner.name.clone()))
}

fn deployment_of_pod(stores: &Stores, pod: &Pod) -> Option<Key> {
    let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet")?;
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let set = stores
        .replica_sets
        .get(&Key::new(namespace, owner.name.clone()))?;
    owning_deployment(&set)
}

/// The Deployments that would take a ReplicaSet without controller.
fn deployments_that_select(stores: &Stores, set: &ReplicaSet) -> Vec<Key> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let deployments = stores.deployments.list(namespace);
    let selecting = deployments.iter().filter(|deployment| {
        let selector = owner::parse_selector(&deployment.spec.selector);
        selector.is_some_and(|selector| owner::selects(&selector, &set.metadata))
    });
    selecting.map(|deployment| Key::of(&**deployment)).collect()
}
