//! Which Secret is read next, and when. Pure.
//!
//! In: the names that are wanted, what came of each read, and the time. Out: the name whose turn it is, and what a result
//! means for what is served. Namespaces take turns, so that the many names of one do not delay those of another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::scope::ObjectName;

/// Reads a second that only make sure of what is known. With more names than this allows, each is made sure of less often.
pub(super) const REFRESHES_PER_SECOND_MAX: u32 = 20;

/// After a name that was missing or refused, at most; doubles up to the interval of those that are there.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The names and their turns.
#[derive(Debug)]
pub(super) struct Plan {
    refresh: Duration,
    states: BTreeMap<ObjectName, State>,
    /// What waits for its turn, by namespace: when, and which.
    queues: BTreeMap<String, BTreeSet<(Instant, ObjectName)>>,
    /// The namespace whose turn it was last.
    last: String,
}

/// What is known of one name.
#[derive(Debug)]
struct State {
    /// Its place in the queue; none while it is read.
    due: Option<Instant>,
    /// The API server has said what it is, or why it is not to be had.
    was_tried: bool,
    /// Reads in a row that gave no Secret.
    failures: u32,
    /// The version that was taken last.
    version: Option<String>,
}

/// What came of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A TLS Secret of this version.
    Read(String),
    /// There is none.
    Missing,
    /// A right is missing.
    Forbidden,
    /// The API server could not give this one.
    Failed,
    /// The API server does not answer: that says nothing of the name.
    Unanswered,
}

/// What a result means for what is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// What was taken last stays.
    Nothing,
    /// The Secret is new or has changed.
    Take,
    /// It is gone.
    Forget,
    /// There is nothing to keep. Whether that is for a missing right.
    Refused(bool),
}

// === impl Plan ===

impl Plan {
    pub(super) fn new(refresh: Duration) -> Self {
        Self {
            refresh,
            states: BTreeMap::new(),
            queues: BTreeMap::new(),
            last: String::new(),
        }
    }

    /// These names are wanted from now on. Gives those that no longer are. What is new is due at once.
    pub(super) fn want(&mut self, names: &BTreeSet<ObjectName>, now: Instant) -> Vec<ObjectName> {
        let known = self.states.keys();
        let gone: Vec<_> = known
            .filter(|name| !names.contains(name))
            .cloned()
            .collect();
        for name in &gone {
            if let Some(State { due: Some(due), .. }) = self.states.remove(name) {
                self.leave_queue(name, due);
            }
        }
        for name in names {
            if !self.states.contains_key(name) {
                let state = State {
                    due: None,
                    was_tried: false,
                    failures: 0,
                    version: None,
                };
                self.states.insert(name.clone(), state);
                self.enqueue(name, now);
            }
        }
        gone
    }

    /// The name whose turn it is. It is not given again before [`Self::done`].
    pub(super) fn next(&mut self, now: Instant) -> Option<ObjectName> {
        let is_due = |queue: &BTreeSet<(Instant, ObjectName)>| {
            queue.first().is_some_and(|(due, _)| *due <= now)
        };
        let behind = self.queues.range::<str, _>((
            std::ops::Bound::Excluded(self.last.as_str()),
            std::ops::Bound::Unbounded,
        ));
        let (namespace, queue) = behind
            .chain(self.queues.iter())
            .find(|(_, queue)| is_due(queue))?;
        let (due, name) = queue.first()?.clone();
        self.last.clone_from(namespace);
        self.leave_queue(&name, due);
        if let Some(state) = self.states.get_mut(&name) {
            state.due = None;
        }
        Some(name)
    }

