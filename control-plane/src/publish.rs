//! The loop that turns changes into published tables. The only writer of the [`SnapshotCell`].
//!
//! In: changes from `watch`. Out: a table in the cell, and what the [`Handle`] tells. There is no debounce: a change that comes
//! alone is published at once. What comes while a table is made is published with the next one, and after each comes a rest of
//! [`REST_FACTOR`] times what it took, between [`REST_MIN`] and [`REST_MAX`]: a storm of changes costs a bounded share of one core.
//!
//! Nothing is published before every watched kind has been listed once: half of the objects would be a wrong table. Secrets that
//! are read by their names come last, because the others name them; each translation says which are wanted. A table
//! equal to the published one is no publication. Without the API server the last table stays.

mod expiry;
mod handle;
mod metrics;
mod progress;
mod report;
mod standing;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use rand::Rng as _;
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::table::HashKey;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::external_names::{self, Resolver};
use crate::objects::{Change, Changes, Effect, Kind, Objects};
use crate::platform::{Platform, derive_rng, version};
use crate::scope::{ObjectName, Scope, Secrets};
use crate::secrets;
use crate::translate::increment::Increment;
use crate::translate::secret::Wanted;
use crate::translate::translate;
use crate::watch::{self as watches, News, Sinks};

pub use handle::Handle;
use metrics::{ApplyResult, Metrics};
#[cfg(test)]
pub(crate) use progress::testing;
pub(crate) use progress::{Programmed, Progress};
pub(crate) use standing::Standing;
use standing::Unreported;

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
    expiries: expiry::Expiries,
    watch_metrics: watches::Metrics,
    secret_metrics: secrets::Metrics,
    troubles: watches::Troubles,
    state: Arc<Mutex<State>>,
    synced: watch::Sender<bool>,
    /// What has been heard of, and of what a table is published.
    heard: Programmed,
    programmed: watch::Sender<Programmed>,
    /// The Secrets to read by their names.
    secret_names: watch::Sender<secrets::Names>,
    /// Secrets that are named and were not answered for yet. Empty for a tier that watches them.
    unread: BTreeSet<ObjectName>,
    /// The namespaces whose Secrets are named and may not be read.
    not_allowed: BTreeSet<String>,
    /// Who looks up the names that Services stand for. None: nobody does.
    resolver: Option<Resolver>,
    external_names: watch::Sender<external_names::Wanted>,
    external_metrics: external_names::Metrics,
}

