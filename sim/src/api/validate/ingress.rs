//! Ingress and IngressClass.
//!
//! In: an object with its defaults. Out: causes. Pure.

use serde_json::Value;

use super::{Causes, is_empty, items, names, text};

/// What a path of type Exact or Prefix may not contain, and how it may not end.
const PATH_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const PATH_ENDS: [&str; 2] = ["/..", "/."];
const CONTROLLER_BYTES_MAX: usize = 250;

/// Of an Ingress.
pub(super) fn ingress(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let rules = items(&spec["rules"]);
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        causes.invalid("spec", &spec["rules"], why);
    }
    if !spec["defaultBackend"].is_null() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", causes);
    }
    for (index, each) in rules.iter().enumerate() {
        rule(each, &format!("spec.rules[{index}]"), causes);
    }
    for (index, each) in items(&spec["tls"]).iter().enumerate() {
        tls(each, &format!("spec.tls[{index}]"), causes);
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        causes.each_invalid("spec.ingressClassName", class, names::subdomain(class));
    }
}

fn rule(rule: &Value, field: &str, causes: &mut Causes) {
    let host = text(&rule["host"]);
    if !host.is_empty() {
        let field = format!("{field}.host");
        if names::address(host).is_ok() {
            causes.invalid(
                &field,
                &rule["host"],
                "must be a DNS name, not an IP address",
            );
        }
        causes.each_invalid(&field, host, host_faults(host));
    }
    let http = &rule["http"];
    if http.is_null() {
        return;
    }
    if items(&http["paths"]).is_empty() {
        causes.required(format!("{field}.http.paths"), "");
    }
    for (index, each) in items(&http["paths"]).iter().enumerate() {
        path(each, &format!("{field}.http.paths[{index}]"), causes);
    }
}

fn host_faults(host: &str) -> Vec<String> {
    if host.contains('*') {
        names::wildcard(host)
    } else {
        names::subdomain(host)
    }
}

fn path(path: &Value, field: &str, causes: &mut Causes) {
    let text = text(&path["path"]);
    let mut invalid = |why: &str| causes.invalid(format!("{field}.path"), &Value::from(text), why);
    match path["pathType"].as_str() {
        None => return causes.required(format!("{field}.pathType"), "pathType must be specified"),
        Some("Exact" | "Prefix") => {
            if !text.starts_with('/') {
                invalid("must be an absolute path");
            }
            for bad in PATH_SEQUENCES.iter().filter(|bad| text.contains(**bad)) {
                invalid(&format!("must not contain '{bad}'"));
            }
            for bad in PATH_ENDS.iter().filter(|bad| text.ends_with(**bad)) {
                invalid(&format!("cannot end with '{bad}'"));
            }
        }
        Some("ImplementationSpecific") => {
            if !text.is_empty() && !text.starts_with('/') {
                invalid("must be an absolute path");
            }
        }
        Some(_) => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            causes.not_supported(format!("{field}.pathType"), &path["pathType"], &supported);
        }
    }
    backend(&path["backend"], &format!("{field}.backend"), causes);
}

fn backend(backend: &Value, field: &str, causes: &mut Causes) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    let nothing = Value::from("");
    match (service.is_null(), resource.is_null()) {
        (false, false) => causes.invalid(
            field,
            &nothing,
            "cannot set both resource and service backends",
        ),
        (true, true) => causes.invalid(field, &nothing, "resource or service backend is required"),
        (true, false) => {
            for member in ["kind", "name"] {
                if is_empty(&resource[member]) {
                    causes.required(format!("{field}.resource.{member}"), "");
                }
            }
        }
        (false, true) => service_backend(service, field, causes),
    }
}

fn service_backend(service: &Value, field: &str, causes: &mut Causes) {
    let name = text(&service["name"]);
    if name.is_empty() {
        causes.required(format!("{field}.service.name"), "");
    } else {
        causes.each_invalid(&format!("{field}.service.name"), name, names::label(name));
    }
    let port = &service["port"];
    let port_name = text(&port["name"]);
    let has_number = port["number"].as_i64().is_some_and(|number| number != 0);
    match (!port_name.is_empty(), has_number) {
        (true, true) => causes.invalid(
            field,
            &Value::from(""),
            "cannot set both port name & port number",
        ),
        (true, false) => {
            causes.each_invalid(
                &format!("{field}.service.port.name"),
                port_name,
                names::port_name(port_name),
            );
        }
        (false, true) => {
            causes.port_number(&port["number"], &format!("{field}.service.port.number"))
        }
        (false, false) => causes.required(field, "port name or number is required"),
    }
}

fn tls(tls: &Value, field: &str, causes: &mut Causes) {
    for (index, host) in items(&tls["hosts"]).iter().map(text).enumerate() {
        causes.each_invalid(&format!("{field}.hosts[{index}]"), host, host_faults(host));
    }
    let secret = text(&tls["secretName"]);
    if !secret.is_empty() {
        causes.each_invalid(
            &format!("{field}.secretName"),
            secret,
            names::subdomain(secret),
        );
    }
}

/// Of an IngressClass.
pub(super) fn ingress_class(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    if let Some(old) = old {
        return causes.immutable(
            &old["spec"]["controller"],
            &spec["controller"],
            "spec.controller",
        );
    }
    let controller = text(&spec["controller"]);
    if controller.len() > CONTROLLER_BYTES_MAX {
        causes.too_long("spec.controller", CONTROLLER_BYTES_MAX);
    }
    if controller.is_empty() {
        causes.required("spec.controller", "");
    } else {
        let domain = controller
            .split_once('/')
            .filter(|(domain, _)| !names::subdomain(domain).is_empty());
        let shown = domain.map_or(controller, |(domain, _)| domain);
        causes.each_invalid(
            "spec.controller",
            shown,
            names::domain_prefixed_path(controller),
        );
    }
    let parameters = &spec["parameters"];
    if parameters.is_null() {
        return;
    }
    for member in ["kind", "name"] {
        if is_empty(&parameters[member]) {
            causes.required(format!("spec.parameters.{member}"), "");
        }
    }
    let namespace = "spec.parameters.namespace";
    match parameters["scope"].as_str() {
        Some("Namespace") if is_empty(&parameters["namespace"]) => {
            causes.required(namespace, "`parameters.scope` is set to 'Namespace'");
        }
        Some("Cluster") if !parameters["namespace"].is_null() => {
            causes.forbidden(namespace, "`parameters.scope` is set to 'Cluster'");
        }
        Some("Namespace" | "Cluster") => {}
        _ => causes.not_supported(
            "spec.parameters.scope",
            &parameters["scope"],
            &["Cluster", "Namespace"],
        ),
    }
}
