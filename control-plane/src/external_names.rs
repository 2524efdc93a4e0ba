//! Looks up the names in DNS that Services of type ExternalName stand for.
//!
//! In: the names that the translation wants, anew with every publication. Out: a [`Change::Resolve`] whenever what DNS says of one differs.
//! No request waits for it: requests find the addresses in their table. Which name is due when, and what is kept while DNS is silent, is
//! decided in [`plan`]; whether an address gets requests, in the translation, each time that one comes (`model/external.rs`).
//!
//! DNS is spared: at most [`LOOKUPS_MAX`] look-ups at a time, each name once however many Services stand for it.

mod ask;
mod message;
mod metrics;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::model::external::ExternalName;
use crate::objects::Change;
use crate::objects::resolution::{Resolution, Trouble};
use crate::platform::derive_rng;
use crate::watch::{Sinks, Unheard};

pub(crate) use ask::{Resolver, servers};
use message::Answer;
use metrics::LookupResult;
pub(crate) use metrics::Metrics;
use plan::{Plan, admit};

/// Look-ups that are under way at a time.
const LOOKUPS_MAX: usize = 8;

/// The names that are wanted, each with the namespace that wants it.
pub(crate) type Wanted = Arc<BTreeSet<(String, ExternalName)>>;

type UnderWay = FuturesUnordered<BoxFuture<'static, (ExternalName, Option<Answer>)>>;

/// Looks names up until nobody listens.
pub(crate) struct Reader {
    resolver: Resolver,
    sinks: Sinks,
    metrics: Metrics,
    plan: Plan,
    refused: BTreeSet<ExternalName>,
    rng: SmallRng,
}

// === impl Reader ===

impl Reader {
    pub(crate) fn new(resolver: Resolver, seed: u64, metrics: Metrics, sinks: Sinks) -> Self {
        Self {
            resolver,
            sinks,
            metrics,
            plan: Plan::default(),
            refused: BTreeSet::new(),
            rng: derive_rng(seed, "external names"),
        }
    }

    /// Ends when the sender of the names or the receiver of the news is gone.
    pub(crate) async fn run(mut self, mut names: watch::Receiver<Wanted>) {
        let mut under_way = UnderWay::new();
        loop {
            let due = self.begin(&mut under_way);
            let heard = tokio::select! {
                biased;
                changed = names.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wanted = names.borrow_and_update().clone();
                    self.want(&wanted).await
                }
                Some((name, answer)) = under_way.next() => self.take(name, answer).await,
                () = until(due) => Ok(()),
            };
            // Its end is the only news that this function has for its caller.
            if heard.is_err() {
                return;
            }
        }
    }

    /// Begins what is due, and says when something will be.
    fn begin(&mut self, under_way: &mut UnderWay) -> Option<Instant> {
        let now = Instant::now();
        while under_way.len() < LOOKUPS_MAX {
            let Some(name) = self.plan.begin(now) else {
                return self.plan.next_due();
            };
            let ids = [self.rng.random(), self.rng.random()];
            let asked = self.resolver.look_up(name.clone(), ids);
            under_way.push(Box::pin(async move { (name, asked.await) }));
        }
        // One that ends makes room for the next.
        None
    }

    async fn want(&mut self, wanted: &Wanted) -> Result<(), Unheard> {
        let (admitted, refused) = admit(wanted);
        self.metrics.named(admitted.len(), refused.len());
        if refused.len() > self.refused.len() {
            tracing::warn!(
                refused = refused.len(),
                reason = "too_many_external_names",
                "names of Services are not looked up: too many are wanted"
            );
        }
        let mut gone = self.plan.want(&admitted, Instant::now());
        gone.extend(self.refused.difference(&refused).cloned());
        for name in gone {
            // What was refused before may have its turn now, and the other way round.
            if !refused.contains(&name) {
                self.sinks.send(Change::Resolve(name, None)).await?;
            }
        }
        for name in &refused {
            let resolution = Resolution {
                trouble: Some(Trouble::TooMany),
                ..Resolution::default()
            };
            let change = Change::Resolve(name.clone(), Some(Arc::new(resolution)));
            self.sinks.send(change).await?;
        }
        self.refused = refused;
        Ok(())
    }

    async fn take(&mut self, name: ExternalName, answer: Option<Answer>) -> Result<(), Unheard> {
        self.metrics.looked_up(match &answer {
            None => LookupResult::Failed,
            Some(answer) if answer.addresses.is_empty() => LookupResult::Missing,
            Some(_) => LookupResult::Answered,
        });
        let now = Instant::now();
        match self.plan.done(&name, answer, now, &mut self.rng) {
            // What is equal to what is known ends in the objects.
            Some(resolution) => {
                let change = Change::Resolve(name, Some(Arc::new(resolution)));
                self.sinks.send(change).await
            }
            None => Ok(()),
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
