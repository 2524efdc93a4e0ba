//! Which Events of a kubelet are written, and how often. Pure.
//!
//! In: what happened, as a [`Draft`], and the time. Out: the [`Step`] to take. It follows the correlation of Kubernetes'
//! clients: the same thing again raises the count of its Event; from the tenth text of one kind on, one Event stands for all
//! of them; and an object has `SPAM_BURST` Events at once, then one in five minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use tokio::time::Instant;

/// Texts of one reason about one object that stand in Events of their own, less one.
const SIMILAR_MAX: usize = 10;

/// A reason that was not seen for so long begins anew.
const SIMILAR_PERIOD: Duration = Duration::from_secs(600);

/// Events that one object may have at once, and how long a further one takes to be allowed.
const SPAM_BURST: f64 = 25.0;
const SPAM_REFILL: Duration = Duration::from_secs(300);

/// Entries of each memory. A full one is emptied: counts begin anew.
const KNOWN_MAX: usize = 4096;

/// The longest message that the API takes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Whether all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// To whom.
    pub about: ObjectReference,
    /// How bad.
    pub severity: Severity,
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A new Event.
    Create(Event),
    /// An Event seen once more, as it is from here on.
    Repeat(Event),
    /// Nothing: there are too many about this object.
    Drop,
}

/// Remembers what was written.
#[derive(Debug)]
pub struct Correlator {
    node: String,
    spam: BTreeMap<Subject, Bucket>,
    similar: BTreeMap<(Subject, &'static str), Similar>,
    written: BTreeMap<Identity, Event>,
}

/// About what, and how bad.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    object: [Option<String>; 4],
    severity: Severity,
}

/// What makes two events the same. Without text and place: the one that stands for many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    subject: Subject,
    reason: &'static str,
    place: Option<String>,
    message: Option<String>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

#[derive(Debug)]
struct Similar {
    messages: BTreeSet<String>,
    at: Instant,
}

// === impl Correlator ===

impl Correlator {
    /// The memory of a node's kubelet.
    #[must_use]
    pub fn new(node: String) -> Self {
        Self {
            node,
            spam: BTreeMap::new(),
            similar: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// Decides about one event. The time of day makes the name of a new one, as in Kubernetes.
    pub fn step(&mut self, mut draft: Draft, now: Instant, wall: Timestamp) -> Step {
        if draft.message.len() > MESSAGE_BYTES_MAX {
            let end = draft.message.floor_char_boundary(MESSAGE_BYTES_MAX);
            draft.message.truncate(end);
        }
        let subject = Subject::of(&draft);
        let identity = self.identity(&subject, &mut draft, now);
        let time = Time(Timestamp::from_second(wall.as_second()).unwrap_or(wall));
        let known = self.written.get_mut(&identity).map(|event| {
            event.count = Some(event.count.unwrap_or(1).saturating_add(1));
            event.last_timestamp = Some(time.clone());
            event.message = Some(draft.message.clone());
            event.clone()
        });
        let step = match known {
            Some(event) => Step::Repeat(event),
            None => {
                let event = self.event(draft, time, wall);
                make_room(&mut self.written);
                self.written.insert(identity, event.clone());
                Step::Create(event)
            }
        };
        // What is dropped was counted all the same, as in Kubernetes.
        if self.may_write(subject, now) {
            step
        } else {
            Step::Drop
        }
    }

    fn identity(&mut self, subject: &Subject, draft: &mut Draft, now: Instant) -> Identity {
        let key = (subject.clone(), draft.reason);
        make_room(&mut self.similar);
        let similar = self.similar.entry(key).or_insert(Similar {
            messages: BTreeSet::new(),
            at: now,
        });
        if now.duration_since(similar.at) > SIMILAR_PERIOD {
            similar.messages.clear();
        }
        similar.at = now;
        let is_known = similar.messages.contains(&draft.message);
        if !is_known && similar.messages.len() + 1 >= SIMILAR_MAX {
            draft.message = format!("(combined from similar events): {}", draft.message);
            return Identity {
                subject: subject.clone(),
                reason: draft.reason,
                place: None,
                message: None,
            };
        }
        similar.messages.insert(draft.message.clone());
        Identity {
            subject: subject.clone(),
            reason: draft.reason,
            place: draft.about.field_path.clone(),
            message: Some(draft.message.clone()),
        }
    }

    fn may_write(&mut self, subject: Subject, now: Instant) -> bool {
        make_room(&mut self.spam);
        let bucket = self.spam.entry(subject).or_insert(Bucket {
            tokens: SPAM_BURST,
            at: now,
        });
        let refill = now.duration_since(bucket.at).as_secs_f64() / SPAM_REFILL.as_secs_f64();
        bucket.tokens = (bucket.tokens + refill).min(SPAM_BURST);
        bucket.at = now;
        let may = bucket.tokens >= 1.0;
        if may {
            bucket.tokens -= 1.0;
        }
        may
    }

    fn event(&self, draft: Draft, time: Time, wall: Timestamp) -> Event {
        let name = draft.about.name.clone().unwrap_or_default();
        // Events about objects of the whole cluster live in `default`.
        let namespace = draft.about.namespace.clone();
        let severity = match draft.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        };
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", wall.as_nanosecond())),
                namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: draft.about,
            type_: Some(severity.to_owned()),
            reason: Some(draft.reason.to_owned()),
            message: Some(draft.message),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node.clone()),
            count: Some(1),
            first_timestamp: Some(time.clone()),
            last_timestamp: Some(time),
            ..Event::default()
        }
    }
}

