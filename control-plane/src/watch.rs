//! Hears of changes from the API server.
//!
//! In: a kube client and a [`Scope`]. Out: a [`Change`] for every piece of news, on a bounded channel; first a
//! [`Change::Replace`] for each watched kind. It does not judge, and it does not end: when the API server is away it keeps
//! trying, and what was heard stays as it is.
//!
//! This is a list and a watch of kube's `Api`, not kube-runtime's `watcher`: that one hides bookmarks, so that a quiet watch looks
//! like a dead one; it asks for the same version again and again when a watch cannot start (kube-rs#1042); and it takes its
//! jitter from a source of its own, so that a run could not be repeated. What is done about each:
//!
//! * **silence**: a watch is asked for [`WATCH_TIMEOUT_SECONDS`] and given up [`SILENCE_MARGIN`] later, so a cut network blinds
//!   for half a minute, not for five;
//! * **a version that is gone** (410, in the stream or as the answer) or from a future that a restored etcd never saw (504, or
//!   silence for ever): all objects are listed anew at once, after [`FAILURES_MAX`] failures in a row, and every
//!   [`RELIST_INTERVAL`] in any case;
//! * **objects deleted meanwhile**: a list replaces everything known of its kind in one step;
//! * **herds**: waits double up to [`backoff::DELAY_MAX`], with jitter from our own seed.

mod backoff;
mod metrics;
mod unlisted;

use std::fmt::Debug;
use std::time::Duration;

use futures::TryStreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::{core, discovery, networking};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ClusterResourceScope, Status};
use kube::{Api, Resource};
use rand::Rng as _;
use rand::rngs::SmallRng;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::failure::with_causes;
use crate::objects::certificate::SECRET_TYPE;
use crate::objects::{Change, Kind, OBJECTS_MAX, Object};
use crate::platform::derive_rng;
use crate::scope::Scope;

use backoff::Backoff;
pub(crate) use metrics::Metrics;
use metrics::{EventType, Restart};
pub(crate) use unlisted::Unlisted;

/// How long the API server is asked to keep a watch.
pub(crate) const WATCH_TIMEOUT_SECONDS: u32 = 25;

/// A watch that did not end this long after it should have is dead.
pub(crate) const SILENCE_MARGIN: Duration = Duration::from_secs(5);

/// Failures in a row, after which all objects are listed anew.
pub(crate) const FAILURES_MAX: u32 = 3;

/// All objects are listed anew at least this often, give or take a tenth.
pub(crate) const RELIST_INTERVAL: Duration = Duration::from_secs(600);

/// One page of a list.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Objects of one page.
const PAGE_SIZE: u32 = 500;

/// A watch that ends sooner than this without news has failed, so that a server that ends each at once is not asked in a loop.
const WATCH_LIFE_MIN: Duration = Duration::from_secs(1);

/// A change and when it was heard of.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) heard: Instant,
    pub(crate) change: Change,
}

/// The kinds that a tier with this scope watches.
pub(crate) fn kinds(scope: &Scope) -> Vec<Kind> {
    let is_watched = |kind: &Kind| scope.reads_ingress_classes || *kind != Kind::IngressClass;
    Kind::ALL.into_iter().filter(is_watched).collect()
}

/// Starts one task per kind. They end when the set is dropped or the receiver is gone.
pub(crate) fn start(
    client: &kube::Client,
    scope: &Scope,
    seed: u64,
    metrics: &Metrics,
    unlisted: &Unlisted,
    news: &mpsc::Sender<News>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for kind in kinds(scope) {
        let source = Source {
            kind,
            fields: (kind == Kind::Secret).then(|| format!("type={SECRET_TYPE}")),
            backoff: Backoff::new(derive_rng(seed, &format!("watch {kind}"))),
            metrics: metrics.clone(),
            unlisted: unlisted.clone(),
            news: news.clone(),
            is_in_trouble: false,
        };
        let client = client.clone();
        let namespace = scope.namespace.as_deref();
        match kind {
            Kind::Ingress => {
                tasks.spawn(source.run(namespaced::<networking::v1::Ingress>(client, namespace)));
            }
            Kind::IngressClass => {
                tasks.spawn(source.run(of_cluster::<networking::v1::IngressClass>(client)));
            }
            Kind::Service => {
                tasks.spawn(source.run(namespaced::<core::v1::Service>(client, namespace)));
            }
            Kind::EndpointSlice => {
                let api = namespaced::<discovery::v1::EndpointSlice>(client, namespace);
                tasks.spawn(source.run(api));
            }
            Kind::Secret => {
                tasks.spawn(source.run(namespaced::<core::v1::Secret>(client, namespace)));
            }
        }
    }
    tasks
}

