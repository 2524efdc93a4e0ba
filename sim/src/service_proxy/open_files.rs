//! How many sockets the service proxy may hold, by what the kernel lets this process open.
//!
//! In: the limits of open files. Out: [`Limits`] that fit. A shell gives a program 1,024 open files and lets it take more: we take
//! what we can use. Where that is less than the proxy's bounds need, the bounds come down: it is better to refuse a connection than to
//! have no file left for the log, the API server and the pods.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Limits;

/// Open files that we ask for: enough for all bounds of the proxy, and for the pods of many nodes.
const OPEN_FILES_WANTED: u64 = 65_536;

/// The proxy takes this part of the open files for its listeners.
const LISTENERS_PART: u64 = 4;

/// And connections, of which each has two sockets here and a third when its pod is the built-in server.
const CONNECTIONS_PART: u64 = 8;

// === impl Limits ===

impl Limits {
    /// The usual bounds, or what fits into this process, whose limit of open files is raised first.
    #[must_use]
    pub fn of_this_process() -> Self {
        let open_files = raise();
        let limits = Self::default().fitting(open_files);
        if limits.connections_max < Self::default().connections_max {
            tracing::warn!(
                open_files,
                listeners_max = limits.listeners_max,
                connections_max = limits.connections_max,
                reason = "few_open_files",
                "the service proxy serves fewer connections; raise the limit with `ulimit -Hn`"
            );
        }
        limits
    }

    fn fitting(self, open_files: u64) -> Self {
        let part = |part: u64| usize::try_from(open_files / part).unwrap_or(usize::MAX);
        Self {
            listeners_max: self.listeners_max.min(part(LISTENERS_PART)),
            connections_max: self.connections_max.min(part(CONNECTIONS_PART)),
            ..self
        }
    }
}

/// Raises the limit of open files as far as it may and makes sense. Returns what it is now.
fn raise() -> u64 {
    let (now, most) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            tracing::warn!(%error, reason = "open_files", "the limit of open files is not known");
            return OPEN_FILES_WANTED;
        }
    };
    let wanted = most.min(OPEN_FILES_WANTED);
    if now >= wanted {
        return now;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, most) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, now, wanted, reason = "open_files", "the limit of open files stays as it is");
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_fit_into_what_the_process_may_open() {
        for (open_files, listeners, connections) in [
            (256, 64, 32),
            (1024, 256, 128),
            (16_384, 4096, 2048),
            (OPEN_FILES_WANTED, 4096, 4096),
            (u64::MAX, 4096, 4096),
        ] {
            let limits = Limits::default().fitting(open_files);
            assert_eq!(
                (limits.listeners_max, limits.connections_max),
                (listeners, connections),
                "{open_files}"
            );
        }
    }

    #[test]
    fn the_soft_limit_is_raised_as_far_as_it_may() {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most.min(1024), most).unwrap();
        let raised = raise();
        assert_eq!(raised, most.min(OPEN_FILES_WANTED));
        let now = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(now, (raised, most));
    }
}
