//! Tells the other replicas how far this one has come, in a Lease of its own.
//!
//! In: what a table is published of. Out: the annotation [`PROGRESS_ANNOTATION`] of a Lease that is labelled with the tier. It is
//! written [`RENEWAL`] after the last time, and when rules of Ingresses have changed at once, though not more often than
//! [`PACE`]: somebody waits to publish their address. The Lease is deleted when this replica ends; of one that died, others see
//! that it is not renewed.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use tiergate_data_plane::clock::wall_now;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::{PROGRESS_ANNOTATION, Roster, TIER_LABEL};
use crate::failure::with_causes;
use crate::objects::Kind;
use crate::publish::{Programmed, Progress};

/// How often the Lease is written in any case.
pub(super) const RENEWAL: Duration = Duration::from_secs(7);

/// A Lease that did not change for this long is that of a replica which is no more.
pub(super) const DURATION: Duration = Duration::from_secs(20);

/// From one write to the next, at least.
const PACE: Duration = Duration::from_millis(100);

/// For this long after a change of Ingresses whatever else comes is told at once as well: their Services and endpoints.
const SETTLING: Duration = Duration::from_secs(1);

/// After a failure.
const RETRY: Duration = Duration::from_secs(2);

/// One request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// When to tell. Pure.
#[derive(Debug, Default)]
struct Plan {
    told: Option<(Progress, Instant)>,
    /// The newest change of Ingresses that was noticed.
    ingress: u64,
    settled: Option<Instant>,
}

/// Keeps the Lease of this replica.
pub(super) struct Member {
    api: Api<Lease>,
    roster: Roster,
    programmed: watch::Receiver<Programmed>,
    plan: Plan,
    lease: Option<Lease>,
    is_failing: bool,
    /// True from the first answer of the API server on.
    joined: watch::Sender<bool>,
}

// === impl Plan ===

impl Plan {
    /// When to write next.
    fn due(&mut self, now: Instant, programmed: &Programmed) -> Instant {
        let Some((told, at)) = &self.told else {
            return now;
        };
        let ingress = programmed.needed.of(Kind::Ingress);
        if ingress != self.ingress {
            self.ingress = ingress;
            self.settled = Some(now + SETTLING);
        }
        let is_settled = self.settled.is_none_or(|settled| settled <= now);
        if is_settled || *told == programmed.reached {
            *at + RENEWAL
        } else {
            *at + PACE
        }
    }

    fn told(&mut self, progress: Progress, now: Instant) {
        self.told = Some((progress, now));
    }
}

// === impl Member ===

impl Member {
    pub(super) fn new(
        api: Api<Lease>,
        roster: Roster,
        programmed: watch::Receiver<Programmed>,
        joined: watch::Sender<bool>,
    ) -> Self {
        Self {
            api,
            roster,
            programmed,
            plan: Plan::default(),
            lease: None,
            is_failing: false,
            joined,
        }
    }

    /// Keeps it until `shutdown` resolves, then deletes it.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut held_until = Instant::now();
        loop {
            let programmed = *self.programmed.borrow_and_update();
            let due = self.plan.due(Instant::now(), &programmed).max(held_until);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = sleep_until(due) => {}
                Ok(()) = self.programmed.changed() => continue,
            }
            let progress = self.programmed.borrow_and_update().reached;
            let begun = Instant::now();
            match timeout(REQUEST_TIMEOUT, self.write(progress)).await {
                Ok(Ok(())) => {
                    self.joined.send_replace(true);
                    self.is_failing = false;
                    self.plan.told(progress, begun);
                }
                Ok(Err(error)) => {
                    self.joined.send_replace(true);
                    self.failed(&with_causes(&error));
                    held_until = Instant::now() + RETRY;
                }
                Err(_) => {
                    self.failed("no answer in time");
                    held_until = Instant::now() + RETRY;
                }
            }
        }
        let parameters = DeleteParams::default();
        let gone = self.api.delete(&self.roster.member, &parameters);
        // Of one that stays it is seen that it is not renewed.
        let _ = timeout(REQUEST_TIMEOUT, gone).await;
    }

    fn failed(&mut self, detail: &str) {
        self.lease = None;
        if std::mem::replace(&mut self.is_failing, true) {
            tracing::debug!(lease = self.roster.member, detail, "still no answer");
        } else {
            tracing::warn!(
                lease = self.roster.member,
                detail,
                reason = "lease_failed",
                "the Lease that tells what this replica serves cannot be written; trying on"
            );
        }
    }

    async fn write(&mut self, progress: Progress) -> kube::Result<()> {
        let parameters = PostParams::default();
        let name = &self.roster.member;
        let written = match self.lease.take() {
            Some(before) => {
                let version = before.metadata.resource_version;
                let lease = self.document(progress, version);
                self.api.replace(name, &parameters, &lease).await
            }
            None => {
                let lease = self.document(progress, None);
                self.api.create(&parameters, &lease).await
            }
        };
        match written {
            Ok(lease) => {
                self.lease = Some(lease);
                Ok(())
            }
            // Of an earlier life of this replica, or deleted as that of a dead one.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                let found = self.api.get_opt(name).await?;
                let version = found.and_then(|lease| lease.metadata.resource_version);
                let lease = self.document(progress, version.clone());
                self.lease = Some(match version {
                    Some(_) => self.api.replace(name, &parameters, &lease).await?,
                    None => self.api.create(&parameters, &lease).await?,
                });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn document(&self, progress: Progress, version: Option<String>) -> Lease {
        let now = MicroTime(jiff::Timestamp::try_from(wall_now()).unwrap_or_default());
        let annotation = (PROGRESS_ANNOTATION.to_owned(), progress.to_string());
        let label = (TIER_LABEL.to_owned(), self.roster.election.clone());
        Lease {
            metadata: ObjectMeta {
                name: Some(self.roster.member.clone()),
                resource_version: version,
                annotations: Some(BTreeMap::from([annotation])),
                labels: Some(BTreeMap::from([label])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.roster.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::testing::programmed;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_ingresses_are_told_at_once_and_all_else_with_the_renewal() {
        let start = Instant::now();
        let mut plan = Plan::default();
        let first = programmed(&[(Kind::Ingress, 5)]);
        assert_eq!(plan.due(start, &first), start, "nothing was told so far");
        plan.told(first.reached, start);
        plan.ingress = 5;
        assert_eq!(plan.due(start, &first), start + RENEWAL);

        let endpoint = programmed(&[(Kind::Ingress, 5), (Kind::EndpointSlice, 6)]);
        assert_eq!(plan.due(start + seconds(2), &endpoint), start + RENEWAL);

        let ingress = programmed(&[(Kind::Ingress, 7), (Kind::EndpointSlice, 6)]);
        assert_eq!(plan.due(start + seconds(3), &ingress), start + PACE);
        plan.told(ingress.reached, start + seconds(3));
        // Its endpoints come a little later.
        let later = programmed(&[(Kind::Ingress, 7), (Kind::EndpointSlice, 8)]);
        assert_eq!(
            plan.due(start + seconds(3), &later),
            start + seconds(3) + PACE
        );
        let settled = start + seconds(3) + SETTLING;
        assert_eq!(plan.due(settled, &later), start + seconds(3) + RENEWAL);
    }
}
