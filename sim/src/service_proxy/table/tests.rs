use std::fmt::Write;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

const LISTENERS_MAX: usize = 64;

pub(in crate::service_proxy) fn nodes() -> Vec<NodeIdentity> {
    let node = |index: u8| NodeIdentity {
        name: format!("node-{index}"),
        address: Ipv4Addr::new(127, 10, index - 1, 1),
        slice: format!("127.10.{}.0/24", index - 1).parse().unwrap(),
    };
    (1..=3).map(node).collect()
}

/// A Service `shop/web` with port 80; the spec is merged into that.
pub(in crate::service_proxy) fn service(spec: Value) -> Service {
    named_service("web", "2026-01-01T00:00:00Z", spec)
}

fn named_service(name: &str, created: &str, spec: Value) -> Service {
    let mut whole = json!({
        "metadata": {"namespace": "shop", "name": name, "creationTimestamp": created},
        "spec": {"type": "ClusterIP", "clusterIP": "127.96.0.7", "ports": [{"name": "http", "port": 80}]},
    });
    for (key, value) in spec.as_object().unwrap() {
        match key.as_str() {
            "status" => whole["status"] = value.clone(),
            key => whole["spec"][key] = value.clone(),
        }
    }
    serde_json::from_value(whole).unwrap()
}

/// A slice of `shop/web`: pods as `(node, last byte, state)`, states being `ready`, `ending` and `down`.
pub(in crate::service_proxy) fn slice(pods: &[(u8, u8, &str)]) -> EndpointSlice {
    let endpoint = |(node, byte, state): &(u8, u8, &str)| {
        json!({
            "addresses": [format!("127.10.{}.{byte}", node - 1)], "nodeName": format!("node-{node}"),
            "conditions": {"ready": *state == "ready", "serving": *state != "down", "terminating": *state == "ending"},
        })
    };
    let endpoints: Vec<Value> = pods.iter().map(endpoint).collect();
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}],
    }))
    .unwrap()
}

fn text(table: &Table) -> String {
    let mut text = String::new();
    for (at, listener) in &table.listeners {
        match listener {
            Listener::Forward(frontend) => {
                let node = frontend.node.map_or("client's node".to_owned(), |node| {
                    nodes()[node].name.clone()
                });
                let local = if frontend.is_local {
                    ", local only"
                } else {
                    ""
                };
                let affinity = frontend.affinity.map_or(String::new(), |time| {
                    format!(", affinity {} s", time.as_secs())
                });
                let ranges = &frontend.source_ranges;
                let ranges = if ranges.is_empty() {
                    String::new()
                } else {
                    format!(", from {ranges:?}")
                };
                writeln!(
                    text,
                    "{at} {} {:?}: {node}{local}{affinity}{ranges}",
                    frontend.service, frontend.origin
                )
            }
            Listener::Health(health) => {
                writeln!(
                    text,
                    "{at} {} Health: {}",
                    health.service, health.local_endpoints
                )
            }
        }
        .unwrap();
    }
    for complaint in &table.complaints {
        let Complaint {
            service,
            reason,
            message,
        } = complaint;
        writeln!(text, "{service} {reason}: {message}").unwrap();
    }
    text
}

fn check(spec: Value, pods: &[(u8, u8, &str)], expected: Expect) {
    let table = build([&service(spec)], [&slice(pods)], &nodes(), LISTENERS_MAX);
    expected.assert_eq(&text(&table));
}

