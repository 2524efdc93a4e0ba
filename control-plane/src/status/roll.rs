//! Which replicas of a tier live, and how far they are. Pure.
//!
//! In: the Leases of all replicas, as they are read from time to time. Out: what every one that lives has reached. A Lease that did not change
//! for as long as it holds is that of a dead replica: nobody's clock is compared with another's.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::PROGRESS_ANNOTATION;
use super::member::DURATION;
use crate::publish::Progress;

/// Replicas that are known.
#[derive(Debug, Default)]
pub(super) struct Roll {
    /// The version of each Lease, and since when it is that.
    seen: BTreeMap<String, (String, Instant)>,
}

/// How far the replicas are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// What all that live have reached, ourselves included.
    pub(super) least: Progress,
    /// One that has not reached what we have.
    pub(super) behind: Option<String>,
    /// Leases of the dead, by name and version: one that is renewed meanwhile is of somebody who lives.
    pub(super) dead: Vec<(String, String)>,
}

// === impl Roll ===

impl Roll {
    /// Calls the roll. `own` is the Lease of this replica, which has reached `programmed`.
    pub(super) fn call(
        &mut self,
        leases: &[Lease],
        own: &str,
        programmed: Progress,
        now: Instant,
    ) -> Reached {
        let mut reached = Reached {
            least: programmed,
            behind: None,
            dead: Vec::new(),
        };
        let mut seen = BTreeMap::new();
        for lease in leases {
            let metadata = &lease.metadata;
            let name = metadata.name.as_deref().unwrap_or_default();
            if name == own || name.is_empty() {
                continue;
            }
            let version = metadata.resource_version.clone().unwrap_or_default();
            let since = match self.seen.get(name) {
                Some((before, since)) if *before == version => *since,
                _ => now,
            };
            seen.insert(name.to_owned(), (version.clone(), since));
            if now.duration_since(since) >= DURATION {
                reached.dead.push((name.to_owned(), version));
                continue;
            }
            let annotations = metadata.annotations.as_ref();
            let text = annotations.and_then(|all| all.get(PROGRESS_ANNOTATION));
            let progress = text.map_or_else(Progress::default, |text| Progress::parse(text));
            if !progress.has_reached(&programmed) {
                reached.behind = Some(name.to_owned());
            }
            reached.least = reached.least.or_less(&progress);
        }
        self.seen = seen;
        reached
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;
    use crate::objects::Kind;
    use crate::publish::testing::programmed;

    fn lease(name: &str, version: &str, ingress: u64) -> Lease {
        let progress = programmed(&[(Kind::Ingress, ingress)]).reached;
        Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                resource_version: Some(version.to_owned()),
                annotations: Some([(PROGRESS_ANNOTATION.to_owned(), progress.to_string())].into()),
                ..ObjectMeta::default()
            },
            spec: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_that_lives_counts_and_the_dead_do_not() {
        let start = Instant::now();
        let own = programmed(&[(Kind::Ingress, 9)]).reached;
        let mut roll = Roll::default();
        let leases = [lease("own", "1", 1), lease("b", "2", 9), lease("c", "3", 7)];
        let reached = roll.call(&leases, "own", own, start);
        assert_eq!(reached.least.of(Kind::Ingress), 7);
        assert_eq!(reached.behind.as_deref(), Some("c"));
        assert!(reached.dead.is_empty());

        // b renews, c does not.
        let leases = [lease("b", "4", 9), lease("c", "3", 7)];
        let reached = roll.call(&leases, "own", own, start + DURATION);
        assert_eq!(reached.least.of(Kind::Ingress), 9);
        assert_eq!(reached.dead, [("c".to_owned(), "3".to_owned())]);

        // It was only slow.
        let leases = [lease("b", "4", 9), lease("c", "5", 8)];
        let reached = roll.call(&leases, "own", own, start + DURATION);
        assert_eq!(reached.least.of(Kind::Ingress), 8);
        assert!(reached.dead.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn without_others_our_own_table_suffices() {
        let own = programmed(&[(Kind::Ingress, 9)]).reached;
        let reached = Roll::default().call(&[], "own", own, Instant::now());
        assert_eq!(reached.least, own);
        assert_eq!(reached.behind, None);
    }
}
