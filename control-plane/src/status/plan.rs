//! Decides what is written to which Ingress, and when. Pure.
//!
//! In: how each Ingress stands, how far the replicas are, and `now`. Out: writes. An address waits until every replica has what
//! this one had when it was seen to be wanted; everything else is written at once. What somebody else writes as well rests ever
//! longer, up to [`QUARREL_MAX`]: two tiers of one class must not wear out the API server.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::metrics::WriteResult;
use super::write::{Write, Written};
use crate::objects::ingress::{Address, hash_of};
use crate::publish::{Progress, Standing};
use crate::scope::ObjectName;
use crate::translate::condition::Condition;

/// Writes to one Ingress in [`WINDOW`].
const WRITES_MAX: u32 = 5;

/// In which writes to one Ingress are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// The longest rest after somebody has put another address in the place of ours; at first it is [`WINDOW`], then four times the last.
const QUARREL_MAX: Duration = Duration::from_secs(3600);

/// After a failure, the first time; twice as long each further time, up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_secs(1);

/// The longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Conditions that are written out; the others are counted.
const CONDITIONS_MAX: usize = 16;

/// Characters of the message of each.
const MESSAGE_LENGTH_MAX: usize = 400;

/// What is to be written.
#[derive(Debug)]
pub(super) struct Plan {
    /// The field manager of what is written.
    manager: String,
    /// None: none are published.
    addresses: Option<Vec<Address>>,
    waiting: BTreeMap<ObjectName, (Write, Progress)>,
    ready: BTreeMap<ObjectName, Write>,
    /// Whose turn was last: round and round, so that Ingresses that change all the time keep no others waiting.
    last: Option<ObjectName>,
    recent: BTreeMap<ObjectName, Recent>,
    /// To be looked at again then.
    later: BTreeMap<ObjectName, Instant>,
}

/// What was done to an Ingress lately.
#[derive(Debug)]
struct Recent {
    begun: Instant,
    writes: u32,
    failures: u32,
    /// How often our address was replaced soon after.
    quarrels: u32,
}

// === impl Plan ===

impl Plan {
    /// Nothing yet. Without addresses only conditions are written.
    pub(super) fn new(manager: String, addresses: Option<Vec<Address>>) -> Self {
        Self {
            manager,
            addresses,
            waiting: BTreeMap::new(),
            ready: BTreeMap::new(),
            last: None,
            recent: BTreeMap::new(),
            later: BTreeMap::new(),
        }
    }

    /// Looks at how an Ingress stands, now that `needed` is in our table.
    pub(super) fn judge(&mut self, standing: Standing, needed: Progress) {
        let before = self.waiting.remove(&standing.name);
        self.ready.remove(&standing.name);
        let Standing {
            name,
            told,
            is_ours,
            is_served,
            conditions,
        } = standing;
        let published = self.addresses.as_deref().unwrap_or_default();
        // What has an address of ours keeps it, whatever becomes of its rules: names of clients hang on it. That of another controller is
        // taken over with the first rule that is served.
        let has_ours = told.addresses != 0 && told.may_be_applied_by(&self.manager);
        let is_published = is_ours && (is_served || has_ours);
        let addresses = if is_published { published } else { &[] };
        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let wanted = hash_of(texts.iter().map(String::as_str));
        let conditions = text_of(if is_ours { &conditions } else { &[] });
        let moves = is_published && self.addresses.is_some() && told.addresses != wanted;
        let differs = if is_ours {
            told.conditions != hash_of(conditions.as_deref())
        } else {
            // What another tier tells of its own is another's affair.
            let tells = told.addresses != 0 || told.conditions != 0;
            tells && told.may_be_applied_by(&self.manager)
        };
        if !differs && !moves {
            return;
        }
        let write = Write {
            name: name.clone(),
            told,
            addresses: addresses.to_vec(),
            conditions,
        };
        if moves {
            // What was wanted already waits no longer because others come and go at its hosts.
            let is_same = |(before, _): &(Write, Progress)| {
                before.told.generation == told.generation && before.addresses == write.addresses
            };
            let since = before.filter(is_same).map(|(_, since)| since);
            self.waiting.insert(name, (write, since.unwrap_or(needed)));
        } else {
            self.ready.insert(name, write);
        }
    }

