//! Health of the watches.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::rights::Verb;
use crate::objects::Kind;
use crate::platform::wall_now;

/// Handles to the families of the watches.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    events: Family<EventLabels, Counter>,
    restarts: Family<RestartLabels, Counter>,
    last_event: Family<KindLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    forbidden: Family<VerbLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabels {
    kind: Kind,
    verb: Verb,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    kind: Kind,
    r#type: EventType,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RestartLabels {
    kind: Kind,
    reason: Restart,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: Kind,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum EventType {
    /// All objects.
    List,
    /// An object that was made or changed.
    Apply,
    /// An object that is gone.
    Delete,
    /// A sign of life.
    Bookmark,
}

/// Why a watch began anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Restart {
    /// The list failed.
    ListFailed,
    /// The watch could not start, or broke.
    WatchFailed,
    /// Nothing came, not even the end.
    Silence,
    /// The version is gone: a full list.
    Expired,
    /// Too many failures in a row: a full list.
    FailuresMax,
    /// It was time: a full list.
    Interval,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the families.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            events: Family::default(),
            restarts: Family::default(),
            last_event: Family::default(),
            forbidden: Family::default(),
        };
        registry.register(
            "watch_events",
            "News from the API server by kind of object and type: list, apply, delete, bookmark",
            metrics.events.clone(),
        );
        registry.register(
            "watch_restarts",
            "Watches begun anew by kind of object and reason; expired, failures_max and interval list all objects",
            metrics.restarts.clone(),
        );
        registry.register(
            "watch_last_event_timestamp_seconds",
            "When news of this kind of object came last; bookmarks count, so a minute without any is trouble",
            metrics.last_event.clone(),
        );
        registry.register(
            "api_requests_forbidden",
            "Requests that the API server refused for a missing right, by kind of object and verb; /readyz names the command that grants it",
            metrics.forbidden.clone(),
        );
        // A series that begins at zero shows its first increase.
        for kind in Kind::ALL {
            for verb in [Verb::List, Verb::Watch] {
                drop(metrics.forbidden.get_or_create(&VerbLabels { kind, verb }));
            }
        }
        metrics
    }

    pub(super) fn heard(&self, kind: Kind, event_type: EventType) {
        self.events
            .get_or_create(&EventLabels {
                kind,
                r#type: event_type,
            })
            .inc();
        self.last_event
            .get_or_create(&KindLabels { kind })
            .set(wall_now().as_second() as f64);
    }

    pub(crate) fn forbidden(&self, kind: Kind, verb: Verb) {
        self.forbidden
            .get_or_create(&VerbLabels { kind, verb })
            .inc();
    }

    pub(super) fn restarted(&self, kind: Kind, reason: Restart) {
        self.restarts
            .get_or_create(&RestartLabels { kind, reason })
            .inc();
    }
}

// === impl EventType ===

impl EncodeLabelValue for EventType {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> std::fmt::Result {
        match self {
            Self::List => "list",
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::Bookmark => "bookmark",
        }
        .encode(encoder)
    }
}

// === impl Restart ===

impl EncodeLabelValue for Restart {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> std::fmt::Result {
        match self {
            Self::ListFailed => "list_failed",
            Self::WatchFailed => "watch_failed",
            Self::Silence => "silence",
            Self::Expired => "expired",
            Self::FailuresMax => "failures_max",
            Self::Interval => "interval",
        }
        .encode(encoder)
    }
}
