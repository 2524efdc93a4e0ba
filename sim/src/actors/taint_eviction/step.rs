//! When a pod has to leave a node because of the node's taints.
//!
//! In: tolerations, the taints that evict, and the time. Out: timers, one for each pod, by its name. They live in memory:
//! whoever starts anew starts them all again in full. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Taint, Toleration};
use tokio::time::Instant;

use super::super::node_taint::NO_EXECUTE;
use super::super::store::Key;

/// How long a pod may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    Never,
    For(Duration),
    Forever,
}

/// The pods that have to leave.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeMap<Key, Timer>);

#[derive(Debug)]
struct Timer {
    created_at: Instant,
    fires_at: Instant,
    /// Its pod is being evicted.
    has_fired: bool,
}

/// The taints that evict.
pub(super) fn evicting(taints: &[Taint]) -> Vec<Taint> {
    let mut taints = taints.to_vec();
    taints.retain(|taint| taint.effect == NO_EXECUTE);
    taints
}

/// How long a pod with these tolerations may stay: the shortest time among those that are used; a taint that none of them
/// matches ends it at once. For each taint the first toleration that matches is used.
pub(super) fn stay(tolerations: &[Toleration], taints: &[Taint]) -> Stay {
    let mut shortest = None;
    for taint in taints {
        let Some(used) = tolerations
            .iter()
            .find(|toleration| tolerates(toleration, taint))
        else {
            return Stay::Never;
        };
        if let Some(seconds) = used.toleration_seconds {
            let seconds = u64::try_from(seconds).unwrap_or(0);
            shortest = Some(shortest.map_or(seconds, |shortest: u64| shortest.min(seconds)));
        }
    }
    match shortest {
        None => Stay::Forever,
        Some(0) => Stay::Never,
        Some(seconds) => Stay::For(Duration::from_secs(seconds)),
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    fn given(text: Option<&String>) -> &str {
        text.map(String::as_str).unwrap_or_default()
    }
    let (key, effect) = (
        given(toleration.key.as_ref()),
        given(toleration.effect.as_ref()),
    );
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match given(toleration.operator.as_ref()) {
        "" | "Equal" => {
            !key.is_empty() && given(toleration.value.as_ref()) == given(taint.value.as_ref())
        }
        "Exists" => true,
        _ => false,
    }
}

// === impl Timers ===

impl Timers {
    /// Takes a look at a pod; true when a timer that ran was cancelled.
    pub(super) fn look(&mut self, pod: &Key, stay: Stay, now: Instant) -> bool {
        let mut is_cancelled = false;
        let (created_at, fires_at) = match stay {
            Stay::Forever => return self.cancel(pod),
            Stay::Never => {
                is_cancelled = self.cancel(pod);
                (now, now)
            }
            Stay::For(time) => match self.0.get(pod) {
                None => (now, now + time),
                // It goes on from when it began, also when the pod may now stay for another time.
                Some(_) => return false,
            },
        };
        self.0.entry(pod.clone()).or_insert(Timer {
            created_at,
            fires_at,
            has_fired: false,
        });
        is_cancelled
    }

    /// Forgets a pod; true when its timer was running.
    pub(super) fn cancel(&mut self, pod: &Key) -> bool {
        match self.0.get(pod) {
            // One that had no time at all cannot be cancelled: it is on its way.
            Some(timer) if timer.fires_at == timer.created_at => false,
            Some(_) => self.0.remove(pod).is_some(),
            None => false,
        }
    }

    /// The pods whose time is over; each is given once.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Key> {
        let mut due = Vec::new();
        for (pod, timer) in &mut self.0 {
            if timer.fires_at <= now && !timer.has_fired {
                timer.has_fired = true;
                due.push(pod.clone());
            }
        }
        due
    }

    /// The eviction of a pod has ended, well or not.
    pub(super) fn ended(&mut self, pod: &Key) {
        self.0.remove(pod);
    }

    /// When to look again.
    pub(super) fn next(&self) -> Option<Instant> {
        let waiting = self.0.values().filter(|timer| !timer.has_fired);
        waiting.map(|timer| timer.fires_at).min()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_pod_stays_for_the_shortest_time_that_it_tolerates() {
        let unreachable = json!({ "key": "unreachable", "effect": "NoExecute" });
        let broken = json!({ "key": "broken", "value": "disk", "effect": "NoExecute" });
        let cordoned = json!({ "key": "cordoned", "effect": "NoSchedule" });
        let tolerates = |seconds: Value| json!({ "key": "unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds });
        let all = json!({ "operator": "Exists" });
        let disk = json!({ "key": "broken", "operator": "Equal", "value": "disk", "tolerationSeconds": 7 });
        let fan = json!({ "key": "broken", "value": "fan" });
        let cases = [
            (json!([]), json!([unreachable]), Stay::Never),
            (json!([]), json!([cordoned]), Stay::Forever),
            (
                json!([tolerates(json!(300))]),
                json!([unreachable]),
                Stay::For(300 * SECOND),
            ),
            (
                json!([tolerates(json!(300))]),
                json!([unreachable, cordoned]),
                Stay::For(300 * SECOND),
            ),
            (
                json!([tolerates(json!(0))]),
                json!([unreachable]),
                Stay::Never,
            ),
            (
                json!([tolerates(json!(-5))]),
                json!([unreachable]),
                Stay::Never,
            ),
            (
                json!([tolerates(json!(null))]),
                json!([unreachable]),
                Stay::Forever,
            ),
            (
                json!([tolerates(json!(300))]),
                json!([unreachable, broken]),
                Stay::Never,
            ),
            (
                json!([tolerates(json!(300)), disk]),
                json!([unreachable, broken]),
                Stay::For(7 * SECOND),
            ),
            (
                json!([tolerates(json!(300)), all]),
                json!([unreachable, broken]),
                Stay::For(300 * SECOND),
            ),
            (
                json!([all, tolerates(json!(300))]),
                json!([unreachable, broken]),
                Stay::Forever,
            ),
            (json!([fan]), json!([broken]), Stay::Never),
            (json!([fan, disk]), json!([broken]), Stay::For(7 * SECOND)),
        ];
        for (tolerations, taints, expected) in cases {
            let given = stay(
                &parse::<Vec<_>>(tolerations.clone()),
                &evicting(&parse::<Vec<_>>(taints.clone())),
            );
            assert_eq!(given, expected, "{tolerations} {taints}");
        }
    }

    /// F4: min(tolerationSeconds) after the taint was seen, to the second.
    #[test]
    fn a_timer_fires_once_when_its_time_is_over() {
        let (start, pod) = (Instant::now(), Key::new("z", "web"));
        for seconds in [0, 10, 30, 300] {
            let mut timers = Timers::default();
            let stay = if seconds == 0 {
                Stay::Never
            } else {
                Stay::For(SECOND * seconds)
            };
            assert!(!timers.look(&pod, stay, start));
            assert_eq!(timers.next(), Some(start + SECOND * seconds));
            let early = start + (SECOND * seconds).saturating_sub(Duration::from_millis(1));
            assert_eq!(timers.due(early).is_empty(), seconds > 0, "{seconds}");
            assert_eq!(
                timers.due(start + SECOND * seconds).is_empty(),
                seconds == 0,
                "once: {seconds}"
            );
            assert_eq!(timers.next(), None);
            timers.ended(&pod);
            assert!(!timers.cancel(&pod));
        }
    }

    #[test]
    fn a_timer_runs_on_when_taints_change_and_ends_when_they_go() {
        let (start, pod) = (Instant::now(), Key::new("z", "web"));
        let mut timers = Timers::default();
        timers.look(&pod, Stay::For(30 * SECOND), start);
        assert!(!timers.look(&pod, Stay::For(30 * SECOND), start + 20 * SECOND));
        assert_eq!(timers.next(), Some(start + 30 * SECOND));
        assert!(
            timers.look(&pod, Stay::Never, start + 21 * SECOND),
            "cancelled, to go at once"
        );
        let due = timers.due(start + 21 * SECOND);
        assert_eq!(due, std::slice::from_ref(&pod));
        assert!(
            !timers.look(&pod, Stay::Forever, start + 22 * SECOND),
            "it is on its way"
        );
        timers.ended(&pod);
        timers.look(&pod, Stay::For(30 * SECOND), start);
        assert!(timers.look(&pod, Stay::Forever, start + 20 * SECOND));
        assert_eq!(timers.next(), None);
    }
}