    /// Every replica that lives is as far as this; `own` is how far we are.
    pub(super) fn programmed(&mut self, least: &Progress, own: &Progress) {
        let is_there = |_: &ObjectName, (_, needed): &mut (Write, Progress)| {
            // After a restore of etcd versions begin anew: more than we have ourselves nobody will reach.
            least.has_reached(&needed.or_less(own))
        };
        for (name, (write, _)) in self.waiting.extract_if(.., is_there) {
            self.ready.insert(name, write);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next write.
    pub(super) fn next(&mut self, now: Instant) -> Option<Write> {
        loop {
            let (name, write) = self.pop_ready()?;
            let recent = self.recent.entry(name.clone()).or_insert(Recent {
                begun: now,
                writes: 0,
                failures: 0,
                quarrels: 0,
            });
            let was_ours = recent.writes > 0 && !write.addresses.is_empty();
            if was_ours && write.told.addresses != 0 {
                let again = recent.begun + recent.rest();
                if now < again {
                    self.later.insert(name, again);
                    continue;
                }
                recent.quarrels += 1;
            } else if recent.writes >= WRITES_MAX && now < recent.begun + WINDOW {
                self.later.insert(name, recent.begun + WINDOW);
                continue;
            }
            if now.duration_since(recent.begun) >= WINDOW {
                recent.begun = now;
                recent.writes = 0;
            }
            recent.writes += 1;
            return Some(write);
        }
    }

    /// What is ready behind the last one by name, round and round.
    fn pop_ready(&mut self) -> Option<(ObjectName, Write)> {
        let behind = self.last.take().and_then(|last| {
            let mut behind = self.ready.range((Bound::Excluded(last), Bound::Unbounded));
            behind.next().map(|(name, _)| name.clone())
        });
        let popped = match behind {
            Some(name) => self.ready.remove_entry(&name),
            None => self.ready.pop_first(),
        };
        self.last = popped.as_ref().map(|(name, _)| name.clone());
        popped
    }

    /// What came of a write.
    pub(super) fn done(&mut self, written: &Written, now: Instant) {
        let recent = self.recent.get_mut(&written.name);
        match written.result {
            WriteResult::Written => {
                if let Some(recent) = recent {
                    recent.failures = 0;
                }
            }
            // Its end, or its new beginning, will be heard of.
            WriteResult::Gone => {
                self.recent.remove(&written.name);
            }
            WriteResult::Forbidden | WriteResult::Failed => {
                let failures = recent.map_or(1, |recent| {
                    recent.failures += 1;
                    recent.failures
                });
                let doubled = RETRY.saturating_mul(1 << (failures - 1).min(16));
                let again = now + doubled.min(RETRY_MAX);
                self.later.insert(written.name.clone(), again);
            }
        }
        self.recent.retain(|_, recent| {
            recent.failures > 0 || now.duration_since(recent.begun) < recent.rest() * 2
        });
    }

    /// What is to be looked at again by now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<ObjectName> {
        let due = self.later.extract_if(.., |_, due| *due <= now);
        due.map(|(name, _)| name).collect()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.later.values().min().copied()
    }
}

// === impl Recent ===

impl Recent {
    /// How long our address stays replaced.
    fn rest(&self) -> Duration {
        let fourfold = WINDOW.saturating_mul(4_u32.saturating_pow(self.quarrels));
        fourfold.min(QUARREL_MAX)
    }
}

/// What the annotation says; none when nothing is wrong.
fn text_of(conditions: &[Condition]) -> Option<String> {
    if conditions.is_empty() {
        return None;
    }
    let entry = |reason: &str, message: String| {
        let message: String = message.chars().take(MESSAGE_LENGTH_MAX).collect();
        json!({"type": "Accepted", "status": "False", "reason": reason, "message": message})
    };
    let mut entries: Vec<_> = conditions
        .iter()
        .take(CONDITIONS_MAX)
        .map(|condition| {
            let Condition { field, message, .. } = condition;
            entry(condition.reason.as_str(), format!("{field}: {message}"))
        })
        .collect();
    let more = conditions.len().saturating_sub(CONDITIONS_MAX);
    if more > 0 {
        entries.push(entry("More", format!("and {more} more")));
    }
    Some(serde_json::Value::Array(entries).to_string())
}

#[cfg(test)]
mod tests;
