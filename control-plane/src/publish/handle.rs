//! What others may ask of the control plane.
//!
//! In: the state that the loop writes. Out: whether it is synced, and twins for `/debug`. It changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::Value;
use tiergate_data_plane::snapshot::SnapshotCell;
use tokio::sync::watch;

use super::{Programmed, State, lock};
use crate::objects::Kind;
use crate::scope::Scope;
use crate::translate::translate;
use crate::twin;
use crate::watch::Troubles;

/// What others may ask of the control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    scope: Scope,
    synced: watch::Receiver<bool>,
    programmed: watch::Receiver<Programmed>,
    troubles: Troubles,
    pub(super) state: Arc<Mutex<State>>,
    cell: Arc<SnapshotCell>,
}

// === impl Handle ===

impl Handle {
    pub(super) fn new(
        scope: Scope,
        synced: watch::Receiver<bool>,
        programmed: watch::Receiver<Programmed>,
        troubles: Troubles,
        state: Arc<Mutex<State>>,
        cell: Arc<SnapshotCell>,
    ) -> Self {
        Self {
            scope,
            synced,
            programmed,
            troubles,
            state,
            cell,
        }
    }

    /// Whether every watched kind has been listed once and the table made of them is published. Stays so without the API
    /// server.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until [`Self::is_synced`]; for ever when the control plane ends before that.
    pub async fn wait_synced(&self) {
        let mut synced = self.synced.clone();
        if synced.wait_for(|&synced| synced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What a table is published of. Before [`Self::is_synced`]: nothing.
    pub(crate) fn programmed(&self) -> watch::Receiver<Programmed> {
        self.programmed.clone()
    }

    /// The kinds that have never been read, with what the last try said. Empty once [`Self::is_synced`].
    #[must_use]
    pub fn unread(&self) -> BTreeMap<Kind, String> {
        self.troubles.unread()
    }

    /// What the API server does not give at present, with the reason: verb and kind, and the namespace where each is asked for
    /// by itself.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<String, String> {
        self.troubles.current()
    }

    /// The objects as they are read.
    #[must_use]
    pub fn objects_json(&self) -> Value {
        let objects = lock(&self.state).objects.clone();
        json(&twin::objects(&objects, self.troubles()))
    }

    /// The model and its conditions, made for whoever asks: what is served was made of the same objects, step by step.
    #[must_use]
    pub fn model_json(&self) -> Value {
        let objects = lock(&self.state).objects.clone();
        json(&twin::model(&translate(&objects, &self.scope)))
    }

    /// The published table and its generation.
    #[must_use]
    pub fn table_json(&self) -> Value {
        let snapshot = self.cell.load_full();
        json(&twin::table(&snapshot.table, snapshot.generation))
    }
}

fn json(twin: &impl Serialize) -> Value {
    serde_json::to_value(twin).expect("twins have text keys and no maps of other kinds")
}
