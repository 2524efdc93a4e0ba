//! Reads Secrets one by one, by their names, for a tier that may not list them.
//!
//! In: the names that the translation wants, anew with every publication. Out: the same [`Change`]s as from a watch; first one
//! [`Change::Replace`], when each name was asked for once or [`START_TIMEOUT`] has passed, so that a Secret that is missing or
//! forbidden delays the start but does not prevent it. What is read is kept while the API server is in trouble. Nothing is
//! listed or watched, and what nobody names any more is forgotten. Which name is due when is decided in [`plan`].
//!
//! The API server is spared: at most [`READS_MAX`] reads at a time and one in [`PACE`], each name once however many Ingresses
//! name it; all reads wait while it does not answer; and a read that only makes sure of what is known is answered from its
//! memory (`resourceVersion=0`, as kubelets read their Secrets).

mod metrics;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::GetParams;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::objects::certificate::{InvalidCertificate, SECRET_TYPE};
use crate::objects::{Change, Kind, Object};
use crate::platform::derive_rng;
use crate::scope::ObjectName;
use crate::watch::{Asked, Backoff, DELAY_MAX, Reason, Sinks, Subject, Trouble, Unheard, Verb};

pub(crate) use metrics::Metrics;
use metrics::ReadResult;
use plan::{Outcome, Plan, Step};

/// Reads that are under way at a time.
const READS_MAX: usize = 8;

/// From the beginning of one read to that of the next, at least.
const PACE: Duration = Duration::from_millis(5);

/// One read.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a start waits for the first read of each name.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The names that are wanted. None: not known yet.
pub(crate) type Names = Option<Arc<BTreeSet<ObjectName>>>;

/// Reads Secrets until nobody listens.
pub(crate) struct Reader {
    client: kube::Client,
    sinks: Sinks,
    metrics: Metrics,
    plan: Plan,
    rng: SmallRng,
    backoff: Backoff<SmallRng>,
    /// No read begins before.
    held_until: Instant,
    /// Until when the first change may wait, and what is to be in it. None: it was sent.
    first: Option<(Instant, Vec<Object>)>,
}

/// What came of one read.
struct Answer {
    name: ObjectName,
    result: Result<Option<Secret>, Trouble>,
}

// === impl Reader ===

impl Reader {
    pub(crate) fn new(
        client: kube::Client,
        refresh: Duration,
        seed: u64,
        metrics: Metrics,
        sinks: Sinks,
    ) -> Self {
        let now = Instant::now();
        Self {
            client,
            sinks,
            metrics,
            plan: Plan::new(refresh),
            rng: derive_rng(seed, "secrets"),
            backoff: Backoff::new(derive_rng(seed, "secrets in trouble")),
            held_until: now,
            first: Some((now, Vec::new())),
        }
    }

    /// Ends when the sender of the names or the receiver of the news is gone.
    pub(crate) async fn run(mut self, mut names: watch::Receiver<Names>) {
        if names.wait_for(Option::is_some).await.is_err() {
            return;
        }
        if let Some((until, _)) = &mut self.first {
            *until = Instant::now() + START_TIMEOUT;
        }
        let first = names.borrow_and_update().clone().unwrap_or_default();
        if self.want(&first).await.is_err() {
            return;
        }
        // Its end is the only news that this function has for its caller.
        let Err(Unheard) = self.read_for_ever(names).await;
    }

