//! Cluster addresses and node ports of Services: given on creation, kept while the Service lives, free when it is gone.
//!
//! In: a Service and all others. Out: the Service with its addresses, or a refusal. What is in use is read from the
//! stored Services themselves, so there is no second book that could disagree.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rand::Rng as _;
use serde_json::{Value, json};

use super::resources::Resource;
use super::state::{State, text};
use super::status::Failure;
use super::validate::Cause;

mod families;

/// Node ports, as the real server has them by default.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// Tries before the search goes through the range in order.
const RANDOM_TRIES: usize = 64;

/// Gives a new Service what it needs.
pub(crate) fn allocate(state: &mut State, service: &mut Value) -> Result<(), Failure> {
    complete(state, service)
}

/// Keeps what a Service had where the new form leaves it out, and gives or takes what changed with its type.
pub(crate) fn reallocate(
    state: &mut State,
    old: &Value,
    service: &mut Value,
) -> Result<(), Failure> {
    drop_what_came_with_the_type(old, service);
    keep(old, service);
    complete(state, service)
}

/// A load balancer's address is its own unless it says otherwise.
pub(crate) fn set_ip_modes(resource: &Resource, service: &mut Value) {
    if !resource.is("", "Service") || text(service, "/spec/type") != "LoadBalancer" {
        return;
    }
    let entries = service
        .pointer_mut("/status/loadBalancer/ingress")
        .and_then(Value::as_array_mut);
    for entry in entries
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if entry.contains_key("ip") {
            entry.entry("ipMode").or_insert_with(|| json!("VIP"));
        }
    }
}

/// Refuses addresses that others have or that are outside the range.
pub(crate) fn check(
    state: &State,
    resource: &Resource,
    name: &str,
    old: Option<&Value>,
    object: &Value,
) -> Result<(), Failure> {
    if !resource.is("", "Service") {
        return Ok(());
    }
    let uid = text(object, "/metadata/uid");
    let mut causes = families::faults(object);
    let address = text(object, "/spec/clusterIP");
    let is_new = old.is_none_or(|old| text(old, "/spec/clusterIP") != address);
    if is_new && !matches!(address, "" | "None") {
        let range = state.service_range;
        let is_inside = address
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| range.contains(&address));
        let why = if !is_inside {
            Some("the provided network does not match the current range")
        } else if used_addresses(state, uid).contains(address) {
            Some("provided IP is already allocated")
        } else {
            None
        };
        causes.extend(why.map(|why| Cause {
            reason: "FieldValueInvalid",
            message: format!(
                "Invalid value: {}: failed to allocate IP {address}: {why}",
                object["spec"]["clusterIPs"]
            ),
            field: "spec.clusterIPs".to_owned(),
        }));
    }
    let used = used_ports(state, uid);
    for (index, port) in ports(object).iter().enumerate() {
        let Some(number) = port["nodePort"]
            .as_u64()
            .and_then(|number| u16::try_from(number).ok())
        else {
            continue;
        };
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        let why = if used.contains(&(number, protocol)) {
            "provided port is already allocated".to_owned()
        } else if !NODE_PORTS.contains(&number) {
            format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            )
        } else {
            continue;
        };
        causes.push(Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {number}: {why}"),
            field: format!("spec.ports[{index}].nodePort"),
        });
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid(resource, name, &causes))
    }
}

/// The first address of a range: that of the API server itself.
pub(crate) fn first(range: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()) + 1)
}

/// Whether a Service has this cluster IP.
pub(crate) fn is_used(state: &State, cluster_ip: &str) -> bool {
    used_addresses(state, "").contains(cluster_ip)
}

