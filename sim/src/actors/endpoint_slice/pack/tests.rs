use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::super::endpoint;
use super::*;
use k8s_openapi::api::core::v1::{Node, Pod};

/// A Service, its pods, and the slices that the API server keeps.
struct World {
    service: Service,
    pods: Vec<Value>,
    slices: Vec<Arc<EndpointSlice>>,
    created: usize,
}

impl World {
    fn new(spec: &Value) -> Self {
        let mut service = json!({
            "metadata": { "name": "web", "namespace": "a", "uid": "service" },
            "spec": { "selector": { "app": "web" }, "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
        });
        json_patch::merge(&mut service["spec"], spec);
        Self {
            service: serde_json::from_value(service).unwrap(),
            pods: Vec::new(),
            slices: Vec::new(),
            created: 0,
        }
    }

    fn add(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.created;
            self.created += 1;
            self.pods.push(json!({
                "metadata": { "name": format!("web-{number:04}"), "namespace": "a", "uid": format!("pod-{number}"), "labels": { "app": "web" } },
                "spec": { "nodeName": "n1", "containers": [{ "name": "app", "ports": [{ "name": "named", "containerPort": 9090 }] }] },
                "status": { "phase": "Running", "podIP": format!("127.9.{}.{}", number / 250, number % 250 + 1),
                    "conditions": [{ "type": "Ready", "status": "True" }] },
            }));
        }
    }

    /// Brings the slices up to date; returns one word per write.
    fn sync(&mut self) -> String {
        let selector = service::selector(&self.service).unwrap();
        let pods: Vec<Arc<Pod>> = self
            .pods
            .iter()
            .map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap()))
            .filter(|pod: &Arc<Pod>| owner::selects(&selector, &pod.metadata))
            .collect();
        let node = json!({ "metadata": { "name": "n1", "labels": { "topology.kubernetes.io/zone": "z1" } } });
        let node: Arc<Node> = Arc::new(serde_json::from_value(node).unwrap());
        let wanted = endpoint::wanted(&self.service, &pods, |name| {
            (name == "n1").then(|| Arc::clone(&node))
        });
        let mut words = Vec::new();
        for action in reconcile(&self.service, wanted.endpoints, &self.slices, None) {
            words.push(match action {
                Action::Create(mut slice) => {
                    let name = format!("web-{}", self.slices.len() + 1);
                    slice.metadata.uid = Some(name.clone());
                    slice.metadata.name = Some(name);
                    self.slices.push(Arc::from(slice));
                    "create"
                }
                Action::Replace(slice) => {
                    let known = self
                        .slices
                        .iter_mut()
                        .find(|known| known.metadata.uid == slice.metadata.uid);
                    *known.unwrap() = Arc::from(slice);
                    "replace"
                }
                Action::Delete(slice) => {
                    self.slices
                        .retain(|known| known.metadata.uid != slice.metadata.uid);
                    "delete"
                }
            });
        }
        words.join(" ")
    }

    fn sizes(&self) -> Vec<usize> {
        let sizes = self
            .slices
            .iter()
            .map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len));
        sizes.collect()
    }

    /// The slices in words: `ports: address RST …`, upper case for true.
    fn show(&self) -> String {
        let lines = self.slices.iter().map(|slice| {
            let ports: Vec<String> = slice
                .ports
                .iter()
                .flatten()
                .map(|port| format!("{}={}", port.name.as_deref().unwrap(), port.port.unwrap()))
                .collect();
            let endpoints: Vec<String> = slice
                .endpoints
                .iter()
                .flatten()
                .map(|endpoint| {
                    let conditions = endpoint.conditions.as_ref().unwrap();
                    let letter =
                        |letter: char, is: Option<bool>| if is.unwrap() { letter } else { '-' };
                    let letters = [
                        letter('R', conditions.ready),
                        letter('S', conditions.serving),
                        letter('T', conditions.terminating),
                    ];
                    format!("{} {}", endpoint.addresses[0], String::from_iter(letters))
                })
                .collect();
            format!("{}: {}\n", ports.join(","), endpoints.join(", "))
        });
        lines.collect()
    }

    #[track_caller]
    fn check(&mut self, writes: &str, expected: Expect) {
        assert_eq!(self.sync(), writes);
        assert_eq!(self.sync(), "", "nothing is left to write");
        expected.assert_eq(&self.show());
    }
}

