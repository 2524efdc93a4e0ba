use serde_json::{Value, json};

use super::*;

const POOL: &str = "127.97.0.0/29";

/// A Service of type LoadBalancer; the patch is merged into it.
fn service(name: &str, patch: Value) -> Service {
    let mut whole = json!({
        "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}")},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    });
    json_patch::merge(&mut whole, &patch);
    serde_json::from_value(whole).unwrap()
}

fn with_ip(name: &str, ip: &str) -> Service {
    service(name, status(ip))
}

fn status(ip: &str) -> Value {
    json!({"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}})
}

fn pool() -> Pool {
    Pool::new(POOL.parse().unwrap())
}

fn steps(pool: &mut Pool, services: &[Service]) -> Vec<String> {
    let steps = pool.step(services);
    let text = |(key, step): (Key, Step)| match step {
        Step::Assign(ip) => format!("{} gets {ip}", key.name),
        Step::Clear => format!("{} cleared", key.name),
        Step::Fail { message, clears } => format!("{} clears={clears}: {message}", key.name),
    };
    steps.into_iter().map(text).collect()
}

#[track_caller]
fn check(services: &[Service], expected: &[&str]) {
    assert_eq!(steps(&mut pool(), services), expected);
}

#[test]
fn addresses_are_given_in_order_and_kept() {
    check(
        &[
            service("a", json!({})),
            with_ip("b", "127.97.0.1"),
            service("c", json!({})),
        ],
        &["a gets 127.97.0.2", "c gets 127.97.0.3"],
    );
    check(&[with_ip("a", "127.97.0.5")], &[]);
}

#[test]
fn what_was_given_is_remembered_before_the_status_shows_it() {
    let mut pool = pool();
    assert_eq!(
        steps(&mut pool, &[service("b", json!({}))]),
        ["b gets 127.97.0.1"]
    );
    let both = [service("a", json!({})), service("b", json!({}))];
    assert_eq!(
        steps(&mut pool, &both),
        ["a gets 127.97.0.2", "b gets 127.97.0.1"]
    );
}

#[test]
fn an_address_is_free_when_its_service_is_gone_or_of_another_type() {
    let mut pool = pool();
    steps(&mut pool, &[service("a", json!({}))]);
    assert_eq!(
        steps(&mut pool, &[service("b", json!({}))]),
        ["b gets 127.97.0.1"]
    );
    let mut changed = status("127.97.0.1");
    changed["spec"] = json!({"type": "NodePort"});
    let services = [service("b", changed), service("c", json!({}))];
    assert_eq!(
        steps(&mut pool, &services),
        ["b cleared", "c gets 127.97.0.1"]
    );
}

#[test]
fn wishes_are_granted_in_each_of_their_forms() {
    let annotated = |name: &str| json!({"metadata": {"annotations": {name: "127.97.0.4"}}});
    for wish in [
        json!({"spec": {"loadBalancerIP": "127.97.0.4"}}),
        annotated("metallb.io/loadBalancerIPs"),
        annotated("metallb.universe.tf/loadBalancerIPs"),
    ] {
        check(&[service("a", wish.clone())], &["a gets 127.97.0.4"]);
        // Another address than the one it has, and one that a later Service must not take.
        let mut changed = wish;
        changed["status"] = status("127.97.0.1")["status"].clone();
        check(
            &[service("a", changed), service("b", json!({}))],
            &["a gets 127.97.0.4", "b gets 127.97.0.1"],
        );
    }
}

#[test]
fn what_cannot_be_granted_is_told_once() {
    let wish = |ip: &str| json!({"spec": {"loadBalancerIP": ip}});
    let cases = [
        (wish("192.0.2.1"), "\"192.0.2.1\" is not allowed in config"),
        (
            wish("x"),
            "invalid spec.loadBalancerIP \"x\": one IPv4 address is expected",
        ),
        (
            wish("127.97.0.1"),
            "can't change sharing key for \"shop/b\", address also in use by shop/a",
        ),
        (
            json!({"metadata": {"annotations": {"metallb.io/address-pool": "gold"}}}),
            "unknown pool \"gold\"",
        ),
        (
            json!({"metadata": {"annotations": {"metallb.io/loadBalancerIPs": "127.97.0.2"}}, "spec": {"loadBalancerIP": "127.97.0.2"}}),
            "service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP",
        ),
    ];
    for (patch, why) in cases {
        let mut pool = pool();
        let services = [with_ip("a", "127.97.0.1"), service("b", patch)];
        let told = format!("b clears=false: Failed to allocate IP for \"shop/b\": {why}");
        assert_eq!(steps(&mut pool, &services), [told]);
        assert_eq!(steps(&mut pool, &services), [""; 0]);
    }
}

#[test]
fn an_address_from_elsewhere_is_replaced_and_one_that_two_have_stays_with_the_older() {
    check(&[with_ip("a", "192.0.2.1")], &["a gets 127.97.0.1"]);
    check(
        &[with_ip("a", "127.97.0.1"), with_ip("b", "127.97.0.1")],
        &["b gets 127.97.0.2"],
    );
}

#[test]
fn a_full_pool_gives_nothing_until_one_goes() {
    let mut pool = pool();
    let mut services: Vec<Service> = (1..=7)
        .map(|n| service(&format!("s{n}"), json!({})))
        .collect();
    let first = steps(&mut pool, &services);
    assert_eq!(first[5], "s6 gets 127.97.0.6");
    assert_eq!(
        first[6],
        "s7 clears=false: Failed to allocate IP for \"shop/s7\": no available IPs"
    );
    services.remove(2);
    assert_eq!(
        steps(&mut pool, &services).last().unwrap(),
        "s7 gets 127.97.0.3"
    );
}

#[test]
fn other_classes_are_left_alone() {
    let mut other = status("127.97.0.1");
    other["spec"] = json!({"loadBalancerClass": "example.com/other"});
    check(&[service("a", other)], &[]);
    let ours = json!({"spec": {"loadBalancerClass": CLASS}});
    check(&[service("a", ours)], &["a gets 127.97.0.1"]);
}

#[test]
fn services_share_an_address_when_they_agree() {
    let sharing = |key: &str, port: u16, extra: Value| {
        let mut patch = json!({
            "metadata": {"annotations": {"metallb.io/allow-shared-ip": key}},
            "spec": {"loadBalancerIP": "127.97.0.1", "ports": [{"port": port}]},
        });
        json_patch::merge(&mut patch, &extra);
        patch
    };
    let first = service("a", sharing("k", 80, status("127.97.0.1")));
    let cases = [
        (sharing("k", 443, json!({})), "b gets 127.97.0.1".to_owned()),
        (
            sharing("k", 80, json!({})),
            "b clears=false: Failed to allocate IP for \"shop/b\": port tcp/80 is already in use on \"127.97.0.1\"".to_owned(),
        ),
        (
            sharing("other", 443, json!({})),
            "b clears=false: Failed to allocate IP for \"shop/b\": can't change sharing key for \"shop/b\", address also in use by shop/a".to_owned(),
        ),
        (
            sharing("k", 443, json!({"spec": {"externalTrafficPolicy": "Local", "selector": {"app": "b"}}})),
            "b clears=false: Failed to allocate IP for \"shop/b\": can't change sharing key for \"shop/b\", address also in use by shop/a".to_owned(),
        ),
    ];
    for (patch, expected) in cases {
        assert_eq!(
            steps(&mut pool(), &[first.clone(), service("b", patch)]),
            [expected]
        );
    }
}
