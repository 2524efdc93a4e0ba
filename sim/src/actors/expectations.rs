//! What a controller's own writes must still show up as in the store, before it may count the pods of an owner again.
//!
//! Without this a controller that looks at a store which is behind creates every pod twice. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::store::Key;

/// After this long a watch must have lost something, and what the store says is taken as true.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The open expectations of one controller, by the owner of the pods.
#[derive(Debug, Default)]
pub(crate) struct Expectations(BTreeMap<Key, Expected>);

#[derive(Debug)]
struct Expected {
    creations: usize,
    deletions: BTreeSet<String>,
    since: Instant,
}

// === impl Expectations ===

impl Expectations {
    /// Whether the store shows all that `owner` did.
    pub(crate) fn are_met(&self, owner: &Key, now: Instant) -> bool {
        let Some(expected) = self.0.get(owner) else {
            return true;
        };
        let is_open = expected.creations > 0 || !expected.deletions.is_empty();
        if is_open && now.duration_since(expected.since) > TIMEOUT {
            tracing::warn!(%owner, reason = "expectations_timed_out", "the watch never showed our own writes");
            return true;
        }
        !is_open
    }

    /// `count` pods are about to be created.
    pub(crate) fn expect_creations(&mut self, owner: &Key, count: usize, now: Instant) {
        self.start(owner, now).creations = count;
    }

    /// The pods with these uids are about to be deleted.
    pub(crate) fn expect_deletions(
        &mut self,
        owner: &Key,
        uids: impl Iterator<Item = String>,
        now: Instant,
    ) {
        self.start(owner, now).deletions = uids.collect();
    }

    /// A pod of the owner appeared, or its creation failed.
    pub(crate) fn creation_seen(&mut self, owner: &Key) {
        if let Some(expected) = self.0.get_mut(owner) {
            expected.creations = expected.creations.saturating_sub(1);
        }
    }

    /// A pod of the owner is going or gone, or its deletion failed.
    pub(crate) fn deletion_seen(&mut self, owner: &Key, uid: &str) {
        if let Some(expected) = self.0.get_mut(owner) {
            expected.deletions.remove(uid);
        }
    }

    /// The owner is gone.
    pub(crate) fn forget(&mut self, owner: &Key) {
        self.0.remove(owner);
    }

    fn start(&mut self, owner: &Key, now: Instant) -> &mut Expected {
        let expected = self.0.entry(owner.clone()).or_insert_with(|| Expected {
            creations: 0,
            deletions: BTreeSet::new(),
            since: now,
        });
        expected.since = now;
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pods_are_counted_again_only_when_every_creation_was_seen() {
        let (mut expectations, web) = (Expectations::default(), Key::new("a", "web"));
        let now = Instant::now();
        assert!(expectations.are_met(&web, now));
        expectations.expect_creations(&web, 2, now);
        expectations.creation_seen(&web);
        assert!(!expectations.are_met(&web, now));
        expectations.creation_seen(&web);
        assert!(expectations.are_met(&web, now));
        expectations.creation_seen(&web);
        assert!(expectations.are_met(&web, now), "one too many does no harm");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_counts_for_the_pod_that_was_meant() {
        let (mut expectations, web) = (Expectations::default(), Key::new("a", "web"));
        let now = Instant::now();
        expectations.expect_deletions(&web, ["1".to_owned()].into_iter(), now);
        expectations.deletion_seen(&web, "2");
        assert!(!expectations.are_met(&web, now));
        expectations.deletion_seen(&web, "1");
        assert!(expectations.are_met(&web, now));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_never_seen_is_given_up_after_five_minutes() {
        let (mut expectations, web) = (Expectations::default(), Key::new("a", "web"));
        let now = Instant::now();
        expectations.expect_creations(&web, 1, now);
        assert!(!expectations.are_met(&web, now + Duration::from_secs(300)));
        assert!(expectations.are_met(&web, now + Duration::from_secs(301)));
    }
}
