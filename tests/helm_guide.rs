//! `docs/install.md`, followed literally: every block marked `sh`, in its order, in one shell, with helm 4 and kubectl of today.
//!
//! On a bare cluster of either world. The shell ends at the first command that fails; what was done until then is shown.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use tiergate_tests::cluster::Cluster;
use tiergate_tests::repository;

/// Seconds for the whole guide.
const LIMIT: &str = "540";

/// The lines of all blocks of this language.
fn blocks(text: &str, language: &str) -> String {
    let mut lines = String::new();
    let mut is_inside = false;
    for line in text.lines() {
        if let Some(named) = line.strip_prefix("```") {
            is_inside = !is_inside && named == language;
        } else if is_inside {
            lines += line;
            lines += "\n";
        }
    }
    lines
}

#[test]
fn every_command_of_the_guide_works_as_it_stands() {
    let cluster = Cluster::bare("helm-guide", &[]);
    let cluster = cluster.in_test();
    let root = repository::root();
    let guide = std::fs::read_to_string(root.join("docs/install.md")).expect("the guide is there");
    let script = blocks(&guide, "sh");
    assert!(script.contains("helm install ingress "), "{script}");

    let programs = tempfile::tempdir().expect("a temporary folder");
    for (name, installed) in [("helm", "helm-4"), ("kubectl", "kubectl-1.37")] {
        let program = root.join(".tools/bin").join(installed);
        symlink(program, programs.path().join(name)).expect("a link can be made");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args([LIMIT, "bash", "-euxo", "pipefail", "-c", &script])
        .current_dir(&root)
        .env("PATH", format!("{}:{path}", programs.path().display()))
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("HELM_CACHE_HOME", programs.path().join("cache"))
        .env("HELM_CONFIG_HOME", programs.path().join("config"))
        .env("HELM_DATA_HOME", programs.path().join("data"))
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{out}\n{err}", output.status);
    // Asked at three doors: through the load balancer, by HTTPS, and at a port of a node.
    assert_eq!(
        out.matches("\"namespace\":\"openstack\"").count(),
        3,
        "{out}"
    );
}
