//! Hears of changes from the API server.
//!
//! In: a kube client and a [`Scope`]. Out: a [`Change`] for every piece of news, on a bounded channel; first a
//! [`Change::Replace`] for each watched kind. It does not judge, and it does not end: when the API server is away it keeps
//! trying, and what was heard stays as it is. Secrets that are read by their names come from [`crate::secrets`] instead.
//!
//! This is a list and a watch of kube's `Api`, not kube-runtime's `watcher`: that one hides bookmarks, so that a quiet watch looks
//! like a dead one; it asks for the same version again and again when a watch cannot start (kube-rs#1042); and it takes its
//! jitter from a source of its own, so that a run could not be repeated. What is done about each:
//!
//! * **silence**: a watch is asked for [`WATCH_TIMEOUT_SECONDS`] and given up [`SILENCE_MARGIN`] later, so a cut network blinds
//!   for half a minute, not for five;
//! * **an API server that is gone** and comes back: the watch goes on from its last version, however long that took;
//! * **a version that is gone** (410, in the stream or as the answer) or from a future that a restored etcd never saw (504, or
//!   silence for ever): all objects are listed anew at once, after [`FAILURES_MAX`] answered failures in a row, and every
//!   [`RELIST_INTERVAL`] in any case;
//! * **objects deleted meanwhile**: a list replaces everything known of its kind in one step;
//! * **herds**: waits double up to [`backoff::DELAY_MAX`], with jitter from our own seed, and a list that only makes sure asks for
//!   nothing newer than what is known, which the API server answers from its memory.

mod backoff;
mod metrics;
mod page;
mod patience;
mod rights;
mod slim;
mod source;
mod trouble;

use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::{core, discovery, networking};
use kube::core::ClusterResourceScope;
use kube::{Api, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::objects::{Change, Kind};
use crate::platform::derive_rng;
use crate::scope::{Scope, Secrets};

pub(crate) use backoff::{Backoff, DELAY_MAX};
pub(crate) use metrics::Metrics;
pub(crate) use rights::{Asked, Verb};
use slim::Slim;
use source::Source;
pub(crate) use trouble::{Reason, Subject, Trouble, Troubles};

/// How long the API server is asked to keep a watch.
pub(crate) const WATCH_TIMEOUT_SECONDS: u32 = 25;

/// A watch that did not end this long after it should have is dead.
pub(crate) const SILENCE_MARGIN: Duration = Duration::from_secs(5);

/// Failures in a row that came with an answer, after which all objects are listed anew. A silence counts twice.
pub(crate) const FAILURES_MAX: u32 = 6;

/// All objects are listed anew at least this often, give or take a tenth.
pub(crate) const RELIST_INTERVAL: Duration = Duration::from_secs(600);

/// What was heard, and when.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) heard: Instant,
    /// None: nothing has changed up to the version.
    pub(crate) change: Option<Change>,
    /// None where objects are read one by one.
    pub(crate) version: Option<Version>,
}

/// How far a kind was heard of, by its resourceVersions. They are numbers that grow, of all objects of a kind together
/// (KEP-5504; so it is with every API server that keeps its objects in etcd). 0 is one that is no number: it is never waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) kind: Kind,
    /// The newest of the objects in this news; 0 without any.
    pub(crate) object: u64,
    /// Up to here nothing else has happened.
    pub(crate) seen: u64,
}

/// Where what is heard goes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sinks {
    pub(crate) metrics: Metrics,
    pub(crate) troubles: Troubles,
    pub(crate) news: mpsc::Sender<News>,
}

/// The receiver of the news is gone.
pub(crate) struct Unheard;

/// The kinds that a tier with this scope reads.
pub(crate) fn kinds(scope: &Scope) -> Vec<Kind> {
    let is_read = |kind: &Kind| {
        scope.reads_cluster_objects || !matches!(kind, Kind::IngressClass | Kind::Namespace)
    };
    Kind::ALL.into_iter().filter(is_read).collect()
}

/// Starts one task per kind that is watched. They end when the set is dropped or the receiver is gone.
pub(crate) fn start(client: &kube::Client, scope: &Scope, seed: u64, sinks: &Sinks) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for kind in kinds(scope) {
        let namespace = scope.namespace.as_deref();
        let backoff = Backoff::new(derive_rng(seed, &format!("watch {kind}")));
        let source = Source::new(kind, namespace, backoff, sinks.clone());
        let client = client.clone();
        match kind {
            Kind::Ingress => {
                tasks.spawn(source.run(namespaced::<Slim<networking::v1::Ingress>>(
                    client, namespace,
                )));
            }
            Kind::IngressClass => {
                tasks.spawn(source.run(of_cluster::<Slim<networking::v1::IngressClass>>(client)));
            }
            Kind::Namespace => {
                tasks.spawn(source.run(of_cluster::<Slim<core::v1::Namespace>>(client)));
            }
            Kind::Service => {
                tasks.spawn(source.run(namespaced::<Slim<core::v1::Service>>(client, namespace)));
            }
            Kind::EndpointSlice => {
                let api = namespaced::<Slim<discovery::v1::EndpointSlice>>(client, namespace);
                tasks.spawn(source.run(api));
            }
            Kind::Secret => match scope.secrets {
                Secrets::Watched => {
                    tasks
                        .spawn(source.run(namespaced::<Slim<core::v1::Secret>>(client, namespace)));
                }
                Secrets::ByName { .. } => {}
            },
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

// === impl Sinks ===

impl Sinks {
    /// Passes a change on.
    pub(crate) async fn send(&self, change: Change) -> Result<(), Unheard> {
        self.tell(Some(change), None).await
    }

    async fn tell(&self, change: Option<Change>, version: Option<Version>) -> Result<(), Unheard> {
        let news = News {
            heard: Instant::now(),
            change,
            version,
        };
        self.news.send(news).await.map_err(|_| Unheard)
    }

    /// Counts a failed request, and says so when it is new. `other` is the reason when nothing more is known.
    pub(crate) fn failed(&self, subject: &Subject, trouble: &Trouble, other: &'static str) {
        let (kind, verb) = (subject.kind, subject.verb);
        if trouble.reason == Reason::Forbidden {
            self.metrics.forbidden(kind, verb);
        }
        let reason = trouble.reason.as_str(other);
        let verb = verb.as_str();
        let detail = &trouble.text;
        if self.troubles.failed(subject, detail, Instant::now()) {
            tracing::warn!(%kind, verb, detail, reason, "the API server does not give what is asked for; trying again");
        } else {
            tracing::debug!(%kind, verb, detail, reason, "still no answer");
        }
    }

    /// Says so when a success ends a trouble.
    pub(crate) fn succeeded(&self, subject: &Subject) {
        if self.troubles.succeeded(subject) {
            let verb = subject.verb.as_str();
            tracing::info!(kind = %subject.kind, verb, "the API server answers again");
        }
    }
}

#[cfg(test)]
pub(crate) mod mock;
#[cfg(test)]
mod tests;
