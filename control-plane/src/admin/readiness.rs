//! Whether requests may be sent here, and what is missing.
//!
//! In: what the tier's `run` has reached. Out: the text and the status of `/readyz`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::publish;

/// How far the process has come. Cheap to clone; all clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

const STARTING: u8 = 0;
const LISTENING: u8 = 1;
const DRAINING: u8 = 2;

// === impl Readiness ===

impl Readiness {
    /// All listeners are bound.
    pub fn listening(&self) {
        // A process that drains already does not become ready again.
        let _ = self
            .0
            .compare_exchange(STARTING, LISTENING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// No new requests, please.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// Whether requests may be sent here, and a line for each condition of that.
    pub(super) fn report(&self, control_plane: &publish::Handle) -> (bool, String) {
        let stage = self.0.load(Ordering::Acquire);
        let kubernetes = if control_plane.is_synced() {
            let troubles = lines(control_plane.troubles());
            let note = if troubles.is_empty() {
                ""
            } else {
                "; serving what is known"
            };
            Ok(format!("read in full{note}{troubles}"))
        } else {
            Err(format!(
                "not read in full yet{}",
                lines(control_plane.unread())
            ))
        };
        let listeners = match stage {
            STARTING => Err("not bound yet; they wait for the objects".to_owned()),
            _ => Ok("bound".to_owned()),
        };
        let process = match stage {
            DRAINING => Err("draining".to_owned()),
            _ => Ok("stays".to_owned()),
        };
        let mut is_ready = true;
        let mut text = String::new();
        for (name, state) in [
            ("kubernetes", kubernetes),
            ("listeners", listeners),
            ("process", process),
        ] {
            let (mark, state) = match state {
                Ok(state) => ('+', state),
                Err(state) => {
                    is_ready = false;
                    ('-', state)
                }
            };
            text.push_str(&format!("[{mark}] {name}: {state}\n"));
        }
        text.push_str(if is_ready { "ready\n" } else { "not ready\n" });
        (is_ready, text)
    }
}

/// A line for each entry, below the one of the condition.
fn lines<K: Display>(entries: BTreeMap<K, String>) -> String {
    let lines = entries.into_iter();
    let lines = lines.map(|(name, text)| format!("\n      {name}: {}", text.replace('\n', " ")));
    lines.collect()
}