    /// When the next name is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let firsts = self.queues.values().filter_map(BTreeSet::first);
        firsts.map(|(due, _)| *due).min()
    }

    /// A read has ended. A name that nobody wants any more, or wants anew, is passed over.
    pub(super) fn done(
        &mut self,
        name: &ObjectName,
        outcome: Outcome,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Step {
        let interval = self.interval();
        let Some(state) = self
            .states
            .get_mut(name)
            .filter(|state| state.due.is_none())
        else {
            return Step::Nothing;
        };
        state.was_tried |= !matches!(outcome, Outcome::Failed | Outcome::Unanswered);
        let retry = (RETRY_MIN * 2_u32.saturating_pow(state.failures)).min(interval);
        let (delay, step) = match outcome {
            Outcome::Read(version) => {
                state.failures = 0;
                let is_known = state.version.as_ref() == Some(&version);
                state.version = Some(version);
                let tenth = interval / 10;
                let delay = rng.random_range(interval - tenth..=interval);
                let step = if is_known { Step::Nothing } else { Step::Take };
                (delay, step)
            }
            Outcome::Missing => {
                state.failures += 1;
                state.version = None;
                (rng.random_range(retry / 2..=retry), Step::Forget)
            }
            Outcome::Forbidden | Outcome::Failed => {
                state.failures += 1;
                let is_forbidden = outcome == Outcome::Forbidden;
                let delay = rng.random_range(retry / 2..=retry);
                (delay, kept_or(state, Step::Refused(is_forbidden)))
            }
            Outcome::Unanswered => {
                let delay = rng.random_range(RETRY_MIN / 2..=RETRY_MIN);
                (delay, kept_or(state, Step::Refused(false)))
            }
        };
        self.enqueue(name, now + delay);
        step
    }

    /// The version that was taken last.
    pub(super) fn version(&self, name: &ObjectName) -> Option<&str> {
        self.states.get(name)?.version.as_deref()
    }

    /// Names that the API server has told nothing of.
    pub(super) fn untried(&self) -> usize {
        let states = self.states.values();
        states.filter(|state| !state.was_tried).count()
    }

    /// How long a Secret is taken as it is.
    fn interval(&self) -> Duration {
        let count = u32::try_from(self.states.len()).unwrap_or(u32::MAX);
        let fastest = Duration::from_secs(1) * count / REFRESHES_PER_SECOND_MAX;
        self.refresh.max(fastest)
    }

    fn enqueue(&mut self, name: &ObjectName, due: Instant) {
        if let Some(state) = self.states.get_mut(name) {
            state.due = Some(due);
        }
        let queue = self.queues.entry(name.namespace.clone()).or_default();
        queue.insert((due, name.clone()));
    }

    fn leave_queue(&mut self, name: &ObjectName, due: Instant) {
        if let Some(queue) = self.queues.get_mut(&name.namespace) {
            queue.remove(&(due, name.clone()));
            if queue.is_empty() {
                self.queues.remove(&name.namespace);
            }
        }
    }
}

fn kept_or(state: &State, step: Step) -> Step {
    match state.version {
        Some(_) => Step::Nothing,
        None => step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::derive_rng;

    fn names(names: &[&str]) -> BTreeSet<ObjectName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn turns(plan: &mut Plan, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| plan.next(now).map(|name| name.to_string())).collect()
    }

    #[test]
    fn namespaces_take_turns_and_each_name_comes_once() {
        let mut plan = Plan::new(Duration::from_secs(30));
        let now = Instant::now();
        let wanted = names(&["a/1", "a/2", "a/3", "b/1", "c/1", "c/2"]);
        assert!(plan.want(&wanted, now).is_empty());
        assert!(plan.want(&wanted, now).is_empty(), "nothing is new");
        assert_eq!(plan.untried(), 6);
        let turns = turns(&mut plan, now);
        assert_eq!(turns, ["a/1", "b/1", "c/1", "a/2", "c/2", "a/3"]);
        assert_eq!(plan.next_due(), None, "all are being read");
    }

    #[test]
    fn the_result_of_a_read_that_nobody_waits_for_is_passed_over() {
        let mut plan = Plan::new(Duration::from_secs(30));
        let now = Instant::now();
        plan.want(&names(&["a/1"]), now);
        let name = plan.next(now).unwrap();
        assert_eq!(plan.want(&names(&[]), now), std::slice::from_ref(&name));
        let mut rng = derive_rng(1, "test");
        let read = Outcome::Read("1".to_owned());
        assert_eq!(plan.done(&name, read.clone(), now, &mut rng), Step::Nothing);
        assert_eq!(plan.next_due(), None);
        // Wanted anew: it has a turn of its own, and the old result does not count.
        plan.want(&names(&["a/1"]), now);
        assert_eq!(plan.done(&name, read.clone(), now, &mut rng), Step::Nothing);
        assert_eq!(plan.untried(), 1);
        assert_eq!(plan.next(now), Some(name.clone()));
        assert_eq!(plan.done(&name, read, now, &mut rng), Step::Take);
    }

    #[test]
    fn many_names_are_made_sure_of_less_often() {
        for (count, seconds) in [(1, 30), (600, 30), (2000, 100), (10_000, 500)] {
            let mut plan = Plan::new(Duration::from_secs(30));
            let many: BTreeSet<_> = (0..count)
                .map(|n| ObjectName::new("a", n.to_string()))
                .collect();
            plan.want(&many, Instant::now());
            assert_eq!(plan.interval(), Duration::from_secs(seconds), "{count}");
        }
    }
}
