use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use super::*;

/// Four nodes in two zones, and one without zone.
fn nodes() -> Vec<Arc<Node>> {
    let node = |name: &str, labels: Value| {
        let node = json!({ "metadata": { "name": name, "labels": labels } });
        Arc::new(serde_json::from_value(node).unwrap())
    };
    vec![
        node("a1", json!({ "zone": "a", "host": "a1" })),
        node("a2", json!({ "zone": "a", "host": "a2" })),
        node("b1", json!({ "zone": "b", "host": "b1" })),
        node("b2", json!({ "zone": "b", "host": "b2" })),
        node("none", json!({ "host": "none" })),
    ]
}

fn pod(namespace: &str, app: &str, spec: &Value) -> Pod {
    let mut pod = json!({
        "metadata": { "name": "p", "namespace": namespace, "labels": { "app": app } },
        "spec": { "containers": [] },
    });
    json_patch::merge(&mut pod["spec"], spec);
    serde_json::from_value(pod).unwrap()
}

fn placed(node: &str, namespace: &str, app: &str, spec: &Value) -> Placed {
    Placed {
        pod: Arc::new(pod(namespace, app, spec)),
        node: node.into(),
    }
}

/// For each node `+`, or the first letters of why not: `?` label missing, `s`pread, `f` affinity, `x` anti-affinity, `o` of
/// others.
fn answers(pod: &Pod, placed: &[Placed]) -> String {
    let nodes = nodes();
    let namespace = json!({ "metadata": { "name": "other", "labels": { "team": "db" } } });
    let namespaces: [Arc<Namespace>; 1] = [Arc::new(serde_json::from_value(namespace).unwrap())];
    let topology = Topology::new(
        pod,
        &Surroundings {
            nodes: &nodes,
            placed,
            namespaces: &namespaces,
        },
    );
    let letters = nodes.iter().map(|node| match topology.misfit(node) {
        None => '+',
        Some(Misplaced::SpreadLabelMissing) => '?',
        Some(Misplaced::Spread) => 's',
        Some(Misplaced::Affinity) => 'f',
        Some(Misplaced::AntiAffinity) => 'x',
        Some(Misplaced::AntiAffinityOfOthers) => 'o',
    });
    letters.collect()
}

fn affinity(kind: &str, key: &str, change: &Value) -> Value {
    let mut term =
        json!({ "topologyKey": key, "labelSelector": { "matchLabels": { "app": "web" } } });
    json_patch::merge(&mut term, change);
    json!({ "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [term] } } })
}

#[test]
fn anti_affinity_keeps_pods_apart_in_both_directions() {
    let apart = affinity("podAntiAffinity", "host", &json!({}));
    let none = json!({});
    let at = |node: &str, namespace: &str| placed(node, namespace, "web", &none);
    let cases = [
        (vec![], "+++++"),
        (vec![at("a1", "shop")], "x++++"),
        (vec![at("a1", "elsewhere")], "+++++"),
        (vec![at("a1", "shop"), at("none", "shop")], "x+++x"),
    ];
    for (others, expected) in cases {
        assert_eq!(answers(&pod("shop", "web", &apart), &others), expected);
    }
    let zone = affinity("podAntiAffinity", "zone", &json!({}));
    let guard = [placed("a1", "shop", "db", &zone)];
    assert_eq!(answers(&pod("shop", "web", &none), &guard), "oo+++");
    assert_eq!(answers(&pod("shop", "cache", &none), &guard), "+++++");
    let everywhere = affinity(
        "podAntiAffinity",
        "zone",
        &json!({ "namespaceSelector": { "matchLabels": { "team": "db" } } }),
    );
    let others = [at("b1", "other"), at("a1", "shop")];
    assert_eq!(answers(&pod("shop", "web", &everywhere), &others), "++xx+");
}

#[test]
fn affinity_wants_company_unless_the_pod_is_the_first_of_its_group() {
    let together = affinity("podAffinity", "zone", &json!({}));
    let none = json!({});
    assert_eq!(answers(&pod("shop", "web", &together), &[]), "++++f");
    assert_eq!(answers(&pod("shop", "db", &together), &[]), "fffff");
    let web = [placed("b2", "shop", "web", &none)];
    assert_eq!(answers(&pod("shop", "web", &together), &web), "ff++f");
    assert_eq!(answers(&pod("shop", "db", &together), &web), "ff++f");
}

#[test]
fn pods_are_spread_over_domains_to_within_the_skew() {
    let spread = |change: &Value| {
        let mut constraint = json!({
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": { "matchLabels": { "app": "web" } },
        });
        json_patch::merge(&mut constraint, change);
        json!({ "topologySpreadConstraints": [constraint] })
    };
    let none = json!({});
    let web = |node: &str| placed(node, "shop", "web", &none);
    let cases = [
        (json!({}), vec![], "++++?"),
        (json!({}), vec![web("a1")], "ss++?"),
        (json!({}), vec![web("a1"), web("b1")], "++++?"),
        (json!({ "maxSkew": 2 }), vec![web("a1")], "++++?"),
        (
            json!({ "minDomains": 3 }),
            vec![web("a1"), web("b1")],
            "ssss?",
        ),
        (
            json!({ "whenUnsatisfiable": "ScheduleAnyway" }),
            vec![web("a1")],
            "+++++",
        ),
    ];
    for (change, others, expected) in cases {
        let pod = pod("shop", "web", &spread(&change));
        assert_eq!(answers(&pod, &others), expected, "{change}");
    }
    // Only nodes that the pod could be on count.
    let mut narrow = spread(&json!({}));
    narrow["nodeSelector"] = json!({ "zone": "a" });
    assert_eq!(answers(&pod("shop", "web", &narrow), &[web("a1")]), "++++?");
}
