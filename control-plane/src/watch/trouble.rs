//! What stands between a tier and the API server: for `/readyz`, for `/debug/objects` and for the log.
//!
//! In: failures and successes of lists, watches and reads. Out: what is in trouble at present, which kinds were never read, and
//! whether a failure is worth a line of the log: trouble is said when it begins and once in [`SAY_AGAIN`] while it lasts, not
//! with every retry. Locked for the time of one entry, never over a wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::rights::{self, Asked, Verb};
use crate::failure::with_causes;
use crate::objects::Kind;

/// Trouble that lasts is said again after this long.
pub(crate) const SAY_AGAIN: Duration = Duration::from_secs(600);

/// Trouble that comes back after a success is said again after this long.
pub(crate) const SAY_AFTER_SUCCESS: Duration = Duration::from_secs(60);

/// Different texts of one subject that are remembered; further ones are not said.
const TEXTS_MAX: usize = 8;

/// Characters of a text.
const TEXT_LENGTH_MAX: usize = 800;

/// Shared by whoever asks the API server, who write it, and by whoever tells of it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Troubles(Arc<Mutex<State>>);

/// What is asked for: a kind, in one namespace when each is asked for by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) verb: Verb,
    pub(crate) namespace: Option<String>,
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// For the log and for decisions.
    pub(crate) reason: Reason,
    /// One sentence.
    pub(crate) text: String,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A right is missing.
    Forbidden,
    /// The credentials are not accepted.
    Unauthorized,
    /// The API server refuses for another reason.
    Refused,
    /// There is no answer.
    Unanswered,
}

#[derive(Debug, Default)]
struct State {
    unread: BTreeMap<Kind, String>,
    subjects: BTreeMap<Subject, Memory>,
}

/// What is remembered of one subject.
#[derive(Debug, Default)]
struct Memory {
    /// The last failure, when nothing has succeeded since.
    current: Option<String>,
    /// The present trouble was said at least once.
    is_said: bool,
    /// When each text was said last.
    said: Vec<(String, Instant)>,
}

// === impl Trouble ===

impl Trouble {
    /// What a failed request means.
    pub(crate) fn of(error: &(dyn std::error::Error + 'static), asked: Asked<'_>) -> Self {
        let status = match error.downcast_ref() {
            Some(kube::Error::Api(status)) => Some(status),
            _ => None,
        };
        let (reason, text) = match status {
            Some(status) if status.code == 403 => {
                (Reason::Forbidden, rights::sentence(asked, &status.message))
            }
            Some(status) if status.code == 401 => (Reason::Unauthorized, status.message.clone()),
            Some(_) => (Reason::Refused, with_causes(error)),
            None => (Reason::Unanswered, with_causes(error)),
        };
        Self { reason, text }
    }
}

// === impl Reason ===

impl Reason {
    /// The word in the log; `other` when nothing more is known than that it failed.
    pub(crate) fn as_str(self, other: &'static str) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::Refused | Self::Unanswered => other,
        }
    }
}

// === impl Troubles ===

impl Troubles {
    /// None of these kinds has been read.
    pub(crate) fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let kinds = kinds.into_iter();
        let unread = kinds.map(|kind| (kind, "no answer yet".to_owned()));
        Self(Arc::new(Mutex::new(State {
            unread: unread.collect(),
            subjects: BTreeMap::new(),
        })))
    }

    /// All objects of a kind have been read once.
    pub(crate) fn read(&self, kind: Kind) {
        self.lock().unread.remove(&kind);
    }

    /// Why a kind has not been read so far. Of no account once it has.
    pub(crate) fn waits(&self, kind: Kind, text: &str) {
        if let Some(known) = self.lock().unread.get_mut(&kind) {
            *known = short(text);
        }
    }

    /// A request has failed. Tells whether to say so in the log.
    pub(crate) fn failed(&self, subject: &Subject, text: &str, now: Instant) -> bool {
        self.waits(subject.kind, text);
        let mut state = self.lock();
        let memory = state.subjects.entry(subject.clone()).or_default();
        memory.failed(&short(text), now)
    }

    /// A request has succeeded. Tells whether that ends a trouble that was said.
    pub(crate) fn succeeded(&self, subject: &Subject) -> bool {
        let mut state = self.lock();
        let memory = state.subjects.get_mut(subject);
        memory.is_some_and(|memory| {
            memory.current = None;
            std::mem::take(&mut memory.is_said)
        })
    }

    /// Nobody asks for it any more.
    pub(crate) fn forget(&self, subject: &Subject) {
        self.lock().subjects.remove(subject);
    }

    /// The kinds that were never read, with the reason.
    pub(crate) fn unread(&self) -> BTreeMap<Kind, String> {
        self.lock().unread.clone()
    }

    /// What is in trouble at present.
    pub(crate) fn current(&self) -> BTreeMap<String, String> {
        let state = self.lock();
        let subjects = state.subjects.iter();
        let current = subjects.filter_map(|(subject, memory)| {
            let what = format!("{} {}", subject.verb.as_str(), subject.kind);
            let name = match &subject.namespace {
                Some(namespace) => format!("{what} in {namespace}"),
                None => what,
            };
            Some((name, memory.current.clone()?))
        });
        current.collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Memory ===

impl Memory {
    fn failed(&mut self, text: &str, now: Instant) -> bool {
        let has_begun = self.current.replace(text.to_owned()).is_none();
        self.said.retain(|(_, at)| now - *at < SAY_AGAIN);
        let is_full = self.said.len() >= TEXTS_MAX;
        match self.said.iter_mut().find(|(said, _)| said == text) {
            Some((_, at)) if has_begun && now - *at >= SAY_AFTER_SUCCESS => *at = now,
            Some(_) => return false,
            None if is_full => return false,
            None => self.said.push((text.to_owned(), now)),
        }
        self.is_said = true;
        true
    }
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            kind: Kind::Service,
            verb: Verb::List,
            namespace: None,
        }
    }

    #[test]
    fn trouble_is_said_when_it_begins_and_every_ten_minutes_while_it_lasts() {
        let troubles = Troubles::new([Kind::Service]);
        let begun = Instant::now();
        let said = (0..3600)
            .step_by(4)
            .filter(|at| troubles.failed(&subject(), "no route", begun + Duration::from_secs(*at)))
            .collect::<Vec<_>>();
        assert_eq!(said, [0, 600, 1200, 1800, 2400, 3000]);
        assert_eq!(troubles.current()["list Service"], "no route");
        assert_eq!(troubles.unread()[&Kind::Service], "no route");
    }

    #[test]
    fn trouble_that_comes_back_is_said_again_but_not_with_every_change_of_mind() {
        let troubles = Troubles::default();
        let begun = Instant::now();
        let mut said = Vec::new();
        for at in 0..180 {
            let is_said = troubles.failed(&subject(), "forbidden", begun + Duration::from_secs(at));
            said.extend(is_said.then_some(at));
            assert_eq!(troubles.current().len(), 1);
            assert_eq!(
                troubles.succeeded(&subject()),
                is_said,
                "its end is said as well"
            );
            assert!(!troubles.succeeded(&subject()), "but once");
        }
        assert_eq!(said, [0, 60, 120]);
        assert!(troubles.current().is_empty());
    }

    #[test]
    fn texts_without_end_are_not_said_without_end() {
        let troubles = Troubles::default();
        let begun = Instant::now();
        let said = (0..1000)
            .filter(|number| troubles.failed(&subject(), &format!("trouble {number}"), begun));
        assert_eq!(said.count(), TEXTS_MAX);
    }
}
