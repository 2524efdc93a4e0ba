//! The kinds that have never been listed, and why: what `/readyz` tells of a start that waits.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::objects::Kind;

/// Shared by the watches, which write it, and by whoever tells of it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unlisted(Arc<Mutex<BTreeMap<Kind, String>>>);

/// Characters of a reason.
const REASON_LENGTH_MAX: usize = 300;

// === impl Unlisted ===

impl Unlisted {
    /// None of these kinds has been listed.
    pub(crate) fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let kinds = kinds.into_iter();
        let reasons = kinds.map(|kind| (kind, "no answer yet".to_owned()));
        Self(Arc::new(Mutex::new(reasons.collect())))
    }

    /// A list has come.
    pub(super) fn listed(&self, kind: Kind) {
        self.lock().remove(&kind);
    }

    /// A list has failed. Of no account once one has come.
    pub(super) fn failed(&self, kind: Kind, error: &dyn Display) {
        if let Some(reason) = self.lock().get_mut(&kind) {
            *reason = error.to_string().chars().take(REASON_LENGTH_MAX).collect();
        }
    }

    /// What is missing, with the reason.
    pub(crate) fn reasons(&self) -> BTreeMap<Kind, String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
