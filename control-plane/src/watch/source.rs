//! Lists and watches one kind of object for ever.
//!
//! In: an `Api`. Out: changes, in order, the first of them a list. What can go wrong and what is done about it is said in
//! the module above; how a failure reads and how often it is said is the affair of `trouble`.

use std::fmt::Debug;
use std::time::Duration;

use futures::TryStreamExt as _;
use kube::api::{ListParams, VersionMatch, WatchEvent, WatchParams};
use kube::core::Status;
use kube::{Api, Resource};
use rand::Rng as _;
use rand::rngs::SmallRng;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::metrics::{EventType, Restart};
use super::page::{self, Listed, number};
use super::patience::Patience;
use super::rights::{Asked, Verb};
use super::trouble::{Reason, Subject, Trouble};
use super::{
    FAILURES_MAX, RELIST_INTERVAL, SILENCE_MARGIN, Sinks, Unheard, Version, WATCH_TIMEOUT_SECONDS,
};
use crate::objects::certificate::SECRET_TYPE;
use crate::objects::{Change, Kind, Object};

/// Objects of one page.
const PAGE_SIZE: u32 = 500;

/// A watch that ends sooner than this without news has failed, so that a server that ends each at once is not asked in a loop.
const WATCH_LIFE_MIN: Duration = Duration::from_secs(1);

/// A watch that ends this long before its time was ended by an API server that goes away: its clients come back one by one.
const EARLY: Duration = Duration::from_secs(2);

/// What the API server has of one kind.
pub(super) struct Source {
    kind: Kind,
    namespace: Option<String>,
    fields: Option<String>,
    patience: Patience,
    sinks: Sinks,
}

/// How recent a list must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Listing {
    /// As etcd has it, in pages: at the start, when nothing is known.
    Newest,
    /// Not older than this version: the API server answers from its memory, without etcd. It does so for whole lists only.
    NotOlderThan(String),
}

/// How a watch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// The server ended it in time, or after some news: go on from the last version.
    Regular,
    /// Go on from the last version, after a while.
    Failed(Restart, Trouble),
    /// The version is of no more use. It may be older than all that the server knows, or newer.
    Expired { is_newer: bool },
    /// Nobody listens.
    Unheard,
}

// === impl Source ===

impl Source {
    pub(super) fn new(
        kind: Kind,
        namespace: Option<&str>,
        backoff: Backoff<SmallRng>,
        sinks: Sinks,
    ) -> Self {
        Self {
            kind,
            namespace: namespace.map(str::to_owned),
            fields: (kind == Kind::Secret).then(|| format!("type={SECRET_TYPE}")),
            patience: Patience::new(backoff),
            sinks,
        }
    }

    pub(super) async fn run<K>(mut self, api: Api<K>)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
        Object: From<K>,
    {
        let mut listing = Listing::Newest;
        loop {
            let Ok(mut version) = self.list(&api, listing).await else {
                return;
            };
            let Ok((reason, is_sound)) = self.watch(&api, &mut version).await else {
                return;
            };
            self.sinks.metrics.restarted(self.kind, reason);
            listing = if is_sound {
                Listing::NotOlderThan(version)
            } else {
                Listing::Newest
            };
            if reason != Restart::Interval {
                // A version can expire as soon as it is listed; then this doubles until a watch brings news.
                sleep(self.patience.short()).await;
            }
        }
    }

    /// Lists until it succeeds. Gives the version to watch from.
    async fn list<K>(&mut self, api: &Api<K>, mut listing: Listing) -> Result<String, Unheard>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
        Object: From<K>,
    {
        loop {
            match self.list_once(api, &listing).await {
                Ok(Listed {
                    objects,
                    newest,
                    version,
                }) => {
                    self.heard(EventType::List);
                    self.succeeded(Verb::List);
                    self.sinks.troubles.read(self.kind);
                    let all = Change::Replace(self.kind, objects);
                    let heard = self.version(newest, &version);
                    self.sinks.tell(Some(all), Some(heard)).await?;
                    return Ok(version);
                }
                Err(error) => {
                    let trouble = Trouble::of(error.as_ref(), self.asked(Verb::List));
                    if trouble.reason == Reason::Refused {
                        // Whatever is wrong with a version does not matter to a list without one.
                        listing = Listing::Newest;
                    }
                    self.sinks
                        .failed(&self.subject(Verb::List), &trouble, "list_failed");
                    self.sinks.metrics.restarted(self.kind, Restart::ListFailed);
                    self.wait_after(&trouble).await;
                }
            }
        }
    }

    async fn list_once<K>(&self, api: &Api<K>, listing: &Listing) -> anyhow::Result<Listed>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
        Object: From<K>,
    {
        let all = ListParams {
            field_selector: self.fields.clone(),
            ..ListParams::default()
        };
        let parameters = match listing {
            Listing::Newest => all.limit(PAGE_SIZE),
            Listing::NotOlderThan(version) => all.at(version).matching(VersionMatch::NotOlderThan),
        };
        let client = api.clone().into_client();
        page::list::<K>(&client, api.resource_url(), parameters).await
    }

