//! What this program itself costs and may open, as the kernel says.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike as _;

/// Descriptors that the program needs beside its connections.
const DESCRIPTORS_KEPT: u64 = 64;

/// CPU time of this process so far, user and system, in microseconds.
pub(crate) fn cpu_micros() -> i64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return 0;
    };
    usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
}

/// Raises the limit of descriptors as far as it may; how many connections that allows.
pub(crate) fn raise_descriptors() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    let limit = if raised.is_ok() { hard } else { soft };
    limit.saturating_sub(DESCRIPTORS_KEPT)
}