    async fn read_for_ever(
        &mut self,
        mut names: watch::Receiver<Names>,
    ) -> Result<std::convert::Infallible, Unheard> {
        let mut reads: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            if reads.len() < READS_MAX
                && now >= self.held_until
                && let Some(name) = self.plan.next(now)
            {
                reads.push(self.read(name));
                self.held_until = now + PACE;
            }
            self.begin_when_tried(now).await?;
            let has_room = reads.len() < READS_MAX;
            let wake = self.wake(has_room);
            tokio::select! {
                biased;
                changed = names.changed() => {
                    changed.map_err(|_| Unheard)?;
                    let names = names.borrow_and_update().clone().unwrap_or_default();
                    self.want(&names).await?;
                }
                Some(answer) = reads.next() => self.take(answer).await?,
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    /// When there is something to do without news.
    fn wake(&self, has_room: bool) -> Option<Instant> {
        let due = self.plan.next_due().filter(|_| has_room);
        let due = due.map(|due| due.max(self.held_until));
        let first = self.first.as_ref().map(|(until, _)| *until);
        due.into_iter().chain(first).min()
    }

    async fn want(&mut self, names: &BTreeSet<ObjectName>) -> Result<(), Unheard> {
        let gone = self.plan.want(names, Instant::now());
        self.metrics.named(names.len());
        for name in gone {
            let has_others = names.iter().any(|one| one.namespace == name.namespace);
            if !has_others {
                self.sinks.troubles.forget(&subject(&name));
            }
            self.send(Change::Delete(Kind::Secret, name)).await?;
        }
        Ok(())
    }

    fn read(&self, name: ObjectName) -> BoxFuture<'static, Answer> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &name.namespace);
        let is_known = self.plan.version(&name).is_some();
        let parameters = GetParams {
            resource_version: is_known.then(|| "0".to_owned()),
        };
        Box::pin(async move {
            let asked = Asked {
                verb: Verb::Get,
                kind: Kind::Secret,
                namespace: Some(&name.namespace),
            };
            let result = match timeout(READ_TIMEOUT, api.get_with(&name.name, &parameters)).await {
                Ok(Ok(secret)) => Ok(Some(secret)),
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
                Ok(Err(error)) => Err(Trouble::of(&error, asked)),
                Err(elapsed) => Err(Trouble::of(&elapsed, asked)),
            };
            Answer { name, result }
        })
    }

    async fn take(&mut self, answer: Answer) -> Result<(), Unheard> {
        let Answer { name, result } = answer;
        let now = Instant::now();
        let is_tls = |secret: &Secret| secret.type_.as_deref() == Some(SECRET_TYPE);
        let (result, secret, outcome) = match result {
            Ok(secret) => {
                self.backoff.reset();
                self.sinks.succeeded(&subject(&name));
                match secret.filter(is_tls) {
                    Some(secret) => {
                        let version = secret.metadata.resource_version.clone();
                        let outcome = Outcome::Read(version.unwrap_or_default());
                        (ReadResult::Read, Some(secret), outcome)
                    }
                    None => (ReadResult::Missing, None, Outcome::Missing),
                }
            }
            Err(trouble) => {
                let subject = subject(&name);
                self.sinks.failed(&subject, &trouble, "secret_read_failed");
                match trouble.reason {
                    Reason::Forbidden => (ReadResult::Forbidden, None, Outcome::Forbidden),
                    Reason::Refused => (ReadResult::Failed, None, Outcome::Failed),
                    Reason::Unauthorized | Reason::Unanswered => {
                        self.held_until = now + self.backoff.next_delay(DELAY_MAX);
                        (ReadResult::Failed, None, Outcome::Unanswered)
                    }
                }
            }
        };
        self.metrics.read(result);
        match self.plan.done(&name, outcome, now, &mut self.rng) {
            Step::Nothing => Ok(()),
            Step::Take => match secret {
                Some(secret) => self.send(Change::Apply(Object::from(secret))).await,
                None => Ok(()),
            },
            Step::Forget => self.send(Change::Delete(Kind::Secret, name)).await,
            Step::Refused(is_forbidden) => {
                let why = if is_forbidden {
                    InvalidCertificate::Forbidden
                } else {
                    InvalidCertificate::NotRead
                };
                let object = Object::unread_secret(name, why);
                self.send(Change::Apply(object)).await
            }
        }
    }

    /// Sends the first change as soon as that is right.
    async fn begin_when_tried(&mut self, now: Instant) -> Result<(), Unheard> {
        let Some((until, _)) = &self.first else {
            return Ok(());
        };
        let untried = self.plan.untried();
        if untried > 0 && now < *until {
            let text = format!("{untried} that are named have not been asked for yet");
            self.sinks.troubles.waits(Kind::Secret, &text);
            return Ok(());
        }
        if untried > 0 {
            tracing::warn!(
                untried,
                timeout = ?START_TIMEOUT,
                reason = "secrets_not_read",
                "not every Secret that is named could be asked for in time; serving without"
            );
        }
        let objects = self.first.take().map(|(_, objects)| objects);
        self.sinks.troubles.read(Kind::Secret);
        let all = Change::Replace(Kind::Secret, objects.unwrap_or_default());
        self.sinks.send(all).await
    }

    /// Passes a change on, or keeps it for the first one.
    async fn send(&mut self, change: Change) -> Result<(), Unheard> {
        let Some((_, objects)) = &mut self.first else {
            return self.sinks.send(change).await;
        };
        match change {
            Change::Apply(object) => {
                objects.retain(|one| one.name != object.name);
                objects.push(object);
            }
            Change::Delete(_, name) => objects.retain(|one| one.name != name),
            Change::Replace(_, all) => *objects = all,
            // Of names in DNS this reader knows nothing.
            Change::Resolve(_, _) => {}
        }
        Ok(())
    }
}

/// Who may read what is given by namespace.
fn subject(name: &ObjectName) -> Subject {
    Subject {
        kind: Kind::Secret,
        verb: Verb::Get,
        namespace: Some(name.namespace.clone()),
    }
}

#[cfg(test)]
mod tests;