/// What the control plane knows. Locked for the time of one change or one translation, never over a wait.
#[derive(Debug)]
struct State {
    objects: Objects,
    /// What differs from the objects that the last table was made of.
    changes: Changes,
    increment: Increment,
    /// What the published table is made of.
    programmed: Programmed,
    /// What the one who writes statuses has not looked at yet. None: nobody does.
    unreported: Option<Unreported>,
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
        let mut rng = derive_rng(platform.seed, "table");
        let state = Arc::new(Mutex::new(State {
            objects: Objects::default(),
            changes: Changes::default(),
            increment: Increment::new(HashKey::new(rng.random(), rng.random())),
            programmed: Programmed::default(),
            unreported: None,
        }));
        let (programmed, programmed_receiver) = watch::channel(Programmed::default());
        let troubles = watches::Troubles::new(watches::kinds(&scope));
        let handle = Handle::new(
            scope.clone(),
            receiver,
            programmed_receiver,
            troubles.clone(),
            Arc::clone(&state),
            Arc::clone(&cell),
        );
        let control_plane = Self {
            client: platform.client.clone(),
            seed: platform.seed,
            scope,
            cell,
            metrics: Metrics::register(registry),
            expiries: expiry::Expiries::register(registry),
            watch_metrics: watches::Metrics::register(registry),
            secret_metrics: secrets::Metrics::register(registry),
            troubles,
            state,
            synced: sender,
            heard: Programmed::default(),
            programmed,
            secret_names: watch::channel(None).0,
            unread: BTreeSet::new(),
            not_allowed: BTreeSet::new(),
            resolver: None,
            external_names: watch::channel(external_names::Wanted::default()).0,
            external_metrics: external_names::Metrics::register(registry),
        };
        (control_plane, handle)
    }

    /// Has names that Services stand for looked up, as far as the scope lets them stand for any.
    #[must_use]
    pub(crate) fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Runs until `shutdown` resolves. The last published table stays in the cell.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        let sinks = Sinks {
            metrics: self.watch_metrics.clone(),
            troubles: self.troubles.clone(),
            news,
        };
        // The watches end when this set is dropped.
        let mut sources = watches::start(&self.client, &self.scope, self.seed, &sinks);
        if let Some(resolver) = self.resolver.clone() {
            let (sinks, metrics) = (sinks.clone(), self.external_metrics.clone());
            let reader = external_names::Reader::new(resolver, self.seed, metrics, sinks);
            sources.spawn(reader.run(self.external_names.subscribe()));
        }
        if let Secrets::ByName { refresh, .. } = self.scope.secrets {
            let (client, metrics) = (self.client.clone(), self.secret_metrics.clone());
            let reader = secrets::Reader::new(client, refresh, self.seed, metrics, sinks);
            sources.spawn(reader.run(self.secret_names.subscribe()));
        }
        let rng = derive_rng(self.seed, "version");
        sources.spawn(version::announce(self.client.clone(), rng));
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
            for News {
                heard,
                change,
                version,
            } in batch.drain(..)
            {
                let is_list = matches!(change, Some(Change::Replace(..)));
                if let Some(Change::Replace(kind, _)) = &change {
                    unlisted.remove(kind);
                }
                if let Some(change) = &change {
                    self.note_answered(change);
                }
                let differs = change.is_some_and(|change| self.take_in(change));
                if differs {
                    changed_since = changed_since.or(Some(heard));
                }
                if let Some(version) = version {
                    self.heard.take_in(version, is_list, differs);
                }
            }
            self.note_unread();
            let is_first = unlisted.is_empty() && !*self.synced.borrow();
            let begun = Instant::now();
            if self.reads_by_name() && unlisted.iter().eq(&[Kind::Secret]) {
                // All that names Secrets is there: the first of them can be read.
                let wanted = translate(&lock(&self.state).objects, &self.scope).secrets;
                self.name_secrets(&wanted);
            } else if !unlisted.is_empty() {
                continue;
            } else if changed_since.is_none() && !is_first {
                lock(&self.state).programmed = self.heard;
                self.programmed.send_replace(self.heard);
                continue;
            } else {
                self.publish(is_first);
                self.programmed.send_replace(self.heard);
                if is_first {
                    self.synced.send_replace(true);
                } else if let Some(heard) = changed_since {
                    self.metrics.propagated(heard.elapsed());
                }
            }
            let rest = (begun.elapsed() * REST_FACTOR).clamp(REST_MIN, REST_MAX);
            sleep_until(Instant::now() + rest).await;
        }
    }

    /// Takes a change in. Tells whether anything that we read differs.
    fn take_in(&self, change: Change) -> bool {
        let Effect { changed, refused } = {
            let mut state = lock(&self.state);
            let State {
                objects,
                changes,
                increment,
                unreported,
                ..
            } = &mut *state;
            let effect = objects.take_in(change, changes);
            for name in std::mem::take(&mut changes.told) {
                if let Some(ingress) = objects.ingresses().get(&name) {
                    increment.hold(&name, ingress);
                }
                if let Some(unreported) = unreported {
                    unreported.ingresses.insert(Arc::new(name));
                }
            }
            effect
        };
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

    /// Notes that the API server has answered for a Secret, whatever it said.
    fn note_answered(&mut self, change: &Change) {
        match change {
            Change::Apply(object) => {
                if object.content.kind() == Kind::Secret {
                    self.unread.remove(&object.name);
                }
            }
            Change::Delete(Kind::Secret, name) => {
                self.unread.remove(name);
            }
            Change::Replace(Kind::Secret, _) => self.unread.clear(),
            Change::Delete(..) | Change::Replace(..) | Change::Resolve(..) => {}
        }
    }

    /// Until all that are named are answered for, the table lacks certificates that it will have.
    fn note_unread(&mut self) {
        if self.reads_by_name() {
            self.heard.secrets_are_read(self.unread.is_empty());
        }
    }

    fn reads_by_name(&self) -> bool {
        matches!(self.scope.secrets, Secrets::ByName { .. })
    }

    /// Tells the reader of Secrets which are wanted.
    fn name_secrets(&mut self, wanted: &Wanted) {
        if !self.reads_by_name() {
            return;
        }
        report::log_not_allowed(&self.not_allowed, &wanted.not_allowed);
        self.not_allowed.clone_from(&wanted.not_allowed);
        self.secret_names.send_if_modified(|names| {
            let is_new = names.as_deref() != Some(&wanted.names);
            if is_new {
                *names = Some(Arc::new(wanted.names.clone()));
            }
            is_new
        });
    }

    /// Tells who looks names up which are wanted.
    fn name_external(&mut self) {
        if self.resolver.is_none() {
            return;
        }
        let wanted = {
            let state = lock(&self.state);
            state.increment.external_names(&state.objects)
        };
        self.external_names.send_if_modified(|names| {
            let is_new = **names != wanted;
            if is_new {
                *names = Arc::new(wanted);
            }
            is_new
        });
    }

    /// Makes the next table of the last one, and swaps it in before anything is counted or told.
    fn publish(&mut self, is_first: bool) {
        let mut state = lock(&self.state);
        let State {
            objects,
            changes,
            increment,
            programmed,
            unreported,
        } = &mut *state;
        let outcome = increment.follow(objects, &self.scope, &std::mem::take(changes));
        let first = is_first.then(|| increment.table());
        let generation = outcome
            .table
            .or(first)
            .map(|table| self.cell.publish(table));
        report::log_difference(&outcome.gone, &outcome.came);
        let wanted = increment.wanted().clone();
        let has_news = !outcome.came.is_empty() || !outcome.gone.is_empty();
        if is_first || has_news || !outcome.looked_at.is_empty() {
            self.metrics.count_objects(increment);
        }
        if generation.is_some() {
            let snapshot = self.cell.load_full();
            self.metrics.count_backends(increment, &snapshot.table);
            if is_first || outcome.certificates_changed {
                self.expiries.show(snapshot.table.certificates());
            }
        }
        if let Some(before) = self.secret_names.borrow().as_deref() {
            self.unread.retain(|name| wanted.names.contains(name));
            self.unread.extend(wanted.names.difference(before).cloned());
            self.heard.secrets_are_read(self.unread.is_empty());
        }
        *programmed = self.heard;
        let (ingresses, conditions) = (increment.ingresses().len(), increment.conditions().len());
        if let Some(unreported) = unreported {
            unreported.followed(&outcome.looked_at, outcome.came, &outcome.gone);
        }
        drop(state);
        self.name_secrets(&wanted);
        self.name_external();
        let Some(generation) = generation else {
            self.metrics.applied(ApplyResult::Unchanged);
            return;
        };
        self.metrics.applied(ApplyResult::Published);
        tracing::info!(generation, ingresses, conditions, "published");
    }
}

/// A panic of another holder leaves the state whole: each of its writes is one assignment or one change.
fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
