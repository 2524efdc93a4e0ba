//! Which slices were written last, so that nothing is decided from a store that does not show it yet.
//!
//! Resource versions of one resource are numbers that grow (KEP-5504). Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::time::Instant;

use super::super::store::Key;

/// After this long what the store says is taken as true.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The last own writes, by Service and slice.
#[derive(Debug, Default)]
pub(crate) struct Tracker(BTreeMap<Key, BTreeMap<String, Written>>);

#[derive(Clone, Copy, Debug)]
struct Written {
    /// The version that the write made; none when it was a deletion.
    version: Option<u64>,
    at: Instant,
}

// === impl Tracker ===

impl Tracker {
    /// A slice of `service` was created or replaced.
    pub(crate) fn wrote(&mut self, service: &Key, slice: &EndpointSlice, at: Instant) {
        let version = Some(version(slice));
        self.note(service, slice, Written { version, at });
    }

    /// A slice of `service` was deleted.
    pub(crate) fn deleted(&mut self, service: &Key, slice: &EndpointSlice, at: Instant) {
        self.note(service, slice, Written { version: None, at });
    }

    /// Whether the slices of `service` in the store are older than what was written last.
    pub(crate) fn is_stale(
        &self,
        service: &Key,
        slices: &[Arc<EndpointSlice>],
        now: Instant,
    ) -> bool {
        let written = self.0.get(service).into_iter().flatten();
        let mut fresh = written.filter(|(_, written)| now.duration_since(written.at) < TIMEOUT);
        fresh.any(|(name, written)| {
            let seen = slices.iter().find(|slice| uid(slice) == *name);
            match (written.version, seen) {
                (Some(written), Some(seen)) => version(seen) < written,
                (Some(_), None) | (None, Some(_)) => true,
                (None, None) => false,
            }
        })
    }

    /// Whether this state of a slice is an own write, or one from before it.
    pub(crate) fn is_own(&self, service: &Key, slice: &EndpointSlice) -> bool {
        let written = self.0.get(service).and_then(|of| of.get(&uid(slice)));
        written.is_some_and(|written| {
            written
                .version
                .is_none_or(|written| version(slice) <= written)
        })
    }

    /// A slice is gone. Returns whether it was an own deletion.
    pub(crate) fn gone(&mut self, service: &Key, slice: &EndpointSlice) -> bool {
        let of = self.0.get_mut(service);
        let written = of.and_then(|of| of.remove(&uid(slice)));
        written.is_some_and(|written| written.version.is_none())
    }

    /// The Service is gone.
    pub(crate) fn forget(&mut self, service: &Key) {
        self.0.remove(service);
    }

    fn note(&mut self, service: &Key, slice: &EndpointSlice, written: Written) {
        let of = self.0.entry(service.clone()).or_default();
        of.insert(uid(slice), written);
    }
}

fn uid(slice: &EndpointSlice) -> String {
    slice.metadata.uid.clone().unwrap_or_default()
}

fn version(slice: &EndpointSlice) -> u64 {
    let version = slice.metadata.resource_version.as_deref();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(version: &str) -> Arc<EndpointSlice> {
        let metadata = json!({ "name": "web-1", "uid": "1", "resourceVersion": version });
        let slice = json!({ "metadata": metadata, "addressType": "IPv4", "endpoints": [] });
        Arc::new(serde_json::from_value(slice).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_is_stale_until_it_shows_the_last_write() {
        let (mut tracker, web, now) = (Tracker::default(), Key::new("a", "web"), Instant::now());
        assert!(!tracker.is_stale(&web, &[slice("9")], now));
        tracker.wrote(&web, &slice("10"), now);
        assert!(tracker.is_stale(&web, &[], now), "created and not seen");
        assert!(tracker.is_stale(&web, &[slice("9")], now));
        assert!(tracker.is_own(&web, &slice("10")));
        assert!(!tracker.is_stale(&web, &[slice("10")], now));
        assert!(!tracker.is_stale(&web, &[slice("11")], now));
        assert!(!tracker.is_own(&web, &slice("11")), "somebody else wrote");
        tracker.deleted(&web, &slice("11"), now);
        assert!(tracker.is_stale(&web, &[slice("11")], now));
        assert!(tracker.gone(&web, &slice("11")));
        assert!(!tracker.is_stale(&web, &[], now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_never_shows_is_given_up() {
        let (mut tracker, web, now) = (Tracker::default(), Key::new("a", "web"), Instant::now());
        tracker.wrote(&web, &slice("10"), now);
        assert!(!tracker.is_stale(&web, &[slice("9")], now + TIMEOUT));
    }
}
