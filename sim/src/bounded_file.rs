//! A file that is appended to and never grows beyond a limit: a full one is renamed to `….1`, which replaces the one before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// Bytes after which a new file begins.
pub(crate) const FILE_BYTES_MAX: u64 = 10 << 20;

/// An open file and how full it is.
#[derive(Debug)]
pub(crate) struct BoundedFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

// === impl BoundedFile ===

impl BoundedFile {
    /// Opens the file, or makes it, to append to it.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        // A pod may have left a pipe there: opening one must fail, not wait for a reader.
        let file = File::options()
            .create(true)
            .append(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line whole, to a new file when the old one is full.
    pub(crate) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes >= FILE_BYTES_MAX {
            fs::rename(&self.path, self.path.with_added_extension("1"))?;
            self.file = File::create(&self.path)?;
            self.bytes = 0;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        BoundedFile::open(path).unwrap_err();
    }
}
