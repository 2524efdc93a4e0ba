//! A container as a child process.
//!
//! In: a program with arguments and variables. Out: a running process in a group of its own, and how it ended. Its output
//! goes to a log file. Dropping it kills it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::launcher::Launcher;
use super::output::{Log, keep};

/// How long the output of an ended process is still read: a child of its own may hold the pipe open.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) folder: PathBuf,
    pub(super) log: PathBuf,
    /// Our own program, which ties the process to our life. None: only an orderly end takes it along.
    pub(super) launcher: Option<Launcher>,
    /// The plan of its mount namespace, which the launcher follows.
    pub(super) plan: Option<PathBuf>,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Group,
    log: Arc<Mutex<Log>>,
    readers: JoinSet<()>,
}

/// The process group of a child. Dropping it kills whatever is left in it.
#[derive(Debug)]
struct Group(Option<Pid>);

// === impl Process ===

impl Process {
    pub(super) fn start(order: &Order) -> io::Result<Self> {
        let log = Arc::new(Mutex::new(Log::open(order.log.clone())?));
        let mut command = match &order.launcher {
            Some(launcher) => launcher.command(order.plan.as_deref(), &order.program),
            None => Command::new(&order.program),
        };
        let mut child = command
            .args(&order.arguments)
            .env_clear()
            .envs(&order.variables)
            .current_dir(&order.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = Group(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .map(Pid::from_raw),
        );
        let mut readers = JoinSet::new();
        if let Some(output) = child.stdout.take() {
            let log = Arc::clone(&log);
            readers.spawn(async move { keep(output, &log).await });
        }
        if let Some(output) = child.stderr.take() {
            let log = Arc::clone(&log);
            readers.spawn(async move { keep(output, &log).await });
        }
        Ok(Self {
            child,
            group,
            log,
            readers,
        })
    }

    /// Waits for its end: the exit code, and the last lines it printed.
    pub(super) async fn ended(&mut self) -> (i32, String) {
        let code = match self.child.wait().await {
            Ok(status) => exit_code(status),
            Err(error) => return (255, format!("cannot wait for the process: {error}")),
        };
        self.group.kill();
        let all_read = async { while self.readers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(OUTPUT_TIMEOUT, all_read).await;
        let log = self.log.lock().expect("no holder of this lock panics");
        (code, log.last_lines())
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        self.group.signal(Signal::SIGTERM);
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        self.group.signal(Signal::SIGKILL);
    }
}

/// As container runtimes report it: 128 and the signal when a signal ended the process.
fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(255)
}

// === impl Group ===

impl Group {
    fn signal(&self, signal: Signal) {
        // ESRCH: it ended on its own, which is what we want.
        if let Some(group) = self.0 {
            let _ = killpg(group, signal);
        }
    }

    /// Kills what the ended process left behind, and forgets the group, whose number may be given to another one.
    fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(folder: &tempfile::TempDir, script: &str) -> Order {
        Order {
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            variables: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
            folder: folder.path().to_owned(),
            log: folder.path().join("log"),
            launcher: None,
            plan: None,
        }
    }

    #[tokio::test]
    async fn the_end_of_a_process_has_its_code_and_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        for (script, code, words) in [
            ("echo $GREETING; exit 3", 3, "hello"),
            ("echo oops >&2; kill -TERM $$", 143, "oops"),
            ("env | grep -c -v -e PWD -e SHLVL -e _=", 0, "1"),
        ] {
            let mut process = Process::start(&order(&folder, script)).unwrap();
            assert_eq!(process.ended().await, (code, words.to_owned()), "{script}");
        }
    }

    #[tokio::test]
    async fn a_process_that_ignores_the_request_to_end_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap 'echo ignored' TERM; echo up; while :; do sleep 0.1; done";
        let mut process = Process::start(&order(&folder, script)).unwrap();
        let log = Arc::clone(&process.log);
        let printed = |text: &str| log.lock().unwrap().last_lines().contains(text);
        while !printed("up") {
            tokio::task::yield_now().await;
        }
        process.terminate();
        while !printed("ignored") {
            tokio::task::yield_now().await;
        }
        process.kill();
        assert_eq!(process.ended().await.0, 137);
    }

    #[tokio::test]
    async fn dropping_a_process_takes_its_children_along() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(&order(&folder, "sleep 1000 & echo $!; wait")).unwrap();
        let log = Arc::clone(&process.log);
        let last = || log.lock().unwrap().last_lines();
        while last().is_empty() {
            tokio::task::yield_now().await;
        }
        let grandchild = Pid::from_raw(last().trim().parse().unwrap());
        let _ = process.child.try_wait();
        drop(process);
        // The grandchild is a zombie until init takes it: it is gone as soon as it cannot run.
        let is_alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while is_alive() {
            tokio::task::yield_now().await;
        }
    }
}
