//! The cluster of a test program: the local one or the real one, and the tests do not see which.
//!
//! [`crate::world`] starts it; here is what a test asks of it. Its files lie in `target/tests/clusters/`; the last lines of its output
//! are shown when a test fails.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::client::{Request, Response, fetch};
use crate::kubectl::Kubectl;
use crate::load::Target;
use crate::world::{self, Started};
use crate::{repository, wait};

/// Lines of the cluster's output that a failed test shows.
const LINES_SHOWN: usize = 120;

/// A running cluster.
pub struct Cluster {
    name: String,
    folder: PathBuf,
    world: Started,
}

/// A cluster in the hands of one test: shows the cluster's output when the test fails.
pub struct InTest<'a> {
    cluster: &'a Cluster,
    first_line: usize,
}

/// The folder of another version of the tiers, which `tests/run` builds beside the others.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn next_version() -> PathBuf {
    let program = binary("next/tiergate-namespace");
    let folder = program.parent().expect("it lies in a folder");
    folder.to_path_buf()
}

/// A program of ours: `tests/run` builds it and names its folder.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("TIERGATE_BINARIES")
        .map_or_else(|| repository::root().join("target/release"), PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "no {}: start with `tests/run e2e`",
        path.display()
    );
    path
}

// === impl Cluster ===

impl Cluster {
    /// Starts the cluster with the story, or with what these arguments of `tiergate-sim up` ask for, and waits until all is ready.
    ///
    /// # Panics
    /// When it is not in time.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let folder = repository::root().join("target/tests/clusters").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("target can be written");
        Self {
            name: name.to_owned(),
            world: world::start(&folder, arguments),
            folder,
        }
    }

    /// Where the files of this cluster are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a cluster that has nodes and nothing on them, for `helm install`. Images are written as for `tiergate-sim up --image`.
    ///
    /// # Panics
    /// When it is not in time.
    #[must_use]
    pub fn bare(name: &str, images: &[String]) -> Self {
        let images = images.iter().flat_map(|image| ["--image", image]);
        let arguments: Vec<&str> = [world::BARE].into_iter().chain(images).collect();
        Self::start(name, &arguments)
    }

    /// The cluster in the hands of a test.
    #[must_use]
    pub fn in_test(&self) -> InTest<'_> {
        let first_line = self.log().lines().count();
        InTest {
            cluster: self,
            first_line,
        }
    }

    /// kubectl of today for this cluster.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        self.kubectl_of("1.37")
    }

    /// kubectl of this version for this cluster.
    #[must_use]
    pub fn kubectl_of(&self, version: &str) -> Kubectl {
        Kubectl::new(version, &self.kubeconfig())
    }

    /// The kubeconfig that the cluster wrote.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.world.kubeconfig.clone()
    }

    /// The VIP.
    #[must_use]
    pub fn vip(&self) -> Ipv4Addr {
        self.world.vip
    }

    /// Where its pods have their addresses, as a CIDR.
    #[must_use]
    pub fn pod_network(&self) -> &str {
        &self.world.pod_network
    }

    /// Plain HTTP at the VIP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        SocketAddr::from((self.vip(), 8080))
    }

    /// HTTPS at the VIP.
    #[must_use]
    pub fn https(&self) -> SocketAddr {
        SocketAddr::from((self.vip(), 8443))
    }

    /// A GET at the VIP on a connection of its own.
    ///
    /// # Panics
    /// When the VIP does not answer at all.
    #[must_use]
    pub fn get(&self, host: &str, path: &str) -> Response {
        fetch(self.http(), &Request::get(host, path)).expect("the VIP answers")
    }

    /// Waits until a host and path at the VIP are answered with this status, and returns the answer.
    ///
    /// # Panics
    /// When they are not within [`wait::CHANGE_SECONDS`].
    pub fn until_status(&self, host: &str, path: &str, status: u16) -> Response {
        wait::until(
            &format!("{status} for {host}{path}"),
            wait::CHANGE_SECONDS,
            || {
                let response = self.get(host, path);
                let seen = format!("{} {}", response.status, response.text());
                wait::seen(response.status == status, seen).map(|()| response)
            },
        )
    }

    /// A load on a host at the VIP, over plain HTTP.
    #[must_use]
    pub fn target(&self, host: &str) -> Target {
        Target {
            address: self.http(),
            host: host.to_owned(),
            path: "/load".to_owned(),
            is_tls: false,
        }
    }

    /// Ready pods with these labels: name and address, sorted by name.
    #[must_use]
    pub fn ready_pods(&self, namespace: &str, selector: &str) -> Vec<(String, String)> {
        let pods = format!("--namespace {namespace} get pods --selector={selector}");
        let list = self.kubectl().json(&pods);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let named = |pod: &Value| {
            (
                text(&pod["metadata"]["name"]),
                text(&pod["status"]["podIP"]),
            )
        };
        let mut found: Vec<_> = items
            .iter()
            .filter(|pod| is_ready(pod))
            .map(named)
            .collect();
        found.sort();
        found
    }

    /// Everything the cluster wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.world.nodes.log()
    }

    /// Who asked the API server for what, oldest first.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn requests(&self) -> Vec<world::Request> {
        let text = fs::read_to_string(&self.world.requests);
        let text = text.expect("the cluster keeps a request log");
        // The last line may be half written.
        let lines = text.lines().map(serde_json::from_str);
        lines
            .filter_map(Result::ok)
            .map(|line: Value| (self.world.request)(&line))
            .collect()
    }

    /// What the containers of this name wrote: those that are real programs. All of them when the name is empty.
    #[must_use]
    pub fn container_logs(&self, container: &str) -> String {
        const MARK: &str = "Logs of the pods: ";
        let log = self.log();
        let folder = log.lines().find_map(|line| line.strip_prefix(MARK));
        let mut text = String::new();
        let mut folders: Vec<PathBuf> = folder.map(PathBuf::from).into_iter().collect();
        while let Some(folder) = folders.pop() {
            // Pods come and go while we look: what is gone has nothing to say.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let is_log = path.extension().is_some_and(|ending| ending == "log");
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                if is_log && name.contains(container) {
                    let written = fs::read(&path).unwrap_or_default();
                    text += &format!("--- {}\n", path.display());
                    text += &String::from_utf8_lossy(&written);
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
            }
        }
        text
    }
}

// === impl InTest ===

impl std::ops::Deref for InTest<'_> {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

impl Drop for InTest<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = &self.cluster.name;
            let lines = last_lines(&self.cluster.log(), self.first_line);
            eprintln!(
                "--- cluster {name}, in {}:\n{lines}",
                display(&self.cluster.folder)
            );
        }
    }
}

/// A text of an object; empty when there is none.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Whether a pod is ready and stays.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    let is_leaving = !pod["metadata"]["deletionTimestamp"].is_null();
    !is_leaving && conditions.is_some_and(|all| all.iter().any(ready))
}

fn display(folder: &Path) -> String {
    let root = repository::root();
    let relative = folder.strip_prefix(root).unwrap_or(folder);
    relative.display().to_string()
}

fn last_lines(text: &str, first: usize) -> String {
    let lines: Vec<&str> = text.lines().skip(first).collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}
