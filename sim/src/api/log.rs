//! The request log: who asked for what. Bounded; the newest entries are kept.
//!
//! RBAC is not enforced here (the real server does that), so tests read this to see that a client kept to its rights.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Entries that are kept.
const ENTRIES_MAX: usize = 16_384;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or a method in lower case.
    pub verb: String,
    /// API group; empty for core and for paths that are no resources.
    pub group: String,
    /// Resource and subresource, such as `pods/status`; the path when it is no resource.
    pub resource: String,
    /// Namespace; empty for requests over all namespaces and for cluster-scoped kinds.
    pub namespace: String,
    /// Name; empty for collections.
    pub name: String,
    /// HTTP status.
    pub code: u16,
}

/// The newest requests.
#[derive(Debug, Default)]
pub struct RequestLog {
    entries: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Entry>,
    total: u64,
}

// === impl RequestLog ===

impl RequestLog {
    /// Adds an entry, and forgets the oldest when there are too many.
    pub fn add(&self, entry: Entry) {
        tracing::debug!(
            user = entry.user,
            verb = entry.verb,
            group = entry.group,
            resource = entry.resource,
            namespace = entry.namespace,
            name = entry.name,
            code = entry.code,
            "request"
        );
        let mut ring = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        ring.total += 1;
        ring.kept.push_back(entry);
        if ring.kept.len() > ENTRIES_MAX {
            ring.kept.pop_front();
        }
    }

    /// The entries that are kept, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        let ring = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        ring.kept.iter().cloned().collect()
    }

    /// How many requests there were, the forgotten ones included.
    pub fn total(&self) -> u64 {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .total
    }
}
