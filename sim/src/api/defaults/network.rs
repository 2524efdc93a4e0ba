//! Defaults of Services and what belongs to them.
//!
//! In: an object in canonical form. Out: its defaults filled in. Pure. Addresses and node ports are admission's.

use serde_json::{Map, Value, json};

use super::{each, fill, is_unset, object, text, within};

/// Seconds that a client stays with its pod.
const AFFINITY_TIMEOUT_SECONDS: u32 = 10_800;

/// Fills in the defaults of one object.
pub(super) fn apply(kind: &str, entries: &mut Map<String, Value>) {
    match kind {
        "Service" => within(entries, &["spec"], service),
        "Endpoints" => each(entries, "subsets", |subset| {
            each(subset, "ports", |port| fill(port, "protocol", "TCP"));
        }),
        "EndpointSlice" => each(entries, "ports", |port| {
            fill(port, "protocol", "TCP");
            port.entry("name").or_insert_with(|| json!(""));
        }),
        "IngressClass" => within(entries, &["spec", "parameters"], |parameters| {
            fill(parameters, "scope", "Cluster")
        }),
        _ => within(entries, &["spec"], network_policy),
    }
}

fn service(spec: &mut Map<String, Value>) {
    fill(spec, "type", "ClusterIP");
    fill(spec, "sessionAffinity", "None");
    each(spec, "ports", |port| {
        fill(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        let target = port.get("targetPort");
        if is_unset(target) || target == Some(&json!(0)) {
            port.insert("targetPort".to_owned(), number);
        }
    });
    if text(spec, "sessionAffinity") == "ClientIP" {
        let client =
            object(spec, "sessionAffinityConfig").and_then(|config| object(config, "clientIP"));
        if let Some(client) = client {
            fill(client, "timeoutSeconds", AFFINITY_TIMEOUT_SECONDS);
        }
    } else {
        spec.remove("sessionAffinityConfig");
    }
    let kind = text(spec, "type").to_owned();
    let has_node_ports = kind == "NodePort" || kind == "LoadBalancer";
    if has_node_ports || (kind == "ClusterIP" && !is_unset(spec.get("externalIPs"))) {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
    if has_node_ports || kind == "ClusterIP" {
        fill(spec, "internalTrafficPolicy", "Cluster");
        fill(spec, "ipFamilyPolicy", "SingleStack");
        fill(spec, "ipFamilies", json!(["IPv4"]));
    }
}

fn network_policy(spec: &mut Map<String, Value>) {
    let types = if is_unset(spec.get("egress")) {
        json!(["Ingress"])
    } else {
        json!(["Ingress", "Egress"])
    };
    fill(spec, "policyTypes", types);
    for list in ["ingress", "egress"] {
        each(spec, list, |rule| {
            each(rule, "ports", |port| fill(port, "protocol", "TCP"))
        });
    }
}
