use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::table::tests::{nodes, service, slice};
use super::super::table::{self, Listener};
use super::*;

/// The frontend at an address, with pods on the nodes 1 and 2.
fn frontend(spec: Value, at: &str) -> Frontend {
    let pods = [(1, 5, "ready"), (1, 6, "ready"), (2, 5, "ready")];
    let table = table::build([&service(spec)], [&slice(&pods)], &nodes(), 64);
    match table.listeners.get(&at.parse().unwrap()) {
        Some(Listener::Forward(frontend)) => (**frontend).clone(),
        Some(Listener::Health(_)) | None => panic!("nothing at {at}: {:?}", table.listeners),
    }
}

struct World {
    affinity: Affinity,
    now: Instant,
    rng: SmallRng,
}

impl World {
    fn new(affinity_max: usize) -> Self {
        use rand::SeedableRng;
        Self {
            affinity: Affinity::new(affinity_max),
            now: Instant::now(),
            rng: SmallRng::seed_from_u64(1),
        }
    }

    fn route(&mut self, frontend: &Frontend, client: &str) -> Result<Route, Refusal> {
        let (affinity, rng) = (&mut self.affinity, &mut self.rng);
        route(
            frontend,
            client.parse().unwrap(),
            &nodes(),
            affinity,
            self.now,
            rng,
        )
    }

    fn to(&mut self, frontend: &Frontend, client: &str) -> String {
        self.route(frontend, client).unwrap().to.to_string()
    }

    /// All endpoints that a client comes to, and the address it comes from.
    fn seen(&mut self, frontend: &Frontend, client: &str) -> String {
        let mut endpoints = BTreeSet::new();
        let mut sources = BTreeSet::new();
        for _ in 0..100 {
            match self.route(frontend, client) {
                Ok(route) => {
                    endpoints.insert(route.to.ip().to_string());
                    sources.insert(route.from[0].to_string());
                }
                Err(refusal) => return format!("{refusal:?}"),
            }
        }
        let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(" ");
        format!("{} from {}", list(endpoints), list(sources))
    }
}

const POD_OF_2: &str = "127.10.1.9";
const POD_OF_3: &str = "127.10.2.9";
const OUTSIDE: &str = "127.0.0.1";

const ALL: &str = "127.10.0.5 127.10.0.6 127.10.1.5";

/// Cases: a client, and what it comes to at an address of the Service.
#[track_caller]
fn check(spec: &Value, at: &str, cases: &[(&str, &str)]) {
    for (client, expected) in cases {
        let frontend = frontend(spec.clone(), at);
        let seen = World::new(9).seen(&frontend, client);
        assert_eq!(seen, *expected, "{spec} at {at} for {client}");
    }
}

#[test]
fn at_a_cluster_ip_pods_keep_their_address_and_others_come_from_a_node() {
    let (from_pod, from_node) = (
        format!("{ALL} from {POD_OF_2}"),
        format!("{ALL} from 127.10.0.1"),
    );
    let cases = [
        (POD_OF_2, &*from_pod),
        (OUTSIDE, &from_node),
        ("127.10.1.1", &from_node),
    ];
    check(&json!({}), "127.96.0.7:80", &cases);
    // The local policy is that of the client's node.
    let cases = [
        (POD_OF_2, "127.10.1.5 from 127.10.1.9"),
        (POD_OF_3, "NoEndpoint"),
        (OUTSIDE, &from_node),
    ];
    let local = json!({"internalTrafficPolicy": "Local"});
    check(&local, "127.96.0.7:80", &cases);
}

#[test]
fn at_a_node_port_the_local_policy_keeps_the_client_and_the_other_hides_it() {
    let node_port = |policy: &str| json!({"type": "NodePort", "externalTrafficPolicy": policy, "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
    let from_node = format!("{ALL} from 127.10.2.1");
    let cases = [(OUTSIDE, &*from_node), (POD_OF_2, &from_node)];
    check(&node_port("Cluster"), "127.10.2.1:30080", &cases);
    let from_pod = format!("{ALL} from {POD_OF_3}");
    let cases = [
        (OUTSIDE, "127.10.0.5 127.10.0.6 from 127.0.0.1"),
        ("127.10.0.1", "127.10.0.5 127.10.0.6 from 127.10.0.1"),
        (POD_OF_3, &from_pod),
    ];
    check(&node_port("Local"), "127.10.0.1:30080", &cases);
}

#[test]
fn who_comes_back_to_itself_comes_from_its_node() {
    let frontend = frontend(json!({"internalTrafficPolicy": "Local"}), "127.96.0.7:80");
    assert_eq!(
        World::new(9).seen(&frontend, "127.10.1.5"),
        "127.10.1.5 from 127.10.1.1"
    );
}

#[test]
fn only_the_source_ranges_may_come() {
    let spec = json!({
        "type": "LoadBalancer", "loadBalancerSourceRanges": ["127.0.0.0/24"],
        "status": {"loadBalancer": {"ingress": [{"ip": "127.97.0.1"}]}},
    });
    let frontend = frontend(spec, "127.97.0.1:80");
    let mut world = World::new(9);
    assert!(world.route(&frontend, "127.0.0.9").is_ok());
    assert_eq!(
        world.route(&frontend, "127.0.1.9"),
        Err(Refusal::SourceRange)
    );
}

#[test]
fn a_client_stays_with_its_endpoint_until_its_time_is_over() {
    let spec = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}});
    let frontend = frontend(spec, "127.96.0.7:80");
    let mut world = World::new(9);
    let first = world.to(&frontend, POD_OF_2);
    for _ in 0..50 {
        world.now += Duration::from_secs(59);
        assert_eq!(world.to(&frontend, POD_OF_2), first);
    }
    let others: BTreeSet<_> = (0..50)
        .map(|_| {
            world.now += Duration::from_secs(60);
            world.to(&frontend, POD_OF_2)
        })
        .collect();
    assert_eq!(others.len(), 3);
}

#[test]
fn a_client_whose_endpoint_is_gone_gets_another_and_stays_there() {
    let spec = json!({"sessionAffinity": "ClientIP"});
    let mut frontend = frontend(spec, "127.96.0.7:80");
    let mut world = World::new(9);
    let first = world.to(&frontend, POD_OF_2);
    let left = frontend.endpoints.iter().cloned();
    let left = left.filter(|endpoint| endpoint.address.to_string() != first);
    frontend.endpoints = std::sync::Arc::new(left.collect());
    let second = world.to(&frontend, POD_OF_2);
    assert_ne!(second, first);
    for _ in 0..50 {
        assert_eq!(world.to(&frontend, POD_OF_2), second);
    }
}

#[test]
fn memory_for_clients_is_bounded_and_old_ones_make_room() {
    let spec = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}});
    let frontend = frontend(spec, "127.96.0.7:80");
    let mut world = World::new(2);
    for client in 1..=5 {
        world.to(&frontend, &format!("127.0.0.{client}"));
    }
    assert_eq!(
        (world.affinity.entries.len(), world.affinity.forgotten),
        (2, 3)
    );
    world.now += Duration::from_secs(61);
    world.to(&frontend, "127.0.0.6");
    assert_eq!(
        (world.affinity.entries.len(), world.affinity.forgotten),
        (1, 3)
    );
}