fn namespaced<K>(client: kube::Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

fn of_cluster<K>(client: kube::Client) -> Api<K>
where
    K: Resource<Scope = ClusterResourceScope>,
    K::DynamicType: Default,
{
    Api::all(client)
}

/// What the API server has of one kind.
struct Source {
    kind: Kind,
    fields: Option<String>,
    backoff: Backoff<SmallRng>,
    metrics: Metrics,
    unlisted: Unlisted,
    news: mpsc::Sender<News>,
    /// A failure was logged, and nothing has come since.
    is_in_trouble: bool,
}

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The server ended it in time, or the network did after some news: go on from the last version.
    Regular,
    /// Go on from the last version, after a while.
    Failed(Restart),
    /// The version is of no more use.
    Expired,
    /// Nobody listens.
    Unheard,
}

/// The receiver is gone.
struct Unheard;

// === impl Source ===

impl Source {
    async fn run<K>(mut self, api: Api<K>)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
        Object: From<K>,
    {
        loop {
            let Ok(version) = self.list(&api).await else {
                return;
            };
            let Ok(reason) = self.watch(&api, version).await else {
                return;
            };
            self.metrics.restarted(self.kind, reason);
            if reason != Restart::Interval {
                // A version can expire as soon as it is listed; then this doubles until a watch brings news.
                sleep(self.backoff.next_delay()).await;
            }
        }
    }

    /// Lists until it succeeds. Gives the version to watch from.
    async fn list<K>(&mut self, api: &Api<K>) -> Result<String, Unheard>
    where
        K: Clone + Debug + DeserializeOwned,
        Object: From<K>,
    {
        loop {
            match self.list_once(api).await {
                Ok((objects, version)) => {
                    self.heard(EventType::List);
                    self.unlisted.listed(self.kind);
                    self.send(Change::Replace(self.kind, objects)).await?;
                    return Ok(version);
                }
                Err(error) => {
                    let error = with_causes(error.as_ref());
                    tracing::warn!(kind = %self.kind, error, reason = "list_failed", "cannot list objects; trying again");
                    self.is_in_trouble = true;
                    self.metrics.restarted(self.kind, Restart::ListFailed);
                    self.unlisted.failed(self.kind, &error);
                    sleep(self.backoff.next_delay()).await;
                }
            }
        }
    }

    async fn list_once<K>(&self, api: &Api<K>) -> anyhow::Result<(Vec<Object>, String)>
    where
        K: Clone + Debug + DeserializeOwned,
        Object: From<K>,
    {
        let mut objects: Vec<Object> = Vec::new();
        let mut parameters = ListParams {
            field_selector: self.fields.clone(),
            ..ListParams::default().limit(PAGE_SIZE)
        };
        loop {
            let page = timeout(LIST_TIMEOUT, api.list(&parameters)).await??;
            objects.extend(page.items.into_iter().map(Object::from));
            let token = page.metadata.continue_.filter(|token| !token.is_empty());
            // What is beyond the limit is refused, counted and logged where it is taken in: some of it is enough for that.
            if token.is_some() && objects.len() <= OBJECTS_MAX {
                parameters.continue_token = token;
                continue;
            }
            let version = page.metadata.resource_version.unwrap_or_default();
            anyhow::ensure!(!version.is_empty(), "the list has no resourceVersion");
            return Ok((objects, version));
        }
    }

    /// Watches until the objects must be listed anew. Gives the reason for that.
    async fn watch<K>(&mut self, api: &Api<K>, mut version: String) -> Result<Restart, Unheard>
    where
        K: Resource + Clone + Debug + DeserializeOwned + 'static,
        Object: From<K>,
    {
        let tenths = self.backoff.rng().random_range(9..=11);
        let relist_at = Instant::now() + RELIST_INTERVAL / 10 * tenths;
        let mut failures = 0;
        while Instant::now() < relist_at {
            match self.watch_once(api, &mut version).await {
                End::Regular => {
                    failures = 0;
                    self.backoff.reset();
                }
                End::Failed(reason) => {
                    failures += 1;
                    self.is_in_trouble = true;
                    self.metrics.restarted(self.kind, reason);
                    if failures >= FAILURES_MAX {
                        return Ok(Restart::FailuresMax);
                    }
                    sleep(self.backoff.next_delay()).await;
                }
                End::Expired => return Ok(Restart::Expired),
                End::Unheard => return Err(Unheard),
            }
        }
        Ok(Restart::Interval)
    }

