//! The helm lines of the seed's document (`tests/seeds/004`), as they are written there but for the chart, on nodes that share one network:
//! first one tier of a namespace with host network and VIP, then a cluster tier with the VIP and a namespace tier behind it.
//!
//! The VIP is the document's own address, which this machine gets; no version of ours puts it there yet. Only on the real control
//! plane, whose network namespace is ours to change. Ports of nodes are 80, as in the document.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use tiergate_tests::client::{Request, fetch};
use tiergate_tests::cluster::Cluster;
use tiergate_tests::helm::{Helm, chart};
use tiergate_tests::load::{self, Target};
use tiergate_tests::objects::applications_of;
use tiergate_tests::releases::until_answered_at;
use tiergate_tests::{kubectl, numbers, world};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 10, 10, 254);

/// The document's lines: what stands behind `helm install openstack-helm/ingress`, in helm 3's and 4's way to name a release.
const SINGLE: &str = "--namespace=openstack \
    --set monitoring.prometheus.enabled=false \
    --set network.host_namespace=true";
const SINGLE_VIP: &str = "--namespace=openstack \
    --set monitoring.prometheus.enabled=false \
    --set network.host_namespace=true \
    --set network.vip.manage=true \
    --set network.vip.interface=eth0 \
    --set network.vip.addr=10.10.10.254/32";
const SINGLE_DAEMON_SET: &str = "--namespace=openstack \
    --set monitoring.prometheus.enabled=false \
    --set network.host_namespace=true \
    --set network.vip.manage=true \
    --set network.vip.interface=dummy-ingress-iface \
    --set network.vip.addr=10.10.10.254/32 \
    --set deployment.type=DaemonSet";
const CLUSTER: &str = "--namespace=kube-system \
    --set monitoring.prometheus.enabled=false \
    --set network.host_namespace=true \
    --set network.vip.manage=true \
    --set network.vip.interface=dummy-ingress-iface \
    --set network.vip.addr=10.10.10.254/32 \
    --set deployment.type=DaemonSet \
    --set deployment.mode=cluster";
const NAMESPACE: &str = "--namespace=openstack \
    --set monitoring.prometheus.enabled=false \
    --set network.host_namespace=false \
    --set deployment.mode=namespace";

const WAIT: &str = "--wait --timeout 180s";

fn vip() -> SocketAddr {
    (VIP, 80).into()
}

/// Gives the network namespace of this test the VIP, as an operator gives it to a node.
fn have_the_vip() {
    let line = format!("route replace local {VIP}/32 dev lo");
    let status = Command::new("ip").args(line.split(' ')).status();
    assert!(status.expect("ip runs").success(), "ip {line}");
}

fn one_tier_with_host_network_and_vip(cluster: &Cluster, helm: &Helm) {
    let chart = chart();
    helm.ok(&format!("install ingress {chart} {SINGLE} {WAIT}"), "");
    for node in cluster.tier_pods("openstack") {
        let node = (node, 80).into();
        until_answered_at(node, "keystone", "openstack", "keystone");
        until_answered_at(node, "horizon", "openstack", "horizon");
    }
    helm.ok(&format!("upgrade ingress {chart} {SINGLE_VIP} {WAIT}"), "");
    until_answered_at(vip(), "keystone", "openstack", "keystone");
    helm.ok(
        &format!("upgrade ingress {chart} {SINGLE_DAEMON_SET} {WAIT}"),
        "",
    );
    until_answered_at(vip(), "keystone", "openstack", "keystone");
    assert_eq!(cluster.tier_pods("openstack").len(), 3, "one on each node");
    helm.uninstall("ingress", "openstack");
}

fn two_tiers(cluster: &Cluster, helm: &Helm) {
    let chart = chart();
    helm.ok(
        &format!("install ingress-cluster {chart} {CLUSTER} {WAIT}"),
        "",
    );
    helm.ok(&format!("install ingress {chart} {NAMESPACE} {WAIT}"), "");
    let list = helm.ok("list --all-namespaces", "");
    assert!(list.contains("ingress-cluster"), "{list}");
    for application in ["keystone", "horizon"] {
        let host = format!("{application}.openstack.svc.cluster.local");
        until_answered_at(vip(), &host, "openstack", application);
    }
    let bare = fetch(vip(), &Request::get("keystone", "/v3")).expect("the VIP answers");
    assert_eq!(bare.status, 404, "{}", bare.text());
    assert_eq!(cluster.tier_pods("kube-system").len(), 3);
}

/// Each pod of the DaemonSet is replaced by one that listens at the same ports before it ends.
fn a_daemon_set_on_the_host_network_is_replaced_without_a_failed_request(helm: &Helm) {
    let target = Target {
        address: vip(),
        host: "keystone.openstack.svc.cluster.local".to_owned(),
        path: "/v3".to_owned(),
        is_tls: false,
    };
    let (report, _) = load::during(&target, || {
        let chart = chart();
        helm.ok(
            &format!(
                "upgrade ingress-cluster {chart} {CLUSTER} --set config.log_level=debug {WAIT}"
            ),
            "",
        )
    });
    numbers::show(&format!(
        "helm: upgrade of a DaemonSet with host network: {} failed of {}",
        report.failed,
        report.sent()
    ));
    report.assert_nothing_failed();
}

#[test]
fn the_seeds_lines_work_as_they_are_written() {
    const TEST: &str = "the_seeds_lines_work_as_they_are_written";
    if !world::is_real() {
        return kubectl::skip(
            TEST,
            "ports below 1024 and the VIP need a network of its own",
        );
    }
    have_the_vip();
    let cluster = Cluster::bare("helm-seed", &[]);
    let cluster = cluster.in_test();
    cluster.kubectl().create_namespace("openstack");
    cluster
        .kubectl()
        .apply("openstack", &applications_of("openstack"));
    let helm = Helm::of_administrator("4", &cluster);
    one_tier_with_host_network_and_vip(&cluster, &helm);
    two_tiers(&cluster, &helm);
    a_daemon_set_on_the_host_network_is_replaced_without_a_failed_request(&helm);
}