#[test]
fn an_endpoint_says_how_its_pod_is() {
    let mut world = World::new(&json!({}));
    world.add(3);
    world.pods[1]["status"]["conditions"][0]["status"] = json!("False");
    world.pods[2]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.check(
        "create",
        expect![[r#"
        http=8080: 127.9.0.1 RS-, 127.9.0.2 ---, 127.9.0.3 -ST
    "#]],
    );
    let endpoint = &world.slices[0].endpoints.as_ref().unwrap()[0];
    expect![[r#"{"addresses":["127.9.0.1"],"conditions":{"ready":true,"serving":true,"terminating":false},"nodeName":"n1","targetRef":{"kind":"Pod","name":"web-0000","namespace":"a","uid":"pod-0"},"zone":"z1"}"#]]
        .assert_eq(&serde_json::to_value(endpoint).unwrap().to_string());
    let metadata = serde_json::to_value(&world.slices[0].metadata).unwrap();
    assert_eq!(metadata["generateName"], "web-");
    assert_eq!(
        metadata["labels"],
        json!({ "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io" })
    );
    assert_eq!(
        metadata["ownerReferences"],
        json!([{ "apiVersion": "v1", "kind": "Service", "name": "web", "uid": "service", "controller": true, "blockOwnerDeletion": true }])
    );
}

#[test]
fn a_service_may_publish_what_is_not_ready() {
    let mut world = World::new(&json!({ "publishNotReadyAddresses": true }));
    world.add(2);
    world.pods[0]["status"]["conditions"][0]["status"] = json!("False");
    world.pods[1]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.check(
        "create",
        expect![[r#"
        http=8080: 127.9.0.1 R--, 127.9.0.2 RST
    "#]],
    );
}

#[test]
fn pods_without_address_or_node_and_finished_pods_are_left_out() {
    let mut world = World::new(&json!({}));
    world.add(4);
    world.pods[0]["status"]["podIP"] = json!(null);
    world.pods[1]["spec"]["nodeName"] = json!("gone");
    world.pods[2]["status"]["phase"] = json!("Failed");
    world.check(
        "create",
        expect![[r#"
        http=8080: 127.9.0.4 RS-
    "#]],
    );
}

#[test]
fn a_service_without_pods_has_one_empty_slice_without_ports() {
    let mut world = World::new(&json!({}));
    world.check(
        "create",
        expect![[r#"
        : 
    "#]],
    );
    world.add(1);
    world.check(
        "replace",
        expect![[r#"
        http=8080: 127.9.0.1 RS-
    "#]],
    );
    world.pods.clear();
    world.check(
        "replace",
        expect![[r#"
        : 
    "#]],
    );
}

#[test]
fn each_set_of_ports_has_a_slice_and_a_pod_without_the_name_one_without_ports() {
    let mut world =
        World::new(&json!({ "ports": [{ "name": "http", "port": 80, "targetPort": "named" }] }));
    world.add(3);
    world.pods[1]["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(8080);
    world.pods[2]["spec"]["containers"][0]["ports"] = json!([]);
    world.check(
        "create create create",
        expect![[r#"
        : 127.9.0.3 RS-
        http=8080: 127.9.0.2 RS-
        http=9090: 127.9.0.1 RS-
    "#]],
    );
}

#[test]
fn a_change_of_the_target_port_rewrites_the_slice_in_place() {
    let mut world = World::new(&json!({}));
    world.add(1);
    world.sync();
    world.service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port = 81;
    assert_eq!(
        world.sync(),
        "",
        "the port of the Service is not in the slice"
    );
    let target = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(8081);
    world.service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].target_port = Some(target);
    world.check(
        "replace",
        expect![[r#"
        http=8081: 127.9.0.1 RS-
    "#]],
    );
}

#[test]
fn labels_of_the_service_and_headless_are_copied() {
    let mut world = World::new(&json!({ "clusterIP": "None" }));
    world.add(1);
    world.sync();
    let labels = |world: &World| world.slices[0].metadata.labels.clone().unwrap();
    assert!(labels(&world).contains_key("service.kubernetes.io/headless"));
    world.service.metadata.labels = Some([("team".to_owned(), "front".to_owned())].into());
    assert_eq!(world.sync(), "replace");
    assert_eq!(labels(&world)["team"], "front");
}

#[test]
fn slices_hold_a_hundred_and_one_change_is_one_write() {
    let mut world = World::new(&json!({}));
    world.add(250);
    assert_eq!(
        (world.sync().as_str(), world.sizes()),
        ("create create create", vec![100, 100, 50])
    );
    world.pods[7]["status"]["conditions"][0]["status"] = json!("False");
    assert_eq!(world.sync(), "replace");
    world.pods.remove(7);
    world.add(1);
    assert_eq!(
        (world.sync().as_str(), world.sizes()),
        ("replace", vec![100, 100, 50]),
        "a pod that is replaced stays in its slice"
    );
    world.add(1);
    assert_eq!(
        (world.sync().as_str(), world.sizes()),
        ("replace", vec![100, 100, 51])
    );
}

#[test]
fn slices_are_never_levelled() {
    let mut world = World::new(&json!({}));
    world.add(300);
    world.sync();
    let mut number = 0;
    world.pods.retain(|_| {
        number += 1;
        number % 5 == 0
    });
    assert_eq!(
        (world.sync().as_str(), world.sizes()),
        ("replace replace replace", vec![20, 20, 20])
    );
    world.add(1);
    assert_eq!(
        (world.sync().as_str(), world.sizes().iter().sum::<usize>()),
        ("replace", 61)
    );
}

#[test]
fn a_service_without_selector_is_not_served() {
    let without = World::new(&json!({ "selector": null }));
    let external = World::new(&json!({ "type": "ExternalName" }));
    assert!(service::selector(&without.service).is_none());
    assert!(service::selector(&external.service).is_none());
}

#[test]
fn another_selector_rewrites_the_same_slice() {
    let mut world = World::new(&json!({}));
    world.add(4);
    for number in [2, 3] {
        world.pods[number]["metadata"]["labels"]["app"] = json!("db");
    }
    let select = |world: &mut World, app: &str| {
        let spec = world.service.spec.as_mut().unwrap();
        spec.selector = Some([("app".to_owned(), app.to_owned())].into());
    };
    world.check(
        "create",
        expect![[r#"
            http=8080: 127.9.0.1 RS-, 127.9.0.2 RS-
        "#]],
    );
    select(&mut world, "db");
    world.check(
        "replace",
        expect![[r#"
            http=8080: 127.9.0.3 RS-, 127.9.0.4 RS-
        "#]],
    );
    select(&mut world, "nothing");
    world.check(
        "replace",
        expect![[r#"
            : 
        "#]],
    );
    assert_eq!(world.slices.len(), 1);
}

#[test]
fn with_two_named_ports_each_slice_has_only_those_that_its_pods_have() {
    let mut world = World::new(&json!({ "ports": [
        { "name": "a", "port": 80, "targetPort": "one" },
        { "name": "b", "port": 81, "targetPort": "two" },
    ] }));
    world.add(3);
    world.pods[0]["spec"]["containers"][0]["ports"] =
        json!([{ "name": "one", "containerPort": 8080 }]);
    world.pods[1]["spec"]["containers"][0]["ports"] =
        json!([{ "name": "one", "containerPort": 9090 }]);
    world.pods[2]["spec"]["containers"][0]["ports"] =
        json!([{ "name": "two", "containerPort": 7070 }]);
    world.check(
        "create create create",
        expect![[r#"
            a=8080: 127.9.0.1 RS-
            a=9090: 127.9.0.2 RS-
            b=7070: 127.9.0.3 RS-
        "#]],
    );
}

#[test]
fn each_family_has_its_slices_and_a_pod_is_in_those_that_it_has_an_address_for() {
    let mut world = World::new(&json!({ "ipFamilies": ["IPv4", "IPv6"] }));
    world.add(2);
    world.pods[0]["status"]["podIPs"] = json!([{ "ip": "127.9.0.1" }, { "ip": "fd00::1" }]);
    world.check(
        "create create",
        expect![[r#"
            http=8080: 127.9.0.1 RS-, 127.9.0.2 RS-
            http=8080: fd00::1 RS-
        "#]],
    );
    let families: Vec<&str> = world
        .slices
        .iter()
        .map(|slice| slice.address_type.as_str())
        .collect();
    assert_eq!(families, ["IPv4", "IPv6"]);
    // A Service that gives up a family gives up its slice.
    world.service.spec.as_mut().unwrap().ip_families = Some(vec!["IPv4".into()]);
    world.check(
        "delete",
        expect![[r#"
            http=8080: 127.9.0.1 RS-, 127.9.0.2 RS-
        "#]],
    );
}

#[test]
fn a_family_without_pods_has_an_empty_slice() {
    let mut world = World::new(&json!({ "ipFamilies": ["IPv4", "IPv6"] }));
    world.add(1);
    world.check(
        "create create",
        expect![[r#"
            http=8080: 127.9.0.1 RS-
            : 
        "#]],
    );
}

#[test]
fn two_pods_with_one_address_are_two_endpoints() {
    let mut world = World::new(&json!({}));
    world.add(2);
    world.pods[1]["status"]["podIP"] = json!("127.9.0.1");
    world.check(
        "create",
        expect![[r#"
            http=8080: 127.9.0.1 RS-, 127.9.0.1 RS-
        "#]],
    );
}

#[test]
fn a_pod_on_its_way_out_goes_through_the_recorded_states() {
    let mut world = World::new(&json!({}));
    world.add(1);
    world.check(
        "create",
        expect![[r#"
        http=8080: 127.9.0.1 RS-
    "#]],
    );
    world.pods[0]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.check(
        "replace",
        expect![[r#"
        http=8080: 127.9.0.1 -ST
    "#]],
    );
    world.pods[0]["status"]["conditions"][0]["status"] = json!("False");
    world.check(
        "replace",
        expect![[r#"
        http=8080: 127.9.0.1 --T
    "#]],
    );
    world
        .service
        .spec
        .as_mut()
        .unwrap()
        .publish_not_ready_addresses = Some(true);
    world.check(
        "replace",
        expect![[r#"
        http=8080: 127.9.0.1 R-T
    "#]],
    );
}

/// As recorded: eleven slices of a thousand endpoints stay eleven when most endpoints go, and what is added fills the
/// fullest that it fits into.
#[test]
fn slices_that_are_nearly_empty_are_not_joined_and_the_fullest_that_fits_is_filled() {
    let mut world = World::new(&json!({}));
    // Packed as they came, in parts that left room.
    for part in [95, 95, 95, 95, 95, 95, 95, 95, 95, 95, 50] {
        world.add(part);
        world.sync();
    }
    let before = world.slices.len();
    let mut number = 0;
    world.pods.retain(|_| {
        number += 1;
        number % 10 == 0
    });
    world.sync();
    assert_eq!(world.slices.len(), before, "{:?}", world.sizes());
    let fullest = world.sizes().into_iter().max().unwrap();
    world.add(50);
    assert_eq!(world.sync(), "replace", "one slice takes them all");
    let now = world.sizes().into_iter().max().unwrap();
    assert_eq!(now, fullest + 50);
    assert_eq!(world.slices.len(), before);
}
