//! Services and their endpoints.
//!
//! In: an object with its defaults, for a change also the old one. Out: causes. Pure. Which addresses and node ports are
//! free is admission's.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Causes, is_empty, items, metadata, names, text};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;

/// Of a Service.
pub(super) fn service(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let kind = text(&spec["type"]);
    let is_headless = spec["clusterIP"] == "None";
    let ports = items(&spec["ports"]);
    if let Some(old) = old {
        immutable_address(&old["spec"], spec, causes);
    }
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        causes.required("spec.ports", "");
    }
    if is_headless && matches!(kind, "LoadBalancer" | "NodePort") {
        let why = format!("may not be set to 'None' for {kind} services");
        causes.invalid("spec.clusterIPs[0]", &spec["clusterIP"], &why);
    }
    if kind == "ExternalName" {
        external_name(spec, causes);
    }
    let mut known = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        service_port(
            port,
            ports.len() > 1,
            &mut known,
            &format!("spec.ports[{index}]"),
            causes,
        );
    }
    metadata::labels(&spec["selector"], "spec.selector", causes);
    causes.one_of(
        &spec["sessionAffinity"],
        "spec.sessionAffinity",
        &["ClientIP", "None"],
    );
    if kind != "ExternalName" {
        cluster_addresses(spec, causes);
    }
    for (index, address) in items(&spec["externalIPs"]).iter().enumerate() {
        plain_address(address, &format!("spec.externalIPs[{index}]"), causes);
    }
    causes.one_of(&spec["type"], "spec.type", &TYPES);
    if kind == "ClusterIP" {
        for (index, port) in ports.iter().enumerate() {
            if port["nodePort"].as_i64().is_some_and(|number| number != 0) {
                let why = "may not be used when `type` is 'ClusterIP'";
                causes.forbidden(format!("spec.ports[{index}].nodePort"), why);
            }
        }
    }
    repeated_ports(ports, causes);
    traffic_policy(spec, kind, causes);
}

fn external_name(spec: &Value, causes: &mut Causes) {
    if !is_empty(&spec["clusterIP"]) {
        causes.forbidden(
            "spec.clusterIPs",
            "may not be set for ExternalName services",
        );
    }
    let name = text(&spec["externalName"]);
    if name.is_empty() {
        causes.required("spec.externalName", "");
    } else {
        let bare = name.strip_suffix('.').unwrap_or(name);
        causes.each_invalid("spec.externalName", name, names::subdomain(bare));
    }
}

/// An address that a Service has stays while it needs one.
fn immutable_address(old: &Value, new: &Value, causes: &mut Causes) {
    let keeps = old["type"] != "ExternalName" && new["type"] != "ExternalName";
    if keeps && !is_empty(&old["clusterIP"]) && old["clusterIP"] != new["clusterIP"] {
        let addresses = if new["clusterIPs"].is_null() {
            json!([new["clusterIP"]])
        } else {
            new["clusterIPs"].clone()
        };
        causes.invalid("spec.clusterIPs[0]", &addresses, "may not change once set");
    }
}

fn service_port<'a>(
    port: &'a Value,
    needs_name: bool,
    known: &mut BTreeSet<&'a str>,
    field: &str,
    causes: &mut Causes,
) {
    let name = text(&port["name"]);
    if name.is_empty() && needs_name {
        causes.required(format!("{field}.name"), "");
    } else if !name.is_empty() {
        causes.each_invalid(&format!("{field}.name"), name, names::label(name));
        if !known.insert(name) {
            causes.duplicate(format!("{field}.name"), &format!("{name:?}"));
        }
    }
    causes.port_number(&port["port"], &format!("{field}.port"));
    causes.one_of(&port["protocol"], &format!("{field}.protocol"), &PROTOCOLS);
    target_port(&port["targetPort"], &format!("{field}.targetPort"), causes);
    if let Some(protocol) = port["appProtocol"].as_str() {
        causes.each_invalid(
            &format!("{field}.appProtocol"),
            protocol,
            names::qualified(protocol),
        );
    }
}

/// A port by number or by name.
pub(super) fn target_port(port: &Value, field: &str, causes: &mut Causes) {
    match port.as_str() {
        Some(name) => causes.each_invalid(field, name, names::port_name(name)),
        None => causes.port_number(port, field),
    }
}

fn cluster_addresses(spec: &Value, causes: &mut Causes) {
    let one = [spec["clusterIP"].clone()];
    let addresses = Some(items(&spec["clusterIPs"]))
        .filter(|list| !list.is_empty())
        .unwrap_or(&one);
    for (index, address) in addresses
        .iter()
        .enumerate()
        .filter(|(_, address)| !is_empty(address) && *address != "None")
    {
        if let Err(why) = names::address(text(address)) {
            causes.invalid(format!("spec.clusterIPs[{index}]"), address, why);
        }
    }
}

fn repeated_ports(ports: &[Value], causes: &mut Causes) {
    let mut known = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        if !known.insert((text(&port["protocol"]), port["port"].as_i64())) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                port["protocol"], port["port"]
            );
            causes.duplicate(format!("spec.ports[{index}]"), &shown);
        }
    }
}

fn traffic_policy(spec: &Value, kind: &str, causes: &mut Causes) {
    let policy = &spec["externalTrafficPolicy"];
    let is_external =
        matches!(kind, "NodePort" | "LoadBalancer") || !items(&spec["externalIPs"]).is_empty();
    if !is_empty(policy) && !is_external {
        causes.invalid(
            "spec.externalTrafficPolicy",
            policy,
            "may only be set for externally-accessible services",
        );
    } else if !is_empty(policy) {
        causes.one_of(policy, "spec.externalTrafficPolicy", &["Cluster", "Local"]);
    }
    if kind != "ExternalName" && !is_empty(&spec["internalTrafficPolicy"]) {
        causes.one_of(
            &spec["internalTrafficPolicy"],
            "spec.internalTrafficPolicy",
            &["Cluster", "Local"],
        );
    }
}

