//! The loop that turns changes into published tables. The only writer of the [`SnapshotCell`].
//!
//! In: changes from `watch`. Out: a table in the cell, and what the [`Handle`] tells. There is no debounce: a change that comes
//! alone is published at once. What comes while a table is made is published with the next one, and after each comes a rest of
//! [`REST_FACTOR`] times what it took, between [`REST_MIN`] and [`REST_MAX`]: a storm of changes costs a bounded share of one core.
//!
//! Nothing is published before every watched kind has been listed once: half of the objects would be a wrong table. A table
//! equal to the published one is no publication. Without the API server the last table stays.

mod handle;
mod metrics;
mod report;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tiergate_data_plane::snapshot::SnapshotCell;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::compile::compile;
use crate::objects::{Change, Effect, Kind, Objects};
use crate::platform::Platform;
use crate::scope::Scope;
use crate::translate::{Translation, translate};
use crate::watch::{self as watches, News};

pub use handle::Handle;
use metrics::{ApplyResult, Metrics};

/// Changes that wait to be taken in. When it is full, the watches wait: the API server buffers for them.
const NEWS_MAX: usize = 1024;

/// After a publication the loop rests for this many times what it took, so that it uses a fifth of a core at most.
pub const REST_FACTOR: u32 = 4;

/// The shortest rest.
pub const REST_MIN: Duration = Duration::from_millis(5);

/// The longest rest.
pub const REST_MAX: Duration = Duration::from_millis(250);

/// Watches, translates, compiles and publishes until it is told to stop.
pub struct ControlPlane {
    client: kube::Client,
    seed: u64,
    scope: Scope,
    cell: Arc<SnapshotCell>,
    metrics: Metrics,
    watch_metrics: watches::Metrics,
    unlisted: watches::Unlisted,
    state: Arc<Mutex<State>>,
    synced: watch::Sender<bool>,
}

/// What the control plane knows. Locked for the time of one change or one translation, never over a wait.
#[derive(Debug, Default)]
struct State {
    objects: Objects,
    translation: Arc<Translation>,
}

// === impl ControlPlane ===

impl ControlPlane {
    /// A control plane for what `scope` covers, that publishes into `cell`. Registers its metrics.
    #[must_use]
    pub fn new<N>(
        platform: &Platform<N>,
        scope: Scope,
        cell: Arc<SnapshotCell>,
        registry: &mut Registry,
    ) -> (Self, Handle) {
        let (sender, receiver) = watch::channel(false);
        let state = Arc::new(Mutex::new(State::default()));
        let unlisted = watches::Unlisted::new(watches::kinds(&scope));
        let handle = Handle::new(
            receiver,
            unlisted.clone(),
            Arc::clone(&state),
            Arc::clone(&cell),
        );
        let control_plane = Self {
            client: platform.client.clone(),
            seed: platform.seed,
            scope,
            cell,
            metrics: Metrics::register(registry),
            watch_metrics: watches::Metrics::register(registry),
            unlisted,
            state,
            synced: sender,
        };
        (control_plane, handle)
    }

    /// Runs until `shutdown` resolves. The last published table stays in the cell.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(NEWS_MAX);
        // The watches end when this set is dropped.
        let _watches = watches::start(
            &self.client,
            &self.scope,
            self.seed,
            &self.watch_metrics,
            &self.unlisted,
            &sender,
        );
        tokio::select! {
            biased;
            () = shutdown => {}
            () = self.publish_changes(receiver) => {}
        }
    }

    async fn publish_changes(&mut self, mut news: mpsc::Receiver<News>) {
        let mut unlisted: BTreeSet<Kind> = watches::kinds(&self.scope).into_iter().collect();
        let mut batch = Vec::new();
        loop {
            if news.recv_many(&mut batch, NEWS_MAX).await == 0 {
                return;
            }
            let mut changed_since = None;
            for News { heard, change } in batch.drain(..) {
                if let Change::Replace(kind, _) = &change {
                    unlisted.remove(kind);
                }
                if self.take_in(change) {
                    changed_since = changed_since.or(Some(heard));
                }
            }
            let is_first = unlisted.is_empty() && !*self.synced.borrow();
            if !unlisted.is_empty() || (changed_since.is_none() && !is_first) {
                continue;
            }
            let begun = Instant::now();
            self.publish(is_first);
            if is_first {
                self.synced.send_replace(true);
            } else if let Some(heard) = changed_since {
                self.metrics.propagated(heard.elapsed());
            }
            let rest = (begun.elapsed() * REST_FACTOR).clamp(REST_MIN, REST_MAX);
            sleep_until(Instant::now() + rest).await;
        }
    }

    /// Takes a change in. Tells whether anything that we read differs.
    fn take_in(&self, change: Change) -> bool {
        let Effect { changed, refused } = lock(&self.state).objects.apply(change);
        if refused > 0 {
            self.metrics.refused(refused);
            tracing::error!(
                refused,
                limit = crate::objects::OBJECTS_MAX,
                reason = "too_many_objects",
                "the objects beyond the limit are not served"
            );
        }
        changed
    }

    fn publish(&mut self, is_first: bool) {
        let objects = lock(&self.state).objects.clone();
        let translation = Arc::new(translate(&objects, &self.scope));
        let before =
            std::mem::replace(&mut lock(&self.state).translation, Arc::clone(&translation));
        report::log_difference(&before.conditions, &translation.conditions);
        self.metrics.count(&translation);
        let table = compile(&translation.model);
        if !is_first && self.cell.load_full().table == table {
            self.metrics.applied(ApplyResult::Unchanged);
            return;
        }
        let generation = self.cell.publish(table);
        self.metrics.applied(ApplyResult::Published);
        tracing::info!(
            generation,
            ingresses = translation.ingresses.len(),
            conditions = translation.conditions.len(),
            "published"
        );
    }
}

/// A panic of another holder leaves the state whole: each of its writes is one assignment or one change.
fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
