//! The Endpoints controller: the older form of what EndpointSlices say, one object per Service.
//!
//! In: Services and pods. Out: Endpoints. Older clients and `kubectl describe service` read them. What they hold is decided
//! in [`step`]; this file carries it out.

mod step;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Endpoints;

use super::event::{Draft, Recorder};
use super::owner;
use super::queue::{Queue, work};
use super::service_pods;
use super::store::{Key, Stores, locked};
use super::trigger_time::TriggerTimes;
use super::write::{WriteError, Writer, unless_gone};
use super::{CONTROLLER_MANAGER, Context, service};

/// The first retry after a failure, as client-go's queues have it.
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(5);

struct Controller {
    stores: Arc<Stores>,
    writer: Writer,
    recorder: Recorder,
    queue: Arc<Queue<Key>>,
    trigger_times: Mutex<TriggerTimes>,
    /// The versions that were replaced last: a store that still shows one of them is behind.
    replaced: Mutex<BTreeMap<Key, String>>,
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let controller = Controller {
        writer: Writer::new(context.client, CONTROLLER_MANAGER).limited(context.requests),
        recorder: context.recorder.of("endpoint-controller"),
        queue: Queue::new(RETRY_DELAY_FIRST),
        trigger_times: Mutex::default(),
        replaced: Mutex::default(),
        stores: context.stores,
    };
    controller.listen();
    async move {
        controller.stores.pods.synced().await;
        controller.stores.endpoints.synced().await;
        controller.stores.services.synced().await;
        // What was left behind while nobody looked.
        for left in controller.stores.endpoints.all() {
            controller.queue.add(Key::of(&*left));
        }
        work("endpoints", &controller.queue, |key| {
            controller.reconcile(key)
        })
        .await;
    }
}

// === impl Controller ===

impl Controller {
    fn listen(&self) {
        let queue = Arc::clone(&self.queue);
        self.stores.services.on_change(move |before, after| {
            queue.add(Key::of(after.or(before).expect("a change has a side")));
        });
        let queue = Arc::clone(&self.queue);
        service_pods::listen(&self.stores, move |service| queue.add(service));
        let queue = Arc::clone(&self.queue);
        self.stores.endpoints.on_change(move |before, after| {
            if let (Some(gone), None) = (before, after) {
                queue.add(Key::of(gone));
            }
        });
    }

    async fn reconcile(&self, key: Key) -> Result<(), WriteError> {
        let present = self.stores.endpoints.get(&key);
        let Some(service) = self.stores.services.get(&key) else {
            locked(&self.trigger_times).forget(&key);
            locked(&self.replaced).remove(&key);
            return match present.filter(|present| step::goes_with_service(present)) {
                Some(present) => {
                    let uid = present.metadata.uid.as_deref().unwrap_or_default();
                    unless_gone(self.writer.delete::<Endpoints>(&key, uid).await).map(|_| ())
                }
                None => Ok(()),
            };
        };
        let Some(selector) = service::selector(&service) else {
            return Ok(());
        };
        let mut pods = self.stores.pods.list(&key.namespace);
        pods.retain(|pod| owner::selects(&selector, &pod.metadata));
        let triggered_at = locked(&self.trigger_times).next(&key, &service, &pods);
        if let Some(present) = &present
            && locked(&self.replaced).get(&key) == present.metadata.resource_version.as_ref()
        {
            return Err(WriteError::Stale);
        }
        let Some(wanted) = step::wanted(&service, &pods, present.as_deref(), triggered_at) else {
            return Ok(());
        };
        let written = match &present {
            None => self.writer.create(&wanted).await,
            Some(_) => self.writer.replace(&wanted).await,
        };
        match written {
            Ok(written) => {
                let before = present.and_then(|present| present.metadata.resource_version.clone());
                if let Some(before) = before
                    && written.metadata.resource_version.as_ref() != Some(&before)
                {
                    locked(&self.replaced).insert(key, before);
                }
                Ok(())
            }
            Err(WriteError::NamespaceTerminating) => Ok(()),
            Err(error) => {
                self.report(&wanted, &key, present.is_none(), &error);
                Err(error)
            }
        }
    }

    fn report(&self, wanted: &Endpoints, key: &Key, is_new: bool, error: &WriteError) {
        if error.is_expected() {
            return;
        }
        let told = error.told();
        let (reason, message) = if is_new {
            let message = format!("Failed to create endpoint for service {key}: {told}");
            ("FailedToCreateEndpoint", message)
        } else {
            let message = format!("Failed to update endpoint {key}: {told}");
            ("FailedToUpdateEndpoint", message)
        };
        self.recorder
            .record(Draft::warning(wanted, reason, message));
    }
}
