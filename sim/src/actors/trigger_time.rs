//! When the change happened that a write of endpoints answers to: the annotation by which others measure how long it took.
//!
//! Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};

use super::pod;
use super::store::Key;

/// The name of the annotation.
pub(crate) const ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What was known of each Service when it was looked at last.
#[derive(Debug, Default)]
pub(crate) struct TriggerTimes(BTreeMap<Key, Known>);

#[derive(Debug, Default)]
struct Known {
    service: Option<Timestamp>,
    pods: BTreeMap<String, Timestamp>,
}

// === impl TriggerTimes ===

impl TriggerTimes {
    /// The earliest change of the Service or one of its pods since this was asked last; for a new Service, its creation.
    pub(crate) fn next(
        &mut self,
        key: &Key,
        service: &Service,
        pods: &[Arc<Pod>],
    ) -> Option<Timestamp> {
        let created = service.metadata.creation_timestamp.as_ref();
        let created = created.map(|time| time.0);
        let now = Known {
            service: created,
            pods: pods.iter().filter_map(ready_change).collect(),
        };
        let Some(before) = self.0.get(key) else {
            self.0.insert(key.clone(), now);
            return created;
        };
        let changed = now
            .pods
            .iter()
            .filter(|(name, at)| before.pods.get(*name).is_none_or(|before| *at > before))
            .map(|(_, at)| *at);
        let service = now.service.filter(|at| Some(*at) > before.service);
        let earliest = changed.chain(service).min();
        self.0.insert(key.clone(), now);
        earliest
    }

    /// The Service is gone.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }
}

/// Writes or removes the annotation.
pub(crate) fn annotate(annotations: &mut BTreeMap<String, String>, at: Option<Timestamp>) {
    match at {
        Some(at) => annotations.insert(ANNOTATION.into(), at.to_string()),
        None => annotations.remove(ANNOTATION),
    };
}

fn ready_change(pod: &Arc<Pod>) -> Option<(String, Timestamp)> {
    let ready = pod::condition(pod, "Ready")?;
    let at = ready.last_transition_time.as_ref()?.0;
    Some((pod.metadata.name.clone()?, at))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_earliest_change_since_the_last_look_is_told_once() {
        let service: Service = serde_json::from_value(
            json!({ "metadata": { "name": "web", "creationTimestamp": "2026-01-01T00:00:00Z" } }),
        )
        .unwrap();
        let pod = |name: &str, at: &str| {
            let pod = json!({
                "metadata": { "name": name },
                "status": { "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": at }] },
            });
            Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
        };
        let (mut times, key) = (TriggerTimes::default(), Key::new("a", "web"));
        let mut next = |pods: &[Arc<Pod>]| {
            let at = times.next(&key, &service, pods);
            at.map(|at| at.to_string()).unwrap_or_default()
        };
        let a = pod("a", "2026-01-01T00:00:05Z");
        let b = pod("b", "2026-01-01T00:00:07Z");
        assert_eq!(next(std::slice::from_ref(&a)), "2026-01-01T00:00:00Z");
        assert_eq!(next(std::slice::from_ref(&a)), "");
        let later = pod("a", "2026-01-01T00:00:09Z");
        assert_eq!(next(&[later.clone(), b]), "2026-01-01T00:00:07Z");
        assert_eq!(next(&[later]), "");
    }
}
