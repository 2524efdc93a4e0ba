//! Events for users: what an actor did and why it could not.
//!
//! In: [`Draft`]s. Out: `v1` Event objects; one that says the same again raises the count of the first, and many about one
//! object are combined or dropped ([`similar`]). Events are no part
//! of any decision: when they come faster than they can be written they are dropped, and that is logged.

mod similar;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::api::Patch;
use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::json;
use tokio::sync::mpsc;

use self::similar::{Fate, Similar};
use super::store::Key;
use super::write::{WriteError, Writer, timed};
use crate::clock::wall_now;

/// Events that wait to be written.
const QUEUE_MAX: usize = 1024;

/// Different events whose count is kept; above it all are forgotten, and the next ones start at 1 again.
const KNOWN_MAX: usize = 4096;

/// The longest message that the API takes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Whether all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

/// One event to report.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draft {
    pub(crate) about: ObjectReference,
    pub(crate) severity: Severity,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Takes the events of one component.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: Sender,
    writer: Writer,
    component: &'static str,
    dropped: Arc<AtomicU64>,
}

/// Where the recorders put what they take.
pub(crate) type Sender = mpsc::Sender<Report>;

/// An event, and who reports it.
pub(crate) struct Report {
    writer: Writer,
    component: &'static str,
    draft: Draft,
}

/// Writes the events of all components, each as the component's own account.
pub(crate) struct EventWriter {
    receiver: mpsc::Receiver<Report>,
    rng: SmallRng,
    known: BTreeMap<Identity, Known>,
    similar: Similar<About, &'static str>,
}

/// Who speaks, and about which object.
type About = (&'static str, Option<String>, Key, Option<String>);

/// What makes two events the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    about: About,
    reason: &'static str,
    /// None when it stands for many.
    message: Option<String>,
}

struct Known {
    name: String,
    count: i32,
}

// === impl Draft ===

impl Draft {
    pub(crate) fn normal<K>(about: &K, reason: &'static str, message: String) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        Self {
            about: about.object_ref(&()),
            severity: Severity::Normal,
            reason,
            message,
        }
    }

    pub(crate) fn warning<K>(about: &K, reason: &'static str, message: String) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        Self {
            severity: Severity::Warning,
            ..Self::normal(about, reason, message)
        }
    }
}

// === impl Recorder ===

impl Recorder {
    /// A recorder without a component yet, whose events `writer` writes.
    pub(crate) fn new(sender: Sender, writer: Writer) -> Self {
        Self {
            sender,
            writer,
            component: "",
            dropped: Arc::default(),
        }
    }

    /// The same recorder, for `component`.
    pub(crate) fn of(&self, component: &'static str) -> Self {
        Self {
            component,
            ..self.clone()
        }
    }

    /// Reports an event; never waits.
    pub(crate) fn record(&self, mut draft: Draft) {
        if draft.message.len() > MESSAGE_BYTES_MAX {
            let end = draft.message.floor_char_boundary(MESSAGE_BYTES_MAX);
            draft.message.truncate(end);
        }
        let report = Report {
            writer: self.writer.clone(),
            component: self.component,
            draft,
        };
        if self.sender.try_send(report).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(
                component = self.component,
                dropped,
                reason = "event_queue_full",
                "event dropped"
            );
        }
    }
}

// === impl EventWriter ===

impl EventWriter {
    pub(crate) fn new(rng: SmallRng) -> (Sender, Self) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let writer = Self {
            receiver,
            rng,
            known: BTreeMap::new(),
            similar: Similar::default(),
        };
        (sender, writer)
    }

    /// Writes until all recorders are gone.
    pub(crate) async fn run(mut self) {
        while let Some(report) = self.receiver.recv().await {
            let (component, reason) = (report.component, report.draft.reason);
            match self.write(report).await {
                Ok(()) | Err(WriteError::NamespaceTerminating | WriteError::NotFound) => {}
                Err(error) => {
                    tracing::warn!(component, event = reason, %error, reason = error.reason(), "event not written");
                }
            }
        }
    }

    async fn write(&mut self, report: Report) -> Result<(), WriteError> {
        let Report {
            writer,
            component,
            mut draft,
        } = report;
        let now = wall_now();
        let about = (
            component,
            draft.about.kind.clone(),
            Key::new(
                draft.about.namespace.clone().unwrap_or_default(),
                draft.about.name.clone().unwrap_or_default(),
            ),
            draft.about.uid.clone(),
        );
        let fate = self
            .similar
            .note(&about, &draft.reason, &draft.message, now);
        let message = match fate {
            Fate::Written => Some(draft.message.clone()),
            Fate::Combined(message) => {
                draft.message = message;
                None
            }
            Fate::Dropped => {
                let reason = draft.reason;
                tracing::debug!(component, about = %about.2, event = reason, reason = "event_flood", "event dropped");
                return Ok(());
            }
        };
        let identity = Identity {
            about,
            reason: draft.reason,
            message,
        };
        if let Some(known) = self.known.get_mut(&identity) {
            known.count = known.count.saturating_add(1);
            let patch = json!({ "count": known.count, "lastTimestamp": Time(now), "message": draft.message });
            let key = Key::new(namespace_of(&draft.about), known.name.clone());
            let api = writer.api::<Event>(&key);
            let params = writer.patch_params();
            match timed(api.patch(&key.name, &params, &Patch::Merge(patch))).await {
                Ok(_) => return Ok(()),
                Err(WriteError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let event = event(component, draft, now, self.rng.random());
        let name = event.metadata.name.clone().unwrap_or_default();
        writer.create(&event).await?;
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(identity, Known { name, count: 1 });
        Ok(())
    }
}

/// Events about objects of the whole cluster live in `default`.
fn namespace_of(about: &ObjectReference) -> String {
    about.namespace.clone().unwrap_or_else(|| "default".into())
}

fn event(component: &'static str, draft: Draft, now: Timestamp, random: u64) -> Event {
    let name = draft.about.name.clone().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{random:016x}")),
            namespace: Some(namespace_of(&draft.about)),
            ..ObjectMeta::default()
        },
        involved_object: draft.about,
        type_: Some(
            match draft.severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            }
            .into(),
        ),
        reason: Some(draft.reason.into()),
        message: Some(draft.message),
        source: Some(EventSource {
            component: Some(component.into()),
            host: None,
        }),
        reporting_component: Some(component.into()),
        reporting_instance: Some(String::new()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    }
}
