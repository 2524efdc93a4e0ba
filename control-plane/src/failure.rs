//! Why a tier ends other than by being told to: one sentence for whoever started it, and the exit code.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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
    #[error(
        "`{setting}`: cannot listen on {address}: {source}; {}",
        cure(setting, source)
    )]
    Bind {
        /// The setting that names it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A socket in the file system cannot be bound.
    #[error("`{setting}`: cannot listen on {}: {source}; name a path in a folder that this process may write to", path.display())]
    Socket {
        /// The setting that names it.
        setting: &'static str,
        /// The path.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The API server does not answer, or refuses.
    #[error("{0}")]
    Unreachable(String),
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

    /// The socket of a setting could not be bound.
    #[must_use]
    pub fn socket(setting: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Socket {
            setting,
            path: path.to_owned(),
            source,
        }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Cut => 1,
            Self::Invalid(_) | Self::Input(_) => 3,
            Self::Bind { .. } | Self::Socket { .. } | Self::Unreachable(_) => 4,
            Self::Worker(_) | Self::Fault(_) => 70,
        })
    }
}

fn cure(setting: &str, error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse {
        "end the process that has it, or name another address"
    } else if error.kind() == io::ErrorKind::AddrNotAvailable && setting == "admin_address" {
        "name an address that this machine has"
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        "name an address that this machine has, or set free_bind for one that comes later"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "name a port from 1024 up, or run as user 0 with the capability NET_BIND_SERVICE (the chart does with \
         network.hostNetwork)"
    } else {
        "name another address"
    }
}

/// An error with its causes, on one line.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let own_text;
        (own_text, next) = told(error);
        // Many errors repeat their cause in their own text.
        if !text.contains(&own_text) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&own_text);
        }
    }
    text.replace('\n', " ")
}

/// What an error says, and its cause. Of an answer of the API server only its message: kube adds the whole `Status`.
fn told<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> (String, Option<&'e (dyn std::error::Error + 'static)>) {
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) => {
            let text = format!("the API server answers {}: {}", status.code, status.message);
            (text, None)
        }
        // The word that kube puts before it says nothing.
        Some(kube::Error::Service(error)) => (error.to_string(), error.source()),
        _ => (error.to_string(), error.source()),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_refusal_of_the_api_server_is_told_in_its_own_words() {
        let status = Status::failure("services is forbidden", "Forbidden").with_code(403);
        let error = anyhow::Error::from(kube::Error::Api(status.boxed()));
        assert_eq!(
            with_causes(error.as_ref()),
            "the API server answers 403: services is forbidden"
        );
    }
}
