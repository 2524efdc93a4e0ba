//! Which of several replicas does what only one may do, by a Lease of `coordination.k8s.io/v1`.
//!
//! In: the Lease as it is read, and `now`. Out: whether to claim it, and until when we hold it. The times of day in a Lease are
//! for people: nobody compares them with a clock of his own. A holder is given up by whoever has seen the Lease unchanged for
//! [`DURATION`], and gives itself up [`DEADLINE`] after it began the last renewal that succeeded. The one is longer than the other, and counts from
//! later on, so no two replicas hold it at a time, however slow the API server is (as long as their clocks run equally fast).

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use rand::Rng as _;
use rand::rngs::SmallRng;
use tiergate_data_plane::clock::wall_now;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::failure::with_causes;

/// A Lease that did not change for this long is free.
pub(crate) const DURATION: Duration = Duration::from_secs(15);

/// How long a holder goes on after the beginning of its last renewal.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// How often it is renewed, or looked at, give or take a tenth.
const INTERVAL: Duration = Duration::from_secs(5);

/// After a failure.
const RETRY: Duration = Duration::from_secs(1);

/// One request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Whom a Lease belongs to, and which of its versions this is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    holder: String,
    version: String,
}

/// Decides about one Lease. Pure.
#[derive(Debug)]
struct Election {
    identity: String,
    /// What was seen last, and since when.
    seen: Option<(Record, Instant)>,
    held_until: Option<Instant>,
}

/// Holds a Lease whenever it can be had.
pub(crate) struct Candidate {
    api: Api<Lease>,
    name: String,
    election: Election,
    rng: SmallRng,
    /// As it was read or written last.
    lease: Option<Lease>,
    is_leader: watch::Sender<bool>,
    is_told: bool,
}

// === impl Election ===

impl Election {
    /// A Lease was read: whether to claim it.
    fn may_claim(&mut self, record: Record, now: Instant) -> bool {
        if record.holder.is_empty() || record.holder == self.identity {
            return true;
        }
        match &self.seen {
            Some((seen, since)) if *seen == record => now.duration_since(*since) >= DURATION,
            _ => {
                self.seen = Some((record, now));
                false
            }
        }
    }

    /// A claim that was begun then has succeeded.
    fn claimed(&mut self, begun: Instant) {
        self.held_until = Some(begun + DEADLINE);
    }

    fn lost(&mut self) {
        self.held_until = None;
    }

    fn holds(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }
}

// === impl Candidate ===

impl Candidate {
    /// A candidate for the Lease of this name. Others learn from the receiver whether it is held.
    pub(crate) fn new(
        api: Api<Lease>,
        name: String,
        identity: String,
        rng: SmallRng,
    ) -> (Self, watch::Receiver<bool>) {
        let (is_leader, receiver) = watch::channel(false);
        let candidate = Self {
            api,
            name,
            election: Election {
                identity,
                seen: None,
                held_until: None,
            },
            rng,
            lease: None,
            is_leader,
            is_told: false,
        };
        (candidate, receiver)
    }

    /// Claims and renews until `shutdown` resolves, then lets go.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut next = Instant::now();
        loop {
            let expiry = self.election.held_until;
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = sleep_until(expiry.unwrap_or(next)), if expiry.is_some_and(|expiry| expiry <= next) => {
                    self.election.lost();
                    self.tell();
                    continue;
                }
                () = sleep_until(next) => {}
            }
            // A request that takes longer than what is left of holding it must not keep that from others.
            let left = expiry.map(|expiry| expiry.saturating_duration_since(Instant::now()));
            let limit = left.map_or(REQUEST_TIMEOUT, |left| left.min(REQUEST_TIMEOUT));
            let asked = timeout(limit, self.turn()).await;
            let wait = match asked {
                Ok(Ok(())) => INTERVAL / 10 * self.rng.random_range(9..=11),
                Ok(Err(error)) => self.failed(&with_causes(&error)),
                Err(_) => self.failed("no answer in time"),
            };
            self.tell();
            next = Instant::now() + wait;
        }
        self.release().await;
    }

    fn failed(&mut self, detail: &str) -> Duration {
        // Whatever is known of it may be wrong now.
        self.lease = None;
        if std::mem::replace(&mut self.is_told, true) {
            tracing::debug!(lease = self.name, detail, "still no answer");
        } else {
            tracing::warn!(
                lease = self.name,
                detail,
                reason = "lease_failed",
                "the Lease of the one who writes statuses and events cannot be read or renewed; trying on"
            );
        }
        RETRY
    }

    /// Looks at it, and claims it when it may be claimed.
    async fn turn(&mut self) -> kube::Result<()> {
        let held = self.lease.take();
        let is_ours = |lease: &Lease| record(lease).holder == self.election.identity;
        let lease = match held.filter(is_ours) {
            Some(lease) => Some(lease),
            None => self.api.get_opt(&self.name).await?,
        };
        let begun = Instant::now();
        let claimed = match lease {
            None => {
                let lease = self.claim(None);
                self.api.create(&PostParams::default(), &lease).await
            }
            Some(lease) if self.election.may_claim(record(&lease), begun) => {
                let lease = self.claim(Some(&lease));
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await
            }
            Some(lease) => {
                self.lease = Some(lease);
                self.election.lost();
                self.is_told = false;
                return Ok(());
            }
        };
        match claimed {
            Ok(lease) => {
                self.lease = Some(lease);
                self.election.claimed(begun);
                self.is_told = false;
                Ok(())
            }
            // Somebody was faster; or it was deleted, and is made anew next time.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.election.lost();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The Lease as it is when it is ours.
    fn claim(&self, before: Option<&Lease>) -> Lease {
        let now = MicroTime(jiff::Timestamp::try_from(wall_now()).unwrap_or_default());
        let before_spec = before.and_then(|lease| lease.spec.clone());
        let is_renewed = before.is_some_and(|l| record(l).holder == self.election.identity);
        let spec = before_spec.unwrap_or_default();
        let changes = spec.lease_transitions.unwrap_or_default();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..before.map_or_else(ObjectMeta::default, |lease| lease.metadata.clone())
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.election.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: spec
                    .acquire_time
                    .clone()
                    .filter(|_| is_renewed)
                    .or_else(|| Some(now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(changes.saturating_add(i32::from(!is_renewed))),
                ..spec
            }),
        }
    }

    fn tell(&self) {
        let holds = self.election.holds(Instant::now());
        let is_new = self.is_leader.send_if_modified(|was| {
            let is_new = *was != holds;
            *was = holds;
            is_new
        });
        if is_new {
            let identity = &self.election.identity;
            tracing::info!(
                lease = self.name,
                identity,
                holds,
                "who writes statuses and events"
            );
        }
    }

    /// Lets go, so that the next one need not wait.
    async fn release(mut self) {
        let was_held = self.election.holds(Instant::now());
        self.election.lost();
        self.tell();
        let Some(mut lease) = self.lease.take().filter(|_| was_held) else {
            return;
        };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        let parameters = PostParams::default();
        let released = self.api.replace(&self.name, &parameters, &lease);
        match timeout(REQUEST_TIMEOUT, released).await {
            Ok(Ok(_)) => {}
            // The next one waits until it has seen it unchanged for long enough.
            Ok(Err(_)) | Err(_) => tracing::debug!(lease = self.name, "it was not released"),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.clone());
    Record {
        holder: holder.unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