fn ports(service: &Value) -> Vec<Value> {
    service["spec"]["ports"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

fn others<'a>(state: &'a State, uid: &'a str) -> impl Iterator<Item = &'a Value> {
    let services = state.store.collection("services");
    services
        .into_iter()
        .flat_map(|services| services.range("").map(|(_, service)| &service.value))
        .filter(move |service| text(service, "/metadata/uid") != uid)
}

fn used_addresses(state: &State, uid: &str) -> BTreeSet<String> {
    others(state, uid)
        .map(|service| text(service, "/spec/clusterIP").to_owned())
        .collect()
}

fn used_ports(state: &State, uid: &str) -> BTreeSet<(u16, String)> {
    let mut used = BTreeSet::new();
    for service in others(state, uid) {
        for port in ports(service) {
            let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
            let number = port["nodePort"]
                .as_u64()
                .and_then(|number| u16::try_from(number).ok());
            used.extend(number.map(|number| (number, protocol)));
        }
        let health = service["spec"]["healthCheckNodePort"].as_u64();
        let health = health.and_then(|number| u16::try_from(number).ok());
        used.extend(
            health
                .filter(|&number| number != 0)
                .map(|number| (number, "TCP".to_owned())),
        );
    }
    used
}

fn keep(old: &Value, service: &mut Value) {
    let was_external = text(old, "/spec/type") == "ExternalName";
    let is_external = text(service, "/spec/type") == "ExternalName";
    if is_external || was_external {
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let is_left_out = service["spec"]
            .get(field)
            .is_none_or(|value| value.is_null() || value == "" || value == 0);
        if let (true, Some(value)) = (is_left_out, old["spec"].get(field)) {
            service["spec"][field] = value.clone();
        }
    }
    if !wants_node_ports(service) {
        return;
    }
    let is_local = text(service, "/spec/externalTrafficPolicy") == "Local";
    if let (true, Some(port)) = (is_local, old["spec"].get("healthCheckNodePort")) {
        service["spec"]["healthCheckNodePort"] = port.clone();
    }
    let known = ports(old);
    let Some(new) = service["spec"]["ports"].as_array_mut() else {
        return;
    };
    for port in new
        .iter_mut()
        .filter(|port| port.get("nodePort").is_none_or(|number| number == 0))
    {
        let same = known.iter().find(|one| {
            one["port"] == port["port"]
                && one["protocol"].as_str().unwrap_or("TCP")
                    == port["protocol"].as_str().unwrap_or("TCP")
        });
        if let Some(number) = same.and_then(|one| one.get("nodePort")) {
            port["nodePort"] = number.clone();
        }
    }
}

fn wants_node_ports(service: &Value) -> bool {
    match text(service, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// What only the old type needed goes, unless the client has just asked for another value.
fn drop_what_came_with_the_type(old: &Value, service: &mut Value) {
    let kind = text(service, "/spec/type").to_owned();
    let is_reached_from_outside = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
    let is_local = text(service, "/spec/externalTrafficPolicy") == "Local";
    let mut gone: Vec<&str> = Vec::new();
    if !is_reached_from_outside {
        gone.push("externalTrafficPolicy");
    }
    if kind != "LoadBalancer" {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if kind != "LoadBalancer" || !is_local {
        gone.push("healthCheckNodePort");
    }
    if kind == "ExternalName" {
        gone.extend([
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ]);
    }
    let was_reached_from_outside = wants_node_ports(old);
    let known = ports(old);
    let Some(spec) = service["spec"].as_object_mut() else {
        return;
    };
    for field in gone {
        if spec.get(field) == old["spec"].get(field) {
            spec.remove(field);
        }
    }
    if was_reached_from_outside && !is_reached_from_outside {
        let new = spec
            .get_mut("ports")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten();
        for port in new.filter_map(Value::as_object_mut) {
            if known
                .iter()
                .any(|one| one.get("nodePort") == port.get("nodePort"))
            {
                port.remove("nodePort");
            }
        }
    }
}

fn complete(state: &mut State, service: &mut Value) -> Result<(), Failure> {
    let uid = text(service, "/metadata/uid").to_owned();
    if text(service, "/spec/type") == "ExternalName" {
        return Ok(());
    }
    if text(service, "/spec/clusterIP").is_empty() {
        let given = service["spec"]["clusterIPs"][0].as_str().map(str::to_owned);
        let address = match given {
            Some(address) => address,
            None => free_address(state, &uid)?,
        };
        service["spec"]["clusterIP"] = json!(address);
    }
    if service["spec"].get("clusterIPs").is_none_or(Value::is_null) {
        service["spec"]["clusterIPs"] = json!([service["spec"]["clusterIP"]]);
    }
    if service["spec"].get("ipFamilyPolicy").is_none() {
        let is_headless = text(service, "/spec/clusterIP") == "None";
        let has_selector = service["spec"]["selector"]
            .as_object()
            .is_some_and(|selector| !selector.is_empty());
        let policy = if is_headless && !has_selector {
            "RequireDualStack"
        } else {
            "SingleStack"
        };
        service["spec"]["ipFamilyPolicy"] = json!(policy);
        if service["spec"].get("ipFamilies").is_none() && policy == "RequireDualStack" {
            service["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
        }
    }
    if service["spec"].get("ipFamilies").is_none() {
        service["spec"]["ipFamilies"] = json!(["IPv4"]);
    }
    give_ports(state, service, &uid)
}

fn give_ports(state: &mut State, service: &mut Value, uid: &str) -> Result<(), Failure> {
    let mut used = used_ports(state, uid);
    let needs_health_port = text(service, "/spec/type") == "LoadBalancer"
        && text(service, "/spec/externalTrafficPolicy") == "Local"
        && service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0) == 0;
    if needs_health_port {
        let number = free_port(&mut state.random, &used)?;
        used.insert((number, "TCP".to_owned()));
        service["spec"]["healthCheckNodePort"] = json!(number);
    }
    if !wants_node_ports(service) {
        return Ok(());
    }
    let mut numbers: Vec<(u64, u16)> = Vec::new();
    let Some(ports) = service["spec"]["ports"].as_array_mut() else {
        return Ok(());
    };
    for port in ports.iter_mut().filter(|port| port.is_object()) {
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        if port["nodePort"].as_u64().is_some_and(|number| number != 0) {
            continue;
        }
        // The same port number of another protocol gets the same node port.
        let own = port["port"].as_u64().unwrap_or(0);
        let shared = numbers
            .iter()
            .find(|(port, _)| *port == own)
            .map(|(_, number)| *number);
        let number = match shared.filter(|number| !used.contains(&(*number, protocol.clone()))) {
            Some(number) => number,
            None => free_port(&mut state.random, &used)?,
        };
        used.insert((number, protocol));
        numbers.push((own, number));
        port["nodePort"] = json!(number);
    }
    Ok(())
}

fn free_address(state: &mut State, uid: &str) -> Result<String, Failure> {
    let used = used_addresses(state, uid);
    let range = state.service_range;
    let first = u32::from(range.network()) + 1;
    let last = u32::from(range.broadcast()).saturating_sub(1);
    let is_free = |number: u32| !used.contains(&Ipv4Addr::from(number).to_string());
    for _ in 0..RANDOM_TRIES {
        let number = state.random.random_range(first..=last);
        if is_free(number) {
            return Ok(Ipv4Addr::from(number).to_string());
        }
    }
    (first..=last)
        .find(|&number| is_free(number))
        .map(|number| Ipv4Addr::from(number).to_string())
        .ok_or_else(|| Failure::internal("failed to allocate a serviceIP: range is full"))
}

fn free_port(
    random: &mut rand::rngs::SmallRng,
    used: &BTreeSet<(u16, String)>,
) -> Result<u16, Failure> {
    let is_free = |number: u16| !used.iter().any(|(taken, _)| *taken == number);
    for _ in 0..RANDOM_TRIES {
        let number = random.random_range(NODE_PORTS);
        if is_free(number) {
            return Ok(number);
        }
    }
    NODE_PORTS
        .into_iter()
        .find(|&number| is_free(number))
        .ok_or_else(|| Failure::internal("failed to allocate a nodePort: range is full"))
}
