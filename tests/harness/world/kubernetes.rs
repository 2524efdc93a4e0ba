//! The real control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler of `tests/kubernetes/up`, with the
//! nodes of `tiergate-sim attach` and the objects of `tiergate-sim story`.
//!
//! The program runs inside `tests/kubernetes/enter`: a network namespace of its own, where every address of the pods, the
//! nodes and the VIP is local. Of these there is one set, so clusters of one program come one after the other.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::{BARE, Request, Started, milliseconds_at, text_at};
use crate::cluster::binary;
use crate::kubectl::Kubectl;
use crate::process::Process;
use crate::{repository, wait};

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
const POD_NETWORK: &str = "10.244.0.0/16";

/// Clear of the VIP, and of the address that clients come from.
const LOAD_BALANCERS: &str = "192.0.2.128/26";

/// How long a cluster may wait for the one before it, which ends with its test.
const TURN_SECONDS: u64 = 300;

static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The addresses of the namespace, in the hands of one cluster.
struct Turn;

pub(super) fn start(folder: &Path, arguments: &[&str]) -> Started {
    let turn = Turn::take();
    let mut up = Command::new(repository::root().join("tests/kubernetes/up"));
    let control_plane = Process::start("control-plane", folder, up.arg(folder));
    let kubeconfig = folder.join("kubeconfig");
    let mut attach = Command::new(binary("tiergate-sim"));
    attach
        .args(["attach", "--nodes", "3", "--pod-cidr", POD_NETWORK])
        .args(["--load-balancer-pool", LOAD_BALANCERS])
        .env_remove("CARGO")
        .arg("--kubeconfig")
        .arg(&kubeconfig);
    let (of_nodes, of_story) = split(arguments);
    let nodes = Process::start("attach", folder, attach.args(of_nodes));
    if !of_story.contains(&BARE) {
        tell(&Kubectl::new("1.37", &kubeconfig), &of_story);
    }
    Started {
        requests: folder.join("audit.log"),
        kubeconfig,
        vip: VIP,
        pod_network: POD_NETWORK.to_owned(),
        request,
        nodes,
        _rest: vec![Box::new(control_plane), Box::new(turn)],
    }
}

/// Arguments of `up`: those for nodes, which name images, and those for the story.
fn split<'a>(arguments: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut parts = (Vec::new(), Vec::new());
    let mut arguments = arguments.iter().copied();
    while let Some(argument) = arguments.next() {
        if argument == "--image" {
            parts.0.push(argument);
            parts.0.extend(arguments.next());
        } else {
            parts.1.push(argument);
        }
    }
    parts
}

/// Gives the cluster its story, or with `--empty` the cluster tier alone, and waits until all of it is rolled out.
fn tell(kubectl: &Kubectl, arguments: &[&str]) {
    let output = Command::new(binary("tiergate-sim"))
        .args(["story", "--vip", &VIP.to_string()])
        .args(["--pod-cidr", POD_NETWORK])
        .args(arguments)
        .env_remove("CARGO")
        .stderr(Stdio::inherit())
        .output()
        .expect("it can be started");
    assert!(output.status.success(), "tiergate-sim story failed");
    let manifests = String::from_utf8(output.stdout).expect("manifests are text");
    let said = kubectl.run_with("apply --server-side -f -", &manifests);
    assert!(said.is_good, "the story was not taken: {}", said.err);
    let deployments = kubectl.json("get deployments -A");
    for deployment in deployments["items"].as_array().expect("a list") {
        let namespace = text_at(deployment, "/metadata/namespace");
        kubectl.rolled_out(&namespace, &text_at(deployment, "/metadata/name"));
    }
}

/// A line of the audit log.
fn request(event: &Value) -> Request {
    let subresource = text_at(event, "/objectRef/subresource");
    let resource = match text_at(event, "/objectRef/resource") {
        none if none.is_empty() => text_at(event, "/requestURI"),
        resource if subresource.is_empty() => resource,
        resource => format!("{resource}/{subresource}"),
    };
    let decision = &event["annotations"]["authorization.k8s.io/decision"];
    Request {
        user: text_at(event, "/user/username"),
        verb: text_at(event, "/verb"),
        group: text_at(event, "/objectRef/apiGroup"),
        resource,
        namespace: text_at(event, "/objectRef/namespace"),
        name: text_at(event, "/objectRef/name"),
        is_denied: *decision == "forbid",
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        received_ms: milliseconds_at(event, "/requestReceivedTimestamp"),
        is_begin: event["stage"] == "ResponseStarted",
        pod: text_at(
            event,
            "/user/extra/authentication.kubernetes.io~1pod-name/0",
        ),
    }
}

// === impl Turn ===

impl Turn {
    fn take() -> Self {
        wait::until("the cluster before this one ends", TURN_SECONDS, || {
            let was = IS_TAKEN.swap(true, Ordering::SeqCst);
            wait::seen(!was, "it is there")
        });
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        IS_TAKEN.store(false, Ordering::SeqCst);
    }
}
