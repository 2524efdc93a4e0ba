use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn service(spec: &Value) -> Service {
    let mut service = json!({
        "metadata": { "name": "web", "namespace": "a", "labels": { "team": "shop" } },
        "spec": { "selector": { "app": "web" }, "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    });
    json_patch::merge(&mut service["spec"], spec);
    serde_json::from_value(service).unwrap()
}

/// A pod from words: `address [ready] [dying] [ended] [named]`.
fn pod(words: &str) -> Arc<Pod> {
    let has = |word: &str| words.split(' ').any(|known| known == word);
    let address = words.split(' ').next().unwrap();
    let ports = if has("named") {
        json!([{ "name": "metrics", "containerPort": 9090 }])
    } else {
        json!([])
    };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": { "name": format!("p{address}"), "uid": address, "deletionTimestamp": has("dying").then_some("2026-01-01T00:00:00Z") },
            "spec": { "nodeName": "n1", "containers": [{ "name": "app", "ports": ports }] },
            "status": {
                "phase": if has("ended") { "Failed" } else { "Running" }, "podIP": address, "podIPs": [{ "ip": address }],
                "conditions": [{ "type": "Ready", "status": if has("ready") { "True" } else { "False" } }],
            },
        }))
        .unwrap(),
    )
}

fn show(endpoints: &Endpoints) -> String {
    let lines = endpoints.subsets.iter().flatten().map(|subset| {
        let ports: Vec<String> = subset
            .ports
            .iter()
            .flatten()
            .map(|port| format!("{}={}", port.name.as_deref().unwrap_or_default(), port.port))
            .collect();
        let list = |addresses: &Option<Vec<EndpointAddress>>| {
            let addresses = addresses
                .iter()
                .flatten()
                .map(|address| address.ip.as_str());
            addresses.collect::<Vec<_>>().join(" ")
        };
        format!(
            "{}: {} | {}\n",
            ports.join(","),
            list(&subset.addresses),
            list(&subset.not_ready_addresses)
        )
    });
    lines.collect()
}

#[track_caller]
fn check(spec: &Value, pods: &[&str], expected: Expect) {
    let pods: Vec<_> = pods.iter().map(|words| pod(words)).collect();
    let endpoints = wanted(&service(spec), &pods, None, None).unwrap();
    expected.assert_eq(&show(&endpoints));
    let again = wanted(&service(spec), &pods, Some(&endpoints), None);
    assert_eq!(again, None, "what is as it should be is not written");
}

#[test]
fn addresses_are_sorted_and_those_on_their_way_out_are_left_out() {
    check(
        &json!({}),
        &[
            "127.9.0.9 ready",
            "127.9.0.1 ready",
            "127.9.0.5",
            "127.9.0.6 ready dying",
            "127.9.0.7 ready ended",
        ],
        expect![[r#"
            http=8080: 127.9.0.1 127.9.0.9 | 127.9.0.5
        "#]],
    );
    check(&json!({}), &[], expect![""]);
}

#[test]
fn whatever_is_published_counts_as_ready() {
    check(
        &json!({ "publishNotReadyAddresses": true }),
        &["127.9.0.5", "127.9.0.6 ready dying"],
        expect![[r#"
            http=8080: 127.9.0.5 127.9.0.6 | 
        "#]],
    );
}

#[test]
fn ports_with_the_same_addresses_share_a_subset() {
    check(
        &json!({ "ports": [
            { "name": "http", "port": 80, "targetPort": 8080 },
            { "name": "admin", "port": 81, "targetPort": 8081 },
            { "name": "metrics", "port": 90, "targetPort": "metrics" },
        ] }),
        &["127.9.0.1 ready", "127.9.0.2 ready named"],
        expect![[r#"
            admin=8081,http=8080: 127.9.0.1 127.9.0.2 | 
            metrics=9090: 127.9.0.2 | 
        "#]],
    );
}

#[test]
fn a_headless_service_needs_no_ports() {
    check(
        &json!({ "clusterIP": "None", "ports": null }),
        &["127.9.0.1 ready"],
        expect![[r#"
            : 127.9.0.1 | 
        "#]],
    );
}

#[test]
fn the_object_says_who_wrote_it_and_for_which_change() {
    let at = "2026-01-01T00:00:05Z".parse().unwrap();
    let endpoints = wanted(
        &service(&json!({})),
        &[pod("127.9.0.1 ready")],
        None,
        Some(at),
    )
    .unwrap();
    expect![[r#"{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:05Z"},"labels":{"endpoints.kubernetes.io/managed-by":"endpoint-controller","team":"shop"},"name":"web","namespace":"a"}"#]]
        .assert_eq(&serde_json::to_string(&endpoints.metadata).unwrap());
    let later = wanted(&service(&json!({})), &[], Some(&endpoints), None).unwrap();
    assert_eq!(later.metadata.annotations, Some(BTreeMap::new()));
    let headless = wanted(&service(&json!({ "clusterIP": "None" })), &[], None, None).unwrap();
    assert!(headless.metadata.labels.unwrap().contains_key(HEADLESS));
}

#[test]
fn more_than_a_thousand_addresses_are_cut_off_and_the_object_says_so() {
    let many = |count: usize, state: &str, net: u8| -> Vec<Arc<Pod>> {
        (0..count)
            .map(|number| {
                pod(&format!(
                    "127.{net}.{}.{} {state}",
                    number / 250,
                    number % 250
                ))
            })
            .collect()
    };
    let size = |endpoints: &Endpoints| {
        let subset = &endpoints.subsets.as_ref().unwrap()[0];
        let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
        (count(&subset.addresses), count(&subset.not_ready_addresses))
    };
    for (ready, not_ready, expected) in [
        (1000, 0, (1000, 0)),
        (1200, 50, (1000, 0)),
        (900, 300, (900, 100)),
    ] {
        let pods = [many(ready, "ready", 9), many(not_ready, "", 10)].concat();
        let service = service(&json!({}));
        let endpoints = wanted(&service, &pods, None, None).unwrap();
        assert_eq!(size(&endpoints), expected, "{ready} and {not_ready}");
        let annotations = endpoints.metadata.annotations.as_ref().unwrap();
        assert_eq!(
            annotations.contains_key(OVER_CAPACITY),
            ready + not_ready > 1000
        );
        let fewer = wanted(&service, &pods[..10], Some(&endpoints), None).unwrap();
        assert!(
            !fewer
                .metadata
                .annotations
                .unwrap()
                .contains_key(OVER_CAPACITY)
        );
    }
}

#[test]
fn the_lock_of_a_leader_is_no_leftover() {
    let lock = json!({ "metadata": { "name": "x", "annotations": { LEADER: "{}" } } });
    assert!(!goes_with_service(&serde_json::from_value(lock).unwrap()));
    let left = json!({ "metadata": { "name": "x" } });
    assert!(goes_with_service(&serde_json::from_value(left).unwrap()));
}
