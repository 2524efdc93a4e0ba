//! A Unix socket of this process alone: only its user may connect.
//!
//! In: a path. Out: connections. It appears under its name only when it listens and its mode is right, in the place of one that a dead
//! process left; it never takes the place of anything else, and leaves with its process. It is a file of this machine and no network,
//! so it does not come from `Net`.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    inode: Inode,
}

/// Which file it is, whatever it is called.
type Inode = (u64, u64);

/// Connections that wait to be accepted.
const ACCEPT_QUEUE_MAX: u32 = 128;
/// How long to wait when `accept` fails for want of file descriptors or memory.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// A process that lives takes the connection at once.
const LIFE_SIGN_TIMEOUT: Duration = Duration::from_secs(1);

/// The next connection; never without a socket.
pub(super) async fn next(socket: Option<&Socket>) -> UnixStream {
    match socket {
        Some(socket) => socket.accept().await,
        None => std::future::pending().await,
    }
}

// === impl Socket ===

impl Socket {
    /// Binds `path`.
    pub(super) async fn bind(path: &Path) -> io::Result<Self> {
        refuse_what_lives(path).await?;
        let hidden = hidden(path)?;
        let bound = listen(&hidden).and_then(|listener| {
            // Takes the place of what is there in one step.
            fs::rename(&hidden, path)?;
            Ok(listener)
        });
        let listener = bound.inspect_err(|_| drop(fs::remove_file(&hidden)))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode: inode(path)?,
        })
    }

    async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::error!(%error, reason = "accept_failed", "cannot accept on the admin socket; trying again");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Unless a successor has taken the name.
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Nothing, or a socket at which nobody listens any more, may be replaced.
async fn refuse_what_lives(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        let message = "there is a file that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    let asked = tokio::time::timeout(LIFE_SIGN_TIMEOUT, UnixStream::connect(path)).await;
    match asked {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => {
            let message = "another process answers there";
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
    }
}

/// A name beside `path` that only this process uses.
fn hidden(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(hidden))
}

/// Nobody can connect before `listen`, and then the mode is right already.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(ACCEPT_QUEUE_MAX)
}

fn inode(path: &Path) -> io::Result<Inode> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests;
