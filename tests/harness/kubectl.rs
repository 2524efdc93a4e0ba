//! kubectl, as a user types it, in the two versions that users have.
//!
//! `tests/install` puts both into `.tools/bin`. Each call is bounded in time and uses a cache of its own cluster.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::repository;

/// The versions that are tried, newest first.
pub const VERSIONS: [&str; 2] = ["1.37", "1.29"];

/// One kubectl for one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

/// How a call ended.
#[derive(Debug)]
pub struct Said {
    /// Whether the exit status was 0.
    pub is_good: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Whether this version was to be had. A test that needs it and does not find it is reported as skipped.
#[must_use]
pub fn is_installed(version: &str) -> bool {
    program(version).exists()
}

/// Reports that the running test skips for want of something: `tests/run` counts and names it.
///
/// # Panics
/// When the report cannot be written.
pub fn skip(test: &str, reason: &str) {
    let line = format!("{test}: {reason}\n");
    if let Some(path) = std::env::var_os("TIERGATE_TESTS_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.expect("the list of skipped tests can be written");
    }
    eprint!("skipped: {line}");
}

/// Where `tests/install` puts this version.
pub(crate) fn program(version: &str) -> PathBuf {
    repository::root().join(format!(".tools/bin/kubectl-{version}"))
}

// === impl Kubectl ===

impl Kubectl {
    /// The kubectl of this version, for the cluster of this kubeconfig.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn new(version: &str, kubeconfig: &Path) -> Self {
        let program = program(version);
        let hint = "`tests/install e2e` gets it";
        assert!(program.exists(), "no kubectl {version}: {hint}");
        Self {
            program,
            kubeconfig: kubeconfig.to_path_buf(),
        }
    }

    /// What a shell types to run it, in front of its arguments.
    #[must_use]
    pub fn command(&self) -> String {
        let Self {
            program,
            kubeconfig,
        } = self;
        format!(
            "{} --kubeconfig {}",
            program.display(),
            kubeconfig.display()
        )
    }

    /// Runs it and returns what it said, good or bad.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, arguments: &str) -> Said {
        self.run_with(arguments, "")
    }

    /// Runs it with a text as its standard input. Arguments are split at blanks.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run_with(&self, arguments: &str, input: &str) -> Said {
        let mut child = Command::new("timeout")
            .arg("--kill-after=5")
            .arg("150")
            .arg(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(self.kubeconfig.with_extension("cache"))
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl can be started");
        let mut stdin = child.stdin.take().expect("it is piped");
        // It may end without reading: then the pipe is broken, and its message says why.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("kubectl ends");
        Said {
            is_good: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it, expects that it works, and returns its output.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, arguments: &str) -> String {
        let said = self.run(arguments);
        assert!(said.is_good, "kubectl {arguments}: {}", said.err);
        said.out
    }

    /// Runs it, expects that it fails, and returns its complaint.
    ///
    /// # Panics
    /// When it works.
    pub fn refused(&self, arguments: &str) -> String {
        let said = self.run(arguments);
        assert!(!said.is_good, "kubectl {arguments} worked: {}", said.out);
        said.err
    }

    /// Applies objects that are written in the test.
    ///
    /// # Panics
    /// When it fails.
    pub fn apply(&self, namespace: &str, yaml: &str) -> String {
        let arguments = format!("--namespace {namespace} apply -f -");
        let said = self.run_with(&arguments, yaml);
        assert!(said.is_good, "{arguments}: {}\n{yaml}", said.err);
        said.out
    }

    /// Applies a file of `tests/seeds`.
    ///
    /// # Panics
    /// When it fails.
    pub fn apply_seed(&self, namespace: &str, file: &str) -> String {
        self.ok(&format!("--namespace {namespace} apply -f {}", seed(file)))
    }

    /// An object or a list as JSON.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn json(&self, arguments: &str) -> Value {
        let out = self.ok(&format!("{arguments} -o json"));
        serde_json::from_str(&out).expect("kubectl writes JSON")
    }

    /// Creates a namespace.
    ///
    /// # Panics
    /// When it fails.
    pub fn create_namespace(&self, name: &str) {
        self.ok(&format!("create namespace {name}"));
    }

    /// Waits until a Deployment is rolled out.
    ///
    /// # Panics
    /// When it is not within two minutes.
    pub fn rolled_out(&self, namespace: &str, name: &str) {
        self.ok(&format!(
            "--namespace {namespace} rollout status deployment/{name} --timeout 120s"
        ));
    }
}

/// Path of a file of `tests/seeds`.
#[must_use]
pub fn seed(file: &str) -> String {
    let path = repository::root().join("tests/seeds").join(file);
    path.to_string_lossy().into_owned()
}
