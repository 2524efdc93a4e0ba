//! Events are forgotten an hour after they were last written, as by a real server; and before that when there are too
//! many.
//!
//! In: the stored events. Out: the same without those that are due.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::state::Shared;

/// Time from the last write of an event to its end.
const EVENT_LIFE: Duration = Duration::from_secs(3600);

/// How often it is looked for events that are due.
const PERIOD: Duration = Duration::from_secs(60);

/// Events beyond this many go, the oldest first.
const EVENTS_MAX: usize = 10_000;

const STORAGE: &str = "events";

/// When each event was first seen in its present version.
type Seen = BTreeMap<String, (u64, Instant)>;

/// Removes events when they are due. Never ends.
pub(super) async fn keep(shared: &Shared) {
    let mut seen = Seen::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        sweep(shared, &mut seen, Instant::now());
    }
}

fn sweep(shared: &Shared, seen: &mut Seen, now: Instant) {
    let mut state = shared.state();
    let Some(events) = state.store.collection(STORAGE) else {
        return;
    };
    let mut present = Seen::new();
    for (key, event) in events.range("") {
        let known = seen
            .get(key)
            .filter(|(version, _)| *version == event.version);
        let since = known.map_or(now, |(_, since)| *since);
        present.insert(key.clone(), (event.version, since));
    }
    let mut due: Vec<String> = present
        .iter()
        .filter(|(_, (_, since))| now.duration_since(*since) >= EVENT_LIFE)
        .map(|(key, _)| key.clone())
        .collect();
    let excess = (present.len() - due.len()).saturating_sub(EVENTS_MAX);
    if excess > 0 {
        let mut oldest: Vec<(u64, &String)> = present
            .iter()
            .filter(|(key, _)| !due.contains(key))
            .map(|(key, (version, _))| (*version, key))
            .collect();
        oldest.sort();
        let gone: Vec<String> = oldest
            .into_iter()
            .take(excess)
            .map(|(_, key)| key.clone())
            .collect();
        tracing::warn!(
            reason = "too_many_events",
            events = excess,
            "events are forgotten early"
        );
        due.extend(gone);
    }
    for key in &due {
        state.store.remove(STORAGE, key);
        present.remove(key);
    }
    *seen = present;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Options;

    #[tokio::test(start_paused = true)]
    async fn an_event_lives_an_hour_from_its_last_write() {
        let shared = Shared::new(Options::new("t", 1));
        let write = |name: &str, count: u32| {
            let event = json!({"metadata": {"name": name}, "count": count});
            shared
                .state()
                .store
                .put(STORAGE, &format!("default/{name}"), event);
        };
        let names = || {
            let state = shared.state();
            let events = state.store.collection(STORAGE).unwrap();
            events
                .range("")
                .map(|(key, _)| key.clone())
                .collect::<Vec<_>>()
        };
        write("old", 1);
        write("again", 1);
        let (mut seen, start) = (Seen::new(), Instant::now());
        sweep(&shared, &mut seen, start);
        write("again", 2);
        sweep(&shared, &mut seen, start + EVENT_LIFE / 2);
        assert_eq!(names(), ["default/again", "default/old"]);
        sweep(&shared, &mut seen, start + EVENT_LIFE);
        assert_eq!(names(), ["default/again"]);
        sweep(&shared, &mut seen, start + 2 * EVENT_LIFE);
        assert!(names().is_empty() && seen.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_events_lose_the_oldest() {
        let shared = Shared::new(Options::new("t", 1));
        for number in 0..EVENTS_MAX + 2 {
            let event = json!({"metadata": {"name": format!("e{number}")}});
            shared
                .state()
                .store
                .put(STORAGE, &format!("default/e{number}"), event);
        }
        sweep(&shared, &mut Seen::new(), Instant::now());
        let state = shared.state();
        let events = state.store.collection(STORAGE).unwrap();
        assert_eq!(events.range("").count(), EVENTS_MAX);
        assert!(
            !events
                .range("")
                .any(|(key, _)| key == "default/e0" || key == "default/e1")
        );
    }
}
