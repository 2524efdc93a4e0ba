//! The program that starts pods for us, and whether it may give them mount namespaces.
//!
//! In: a folder for a trial. Out: a [`Launcher`]. Whether namespaces, overlays and a new root are allowed depends on the user, the
//! kernel and what surrounds us: so it is tried once, and not guessed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::launch::{self, Plan};

/// This very program.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

const TRIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Our own program, which can start pods that end with us.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Why pods get no mount namespace. None: they do.
    pub without_mounts: Option<String>,
}

// === impl Launcher ===

impl Launcher {
    /// `program`, which is `tiergate-sim`, after a trial in `folder`.
    pub async fn new(program: PathBuf, folder: &Path) -> Self {
        let mut launcher = Self {
            program,
            without_mounts: None,
        };
        launcher.without_mounts = launcher.trial(folder).await.err();
        launcher
    }

    /// What a user is told of volumes. None: there is nothing special about them.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        self.without_mounts.as_ref().map(|reason| {
            format!(
                "Volumes of pods are not mounted ({reason}): a program finds them by the variables SIM_VOLUME_NAME, and the API server by KUBECONFIG. With root they are."
            )
        })
    }

    /// The command that becomes `program`.
    pub(super) fn command(&self, plan: Option<&Path>, program: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(launch::SUBCOMMAND);
        if let Some(plan) = plan {
            command.arg("--plan").arg(plan);
        }
        command
            .arg(std::process::id().to_string())
            .arg("--")
            .arg(program);
        command
    }

    async fn trial(&self, folder: &Path) -> Result<(), String> {
        let plan = Plan {
            scratch: folder.join("trial"),
            working_folder: "/".into(),
            ..Plan::default()
        };
        let path = folder.join("trial.json");
        let prepared = fs::create_dir_all(&plan.scratch)
            .and_then(|()| fs::write(&path, serde_json::to_vec(&plan)?));
        prepared.map_err(|error| error.to_string())?;
        let mut command = self.command(Some(&path), &self.program);
        let output = command
            .arg("--version")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(TRIAL_TIMEOUT, output).await {
            Ok(output) => output.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("a trial took longer than {TRIAL_TIMEOUT:?}")),
        };
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir(&plan.scratch);
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.trim().rsplit(": cannot ").next().unwrap_or_default();
        Err(format!("cannot {words}"))
    }
}
