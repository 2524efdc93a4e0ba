//! helm, as an operator types it, in the two majors that operators have, and the releases of our chart.
//!
//! `tests/install` puts both into `.tools/bin`. Each call is bounded in time and uses the user's part of a kubeconfig that it is
//! given: [`Cluster::kubeconfig`] is the administrator's, [`Cluster::tenant_admin`] that of somebody who may administer one namespace.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kubectl::Said;
use crate::{repository, wait};

/// The majors that are tried, newest first.
pub const MAJORS: [&str; 2] = ["4", "3"];

/// Where the cluster release lives.
pub const CLUSTER_NAMESPACE: &str = "kube-system";

/// Name of the cluster release.
pub const CLUSTER_RELEASE: &str = "ingress-cluster";

/// Name of each namespace release.
pub const RELEASE: &str = "ingress";

/// One helm for one user of one cluster.
#[derive(Debug, Clone)]
pub struct Helm {
    major: String,
    program: PathBuf,
    kubeconfig: PathBuf,
    streams_lists: bool,
}

/// Folder of the chart.
#[must_use]
pub fn chart() -> String {
    let path = repository::root().join("deploy/charts/tiergate");
    path.to_string_lossy().into_owned()
}

/// Values that our nodes need and a real network does not: pods share the network of the machine, so a tier has to be told to send
/// from its pod's address.
const VALUES: &str = r"
extraEnv:
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
extraArgs: {upstream-source-address: $(POD_IP)}
";

/// Values of a cluster release.
#[must_use]
pub fn cluster_values() -> String {
    format!("{VALUES}deployment: {{mode: cluster}}\n")
}

/// Values of a namespace release, which trusts the addresses that the cluster tier sends from.
#[must_use]
pub fn tenant_values(cluster: &Cluster) -> String {
    format!("{VALUES}trustedProxies: ['{}']\n", cluster.pod_network())
}

// === impl Helm ===

impl Helm {
    /// The helm of this major, for the user of this kubeconfig.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn new(major: &str, kubeconfig: &Path) -> Self {
        let program = repository::root().join(format!(".tools/bin/helm-{major}"));
        let hint = "`tests/install chart` gets it";
        assert!(program.exists(), "no helm {major}: {hint}");
        Self {
            major: major.to_owned(),
            program,
            kubeconfig: kubeconfig.to_path_buf(),
            streams_lists: true,
        }
    }

    /// The same one, which lists before it watches, as it does with an API server that cannot begin a watch with what is there.
    #[must_use]
    pub fn without_streamed_lists(mut self) -> Self {
        self.streams_lists = false;
        self
    }

    /// Its major.
    #[must_use]
    pub fn major(&self) -> &str {
        &self.major
    }

    /// Runs it with values as its standard input, for `--values -`, and returns what it said. Arguments are split at blanks.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, arguments: &str, values: &str) -> Said {
        let home = self.kubeconfig.with_extension("helm");
        let mut child = Command::new("timeout")
            .args(["--kill-after=5", "240"])
            .arg(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments.split_whitespace())
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            // A gate of client-go; helm decides when it is not set.
            .envs((!self.streams_lists).then_some(("KUBE_FEATURE_WatchListClient", "false")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("helm can be started");
        let mut stdin = child.stdin.take().expect("it is piped");
        // It may end without reading: then the pipe is broken, and its message says why.
        let _ = stdin.write_all(values.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("helm ends");
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
    pub fn ok(&self, arguments: &str, values: &str) -> String {
        let said = self.run(arguments, values);
        let major = &self.major;
        assert!(said.is_good, "helm {major} {arguments}: {}", said.err);
        said.out
    }

    /// Runs it, expects that it fails, and returns its complaint.
    ///
    /// # Panics
    /// When it works.
    pub fn refused(&self, arguments: &str, values: &str) -> String {
        let said = self.run(arguments, values);
        let major = &self.major;
        assert!(
            !said.is_good,
            "helm {major} {arguments} worked: {}",
            said.out
        );
        said.err
    }

    /// Installs our chart and waits until all of it is ready.
    ///
    /// # Panics
    /// When it fails.
    pub fn install(&self, release: &str, namespace: &str, arguments: &str, values: &str) -> String {
        let chart = chart();
        self.ok(
            &format!(
                "install {release} {chart} --namespace {namespace} --wait --timeout 180s --values - {arguments}"
            ),
            values,
        )
    }

    /// The administrator's, for the cluster.
    #[must_use]
    pub fn of_administrator(major: &str, cluster: &Cluster) -> Self {
        Self::new(major, &cluster.kubeconfig())
    }

    /// Upgrades a release to these values of our chart, and waits until all of it is ready.
    ///
    /// # Panics
    /// When it fails.
    pub fn upgrade(&self, release: &str, namespace: &str, arguments: &str, values: &str) -> String {
        let chart = chart();
        self.ok(
            &format!(
                "upgrade {release} {chart} --namespace {namespace} --wait --timeout 180s --values - {arguments}"
            ),
            values,
        )
    }

    /// Takes a release back to an earlier revision, and waits until all of it is ready.
    ///
    /// # Panics
    /// When it fails.
    pub fn rollback(&self, release: &str, namespace: &str, revision: u32) {
        self.ok(
            &format!("rollback {release} {revision} --namespace {namespace} --wait --timeout 180s"),
            "",
        );
    }

    /// Removes a release, and waits until all of it is gone.
    ///
    /// # Panics
    /// When it fails.
    pub fn uninstall(&self, release: &str, namespace: &str) -> String {
        let arguments =
            format!("uninstall {release} --namespace {namespace} --wait --timeout 120s");
        self.ok(&arguments, "")
    }
}

// === impl Cluster ===

impl Cluster {
    /// Makes a namespace and somebody who may administer it and nothing else: a ServiceAccount bound to the ClusterRole `admin` there,
    /// as a tenant's pipeline is. Returns his kubeconfig.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn tenant_admin(&self, namespace: &str) -> PathBuf {
        let kubectl = self.kubectl();
        kubectl.create_namespace(namespace);
        kubectl.ok(&format!(
            "--namespace {namespace} create serviceaccount deployer"
        ));
        kubectl.ok(&format!(
            "--namespace {namespace} create rolebinding deployer --clusterrole=admin --serviceaccount={namespace}:deployer"
        ));
        self.kubeconfig_of(namespace, "deployer")
    }

    /// A kubeconfig with the token of a ServiceAccount.
    ///
    /// # Panics
    /// When it gets none.
    #[must_use]
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        let kubectl = self.kubectl();
        let token = wait::until("the ServiceAccount", wait::CHANGE_SECONDS, || {
            let said = kubectl.run(&format!(
                "--namespace {namespace} create token {account} --duration 2h"
            ));
            wait::seen(said.is_good, said.err).map(|()| said.out)
        });
        let mut config: Value = kubectl.json("config view --raw");
        config["users"] = json!([{"name": account, "user": {"token": token.trim()}}]);
        config["contexts"][0]["context"]["user"] = json!(account);
        config["contexts"][0]["context"]["namespace"] = json!(namespace);
        config["current-context"] = config["contexts"][0]["name"].clone();
        let path = self
            .kubeconfig()
            .with_file_name(format!("{namespace}-{account}.kubeconfig"));
        std::fs::write(&path, format!("{config:#}\n")).expect("target can be written");
        path
    }
}
