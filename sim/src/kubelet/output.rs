//! What a pod process prints: kept in a file of limited size, the last lines in memory.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::bounded_file::BoundedFile;

/// Lines kept for the message of a crash, and how much of each.
const LINES_MAX: usize = 10;
const LINE_CHARACTERS_MAX: usize = 400;

/// The longest line of the file; what is longer becomes several.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Lost lines before the log says again how many there were.
const LOST_LOGGED_EVERY: u64 = 10_000;

/// The log of one container.
#[derive(Debug)]
pub(super) struct Log {
    file: BoundedFile,
    last_lines: VecDeque<String>,
    lines_lost: u64,
}

// === impl Log ===

impl Log {
    /// Opens the file to append to it.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            file: BoundedFile::open(path)?,
            last_lines: VecDeque::new(),
            lines_lost: 0,
        })
    }

    /// The last lines, one below the other.
    pub(super) fn last_lines(&self) -> String {
        let lines: Vec<&str> = self.last_lines.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if !text.is_empty() {
            if self.last_lines.len() == LINES_MAX {
                self.last_lines.pop_front();
            }
            self.last_lines
                .push_back(text.chars().take(LINE_CHARACTERS_MAX).collect());
        }
        self.file.write(line)
    }
}

/// Copies what comes from `output` into the log, line by line, until it ends.
pub(super) async fn keep(output: impl AsyncRead + Unpin, log: &std::sync::Mutex<Log>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        let piece = match output.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(piece) => piece,
        };
        // A program may print its line in pieces; one without an end is cut, so that no output can grow in memory.
        let end = piece.iter().position(|byte| *byte == b'\n');
        let room = LINE_BYTES_MAX - line.len();
        let taken = end.map_or(piece.len(), |end| end + 1).min(room);
        line.extend_from_slice(&piece[..taken]);
        output.consume(taken);
        if line.ends_with(b"\n") || line.len() >= LINE_BYTES_MAX {
            write(log, &line);
            line.clear();
        }
    }
    if !line.is_empty() {
        write(log, &line);
    }
}

/// A line that cannot be written is lost, and the program goes on: a full disk must not end it with a broken pipe.
fn write(log: &std::sync::Mutex<Log>, line: &[u8]) {
    let mut log = log.lock().expect("no holder of this lock panics");
    if let Err(error) = log.write(line) {
        log.lines_lost += 1;
        if log.lines_lost % LOST_LOGGED_EVERY == 1 {
            tracing::warn!(%error, path = %log.file.path().display(), lines_lost = log.lines_lost, reason = "log_write", "cannot keep a pod's output");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;

    use super::*;
    use crate::bounded_file::FILE_BYTES_MAX;

    #[tokio::test]
    async fn output_is_kept_and_its_end_is_at_hand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        let log = Mutex::new(Log::open(path.clone()).unwrap());
        let printed: String = (0..30).map(|line| format!("line {line}\n")).collect();
        keep(printed.as_bytes(), &log).await;
        let last_lines = log.lock().unwrap().last_lines();
        assert_eq!(last_lines.lines().count(), LINES_MAX);
        assert!(last_lines.ends_with("line 28\nline 29"), "{last_lines}");
        assert_eq!(fs::read_to_string(&path).unwrap(), printed);
    }

    #[tokio::test]
    async fn a_line_that_comes_in_pieces_is_one_and_an_endless_one_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let log = Mutex::new(Log::open(folder.path().join("web.log")).unwrap());
        let endless = "x".repeat(LINE_BYTES_MAX + 1);
        let pieces = tokio::io::AsyncReadExt::chain(&b"cat: "[..], &b"no: gone\nend"[..]);
        keep(pieces, &log).await;
        assert_eq!(log.lock().unwrap().last_lines(), "cat: no: gone\nend");
        keep(endless.as_bytes(), &log).await;
        assert!(log.lock().unwrap().last_lines().ends_with("\nx"));
    }

    #[tokio::test]
    async fn output_is_read_to_its_end_when_nothing_can_be_written() {
        // Every write to this device fails as on a full disk.
        let log = Mutex::new(Log::open("/dev/full".into()).unwrap());
        let (mut program, output) = tokio::io::duplex(64);
        let printing = async move {
            for line in 0..100 {
                let line = format!("line {line}\n");
                tokio::io::AsyncWriteExt::write_all(&mut program, line.as_bytes())
                    .await
                    .unwrap();
            }
        };
        tokio::join!(keep(output, &log), printing);
        let log = log.lock().unwrap();
        assert_eq!(log.lines_lost, 100);
        assert!(log.last_lines().ends_with("line 99"));
    }

    #[tokio::test]
    async fn a_full_file_makes_room_for_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        let log = Mutex::new(Log::open(path.clone()).unwrap());
        let line = format!("{}\n", "x".repeat(1 << 20));
        for _ in 0..12 {
            keep(line.as_bytes(), &log).await;
        }
        assert!(fs::metadata(&path).unwrap().len() < FILE_BYTES_MAX);
        assert!(fs::metadata(path.with_added_extension("1")).unwrap().len() >= FILE_BYTES_MAX);
    }
}
