//! Tells what is wrong with an object by Warning Events, where its owner looks first (`kubectl describe`).
//!
//! In: conditions that came and went. Out: at most one Event in [`PACE`], each again after [`REPEAT`] while its condition lasts: API servers forget Events after an hour. Its
//! name is made of what it says, so that one that is there already, also by another replica, is not made twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tiergate_data_plane::clock::wall_now;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::metrics::WriteResult;
use super::write::outcome;
use crate::objects::Kind;
use crate::objects::ingress::hash_of;
use crate::scope::CONTROLLER;
use crate::translate::condition::{self, Condition};

/// From one Event to the next.
const PACE: Duration = Duration::from_millis(100);

/// While a condition lasts it is told again after this.
const REPEAT: Duration = Duration::from_secs(1200);

/// Conditions of one object that are told, as many as stand in its annotation: an Ingress of ten thousand bad rules must not keep the
/// Events of all others waiting.
const PER_OBJECT_MAX: usize = 16;

/// After a failure.
const RETRY: Duration = Duration::from_secs(30);

/// One request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a message, as Kubernetes allows for Events.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Bytes of the object's name in the name of the Event, which has 253.
const NAME_BYTES_MAX: usize = 230;

/// Which Event is due. Pure.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    due: BTreeSet<(Instant, Condition)>,
    when: BTreeMap<Condition, Instant>,
    /// How many of each object are in it.
    counts: BTreeMap<condition::ObjectReference, usize>,
    held_until: Option<Instant>,
}

// === impl Schedule ===

impl Schedule {
    pub(super) fn came(&mut self, condition: Condition, due: Instant) {
        if !self.when.contains_key(&condition) {
            let count = self.counts.entry(condition.object.clone()).or_default();
            if *count >= PER_OBJECT_MAX {
                return;
            }
            *count += 1;
        }
        self.put(condition, due);
    }

    pub(super) fn is_gone(&mut self, condition: &Condition) {
        let Some(when) = self.when.remove(condition) else {
            return;
        };
        self.due.remove(&(when, condition.clone()));
        if let Some(count) = self.counts.get_mut(&condition.object) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&condition.object);
            }
        }
    }

    /// When there is something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let (due, _) = self.due.first()?;
        Some((*due).max(self.held_until.unwrap_or(*due)))
    }

    /// The condition to tell of now; it is told again later.
    pub(super) fn next(&mut self, now: Instant) -> Option<Condition> {
        if self.next_due()? > now {
            return None;
        }
        let (_, condition) = self.due.pop_first()?;
        self.put(condition.clone(), now + REPEAT);
        self.held_until = Some(now + PACE);
        Some(condition)
    }

    /// It could not be told.
    pub(super) fn failed(&mut self, condition: Condition, now: Instant) {
        if self.when.contains_key(&condition) {
            self.put(condition, now + RETRY);
        }
        self.held_until = Some(now + RETRY / 10);
    }

    fn put(&mut self, condition: Condition, due: Instant) {
        if let Some(before) = self.when.insert(condition.clone(), due) {
            self.due.remove(&(before, condition.clone()));
        }
        self.due.insert((due, condition));
    }
}

/// Makes the Event of a condition. `uid` is that of its object, where it is known; `instance` who tells.
pub(super) async fn tell(
    client: kube::Client,
    condition: Condition,
    uid: Option<Uuid>,
    program: &'static str,
    instance: String,
) -> (Condition, WriteResult, String) {
    let event = event(&condition, uid, program, instance);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client, &namespace);
    let made = timeout(REQUEST_TIMEOUT, api.create(&PostParams::default(), &event)).await;
    let (result, detail) = match made {
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
            (WriteResult::Written, String::new())
        }
        // Its namespace is on its way out, or is none.
        Ok(Err(kube::Error::Api(status)))
            if status.code == 403 && status.message.contains("being terminated") =>
        {
            (WriteResult::Gone, String::new())
        }
        made => outcome(made),
    };
    (condition, result, detail)
}

fn event(
    condition: &Condition,
    uid: Option<Uuid>,
    program: &'static str,
    instance: String,
) -> Event {
    let Condition {
        object,
        field,
        reason,
        message,
    } = condition;
    let (kind, reason) = (object.kind.as_str(), reason.as_str());
    let note = bounded(format!("{field}: {message}"), MESSAGE_BYTES_MAX);
    let uid = uid.map(|uid| uid.to_string());
    // Events of objects of the cluster are kept in this namespace.
    let namespace = match object.name.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    };
    let same = hash_of([kind, uid.as_deref().unwrap_or_default(), reason, &note]);
    let name = bounded(object.name.name.clone(), NAME_BYTES_MAX);
    let now = Time(jiff::Timestamp::try_from(wall_now()).unwrap_or_default());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{same:016x}")),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(api_version(object.kind).to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(object.name.name.clone()),
            namespace: Some(object.name.namespace.clone()).filter(|name| !name.is_empty()),
            uid,
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(note),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        source: Some(EventSource {
            component: Some(program.to_owned()),
            host: None,
        }),
        reporting_component: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance),
        ..Event::default()
    }
}

fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::Ingress | Kind::IngressClass => "networking.k8s.io/v1",
        Kind::Service | Kind::Secret | Kind::Namespace => "v1",
        Kind::EndpointSlice => "discovery.k8s.io/v1",
    }
}

fn bounded(mut text: String, bytes_max: usize) -> String {
    let end = text.floor_char_boundary(bytes_max);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::ObjectName;
    use crate::translate::condition::Reason;

    fn condition(name: &str, message: &str) -> Condition {
        Condition {
            object: condition::ObjectReference {
                kind: Kind::Ingress,
                name: ObjectName::new("shop", name),
            },
            field: "spec.rules[0].host".to_owned(),
            reason: Reason::InvalidHost,
            message: message.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_told_once_in_its_turn_and_again_while_it_lasts() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        assert_eq!(schedule.next_due(), None);
        for name in ["a", "b", "c"] {
            schedule.came(condition(name, "wrong"), start);
        }
        schedule.is_gone(&condition("b", "wrong"));
        assert_eq!(schedule.next(start), Some(condition("a", "wrong")));
        assert_eq!(schedule.next(start), None, "one in {PACE:?}");
        assert_eq!(schedule.next_due(), Some(start + PACE));
        assert_eq!(schedule.next(start + PACE), Some(condition("c", "wrong")));
        assert_eq!(schedule.next_due(), Some(start + REPEAT));
        schedule.failed(condition("c", "wrong"), start + PACE);
        assert_eq!(schedule.next_due(), Some(start + PACE + RETRY));
        schedule.is_gone(&condition("c", "wrong"));
        assert_eq!(schedule.next(start + REPEAT), Some(condition("a", "wrong")));
        schedule.is_gone(&condition("a", "wrong"));
        assert_eq!(schedule.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_with_thousands_of_conditions_does_not_keep_others_waiting() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let of_large = |number: usize| condition("large", &format!("wrong {number:05}"));
        (0..10_000).for_each(|number| schedule.came(of_large(number), start));
        schedule.came(condition("other", "wrong"), start + PACE);
        let mut now = start;
        let told: Vec<String> = std::iter::from_fn(|| {
            let told = schedule.next(now).filter(|_| now < start + REPEAT)?;
            now += PACE;
            Some(told.object.name.name)
        })
        .collect();
        assert_eq!(told.iter().filter(|name| *name == "large").count(), 16);
        assert_eq!(told.len(), 17, "and the other: {told:?}");
        // What is put right makes room, and nothing is left behind.
        schedule.is_gone(&of_large(9_999));
        schedule.is_gone(&of_large(0));
        schedule.came(of_large(9_999), now);
        assert_eq!(schedule.next(now), Some(of_large(9_999)));
        (0..10_000).for_each(|number| schedule.is_gone(&of_large(number)));
        schedule.is_gone(&condition("other", "wrong"));
        assert!(schedule.counts.is_empty() && schedule.next_due().is_none());
    }

    #[test]
    fn what_says_the_same_has_one_name() {
        let uid = Uuid::from_u128(7);
        let of = |condition: &Condition, uid, instance: &str| {
            event(condition, uid, "tiergate-namespace", instance.to_owned())
        };
        let first = of(&condition("a", "wrong"), Some(uid), "one");
        let name = first.metadata.name.clone().unwrap();
        assert!(name.starts_with("a.") && name.len() == 18, "{name}");
        assert_eq!(
            of(&condition("a", "wrong"), Some(uid), "two").metadata.name,
            Some(name.clone())
        );
        for other in [
            of(&condition("a", "worse"), Some(uid), "one"),
            of(&condition("a", "wrong"), None, "one"),
        ] {
            assert_ne!(other.metadata.name, Some(name.clone()));
        }
        assert_eq!(first.message.unwrap(), "spec.rules[0].host: wrong");
        let long = of(&condition(&"ä".repeat(200), &"ö".repeat(2000)), None, "one");
        assert!(long.message.unwrap().len() <= MESSAGE_BYTES_MAX);
        assert!(long.metadata.name.unwrap().len() <= 253);
    }
}
