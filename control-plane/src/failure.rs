//! Why a tier ends other than by being told to: one sentence for whoever started it, and the exit code.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use tiergate_data_plane::workers::WorkerDied;

use crate::config::Invalid;

/// Why a tier ends.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A setting is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A file with objects cannot be read.
    #[error("{0}")]
    Input(String),
    /// An address cannot be bound.
    #[error("`{setting}`: cannot listen on {address}: {source}; {}", cure(source))]
    Bind {
        /// The setting that names it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A second signal came before all requests had ended.
    #[error("told to stop a second time; open requests were cut")]
    Cut,
    /// A worker died: the process ends, so that whoever started it starts a whole one.
    #[error("internal fault: {0}")]
    Worker(#[from] WorkerDied),
    /// A promise of ours is broken.
    #[error("internal fault: {0}")]
    Fault(&'static str),
}

// === impl Failure ===

impl Failure {
    /// The address of a setting could not be bound.
    #[must_use]
    pub fn bind(setting: &'static str, address: SocketAddr, source: io::Error) -> Self {
        Self::Bind {
            setting,
            address,
            source,
        }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Cut => 1,
            Self::Invalid(_) | Self::Input(_) => 3,
            Self::Bind { .. } => 4,
            Self::Worker(_) | Self::Fault(_) => 70,
        })
    }
}

fn cure(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse {
        "end the process that has it, or name another address"
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        "name an address that this machine has"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "name a port above 1023, or start with the right to bind it (CAP_NET_BIND_SERVICE)"
    } else {
        "name another address"
    }
}

/// An error with its causes, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}
