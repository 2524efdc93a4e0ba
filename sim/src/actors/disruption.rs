//! The disruption controller: how many pods of a PodDisruptionBudget may be evicted now.
//!
//! In: PodDisruptionBudgets, pods, and the controllers of the pods. Out: the budgets' status, which the API server spends
//! with each eviction, and the end of `DisruptionTarget` conditions that nothing came of. The numbers are decided in
//! [`step`], how many pods a controller wants is found in [`scale`]; this file carries it out.

mod scale;
mod step;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use self::step::{Observed, Reckoning};
use super::event::{Draft, Recorder};
use super::owner::controller_of;
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
    budgets: Arc<Queue<Key>>,
    /// Pods whose eviction was announced.
    announced: Arc<Queue<Key>>,
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let controller = Controller {
        writer: Writer::new(context.client, CONTROLLER_MANAGER).limited(context.requests),
        recorder: context.recorder.of("controllermanager"),
        budgets: Queue::new(RETRY_DELAY_FIRST),
        announced: Queue::new(RETRY_DELAY_FIRST),
        stores: context.stores,
    };
    controller.listen();
    async move {
        controller.stores.pods.synced().await;
        controller.stores.replica_sets.synced().await;
        controller.stores.deployments.synced().await;
        controller.stores.budgets.synced().await;
        tokio::join!(
            work("disruption", &controller.budgets, |key| controller
                .reconcile(key)),
            work("disruption", &controller.announced, |key| controller
                .clean(key)),
        );
    }
}

// === impl Controller ===

impl Controller {
    fn listen(&self) {
        let queue = Arc::clone(&self.budgets);
        self.stores.budgets.on_change(move |before, after| {
            queue.add(Key::of(after.or(before).expect("a change has a side")));
        });
        let (budgets, announced) = (Arc::clone(&self.budgets), Arc::clone(&self.announced));
        let stores = Arc::downgrade(&self.stores);
        let recorder = self.recorder.clone();
        self.stores.pods.on_change(move |before, after| {
            let pod = after.or(before).expect("a change has a side");
            let Some(stores) = stores.upgrade() else {
                return;
            };
            let selecting = budgets_that_select(&stores, pod);
            if let [first, _, ..] = selecting.as_slice() {
                let key = Key::of(pod);
                let message = format!(
                    "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
                    key.namespace, key.name, first.name
                );
                recorder.record(Draft::warning(pod, "MultiplePodDisruptionBudgets", message));
            }
            for budget in selecting {
                budgets.add(budget);
            }
            if let Some(delay) = after.and_then(|pod| step::stale_in(pod, wall_now())) {
                announced.add_after(Key::of(pod), delay);
            }
        });
    }

    async fn reconcile(&self, key: Key) -> Result<(), WriteError> {
        let Some(budget) = self.stores.budgets.get(&key) else {
            return Ok(());
        };
        let pods = self.pods_of(&budget, &key);
        let reckoned = match self.scales(&budget, &pods).await {
            Ok(scales) => step::reckon(&Observed {
                budget: &budget,
                pods: &pods,
                scales: &scales,
                now: wall_now(),
            }),
            Err(error) => {
                let message = format!("Failed to calculate the number of expected pods: {error}");
                let draft = Draft::warning(&*budget, "CalculateExpectedPodCountFailed", message);
                Reckoning {
                    status: step::failed(&budget, &error, wall_now()),
                    reports: vec![draft],
                    look_again: None,
                }
            }
        };
        for draft in reckoned.reports {
            self.recorder.record(draft);
        }
        if budget.status.as_ref() != Some(&reckoned.status) {
            let mut changed = PodDisruptionBudget::clone(&budget);
            changed.status = Some(reckoned.status);
            unless_gone(self.writer.replace_status(&changed).await)?;
        }
        if let Some(delay) = reckoned.look_again {
            self.budgets.add_after(key, delay);
        }
        Ok(())
    }

    /// The end of an announcement that nothing came of.
    async fn clean(&self, key: Key) -> Result<(), WriteError> {
        let Some(pod) = self.stores.pods.get(&key) else {
            return Ok(());
        };
        let now = wall_now();
        match step::stale_in(&pod, now) {
            None => Ok(()),
            Some(delay) if !delay.is_zero() => {
                self.announced.add_after(key, delay);
                Ok(())
            }
            Some(_) => {
                let changed = step::without_announcement(&pod, now);
                unless_gone(self.writer.replace_status::<Pod>(&changed).await).map(|_| ())
            }
        }
    }

    fn pods_of(&self, budget: &PodDisruptionBudget, key: &Key) -> Vec<Arc<Pod>> {
        let pods = self.stores.pods.list(&key.namespace);
        pods.into_iter()
            .filter(|pod| step::selects(budget, pod))
            .collect()
    }

    /// What the controllers of `pods` want, by the uid of the pods' controller; only looked up when the budget needs it.
    async fn scales(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<BTreeMap<String, scale::Scale>, String> {
        let mut scales = BTreeMap::new();
        if !step::needs_scale(budget) {
            return Ok(scales);
        }
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                continue;
            };
            if scales.contains_key(&owner.uid) {
                continue;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let found = scale::find(&self.stores, &self.writer, namespace, owner).await?;
            let Some(found) = found else {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                return Err(format!("found no controllers for pod {name:?}"));
            };
            scales.insert(owner.uid.clone(), found);
        }
        Ok(scales)
    }
}

fn budgets_that_select(stores: &Stores, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let budgets = stores.budgets.list(namespace);
    let selecting = budgets.iter().filter(|budget| step::selects(budget, pod));
    selecting.map(|budget| Key::of(&**budget)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_of_a_namespace_finds_the_budgets_of_a_pod() {
        let stores = Stores::default();
        let budget = |namespace: &str, name: &str, app: &str| {
            serde_json::from_value::<PodDisruptionBudget>(serde_json::json!({
                "metadata": { "namespace": namespace, "name": name },
                "spec": { "selector": { "matchLabels": { "app": app } } },
            }))
            .unwrap()
        };
        for (namespace, name, app) in [("a", "x", "web"), ("a", "y", "db"), ("b", "z", "web")] {
            stores.budgets.apply(budget(namespace, name, app));
        }
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": "a", "name": "p", "labels": { "app": "web" } }
        }))
        .unwrap();
        assert_eq!(budgets_that_select(&stores, &pod), [Key::new("a", "x")]);
    }
}
