//! A namespace tier that is no pod: a process of its own, with a kubeconfig that the test writes.
//!
//! In: where its files go, its kubeconfig and namespace. Out: its addresses, its log, and how long its start took.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use crate::client::{Request, fetch};
use crate::cluster::binary;
use crate::process::Process;
use crate::wait;

/// A tier that runs until this value is dropped.
pub struct LoneTier {
    process: Process,
    /// Where it serves plain HTTP.
    pub http: SocketAddr,
    admin: SocketAddr,
}

// === impl LoneTier ===

impl LoneTier {
    /// Starts one. Its output goes to `NAME.out` and `NAME.err` in the folder.
    ///
    /// # Panics
    /// When no port is free, or the program cannot be started.
    #[must_use]
    pub fn start(name: &str, folder: &Path, kubeconfig: &Path, namespace: &str) -> Self {
        Self::start_with(name, folder, kubeconfig, namespace, "")
    }

    /// As [`Self::start`], with further settings in its file.
    ///
    /// # Panics
    /// When no port is free, or the program cannot be started.
    #[must_use]
    pub fn start_with(
        name: &str,
        folder: &Path,
        kubeconfig: &Path,
        namespace: &str,
        settings: &str,
    ) -> Self {
        let [http, admin] = free_addresses();
        let mut config = settings.to_owned();
        let _ = writeln!(config, "drain_delay: 0s\ndrain_timeout: 1s");
        let file = folder.join(format!("{name}.yaml"));
        std::fs::write(&file, config).expect("target can be written");
        let mut command = Command::new(binary("tiergate-namespace"));
        command
            .arg(format!("--watch-namespace={namespace}"))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--config={}", file.display()))
            .arg(format!("--http-address={http}"))
            .arg(format!("--admin-address={admin}"))
            .arg("--https-address=none");
        Self {
            process: Process::spawn(name, folder, &command),
            http,
            admin,
        }
    }

    /// What `/readyz` says; an error while nobody answers.
    ///
    /// # Errors
    /// When it is not ready: what it says, or why it does not answer.
    pub fn ready(&self) -> Result<(), String> {
        let answer = fetch(self.admin, &Request::get("admin", "/readyz"));
        let answer = answer.map_err(|error| error.to_string())?;
        wait::seen(answer.status == 200, answer.text())
    }

    /// What it makes of the objects.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn model(&self) -> serde_json::Value {
        let answer = fetch(self.admin, &Request::get("admin", "/debug/model"));
        answer.expect("a running tier shows its model").json()
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Everything it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until its log has a line with all of these words, and returns the line.
    ///
    /// # Panics
    /// When it is not there in time, or the tier ends.
    #[must_use]
    pub fn until_said(&self, words: &[&str]) -> String {
        wait::until(
            &format!("a line with {words:?}"),
            wait::CHANGE_SECONDS,
            || {
                assert!(self.is_running(), "it ended: {}", self.log());
                let log = self.log();
                let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
                let line = log.lines().find(has_all).map(str::to_owned);
                line.ok_or(log)
            },
        )
    }
}

/// Two at once: one that was let go of may be given again.
fn free_addresses() -> [SocketAddr; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("it is bound"))
}
