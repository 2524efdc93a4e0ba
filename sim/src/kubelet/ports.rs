//! On which ports a container of an image that we do not have is reached. Pure.
//!
//! Its `containerPorts`, and the targetPorts of the Services that select its pod: many manifests declare no
//! containerPorts, because Kubernetes takes them for documentation.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The TCP ports that a container declares.
#[must_use]
pub fn declared(container: &Container) -> BTreeSet<u16> {
    let ports = container.ports.iter().flatten();
    ports
        .filter(|port| is_tcp(port.protocol.as_deref()))
        .filter_map(|port| number(port.container_port))
        .collect()
}

/// The TCP ports that Services send to the pod, without those that a container declares.
pub fn of_services<'a>(
    pod: &Pod,
    services: impl IntoIterator<Item = &'a Service>,
) -> BTreeSet<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let taken: BTreeSet<u16> = containers.flat_map(declared).collect();
    services
        .into_iter()
        .filter(|service| selects(service, pod))
        .flat_map(|service| {
            service
                .spec
                .iter()
                .flat_map(|spec| spec.ports.iter().flatten())
        })
        .filter(|port| is_tcp(port.protocol.as_deref()))
        .filter_map(|port| target(port, pod))
        .filter(|port| !taken.contains(port))
        .collect()
}

/// Whether the Service's selector names the pod. A Service without a selector selects nothing.
fn selects(service: &Service, pod: &Pod) -> bool {
    if service.metadata.namespace != pod.metadata.namespace {
        return false;
    }
    let none = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.selector.as_ref())
        .filter(|selector| !selector.is_empty())
        .is_some_and(|selector| {
            selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        })
}

fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target_port {
        None => number(port.port),
        Some(IntOrString::Int(port)) => number(*port),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            containers
                .flat_map(|container| container.ports.iter().flatten())
                .find(|port| port.name.as_ref() == Some(name))
                .and_then(|port| number(port.container_port))
        }
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.unwrap_or("TCP") == "TCP"
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(namespace: &str, selector: Value, port: Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": namespace},
            "spec": {"selector": selector, "ports": [port]},
        }))
        .unwrap()
    }

    #[test]
    fn target_ports_of_the_services_that_select_the_pod_are_served() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web", "tier": "x"}},
            "spec": {"containers": [
                {"name": "web", "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}]},
                {"name": "side", "ports": [{"name": "admin", "containerPort": 9000}]},
            ]},
        }))
        .unwrap();
        assert_eq!(
            declared(&pod.spec.as_ref().unwrap().containers[0]),
            BTreeSet::from([8080])
        );

        let web = || json!({"app": "web"});
        let cases = [
            ("shop", web(), json!({"port": 80}), vec![80]),
            (
                "shop",
                web(),
                json!({"port": 80, "targetPort": 5000}),
                vec![5000],
            ),
            (
                "shop",
                web(),
                json!({"port": 80, "targetPort": "http"}),
                vec![],
            ),
            (
                "shop",
                web(),
                json!({"port": 80, "targetPort": 9000}),
                vec![],
            ),
            (
                "shop",
                web(),
                json!({"port": 80, "targetPort": "no"}),
                vec![],
            ),
            (
                "shop",
                web(),
                json!({"port": 80, "protocol": "UDP"}),
                vec![],
            ),
            (
                "shop",
                json!({"app": "web", "tier": "y"}),
                json!({"port": 80}),
                vec![],
            ),
            ("shop", json!({}), json!({"port": 80}), vec![]),
            ("other", web(), json!({"port": 80}), vec![]),
        ];
        for (namespace, selector, port, expected) in cases {
            let service = service(namespace, selector.clone(), port.clone());
            let ports: Vec<u16> = of_services(&pod, [&service]).into_iter().collect();
            assert_eq!(ports, expected, "{namespace} {selector} {port}");
        }
    }
}