#[test]
fn a_cluster_ip_is_served_while_an_endpoint_is_usable() {
    check(
        json!({}),
        &[(1, 5, "ready"), (2, 5, "down")],
        expect![[r#"
            127.96.0.7:80 shop/web ClusterIp: client's node
        "#]],
    );
    check(
        json!({}),
        &[(1, 5, "ending")],
        expect![[r#"
        127.96.0.7:80 shop/web ClusterIp: client's node
    "#]],
    );
    check(json!({}), &[(1, 5, "down")], expect![""]);
    check(json!({}), &[], expect![""]);
}

#[test]
fn services_without_an_address_are_only_names() {
    check(
        json!({"clusterIP": "None"}),
        &[(1, 5, "ready")],
        expect![""],
    );
    check(
        json!({"type": "ExternalName", "externalName": "a.example", "clusterIP": null}),
        &[(1, 5, "ready")],
        expect![""],
    );
    check(
        json!({"clusterIP": "fd00::7"}),
        &[(1, 5, "ready")],
        expect![""],
    );
}

#[test]
fn a_node_port_is_on_every_node() {
    let spec = json!({"type": "NodePort", "externalTrafficPolicy": "Cluster", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
    check(
        spec,
        &[(1, 5, "ready")],
        expect![[r#"
            127.10.0.1:30080 shop/web NodePort: node-1
            127.10.1.1:30080 shop/web NodePort: node-2
            127.10.2.1:30080 shop/web NodePort: node-3
            127.96.0.7:80 shop/web ClusterIp: client's node
        "#]],
    );
}

#[test]
fn with_the_local_policy_only_nodes_with_an_endpoint_answer_and_the_health_port_says_so() {
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
        "loadBalancerSourceRanges": ["127.0.0.0/16", "192.0.2.0/24"],
        "status": {"loadBalancer": {"ingress": [{"ip": "127.97.0.1", "ipMode": "VIP"}, {"hostname": "a.example"}]}},
    });
    check(
        spec,
        &[
            (1, 5, "ready"),
            (1, 6, "ready"),
            (2, 5, "ending"),
            (3, 5, "down"),
        ],
        expect![[r#"
            127.10.0.1:30080 shop/web NodePort: node-1, local only
            127.10.0.1:31000 shop/web Health: 2
            127.10.1.1:30080 shop/web NodePort: node-2, local only
            127.10.1.1:31000 shop/web Health: 0
            127.10.2.1:31000 shop/web Health: 0
            127.96.0.7:80 shop/web ClusterIp: client's node
            127.97.0.1:80 shop/web LoadBalancer: node-1, local only, from [127.0.0.0/16, 192.0.2.0/24]
        "#]],
    );
}

#[test]
fn an_address_for_all_nodes_is_answered_by_one_that_can() {
    let spec = |policy: &str| json!({"type": "LoadBalancer", "externalTrafficPolicy": policy, "status": {"loadBalancer": {"ingress": [{"ip": "127.97.0.1"}]}}});
    let node_for = |policy: &str, pods: &[(u8, u8, &str)]| {
        let table = build(
            [&service(spec(policy))],
            [&slice(pods)],
            &nodes(),
            LISTENERS_MAX,
        );
        match table.listeners.get(&"127.97.0.1:80".parse().unwrap()) {
            Some(Listener::Forward(frontend)) => frontend.node.map(|node| node + 1),
            Some(Listener::Health(_)) | None => None,
        }
    };
    let by_hash = node_for("Cluster", &[(1, 5, "ready")]);
    assert!(by_hash.is_some());
    assert_eq!(node_for("Cluster", &[(2, 5, "ready")]), by_hash);
    for node in [1, 2, 3] {
        assert_eq!(
            node_for("Local", &[(node, 5, "ready")]),
            Some(usize::from(node))
        );
    }
    assert_eq!(node_for("Local", &[]), None);
}

#[test]
fn an_address_behind_another_proxy_is_not_served_here() {
    let spec = json!({"type": "LoadBalancer", "status": {"loadBalancer": {"ingress": [{"ip": "127.97.0.1", "ipMode": "Proxy"}]}}});
    check(
        spec,
        &[(1, 5, "ready")],
        expect![[r#"
        127.96.0.7:80 shop/web ClusterIp: client's node
    "#]],
    );
}

#[test]
fn an_external_ip_that_is_a_nodes_is_answered_by_that_node() {
    let spec = json!({"externalIPs": ["127.10.1.1", "192.0.2.9"], "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}});
    check(
        spec,
        &[(1, 5, "ready")],
        expect![[r#"
            127.10.1.1:80 shop/web ExternalIp: node-2, affinity 60 s
            127.96.0.7:80 shop/web ClusterIp: client's node, affinity 60 s
            192.0.2.9:80 shop/web ExternalIp: node-1, affinity 60 s
        "#]],
    );
}

#[test]
fn ports_have_endpoints_of_their_own_and_other_protocols_are_refused_in_words() {
    let spec = json!({"ports": [
        {"name": "http", "port": 80}, {"name": "other", "port": 81},
        {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "sig", "port": 54, "protocol": "SCTP"},
    ]});
    check(
        spec,
        &[(1, 5, "ready")],
        expect![[r#"
            127.96.0.7:80 shop/web ClusterIp: client's node
            shop/web UnsupportedProtocol: port 53/UDP, port 54/SCTP: the service proxy of this cluster forwards TCP only
        "#]],
    );
}

#[test]
fn an_older_service_keeps_what_a_younger_one_asks_for_too() {
    let slice_of = |name: &str| {
        let mut slice = slice(&[(1, 5, "ready")]);
        slice.metadata.labels = Some([(SERVICE_NAME_LABEL.to_owned(), name.to_owned())].into());
        slice
    };
    let external = |ip: &str| json!({"clusterIP": ip, "externalIPs": ["127.98.0.1"]});
    let younger = named_service("a", "2026-01-02T00:00:00Z", external("127.96.0.8"));
    let older = named_service("b", "2026-01-01T00:00:00Z", external("127.96.0.9"));
    for services in [[&younger, &older], [&older, &younger]] {
        let slices = [&slice_of("a"), &slice_of("b")];
        let table = build(services, slices, &nodes(), LISTENERS_MAX);
        expect![[r#"
            127.96.0.8:80 shop/a ClusterIp: client's node
            127.96.0.9:80 shop/b ClusterIp: client's node
            127.98.0.1:80 shop/b ExternalIp: node-3
            shop/a AddressTaken: 127.98.0.1:80 is served for the Service shop/b, which is older
        "#]]
        .assert_eq(&text(&table));
    }
}

#[test]
fn a_full_table_refuses_further_addresses_in_words() {
    let spec =
        json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
    let table = build([&service(spec)], [&slice(&[(1, 5, "ready")])], &nodes(), 2);
    expect![[r#"
        127.10.0.1:30080 shop/web NodePort: node-1
        127.96.0.7:80 shop/web ClusterIp: client's node
        shop/web TooManyListeners: 127.10.1.1:30080 is not served: the service proxy listens on 2 addresses already
    "#]]
    .assert_eq(&text(&table));
}
