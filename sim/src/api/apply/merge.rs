//! Merging what is applied into what is there, and taking out what is given up.
//!
//! In: two values of one type, or a value and a set of fields. Out: one value. Pure. Lists keep the order that both sides
//! agree on; what only one side has stays beside its neighbours.

use serde_json::Value;

use super::set::Set;
use super::typed::{Typed, Whole};

impl Typed<'_> {
    /// The value with everything that is applied.
    pub(super) fn merged(self, live: &Value, applied: &Value) -> Value {
        match (self.whole(), live, applied) {
            (Whole::Members, Value::Object(live), Value::Object(applied)) => {
                let mut merged = live.clone();
                for (name, value) in applied {
                    let below = self.member(name);
                    let value = live
                        .get(name)
                        .map_or_else(|| value.clone(), |live| below.merged(live, value));
                    merged.insert(name.clone(), value);
                }
                Value::Object(merged)
            }
            (Whole::Keyed(_) | Whole::Values, Value::Array(live), Value::Array(applied)) => {
                Value::Array(self.merged_items(live, applied))
            }
            _ => applied.clone(),
        }
    }

    /// The step to an item of a list of this type.
    fn step(self, item: &Value) -> Option<String> {
        match self.whole() {
            Whole::Keyed(keys) => self.key_step(&keys, item),
            Whole::Values => Some(format!("v:{item}")),
            Whole::Atomic | Whole::Members => None,
        }
    }

    /// Items of both lists: those of `live` first that stand before the next common item, then those of `applied`.
    fn merged_items(self, live: &[Value], applied: &[Value]) -> Vec<Value> {
        let steps = |items: &[Value]| items.iter().map(|item| self.step(item)).collect::<Vec<_>>();
        let (live_steps, applied_steps) = (steps(live), steps(applied));
        let is_shared = |step: &Option<String>| step.is_some() && live_steps.contains(step);
        let shared: Vec<&Option<String>> = applied_steps
            .iter()
            .filter(|step| is_shared(step))
            .collect();
        let mut next_shared = shared.iter().copied().peekable();
        let mut done: Vec<&Option<String>> = Vec::new();
        let mut merged = Vec::with_capacity(live.len().max(applied.len()));
        let (mut left, mut right) = (0, 0);
        while left < live.len() || right < applied.len() {
            if left < live.len() {
                let step = &live_steps[left];
                let is_wanted = step.is_some() && applied_steps.contains(step);
                let is_next = right < applied.len() && *step == applied_steps[right];
                let waits = right < applied.len()
                    && is_wanted
                    && next_shared.peek().is_some_and(|next| *next != step);
                if !is_next && (waits || (is_wanted && done.contains(&step))) {
                    left += 1;
                    continue;
                }
                if !is_wanted {
                    merged.push(live[left].clone());
                    left += 1;
                    continue;
                }
                left += usize::from(is_next);
            }
            if right >= applied.len() {
                continue;
            }
            let step = &applied_steps[right];
            let known = live_steps
                .iter()
                .position(|known| known.is_some() && known == step);
            let item = &applied[right];
            merged
                .push(known.map_or_else(|| item.clone(), |at| self.item().merged(&live[at], item)));
            done.push(step);
            if next_shared.peek().is_some_and(|next| *next == step) {
                next_shared.next();
            }
            right += 1;
        }
        merged
    }

    /// The value without the fields of a set.
    pub(super) fn without(self, value: Value, gone: &Set) -> Value {
        match value {
            Value::Object(entries) => {
                let kept = entries.into_iter().filter_map(|(name, value)| {
                    match gone.below.get(&format!("f:{name}")) {
                        Some(below) if below.is_member => None,
                        Some(below) => {
                            Some((name.clone(), self.member(&name).without(value, below)))
                        }
                        None => Some((name, value)),
                    }
                });
                kept.collect()
            }
            Value::Array(items) => {
                let kept = items.into_iter().filter_map(|item| {
                    match self.step(&item).and_then(|step| gone.below.get(&step)) {
                        Some(below) if below.is_member => None,
                        Some(below) => Some(self.item().without(item, below)),
                        None => Some(item),
                    }
                });
                kept.collect()
            }
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
        }
    }
}
