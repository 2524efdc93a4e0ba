//! What one request works with: a table, its generation, and the live state of its routes and backends.
//!
//! Live state (metric handles, round-robin positions) is carried over from generation to generation by name, so a change
//! elsewhere moves nothing. [`SnapshotCell`] is one pointer: one swap publishes, one load reads.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::metrics::Metrics;
use crate::table::Table;

/// A published table.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of the publication: 0 before the first.
    pub generation: u64,
    /// What is served.
    pub table: Table,
}

/// The one place where the data plane finds its snapshot.
#[derive(Debug)]
pub struct SnapshotCell {
    current: ArcSwap<Snapshot>,
    metrics: Metrics,
}

// === impl SnapshotCell ===

impl SnapshotCell {
    /// A cell with an empty table, generation 0.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let empty = Snapshot {
            generation: 0,
            table: Table::default(),
        };
        Self {
            current: ArcSwap::from_pointee(empty),
            metrics,
        }
    }

    /// The snapshot of this moment. One handshake or one request calls this once.
    #[must_use]
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Replaces the table and returns its generation. Only the control plane's `publish` calls this, from one task.
    pub fn publish(&self, table: Table) -> u64 {
        let _ = &self.metrics;
        let generation = self.load_full().generation + 1;
        self.current.store(Arc::new(Snapshot { generation, table }));
        generation
    }
}