fn make_room<K: Ord, V>(memory: &mut BTreeMap<K, V>) {
    if memory.len() >= KNOWN_MAX {
        memory.clear();
    }
}

// === impl Subject ===

impl Subject {
    fn of(draft: &Draft) -> Self {
        let about = &draft.about;
        let object = [&about.kind, &about.namespace, &about.name, &about.uid];
        Self {
            object: object.map(Clone::clone),
            severity: draft.severity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(container: &str, reason: &'static str, message: &str) -> Draft {
        Draft {
            about: ObjectReference {
                kind: Some("Pod".to_owned()),
                namespace: Some("shop".to_owned()),
                name: Some("web".to_owned()),
                uid: Some("u".to_owned()),
                field_path: Some(format!("spec.containers{{{container}}}")),
                ..ObjectReference::default()
            },
            severity: Severity::Warning,
            reason,
            message: message.to_owned(),
        }
    }

    /// One word per step: `+N` creates the Event N, `N×M` counts it up to M, `-` drops it.
    fn play(drafts: Vec<(u64, Draft)>) -> String {
        let begin = Instant::now();
        let mut correlator = Correlator::new("node-1".to_owned());
        let words: Vec<String> = drafts
            .into_iter()
            .enumerate()
            .map(|(index, (second, draft))| {
                let now = begin + Duration::from_secs(second);
                let wall = Timestamp::from_nanosecond(index as i128).unwrap();
                let step = correlator.step(draft, now, wall);
                match step {
                    Step::Create(event) => format!("+{}", short(&event)),
                    Step::Repeat(event) => {
                        format!("{}×{}", short(&event), event.count.unwrap())
                    }
                    Step::Drop => "-".to_owned(),
                }
            })
            .collect();
        words.join(" ")
    }

    fn short(event: &Event) -> String {
        let name = event.metadata.name.clone().unwrap();
        let number = name.strip_prefix("web.").unwrap();
        u64::from_str_radix(number, 16).unwrap().to_string()
    }

    #[test]
    fn the_same_again_raises_the_count() {
        let drafts = vec![
            (0, draft("a", "Unhealthy", "x")),
            (1, draft("a", "Unhealthy", "y")),
            (2, draft("a", "Unhealthy", "x")),
            (3, draft("b", "Unhealthy", "x")),
            (4, draft("a", "BackOff", "x")),
            (9999, draft("a", "Unhealthy", "x")),
        ];
        assert_eq!(play(drafts), "+0 +1 0×2 +3 +4 0×3");
    }

    #[test]
    fn many_texts_of_one_reason_become_one_event() {
        let drafts = (0..12).map(|number| (0, draft("a", "Failed", &format!("try {number}"))));
        assert_eq!(
            play(drafts.collect()),
            "+0 +1 +2 +3 +4 +5 +6 +7 +8 +9 9×2 9×3"
        );
        let mut correlator = Correlator::new("node-1".to_owned());
        let now = Instant::now();
        for number in 0..10 {
            let message = format!("try {number}");
            let step = correlator.step(draft("a", "Failed", &message), now, Timestamp::UNIX_EPOCH);
            let Step::Create(event) = step else {
                panic!("{step:?}")
            };
            let prefix = if number == 9 {
                "(combined from similar events): "
            } else {
                ""
            };
            assert_eq!(event.message, Some(format!("{prefix}{message}")));
        }
    }

    #[test]
    fn an_object_that_never_heals_is_told_of_every_five_minutes() {
        let at = |second| (second, draft("a", "Unhealthy", "x"));
        let mut drafts: Vec<_> = (0..26).map(|_| at(0)).collect();
        drafts.extend([at(299), at(301), at(302)]);
        let played = play(drafts);
        let words: Vec<&str> = played.split(' ').skip(24).collect();
        assert_eq!(words, ["0×25", "-", "-", "0×28", "-"]);
    }

    #[test]
    fn a_long_message_is_cut_and_names_are_filled_in() {
        let mut correlator = Correlator::new("node-1".to_owned());
        let long = "ä".repeat(MESSAGE_BYTES_MAX);
        let now = Instant::now();
        let step = correlator.step(draft("a", "Failed", &long), now, Timestamp::UNIX_EPOCH);
        let Step::Create(event) = step else {
            panic!("{step:?}")
        };
        assert_eq!(event.message.unwrap().len(), MESSAGE_BYTES_MAX);
        let source = event.source.unwrap();
        assert_eq!(source.host.as_deref(), Some("node-1"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
    }
}
