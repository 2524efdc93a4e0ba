//! A program of a test's surroundings, as a child that ends when this process ends, however it ends.
//!
//! It sits under a shell that ends it as soon as the shell's standard input ends. Its output goes to two files; a line that is
//! exactly `ready` says that it is up.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use crate::wait;

/// Ends the program when standard input ends, which it does when the test program is gone; and ends when the program does.
const KEEPER: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- & program=$!
{ cat; kill -TERM "$program"; } <&3 >/dev/null 2>&1 &
exec 3<&-
wait "$program"
"#;

/// From the start of a program to `ready`, on a slow machine.
const READY_SECONDS: u64 = 180;

/// A program that runs until this value is dropped.
pub(crate) struct Process {
    name: String,
    folder: PathBuf,
    /// Its standard input keeps the program alive while it is open.
    shell: Mutex<Child>,
}

// === impl Process ===

impl Process {
    /// Starts a program and waits until it says `ready`. Its output goes to `NAME.out` and `NAME.err` in the folder.
    ///
    /// # Panics
    /// When it cannot be started, ends, or is not ready in time.
    pub(crate) fn start(name: &str, folder: &Path, command: &Command) -> Self {
        let process = Self::spawn(name, folder, command);
        process.wait_until_ready();
        process
    }

    /// Starts a program that never says `ready`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub(crate) fn spawn(name: &str, folder: &Path, command: &Command) -> Self {
        let create = |ending: &str| {
            let file = File::create(folder.join(format!("{name}.{ending}")));
            file.expect("target can be written")
        };
        let mut shell = Command::new("sh");
        shell
            .args(["-c", KEEPER, "keeper"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(create("out"))
            .stderr(create("err"));
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        Self {
            name: name.to_owned(),
            folder: folder.to_path_buf(),
            shell: Mutex::new(shell.spawn().expect("sh can be started")),
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        let mut shell = self.shell.lock().expect("nobody panics with it");
        shell.try_wait().expect("our child can be asked").is_none()
    }

    /// Everything it wrote so far, standard output first.
    pub(crate) fn log(&self) -> String {
        let read = |ending: &str| {
            let path = self.folder.join(format!("{}.{ending}", self.name));
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        read("out") + &read("err")
    }

    fn wait_until_ready(&self) {
        wait::until(&format!("{} ready", self.name), READY_SECONDS, || {
            let log = self.log();
            if log.lines().any(|line| line == "ready") {
                return Ok(());
            }
            let mut shell = self.shell.lock().expect("nobody panics with it");
            let ended = shell.try_wait().expect("our child can be asked");
            assert!(ended.is_none(), "{} ended: {log}", self.name);
            Err(log)
        });
    }
}

/// Ends the program and waits for it.
impl Drop for Process {
    fn drop(&mut self) {
        let mut shell = self.shell.lock().expect("nobody panics with it");
        drop(shell.stdin.take());
        let _ = shell.wait();
    }
}
