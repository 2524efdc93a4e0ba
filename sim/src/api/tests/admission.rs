//! What admission adds to objects, and what it refuses.

use serde_json::json;

use super::*;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    object["spec"]
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    object
}

fn port_of(service: &Value) -> u64 {
    service["spec"]["ports"][0]["nodePort"]
        .as_u64()
        .unwrap_or(0)
}

#[tokio::test]
async fn node_ports_are_given_kept_and_freed() {
    let server = server();
    let made = post(
        &server,
        SERVICES,
        service("one", json!({"type": "NodePort"})),
    )
    .await
    .ok();
    let port = port_of(&made);
    assert!((30000..=32767).contains(&port));
    let again = put(
        &server,
        &format!("{SERVICES}/one"),
        service("one", json!({"type": "NodePort"})),
    )
    .await
    .ok();
    assert_eq!(port_of(&again), port);
    let taken = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    let refused = post(&server, SERVICES, service("two", taken.clone())).await;
    assert_eq!(refused.code, 422);
    assert!(refused.message().ends_with(&format!(
        "spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"
    )));
    let inside = put(
        &server,
        &format!("{SERVICES}/one"),
        service("one", json!({"type": "ClusterIP"})),
    )
    .await
    .ok();
    assert_eq!(port_of(&inside), 0);
    post(&server, SERVICES, service("two", taken)).await.ok();
    let outside = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]});
    assert_eq!(
        post(&server, SERVICES, service("three", outside))
            .await
            .code,
        422
    );
}

#[tokio::test]
async fn a_load_balancer_has_a_health_port_only_when_traffic_stays_local() {
    let server = server();
    let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let made = post(&server, SERVICES, service("one", local.clone()))
        .await
        .ok();
    let health = made["spec"]["healthCheckNodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&health) && health != port_of(&made));
    let taken = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": health}]});
    assert_eq!(
        post(&server, SERVICES, service("two", taken.clone()))
            .await
            .code,
        422
    );
    let everywhere = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"});
    let changed = put(
        &server,
        &format!("{SERVICES}/one"),
        service("one", everywhere),
    )
    .await
    .ok();
    assert!(changed["spec"]["healthCheckNodePort"].is_null());
    post(&server, SERVICES, service("two", taken)).await.ok();
    let without = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false});
    assert_eq!(
        port_of(
            &post(&server, SERVICES, service("three", without))
                .await
                .ok()
        ),
        0
    );
}

#[tokio::test]
async fn addresses_come_from_the_range_that_was_given() {
    let options = Options {
        service_range: "127.96.0.0/29".parse().unwrap(),
        ..Options::new(TOKEN, 5)
    };
    let server = Server::new(options);
    let mut given = Vec::new();
    for number in 0..6 {
        let made = post(&server, SERVICES, service(&format!("s{number}"), json!({})))
            .await
            .ok();
        given.push(made["spec"]["clusterIP"].as_str().unwrap().to_owned());
    }
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 6, "{given:?}");
    assert!(given.iter().all(|address| address.starts_with("127.96.0.")));
    let full = post(&server, SERVICES, service("full", json!({}))).await;
    assert_eq!(full.code, 500, "{}", full.body);
    delete(&server, &format!("{SERVICES}/s3")).await.ok();
    post(&server, SERVICES, service("full", json!({})))
        .await
        .ok();
    let other = json!({"clusterIP": "10.96.0.1"});
    assert_eq!(
        post(&server, SERVICES, service("other", other)).await.code,
        422
    );
}

#[tokio::test]
async fn only_one_family_of_addresses_is_there() {
    let server = server();
    for (spec, code) in [
        (json!({"ipFamilyPolicy": "RequireDualStack"}), 422),
        (json!({"ipFamilies": ["IPv6"]}), 422),
        (json!({"ipFamilyPolicy": "PreferDualStack"}), 201),
        (json!({"clusterIP": "None"}), 201),
    ] {
        let answer = post(&server, SERVICES, service("one", spec.clone())).await;
        assert_eq!(answer.code, code, "{spec}: {}", answer.body);
        delete(&server, &format!("{SERVICES}/one")).await;
    }
}

#[tokio::test]
async fn parameters_that_make_no_sense_are_refused() {
    let server = server();
    let list = "/api/v1/namespaces/default/configmaps";
    post(&server, list, json!({"metadata": {"name": "one"}}))
        .await
        .ok();
    for (method, query, kind, code) in [
        ("GET", "?timeoutSeconds=abc", "", 400),
        ("GET", "?timeoutSeconds=5", "", 200),
        ("GET", "?watch=1&continue=x", "", 422),
        (
            "GET",
            "?watch=1&sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=1",
            "",
            422,
        ),
        (
            "PATCH",
            "/one?force=true",
            "application/merge-patch+json",
            422,
        ),
        ("PATCH", "/one", "application/merge-patch+json", 200),
    ] {
        let body = if method == "PATCH" {
            json!({"data": {"a": "b"}})
        } else {
            Value::Null
        };
        let answer = ask(&server, method, &format!("{list}{query}"), kind, body).await;
        assert_eq!(answer.code, code, "{method} {query}: {}", answer.body);
    }
}
