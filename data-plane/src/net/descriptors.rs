//! How many descriptors this process may have open, and what it means when there are none.
//!
//! Each connection is a descriptor, to clients and to endpoints. Clients take what there is: a part is kept from them, so that
//! whoever is connected can be served.

use std::io;

use nix::errno::Errno;
#[cfg(target_os = "linux")]
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors for what is no connection of clients or to endpoints: listeners, the runtimes, logs, the API server, the admin port.
const OTHERS: usize = 64;
/// Half of the rest is kept for connections to endpoints, but no more than so many: each client may want one.
const RESERVED_MAX: usize = 3_000;

/// Raises this process' limit of open files as far as it may; what it is then. Without it a shell or a service manager decides by
/// its soft limit, often 1,024, which is meant for programs that use `select`.
///
/// # Errors
/// When the kernel does not say or change the limit; it is as it was then.
#[cfg(target_os = "linux")]
pub fn raise_descriptors() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Raises this process' limit of open files as far as it may; what it is then.
///
/// # Errors
/// Always: only Linux is known.
#[cfg(not(target_os = "linux"))]
pub fn raise_descriptors() -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The limit of this moment; nothing when it is not known.
#[cfg(target_os = "linux")]
pub(super) fn descriptors_max() -> Option<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    usize::try_from(soft).ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn descriptors_max() -> Option<usize> {
    None
}

/// Connections of clients and to endpoints together beyond which no client is taken.
pub(crate) fn connections_before_pause(descriptors_max: Option<usize>) -> usize {
    let Some(all) = descriptors_max else {
        return usize::MAX;
    };
    let all = all.saturating_sub(OTHERS);
    (all - RESERVED_MAX.min(all / 2)).max(1)
}

/// What the kernel has too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scarce {
    ProcessDescriptors,
    SystemDescriptors,
    Memory,
}

// === impl Scarce ===

impl Scarce {
    /// What an error says is scarce; nothing when it is about something else.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        let errno = Errno::from_raw(error.raw_os_error()?);
        let meanings = [
            (Errno::EMFILE, Self::ProcessDescriptors),
            (Errno::ENFILE, Self::SystemDescriptors),
            (Errno::ENOBUFS, Self::Memory),
            (Errno::ENOMEM, Self::Memory),
        ];
        let meaning = meanings.into_iter().find(|(known, _)| *known == errno);
        meaning.map(|(_, scarce)| scarce)
    }

    /// Label of `tiergate_accept_pauses_total`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ProcessDescriptors => "process_descriptors",
            Self::SystemDescriptors => "system_descriptors",
            Self::Memory => "memory",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_descriptors_is_kept_from_clients() {
        for (descriptors, connections) in [
            (None, usize::MAX),
            (Some(0), 1),
            (Some(64), 1),
            (Some(256), 96),
            (Some(1024), 480),
            (Some(20_000), 16_936),
            (Some(1_048_576), 1_045_512),
        ] {
            assert_eq!(connections_before_pause(descriptors), connections);
        }
    }

    #[test]
    fn only_what_is_ours_is_scarce() {
        let of = |errno: Errno| Scarce::of(&io::Error::from(errno));
        assert_eq!(of(Errno::EMFILE), Some(Scarce::ProcessDescriptors));
        assert_eq!(of(Errno::ENFILE), Some(Scarce::SystemDescriptors));
        assert_eq!(of(Errno::ENOBUFS), Some(Scarce::Memory));
        assert_eq!(of(Errno::ECONNREFUSED), None);
        assert_eq!(Scarce::of(&io::Error::other("without a number")), None);
    }
}
