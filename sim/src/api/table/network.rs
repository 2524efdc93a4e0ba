//! Services, their endpoints and Ingresses as rows.
//!
//! In: an object. Out: its cells. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::{NONE, age, items, labels, name, number, or_none, plain, selector, with_more};

pub(super) const SERVICE: &[&str] = &[
    "Name",
    "Type",
    "Cluster-IP",
    "External-IP",
    "Port(s)",
    "Age",
    "Selector*",
];
pub(super) const ENDPOINTS: &[&str] = &["Name", "Endpoints", "Age"];
pub(super) const ENDPOINT_SLICE: &[&str] = &["Name", "AddressType", "Ports", "Endpoints", "Age"];
pub(super) const INGRESS: &[&str] = &["Name", "Class", "Hosts", "Address", "Ports", "Age"];
pub(super) const INGRESS_CLASS: &[&str] = &["Name", "Controller", "Parameters", "Age"];
pub(super) const POLICY: &[&str] = &["Name", "Pod-Selector", "Age"];

/// Of a Service.
pub(super) fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        spec["type"].clone(),
        or_none(&spec["clusterIP"]),
        Value::from(external_addresses(object)),
        Value::from(service_ports(spec)),
        age(object, now),
        labels(&spec["selector"]),
    ]
}

fn external_addresses(service: &Value) -> String {
    let spec = &service["spec"];
    let given = items(&spec["externalIPs"]).iter().map(plain);
    let (addresses, otherwise): (Vec<String>, &str) =
        match spec["type"].as_str().unwrap_or_default() {
            "ExternalName" => return plain(&spec["externalName"]),
            "LoadBalancer" => (
                load_balancer(service).into_iter().chain(given).collect(),
                "<pending>",
            ),
            _ => (given.collect(), NONE),
        };
    if addresses.is_empty() {
        otherwise.to_owned()
    } else {
        addresses.join(",")
    }
}

/// Addresses or names under which a load balancer is reached.
fn load_balancer(object: &Value) -> Vec<String> {
    let points = items(&object["status"]["loadBalancer"]["ingress"]).iter();
    let mut addresses: Vec<String> = Vec::new();
    for point in points {
        let address = [&point["ip"], &point["hostname"]]
            .into_iter()
            .find_map(|value| value.as_str().filter(|text| !text.is_empty()));
        if let Some(address) = address
            && !addresses.iter().any(|known| known == address)
        {
            addresses.push(address.to_owned());
        }
    }
    addresses.sort();
    addresses
}

fn service_ports(spec: &Value) -> String {
    let ports = items(&spec["ports"])
        .iter()
        .map(|port| match number(&port["nodePort"]) {
            0 => format!("{}/{}", plain(&port["port"]), plain(&port["protocol"])),
            node => format!(
                "{}:{node}/{}",
                plain(&port["port"]),
                plain(&port["protocol"])
            ),
        });
    let ports: Vec<String> = ports.collect();
    if ports.is_empty() {
        NONE.to_owned()
    } else {
        ports.join(",")
    }
}

/// Of an Endpoints object.
pub(super) fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut addresses = Vec::new();
    for subset in items(&object["subsets"]) {
        for address in items(&subset["addresses"]) {
            let address = plain(&address["ip"]);
            let ports = items(&subset["ports"]);
            if ports.is_empty() {
                addresses.push(address.clone());
            }
            addresses.extend(ports.iter().map(|port| match address.contains(':') {
                true => format!("[{address}]:{}", plain(&port["port"])),
                false => format!("{address}:{}", plain(&port["port"])),
            }));
        }
    }
    let text = if addresses.is_empty() {
        NONE.to_owned()
    } else {
        with_more(addresses)
    };
    vec![name(object), Value::from(text), age(object, now)]
}

/// Of an EndpointSlice.
pub(super) fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports =
        items(&object["ports"])
            .iter()
            .map(|port| match (&port["port"], port["name"].as_str()) {
                (Value::Null, Some(name)) if !name.is_empty() => name.to_owned(),
                (Value::Null, _) => "*".to_owned(),
                (port, _) => plain(port),
            });
    let addresses = items(&object["endpoints"])
        .iter()
        .flat_map(|endpoint| items(&endpoint["addresses"]))
        .map(plain);
    let unset = |text: String| {
        Value::from(if text.is_empty() {
            "<unset>".to_owned()
        } else {
            text
        })
    };
    vec![
        name(object),
        object["addressType"].clone(),
        unset(with_more(ports)),
        unset(with_more(addresses)),
        age(object, now),
    ]
}

/// Of an Ingress.
pub(super) fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let hosts = items(&spec["rules"])
        .iter()
        .map(|rule| rule["host"].as_str().unwrap_or_default());
    let hosts = with_more(hosts.filter(|host| !host.is_empty()).map(str::to_owned));
    vec![
        name(object),
        or_none(&spec["ingressClassName"]),
        Value::from(if hosts.is_empty() {
            "*".to_owned()
        } else {
            hosts
        }),
        Value::from(load_balancer(object).join(",")),
        Value::from(if items(&spec["tls"]).is_empty() {
            "80"
        } else {
            "80, 443"
        }),
        age(object, now),
    ]
}

/// Of an IngressClass.
pub(super) fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let parameters = &spec["parameters"];
    let text = if parameters.is_null() {
        NONE.to_owned()
    } else {
        let group = parameters["apiGroup"]
            .as_str()
            .map_or_else(String::new, |group| format!(".{group}"));
        format!(
            "{}{group}/{}",
            plain(&parameters["kind"]),
            plain(&parameters["name"])
        )
    };
    vec![
        name(object),
        spec["controller"].clone(),
        Value::from(text),
        age(object, now),
    ]
}

/// Of a NetworkPolicy.
pub(super) fn policy(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        selector(&object["spec"]["podSelector"]),
        age(object, now),
    ]
}
