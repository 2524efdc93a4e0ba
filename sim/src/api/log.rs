//! The request log: who asked for what. Bounded; the newest entries are kept, on request also in a file as JSON lines.
//!
//! RBAC is not enforced here (the real server does that), so tests read this to see that a client kept to its rights.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::bounded_file::BoundedFile;

/// Entries that are kept.
const ENTRIES_MAX: usize = 16_384;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When the request came.
    pub received: jiff::Timestamp,
    /// When the answer was known.
    pub time: jiff::Timestamp,
    /// Who asked; empty when the token is unknown.
    pub user: String,
    /// With which program, as it names itself: the part of `User-Agent` before the slash.
    pub agent: String,
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
    /// The resourceVersion of the object in the answer; after a write the one that watches show for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
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
    file: Option<BoundedFile>,
}

// === impl RequestLog ===

impl RequestLog {
    /// Writes entries into a file too, from now on.
    pub(super) fn keep_in(&self, path: &Path) -> io::Result<()> {
        let file = BoundedFile::open(path.to_owned())?;
        let mut ring = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        ring.file = Some(file);
        Ok(())
    }

    /// Adds an entry, and forgets the oldest when there are too many.
    pub fn add(&self, entry: Entry) {
        tracing::debug!(
            user = entry.user,
            agent = entry.agent,
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
        ring.write(&entry);
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

// === impl Ring ===

impl Ring {
    /// Appends to the file; when that fails, the file is given up and the server goes on.
    fn write(&mut self, entry: &Entry) {
        let Some(file) = &mut self.file else { return };
        let mut line = serde_json::to_vec(entry).expect("an entry has only text keys");
        line.push(b'\n');
        if let Err(error) = file.write(&line) {
            tracing::warn!(%error, path = %file.path().display(), reason = "log_write", "the request log ends here");
            self.file = None;
        }
    }
}
