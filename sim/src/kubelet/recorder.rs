//! Writes the Events of a node's kubelet.
//!
//! In: drafts from all its tasks, through a queue of limited length. Out: `v1` Event objects, as [`super::event`] decides.
//! Events are no part of any decision: one that cannot be written is logged and forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::FIELD_MANAGER;
use super::event::{Correlator, Draft, Severity, Step};
use crate::clock::wall_now;

/// Events that wait to be written.
const QUEUE_MAX: usize = 1024;

/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes the events of one node.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    sender: mpsc::Sender<Draft>,
    dropped: Arc<AtomicU64>,
    node: Arc<str>,
}

/// Writes them.
pub(super) struct Writer {
    receiver: mpsc::Receiver<Draft>,
    client: kube::Client,
    correlator: Correlator,
    node: Arc<str>,
}

/// A recorder for a node, and the writer behind it.
pub(super) fn channel(client: kube::Client, node: &str) -> (Recorder, Writer) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let node: Arc<str> = node.into();
    let recorder = Recorder {
        sender,
        dropped: Arc::default(),
        node: Arc::clone(&node),
    };
    let writer = Writer {
        receiver,
        client,
        correlator: Correlator::new(node.to_string()),
        node,
    };
    (recorder, writer)
}

// === impl Recorder ===

impl Recorder {
    /// Reports an event about the node itself.
    pub(super) fn node(&self, reason: &'static str, message: String) {
        // As kubelets do: the name of the node stands where its UID would.
        let name = Some(self.node.to_string());
        self.record(Draft {
            about: ObjectReference {
                kind: Some("Node".to_owned()),
                name: name.clone(),
                uid: name,
                ..ObjectReference::default()
            },
            severity: Severity::Normal,
            reason,
            message,
        });
    }

    /// Reports an event; never waits.
    pub(super) fn record(&self, draft: Draft) {
        if self.sender.try_send(draft).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(node = %self.node, dropped, reason = "event_queue_full", "event dropped");
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Writes until all recorders are gone.
    pub(super) async fn run(mut self) {
        while let Some(draft) = self.receiver.recv().await {
            let reason = draft.reason;
            let step = self.correlator.step(draft, Instant::now(), wall_now());
            let written = tokio::time::timeout(REQUEST_TIMEOUT, self.write(step)).await;
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) if is_expected(&error) => {}
                Ok(Err(error)) => {
                    tracing::warn!(node = %self.node, event = reason, %error, reason = "api", "event not written");
                }
                Err(_) => {
                    tracing::warn!(node = %self.node, event = reason, limit = ?REQUEST_TIMEOUT, reason = "timeout", "event not written");
                }
            }
        }
    }

    async fn write(&self, step: Step) -> Result<(), kube::Error> {
        match step {
            Step::Create(event) => self.create(event).await,
            Step::Repeat(event) => {
                let patch = json!({
                    "count": event.count,
                    "lastTimestamp": event.last_timestamp,
                    "message": event.message,
                });
                let parameters = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                let name = event.metadata.name.clone().unwrap_or_default();
                let api = self.api(&event);
                let patch = Patch::Strategic(patch);
                match api.patch(&name, &parameters, &patch).await {
                    // It was deleted, as Events are after an hour: it stands anew, with its count.
                    Err(kube::Error::Api(status)) if status.code == 404 => self.create(event).await,
                    result => result.map(drop),
                }
            }
            Step::Drop => {
                tracing::debug!(node = %self.node, reason = "event_spam", "event dropped: too many about this object");
                Ok(())
            }
        }
    }

    async fn create(&self, event: Event) -> Result<(), kube::Error> {
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        self.api(&event).create(&parameters, &event).await.map(drop)
    }

    fn api(&self, event: &Event) -> Api<Event> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// The namespace is gone or going, and the pod with it.
fn is_expected(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 403)
}