    /// Watches until the objects must be listed anew. Gives the reason for that, and whether the last version is one that the
    /// server knows.
    async fn watch<K>(
        &mut self,
        api: &Api<K>,
        version: &mut String,
    ) -> Result<(Restart, bool), Unheard>
    where
        K: Resource + Clone + Debug + DeserializeOwned + 'static,
        Object: From<K>,
    {
        let tenths = self.patience.rng().random_range(9..=11);
        let relist_at = Instant::now() + RELIST_INTERVAL / 10 * tenths;
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            match self.watch_once(api, version).await {
                End::Regular => {
                    failures = 0;
                    self.patience.reset();
                    if Instant::now() >= relist_at {
                        return Ok((Restart::Interval, true));
                    }
                    let whole = Duration::from_secs(u64::from(WATCH_TIMEOUT_SECONDS));
                    if begun.elapsed() + EARLY < whole {
                        sleep(self.patience.short()).await;
                    }
                }
                End::Failed(reason, trouble) => {
                    // Without an answer nothing is wrong with the version.
                    failures += match (reason, trouble.reason) {
                        (Restart::Silence, _) => 2,
                        (_, Reason::Unanswered) => 0,
                        (_, Reason::Forbidden | Reason::Unauthorized | Reason::Refused) => 1,
                    };
                    self.sinks.metrics.restarted(self.kind, reason);
                    if failures >= FAILURES_MAX {
                        return Ok((Restart::FailuresMax, false));
                    }
                    self.wait_after(&trouble).await;
                }
                End::Expired { is_newer } => return Ok((Restart::Expired, !is_newer)),
                End::Unheard => return Err(Unheard),
            }
        }
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
        let mut limit = WATCH_LIFE_MIN;
        loop {
            let event = match timeout(limit, stream.try_next()).await {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) if has_news || begun.elapsed() >= WATCH_LIFE_MIN => {
                    self.succeeded(Verb::Watch);
                    return End::Regular;
                }
                Ok(Ok(None)) => {
                    return self.broken(Trouble {
                        reason: Reason::Refused,
                        text: "the API server ends the watch as soon as it has begun".to_owned(),
                    });
                }
                Ok(Err(error)) => return self.failed(&error),
                Err(_) if limit == WATCH_LIFE_MIN => {
                    // It stands, and where nothing changes there is no news for a long time: trouble is over now.
                    self.succeeded(Verb::Watch);
                    limit = silence.saturating_sub(WATCH_LIFE_MIN);
                    continue;
                }
                Err(_) => return self.silent(),
            };
            match self.take(event, version).await {
                Ok(()) => {
                    limit = silence;
                    has_news = true;
                    self.patience.reset();
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
            WatchEvent::Error(status) => return Err(self.refused(status)),
        };
        self.heard(event_type);
        self.succeeded(Verb::Watch);
        let seen = news_version.as_deref().unwrap_or_default();
        let object = change.as_ref().map_or(0, |_| number(Some(seen)));
        let heard = self.version(object, seen);
        let sent = self.sinks.tell(change, Some(heard)).await;
        sent.map_err(|Unheard| End::Unheard)?;
        match news_version.filter(|version| !version.is_empty()) {
            Some(news_version) => {
                *version = news_version;
                Ok(())
            }
            None => Err(End::Expired { is_newer: false }),
        }
    }

    /// Something has come from the API server.
    fn heard(&mut self, event_type: EventType) {
        self.sinks.metrics.heard(self.kind, event_type);
    }

    fn succeeded(&mut self, verb: Verb) {
        self.patience.succeeded();
        self.sinks.succeeded(&self.subject(verb));
    }

    fn silent(&self) -> End {
        let trouble = Trouble {
            reason: Reason::Unanswered,
            text: "the watch fell silent".to_owned(),
        };
        self.sinks
            .failed(&self.subject(Verb::Watch), &trouble, "watch_silent");
        End::Failed(Restart::Silence, trouble)
    }

    fn failed(&self, error: &kube::Error) -> End {
        if let kube::Error::Api(status) = error
            && let Some(expired) = self.expired(status)
        {
            return expired;
        }
        self.broken(Trouble::of(error, self.asked(Verb::Watch)))
    }

    fn refused(&self, status: Box<Status>) -> End {
        self.failed(&kube::Error::Api(status))
    }

    /// 410: the version is too old. 504: it is newer than all that the server knows ("Too large resource version").
    fn expired(&self, status: &Status) -> Option<End> {
        if !matches!(status.code, 410 | 504) {
            return None;
        }
        tracing::info!(kind = %self.kind, code = status.code, reason = "watch_expired", "listing all objects anew");
        Some(End::Expired {
            is_newer: status.code == 504,
        })
    }

    fn broken(&self, trouble: Trouble) -> End {
        self.sinks
            .failed(&self.subject(Verb::Watch), &trouble, "watch_failed");
        End::Failed(Restart::WatchFailed, trouble)
    }

    async fn wait_after(&mut self, trouble: &Trouble) {
        sleep(self.patience.after(trouble.reason, Instant::now())).await;
    }

    fn version(&self, object: u64, seen: &str) -> Version {
        Version {
            kind: self.kind,
            object,
            seen: number(Some(seen)),
        }
    }

    fn asked(&self, verb: Verb) -> Asked<'_> {
        Asked {
            verb,
            kind: self.kind,
            namespace: self.namespace.as_deref(),
        }
    }

    fn subject(&self, verb: Verb) -> Subject {
        Subject {
            kind: self.kind,
            verb,
            namespace: None,
        }
    }
}