    async fn watch_once<K>(&mut self, api: &Api<K>, version: &mut String) -> End
    where
        K: Resource + Clone + Debug + DeserializeOwned + 'static,
        Object: From<K>,
    {
        let parameters = WatchParams {
            field_selector: self.fields.clone(),
            ..WatchParams::default().timeout(WATCH_TIMEOUT_SECONDS)
        };
        let silence = Duration::from_secs(u64::from(WATCH_TIMEOUT_SECONDS)) + SILENCE_MARGIN;
        let begun = Instant::now();
        let stream = match timeout(silence, api.watch(&parameters, version)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.failed(&error),
            Err(_) => return self.silent(),
        };
        let mut stream = std::pin::pin!(stream);
        let mut has_news = false;
        loop {
            let event = match timeout(silence, stream.try_next()).await {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) if has_news || begun.elapsed() >= WATCH_LIFE_MIN => {
                    return End::Regular;
                }
                Ok(Ok(None)) => return End::Failed(Restart::WatchFailed),
                Ok(Err(error)) => return self.failed(&error),
                Err(_) => return self.silent(),
            };
            match self.take(event, version).await {
                Ok(()) => {
                    has_news = true;
                    self.backoff.reset();
                }
                Err(end) => return end,
            }
        }
    }

    async fn take<K>(&mut self, event: WatchEvent<K>, version: &mut String) -> Result<(), End>
    where
        K: Resource,
        Object: From<K>,
    {
        let (event_type, change, news_version) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.meta().resource_version.clone();
                let change = Change::Apply(Object::from(object));
                (EventType::Apply, Some(change), version)
            }
            WatchEvent::Deleted(object) => {
                let version = object.meta().resource_version.clone();
                let change = Change::Delete(self.kind, Object::from(object).name);
                (EventType::Delete, Some(change), version)
            }
            WatchEvent::Bookmark(bookmark) => {
                let version = bookmark.metadata.resource_version;
                (EventType::Bookmark, None, Some(version))
            }
            WatchEvent::Error(status) => return Err(self.refused(&status)),
        };
        self.heard(event_type);
        if let Some(change) = change {
            self.send(change).await.map_err(|Unheard| End::Unheard)?;
        }
        match news_version.filter(|version| !version.is_empty()) {
            Some(news_version) => {
                *version = news_version;
                Ok(())
            }
            None => Err(End::Expired),
        }
    }

    /// Something has come from the API server.
    fn heard(&mut self, event_type: EventType) {
        self.metrics.heard(self.kind, event_type);
        if std::mem::take(&mut self.is_in_trouble) {
            tracing::info!(kind = %self.kind, "the API server answers again");
        }
    }

    fn silent(&self) -> End {
        tracing::warn!(kind = %self.kind, reason = "watch_silent", "the watch fell silent; trying again");
        End::Failed(Restart::Silence)
    }

    fn failed(&self, error: &kube::Error) -> End {
        if let kube::Error::Api(status) = error {
            return self.refused(status);
        }
        let error = with_causes(error);
        tracing::warn!(kind = %self.kind, error, reason = "watch_failed", "the watch broke; trying again");
        End::Failed(Restart::WatchFailed)
    }

    /// 410: the version is too old. 504: it is newer than all that the server knows ("Too large resource version").
    fn refused(&self, status: &Status) -> End {
        if matches!(status.code, 410 | 504) {
            tracing::info!(kind = %self.kind, code = status.code, reason = "watch_expired", "listing all objects anew");
            return End::Expired;
        }
        tracing::warn!(kind = %self.kind, code = status.code, detail = %status.message, reason = "watch_refused", "the API server refuses the watch; trying again");
        End::Failed(Restart::WatchFailed)
    }

    async fn send(&self, change: Change) -> Result<(), Unheard> {
        let news = News {
            heard: Instant::now(),
            change,
        };
        self.news.send(news).await.map_err(|_| Unheard)
    }
}

#[cfg(test)]
pub(crate) mod mock;
#[cfg(test)]
mod tests;
