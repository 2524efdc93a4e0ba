//! What is wrong, and where it was found. Pure.
//!
//! In: the conditions of a place whenever it was judged. Out: all conditions in order, each once, and what came and went.

use std::collections::BTreeMap;
use std::sync::Arc;

use tiergate_data_plane::table::BackendName;

use crate::scope::ObjectName;
use crate::translate::condition::Condition;

/// What is wrong.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: BTreeMap<Source, Vec<Condition>>,
    /// How many places each was found at.
    counts: BTreeMap<Condition, usize>,
    /// Conditions that were touched since the last difference, with whether they were there before.
    seen: BTreeMap<Condition, bool>,
}

/// Where a condition was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Ingress(Arc<ObjectName>),
    Backend(BackendName),
    Scope,
}

// === impl Findings ===

impl Findings {
    pub(super) fn conditions(&self) -> impl ExactSizeIterator<Item = &Condition> {
        self.counts.keys()
    }

    pub(super) fn of(&self, source: &Source) -> &[Condition] {
        self.found.get(source).map_or(&[], Vec::as_slice)
    }

    /// What is wrong there now: nothing else any more.
    pub(super) fn note(&mut self, source: Source, mut conditions: Vec<Condition>) {
        if conditions.is_empty() && self.found.is_empty() {
            return;
        }
        conditions.sort();
        conditions.dedup();
        let before = if conditions.is_empty() {
            self.found.remove(&source)
        } else {
            self.found.insert(source.clone(), conditions)
        };
        for condition in self.found.get(&source).into_iter().flatten() {
            let count = self.counts.entry(condition.clone()).or_default();
            self.seen.entry(condition.clone()).or_insert(*count > 0);
            *count += 1;
        }
        for condition in before.into_iter().flatten() {
            if let Some(count) = self.counts.get_mut(&condition) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&condition);
                }
                self.seen.entry(condition).or_insert(true);
            }
        }
    }

    /// What came and what is gone since this was asked for last.
    pub(super) fn difference(&mut self) -> (Vec<Condition>, Vec<Condition>) {
        let (mut came, mut gone) = (Vec::new(), Vec::new());
        for (condition, was_there) in std::mem::take(&mut self.seen) {
            match (was_there, self.counts.contains_key(&condition)) {
                (false, true) => came.push(condition),
                (true, false) => gone.push(condition),
                (false, false) | (true, true) => {}
            }
        }
        (came, gone)
    }
}
