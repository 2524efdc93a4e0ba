//! Why a local cluster does not run: one sentence with the cure, and the exit code.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::images::{BinariesError, ImageError};
use crate::kubelet::NodeError;
use crate::story::ApplyError;

/// What the exit codes mean, for `--help`.
pub const EXIT_CODES: &str = "\
It runs until SIGINT (Ctrl-C), SIGTERM or SIGHUP; a line `ready` says that everything answers.

Exit codes: 0 ended on request, 1 not ready in time, 2 usage, 3 an argument or a file that cannot be used, \
4 an address that is taken, 70 internal fault.";

/// Why a local cluster does not run.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// An argument that does not fit.
    #[error("{0}")]
    Argument(String),
    /// An image that cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The programs of the image `tiergate` are not there.
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    /// An address that another program has.
    #[error("cannot listen on {address}: {error}; {cure}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        error: io::Error,
        /// What to do.
        cure: &'static str,
    },
    /// The temporary folder.
    #[error("cannot make a temporary folder: {0}; set TMPDIR to a folder that can be written")]
    Folder(io::Error),
    /// A file for the user.
    #[error("cannot write {}: {error}; name another file with --kubeconfig", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// The request log.
    #[error("cannot write {}: {error}; name another file with --request-log", path.display())]
    RequestLog {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// Signals cannot be handled.
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
    /// Certificates.
    #[error("cannot make certificates: {0}")]
    Certificate(String),
    /// A client of our own API server.
    #[error("cannot speak to the API server: {0}")]
    Client(String),
    /// A node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The objects of the story.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The API server answers with an error.
    #[error("the API server answers with an error: {0}")]
    Api(#[from] kube::Error),
    /// It takes too long.
    #[error("the cluster is not ready after {seconds} s: {missing}")]
    NotReady {
        /// How long it was waited.
        seconds: u64,
        /// What is missing, with the last lines of the pods' logs.
        missing: String,
    },
    /// A part that should run for ever ended.
    #[error("a part of the cluster ended: {0}")]
    Broken(String),
}

// === impl UpError ===

impl UpError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotReady { .. } => 1,
            Self::Argument(_)
            | Self::Image(_)
            | Self::Binaries(_)
            | Self::File { .. }
            | Self::RequestLog { .. }
            | Self::Folder(_) => 3,
            Self::Bind { .. } => 4,
            Self::Output(_)
            | Self::Signals(_)
            | Self::Certificate(_)
            | Self::Client(_)
            | Self::Node(_)
            | Self::Apply(_)
            | Self::Api(_)
            | Self::Broken(_) => 70,
        }
    }
}