/// An address to which traffic can be sent.
fn plain_address(address: &Value, field: &str, causes: &mut Causes) {
    let parsed = match names::address(text(address)) {
        Ok(parsed) => parsed,
        Err(why) => return causes.invalid(field, address, why),
    };
    let is_link_local = match parsed {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let is_link_local_multicast = match parsed {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    if parsed.is_unspecified() {
        causes.invalid(
            field,
            address,
            &format!("may not be unspecified ({parsed})"),
        );
    }
    if parsed.is_loopback() {
        causes.invalid(field, address, super::LOOPBACK);
    }
    if is_link_local {
        causes.invalid(
            field,
            address,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        );
    }
    if is_link_local_multicast {
        causes.invalid(
            field,
            address,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        );
    }
}

/// Of an EndpointSlice.
pub(super) fn endpoint_slice(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    if let Some(old) = old {
        causes.immutable(&old["addressType"], &object["addressType"], "addressType");
    }
    causes.one_of(&object["addressType"], "addressType", &ADDRESS_TYPES);
    let endpoints = items(&object["endpoints"]);
    if endpoints.len() > ENDPOINTS_MAX {
        return causes.too_many("endpoints", endpoints.len(), ENDPOINTS_MAX);
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        slice_endpoint(
            endpoint,
            text(&object["addressType"]),
            &format!("endpoints[{index}]"),
            causes,
        );
    }
    let ports = items(&object["ports"]);
    if ports.len() > PORTS_MAX {
        return causes.too_many("ports", ports.len(), PORTS_MAX);
    }
    let mut known = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let name = text(&port["name"]);
        if !name.is_empty() {
            causes.each_invalid(&format!("ports[{index}].name"), name, names::label(name));
        }
        if !known.insert(name) {
            causes.duplicate(format!("ports[{index}].name"), &format!("{name:?}"));
        }
        causes.one_of(
            &port["protocol"],
            &format!("ports[{index}].protocol"),
            &PROTOCOLS,
        );
    }
}

fn slice_endpoint(endpoint: &Value, address_type: &str, field: &str, causes: &mut Causes) {
    let addresses = items(&endpoint["addresses"]);
    if addresses.is_empty() {
        causes.required(
            format!("{field}.addresses"),
            "must contain at least 1 address",
        );
    }
    if addresses.len() > ADDRESSES_MAX {
        causes.too_many(format!("{field}.addresses"), addresses.len(), ADDRESSES_MAX);
    }
    for (index, address) in addresses.iter().take(ADDRESSES_MAX).enumerate() {
        let at = format!("{field}.addresses[{index}]");
        let is_six = text(address)
            .parse::<IpAddr>()
            .map(|address| address.is_ipv6());
        match (address_type, is_six) {
            ("FQDN", _) => causes.each_invalid(&at, text(address), names::subdomain(text(address))),
            ("IPv4", Ok(true)) => causes.invalid(
                format!("{field}.addresses"),
                address,
                "must be an IPv4 address",
            ),
            ("IPv6", Ok(false)) => causes.invalid(
                format!("{field}.addresses"),
                address,
                "must be an IPv6 address",
            ),
            ("IPv4" | "IPv6", _) => plain_address(address, &at, causes),
            _ => {}
        }
    }
    if let Some(node) = endpoint["nodeName"].as_str() {
        causes.each_invalid(&format!("{field}.nodeName"), node, names::subdomain(node));
    }
}

/// Of an Endpoints object.
pub(super) fn endpoints(object: &Value, causes: &mut Causes) {
    for (index, subset) in items(&object["subsets"]).iter().enumerate() {
        let field = format!("subsets[{index}]");
        let ready = items(&subset["addresses"]);
        let not_ready = items(&subset["notReadyAddresses"]);
        if ready.is_empty() && not_ready.is_empty() {
            causes.required(&field, "must specify `addresses` or `notReadyAddresses`");
        }
        for (list, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
            for (index, address) in addresses.iter().enumerate() {
                let at = format!("{field}.{list}[{index}].ip");
                plain_address(&address["ip"], &at, causes);
                if names::address(text(&address["ip"])).is_err() {
                    causes.invalid(at, &address["ip"], "must be a valid IP address");
                }
            }
        }
        let ports = items(&subset["ports"]);
        for (index, port) in ports.iter().enumerate() {
            if ports.len() > 1 && is_empty(&port["name"]) {
                causes.required(format!("{field}.ports[{index}].name"), "");
            }
            causes.port_number(&port["port"], &format!("{field}.ports[{index}].port"));
            causes.one_of(
                &port["protocol"],
                &format!("{field}.ports[{index}].protocol"),
                &PROTOCOLS,
            );
        }
    }
}

/// Of the status of a Service or an Ingress.
pub(super) fn load_balancer_status(status: &Value, causes: &mut Causes) {
    for (index, point) in items(&status["loadBalancer"]["ingress"]).iter().enumerate() {
        let field = format!("status.loadBalancer.ingress[{index}]");
        if let Some(Err(why)) = point["ip"]
            .as_str()
            .filter(|ip| !ip.is_empty())
            .map(names::address)
        {
            causes.invalid(format!("{field}.ip"), &point["ip"], why);
        }
        let host = text(&point["hostname"]);
        if !host.is_empty() {
            causes.each_invalid(&format!("{field}.hostname"), host, names::subdomain(host));
        }
    }
}
