//! Services that stand for names in DNS: where an operator allows it they are served, and never lead to where no request must go.
//!
//! The pods of the local cluster have addresses of loopback, which no name may lead to: there the same objects are refused.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use tiergate_tests::client::{Request, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::dns::Dns;
use tiergate_tests::lone_tier::LoneTier;
use tiergate_tests::objects::{application, ingress};
use tiergate_tests::wait;

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("external-names", &["--empty"]))
        .in_test()
}

const NAMESPACE: &str = "external";

/// A Service that stands for a name, and the Ingress of its host.
fn external(name: &str, dns: &str) -> String {
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: ExternalName, externalName: {dns}}}\n---"
    );
    let host = format!("{name}.external.example.test");
    let rule = ingress(name, Some("tiergate"), &host, name);
    service + &rule.replace("number: 80", "number: 8080")
}

fn until_status(tier: &LoneTier, name: &str, status: u16) {
    let host = format!("{name}.external.example.test");
    wait::until(
        &format!("{status} for {host}"),
        wait::CHANGE_SECONDS,
        || {
            let response = fetch(tier.http, &Request::get(&host, "/"));
            let response = response.map_err(|error| error.to_string())?;
            wait::seen(response.status == status, response.text())
        },
    );
}

fn until_told(tier: &LoneTier, name: &str, reason: &str) {
    let object = format!("{NAMESPACE}/{name}");
    wait::until(
        &format!("{reason} for {object}"),
        wait::CHANGE_SECONDS,
        || {
            let conditions = tier.model()["conditions"].clone();
            let all = conditions.as_array().cloned().unwrap_or_default();
            let is_there = all
                .iter()
                .any(|one| one["reason"] == reason && one.to_string().contains(&object));
            wait::seen(is_there, conditions.to_string())
        },
    );
}

#[test]
fn a_name_leads_where_it_may_and_nowhere_else() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    kubectl.create_namespace(NAMESPACE);
    kubectl.apply(NAMESPACE, &application("web", 1));
    let plain = ingress(
        "plain",
        Some("tiergate"),
        "plain.external.example.test",
        "web",
    );
    kubectl.apply(NAMESPACE, &plain);
    kubectl.rolled_out(NAMESPACE, "web");
    let (_, ip) = cluster.ready_pods(NAMESPACE, "app=web").remove(0);
    let pod: Ipv4Addr = ip.to_string().parse().expect("the pods have IPv4");
    let dns = Dns::start();
    let metadata = Ipv4Addr::new(169, 254, 169, 254);
    for (name, address) in [
        ("pod.example.test", pod),
        ("node.example.test", Ipv4Addr::LOCALHOST),
        ("metadata.example.test", metadata),
    ] {
        dns.says(name, address);
    }
    for (name, dns) in [
        ("good", "pod.example.test"),
        ("to-node", "node.example.test"),
        ("to-metadata", "metadata.example.test"),
        ("to-nowhere", "nobody.example.test"),
        ("to-others", "kubernetes.default.svc.cluster.local"),
    ] {
        kubectl.apply(NAMESPACE, &external(name, dns));
    }
    let settings = format!(
        "external_names: true\nexternal_name_networks: [\"{}\"]\nexternal_name_servers: [\"{}\"]\n",
        cluster.pod_network(),
        dns.address
    );
    let start = |name: &str, settings: &str| {
        let (folder, kubeconfig) = (cluster.folder(), cluster.kubeconfig());
        LoneTier::start_with(name, folder, &kubeconfig, NAMESPACE, settings)
    };
    let (on, off) = (start("names-on", &settings), start("names-off", ""));
    for tier in [&on, &off] {
        wait::until("the tier is ready", wait::CHANGE_SECONDS, || tier.ready());
        until_status(tier, "plain", 200);
    }
    for (name, reason) in [
        ("to-node", "ExternalNameRefused"),
        ("to-metadata", "ExternalNameRefused"),
        ("to-nowhere", "ExternalNameUnresolved"),
        ("to-others", "ExternalNameRefused"),
    ] {
        until_told(&on, name, reason);
        until_status(&on, name, 503);
    }
    until_told(&off, "good", "ServiceTypeUnsupported");
    until_status(&off, "good", 503);
    if IpAddr::V4(pod).is_loopback() {
        until_told(&on, "good", "ExternalNameRefused");
        until_status(&on, "good", 503);
    } else {
        until_status(&on, "good", 200);
        // The name is led elsewhere once it is trusted: its next answer is judged as the first was.
        dns.says("pod.example.test", metadata);
        until_told(&on, "good", "ExternalNameRefused");
        until_status(&on, "good", 503);
        dns.says("pod.example.test", pod);
        until_status(&on, "good", 200);
    }
    // Whatever the names do, the neighbour is served.
    until_status(&on, "plain", 200);
    kubectl.ok(&format!("delete namespace {NAMESPACE} --wait=false"));
}
