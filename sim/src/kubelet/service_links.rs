//! The variables by which a pod finds Services: `NAME_SERVICE_HOST`, `NAME_PORT_80_TCP`, and so on. Pure.
//!
//! A kubelet gives every container those of all Services of its namespace (unless `enableServiceLinks: false`), and
//! always those of the Service `kubernetes` of the namespace `default`. A headless Service has none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort};

/// The variables for a pod of `namespace`.
pub fn variables<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    namespace: &str,
    links_enabled: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let (Some(name), Some(of)) = (&service.metadata.name, &service.metadata.namespace) else {
            continue;
        };
        if of == namespace && links_enabled {
            chosen.insert(name, service);
        } else if of == "default" && name == "kubernetes" {
            chosen.entry(name).or_insert(service);
        }
    }
    let mut variables = BTreeMap::new();
    for (name, service) in chosen {
        add(&mut variables, name, service);
    }
    variables
}

fn add(variables: &mut BTreeMap<String, String>, name: &str, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let address = match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => return,
        Some(address) => address,
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return };
    let name = variable_name(name);
    let mut set = |suffix: &str, value: String| {
        variables.insert(format!("{name}_{suffix}"), value);
    };
    set("SERVICE_HOST", address.to_owned());
    set("SERVICE_PORT", first.port.to_string());
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let suffix = format!("SERVICE_PORT_{}", variable_name(port_name));
            set(&suffix, port.port.to_string());
        }
    }
    set("PORT", url(address, first));
    for port in ports {
        let protocol = protocol(port);
        let prefix = format!("PORT_{}_{protocol}", port.port);
        set(&prefix, url(address, port));
        set(&format!("{prefix}_PROTO"), protocol.to_lowercase());
        set(&format!("{prefix}_PORT"), port.port.to_string());
        set(&format!("{prefix}_ADDR"), address.to_owned());
    }
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

fn url(address: &str, port: &ServicePort) -> String {
    format!(
        "{}://{address}:{}",
        protocol(port).to_lowercase(),
        port.port
    )
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn service(namespace: &str, name: &str, address: &str, ports: serde_json::Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": address, "ports": ports},
        }))
        .unwrap()
    }

    fn check(namespace: &str, links_enabled: bool, expected: &Expect) {
        let services = [
            service(
                "default",
                "kubernetes",
                "10.96.0.1",
                json!([{"name": "https", "port": 443}]),
            ),
            service(
                "shop",
                "web-front",
                "10.96.0.9",
                json!([{"name": "http-alt", "port": 80}, {"port": 53, "protocol": "UDP"}]),
            ),
            service("shop", "headless", "None", json!([{"port": 80}])),
        ];
        let lines: Vec<String> = variables(&services, namespace, links_enabled)
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn a_pod_sees_the_services_of_its_namespace_and_the_api_server() {
        check(
            "shop",
            true,
            &expect![[r#"
            KUBERNETES_PORT=tcp://10.96.0.1:443
            KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443
            KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1
            KUBERNETES_PORT_443_TCP_PORT=443
            KUBERNETES_PORT_443_TCP_PROTO=tcp
            KUBERNETES_SERVICE_HOST=10.96.0.1
            KUBERNETES_SERVICE_PORT=443
            KUBERNETES_SERVICE_PORT_HTTPS=443
            WEB_FRONT_PORT=tcp://10.96.0.9:80
            WEB_FRONT_PORT_53_UDP=udp://10.96.0.9:53
            WEB_FRONT_PORT_53_UDP_ADDR=10.96.0.9
            WEB_FRONT_PORT_53_UDP_PORT=53
            WEB_FRONT_PORT_53_UDP_PROTO=udp
            WEB_FRONT_PORT_80_TCP=tcp://10.96.0.9:80
            WEB_FRONT_PORT_80_TCP_ADDR=10.96.0.9
            WEB_FRONT_PORT_80_TCP_PORT=80
            WEB_FRONT_PORT_80_TCP_PROTO=tcp
            WEB_FRONT_SERVICE_HOST=10.96.0.9
            WEB_FRONT_SERVICE_PORT=80
            WEB_FRONT_SERVICE_PORT_HTTP_ALT=80"#]],
        );
    }

    #[test]
    fn without_links_only_the_api_server_is_left() {
        check(
            "shop",
            false,
            &expect![[r#"
            KUBERNETES_PORT=tcp://10.96.0.1:443
            KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443
            KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1
            KUBERNETES_PORT_443_TCP_PORT=443
            KUBERNETES_PORT_443_TCP_PROTO=tcp
            KUBERNETES_SERVICE_HOST=10.96.0.1
            KUBERNETES_SERVICE_PORT=443
            KUBERNETES_SERVICE_PORT_HTTPS=443"#]],
        );
        check(
            "other",
            true,
            &expect![[r#"
            KUBERNETES_PORT=tcp://10.96.0.1:443
            KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443
            KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1
            KUBERNETES_PORT_443_TCP_PORT=443
            KUBERNETES_PORT_443_TCP_PROTO=tcp
            KUBERNETES_SERVICE_HOST=10.96.0.1
            KUBERNETES_SERVICE_PORT=443
            KUBERNETES_SERVICE_PORT_HTTPS=443"#]],
        );
    }
}
