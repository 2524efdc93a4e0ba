//! The local cluster: `tiergate-sim up`, with a /16 of 127.0.0.0/8 to itself, so that several run side by side.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Request, Started, milliseconds_at, text_at};
use crate::cluster::binary;
use crate::process::Process;

/// A port that nothing else of a cluster uses: whoever listens on it owns the /16.
const OWNER_PORT: u16 = 20_999;

pub(super) fn start(folder: &Path, arguments: &[&str]) -> Started {
    let (owner, second_byte) = own_network();
    let vip = Ipv4Addr::new(127, second_byte, 255, 254);
    let pod_network = format!("127.{second_byte}.0.0/17");
    let kubeconfig = folder.join("kubeconfig");
    let requests = folder.join("requests.jsonl");
    let mut command = Command::new(binary("tiergate-sim"));
    command
        .arg("up")
        .args(arguments)
        // Under cargo it would build the tiers first: here they are what is tested, as they are.
        .env_remove("CARGO")
        .args(["--vip", &vip.to_string(), "--pod-cidr", &pod_network])
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .arg("--request-log")
        .arg(&requests);
    Started {
        kubeconfig,
        vip,
        pod_network,
        requests,
        request,
        nodes: Process::start("up", folder, &command),
        _rest: vec![Box::new(owner)],
    }
}

fn request(line: &Value) -> Request {
    Request {
        user: text_at(line, "/user"),
        verb: text_at(line, "/verb"),
        group: text_at(line, "/group"),
        resource: text_at(line, "/resource"),
        namespace: text_at(line, "/namespace"),
        name: text_at(line, "/name"),
        is_denied: false,
        code: line["code"].as_u64().unwrap_or_default(),
        received_ms: milliseconds_at(line, "/received"),
        is_begin: line["verb"] == "watch",
        pod: String::new(),
    }
}

/// A /16 of 127.0.0.0/8 that no other test program uses, by its second byte. Programs begin at different places, because a
/// cluster whose test program is gone still needs a moment to end.
fn own_network() -> (TcpListener, u8) {
    let begin = u8::try_from(std::process::id() % 100).expect("below 100");
    let free = (0..100).find_map(|step| {
        let second_byte = 100 + (begin + step) % 100;
        let address = (Ipv4Addr::new(127, second_byte, 255, 253), OWNER_PORT);
        let vip = (Ipv4Addr::new(127, second_byte, 255, 254), 8080);
        TcpListener::bind(vip).ok()?;
        TcpListener::bind(address)
            .ok()
            .map(|owner| (owner, second_byte))
    });
    free.expect("fewer than a hundred clusters run side by side")
}
