//! Which Services a change of a pod touches, for the controllers that write Endpoints and EndpointSlices.

use std::sync::{Arc, Weak};

use k8s_openapi::api::core::v1::{Pod, Service};

use super::store::{Key, Stores};
use super::{owner, service};

/// Calls `react` with each Service that selects a pod that changed in a way that endpoints show.
pub(crate) fn listen(stores: &Arc<Stores>, react: impl Fn(Key) + Send + Sync + 'static) {
    let others: Weak<Stores> = Arc::downgrade(stores);
    stores.pods.on_change(move |before, after| {
        if let (Some(before), Some(after)) = (before, after)
            && !service::matters(before, after)
        {
            return;
        }
        let Some(stores) = others.upgrade() else {
            return;
        };
        for pod in [before, after].into_iter().flatten() {
            selecting(&stores, pod).into_iter().for_each(&react);
        }
    });
}

fn selecting(stores: &Stores, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let services = stores.services.list(namespace);
    let selecting = services.iter().filter(|service: &&Arc<Service>| {
        service::selector(service).is_some_and(|selector| owner::selects(&selector, &pod.metadata))
    });
    selecting.map(|service| Key::of(&**service)).collect()
}
