//! Pods and pod templates.
//!
//! In: a pod spec with its defaults, for a change of a Pod also the old one. Out: causes. Pure. Service accounts and
//! priority classes are admission's; changed tolerations are not compared.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Causes, is_empty, items, names, service, text};
use crate::api::schema::quantity::nano_units;

const UPDATE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
    `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` \
    (allow it to be set to 1 if it was previously negative)\n";

/// Of a Pod.
pub(super) fn pod(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    spec(&object["spec"], "spec", causes);
    if let Some(old) = old
        && frozen(&old["spec"]) != frozen(&object["spec"])
    {
        causes.forbidden("spec", UPDATE);
    }
}

/// The parts of a pod spec that may not change.
fn frozen(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for list in ["containers", "initContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            remove(container, &["image"]);
        }
    }
    remove(
        &mut spec,
        &[
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "schedulingGates",
        ],
    );
    spec
}

fn remove(object: &mut Value, names: &[&str]) {
    if let Value::Object(entries) = object {
        entries.retain(|name, _| !names.contains(&name.as_str()));
    }
}

/// Of the spec of a Pod or of a template.
pub(super) fn spec(spec: &Value, field: &str, causes: &mut Causes) {
    let volumes = volumes(&spec["volumes"], field, causes);
    let mut known = BTreeSet::new();
    let uses_host_network = spec["hostNetwork"] == true;
    if items(&spec["containers"]).is_empty() {
        causes.required(format!("{field}.containers"), "");
    }
    for list in ["containers", "initContainers"] {
        for (index, container) in items(&spec[list]).iter().enumerate() {
            let at = format!("{field}.{list}[{index}]");
            check_container(container, uses_host_network, &volumes, &at, causes);
            let name = text(&container["name"]);
            if !name.is_empty() && !known.insert(name) {
                causes.duplicate(format!("{at}.name"), &format!("{name:?}"));
            }
        }
    }
    causes.one_of(
        &spec["restartPolicy"],
        &format!("{field}.restartPolicy"),
        &["Always", "OnFailure", "Never"],
    );
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    causes.one_of(&spec["dnsPolicy"], &format!("{field}.dnsPolicy"), &policies);
    super::metadata::labels(
        &spec["nodeSelector"],
        &format!("{field}.nodeSelector"),
        causes,
    );
    for (member, faults) in [
        (
            "serviceAccountName",
            names::subdomain as fn(&str) -> Vec<String>,
        ),
        ("nodeName", names::subdomain),
        ("hostname", names::label),
    ] {
        let name = text(&spec[member]);
        if !name.is_empty() {
            causes.each_invalid(&format!("{field}.{member}"), name, faults(name));
        }
    }
    causes.not_negative(
        &spec["terminationGracePeriodSeconds"],
        &format!("{field}.terminationGracePeriodSeconds"),
    );
    tolerations(
        &spec["tolerations"],
        &format!("{field}.tolerations"),
        causes,
    );
}

fn volumes<'a>(volumes: &'a Value, field: &str, causes: &mut Causes) -> BTreeSet<&'a str> {
    let mut known = BTreeSet::new();
    for (index, volume) in items(volumes).iter().enumerate() {
        let (name, at) = (
            text(&volume["name"]),
            format!("{field}.volumes[{index}].name"),
        );
        if name.is_empty() {
            causes.required(at, "");
        } else {
            causes.each_invalid(&at, name, names::label(name));
            if !known.insert(name) {
                causes.duplicate(at, &format!("{name:?}"));
            }
        }
    }
    known
}

fn check_container(
    container: &Value,
    uses_host_network: bool,
    volumes: &BTreeSet<&str>,
    field: &str,
    causes: &mut Causes,
) {
    let name = text(&container["name"]);
    if name.is_empty() {
        causes.required(format!("{field}.name"), "");
    } else {
        causes.each_invalid(&format!("{field}.name"), name, names::label(name));
    }
    if text(&container["image"]).is_empty() {
        causes.required(format!("{field}.image"), "");
    }
    ports(
        &container["ports"],
        uses_host_network,
        &format!("{field}.ports"),
        causes,
    );
    for (index, variable) in items(&container["env"]).iter().enumerate() {
        if is_empty(&variable["name"]) {
            causes.required(format!("{field}.env[{index}].name"), "");
        }
        if !is_empty(&variable["value"]) && !variable["valueFrom"].is_null() {
            let why = "may not be specified when `value` is not empty";
            causes.invalid(format!("{field}.env[{index}].valueFrom"), &json!(""), why);
        }
    }
    for (index, mount) in items(&container["volumeMounts"]).iter().enumerate() {
        let at = format!("{field}.volumeMounts[{index}]");
        match text(&mount["name"]) {
            "" => causes.required(format!("{at}.name"), ""),
            name if !volumes.contains(name) => causes.not_found(format!("{at}.name"), name),
            _ => {}
        }
        if is_empty(&mount["mountPath"]) {
            causes.required(format!("{at}.mountPath"), "");
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        probe(&container[kind], &format!("{field}.{kind}"), causes);
    }
    causes.one_of(
        &container["imagePullPolicy"],
        &format!("{field}.imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
    );
    resources(
        &container["resources"],
        &format!("{field}.resources"),
        causes,
    );
}

fn ports(ports: &Value, uses_host_network: bool, field: &str, causes: &mut Causes) {
    let mut known = BTreeSet::new();
    for (index, port) in items(ports).iter().enumerate() {
        let at = format!("{field}[{index}]");
        let name = text(&port["name"]);
        if !name.is_empty() {
            causes.each_invalid(&format!("{at}.name"), name, names::port_name(name));
            if !known.insert(name) {
                causes.duplicate(format!("{at}.name"), &format!("{name:?}"));
            }
        }
        if port["containerPort"].as_i64().unwrap_or_default() == 0 {
            causes.required(format!("{at}.containerPort"), "");
        } else {
            causes.port_number(&port["containerPort"], &format!("{at}.containerPort"));
        }
        let host_port = &port["hostPort"];
        if !host_port.is_null() {
            causes.port_number(host_port, &format!("{at}.hostPort"));
            if uses_host_network && *host_port != port["containerPort"] {
                let why = "must match `containerPort` when `hostNetwork` is true";
                causes.invalid(format!("{at}.hostPort"), host_port, why);
            }
        }
        causes.one_of(
            &port["protocol"],
            &format!("{at}.protocol"),
            &["SCTP", "TCP", "UDP"],
        );
    }
}

fn probe(probe: &Value, field: &str, causes: &mut Causes) {
    if probe.is_null() {
        return;
    }
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    let given: Vec<&str> = handlers
        .into_iter()
        .filter(|handler| !probe[*handler].is_null())
        .collect();
    if given.is_empty() {
        causes.required(field, "must specify a handler type");
    }
    for extra in given.iter().skip(1) {
        causes.forbidden(
            format!("{field}.{extra}"),
            "may not specify more than 1 handler type",
        );
    }
    match given.first().copied() {
        Some(handler @ ("httpGet" | "tcpSocket")) => {
            service::target_port(
                &probe[handler]["port"],
                &format!("{field}.{handler}.port"),
                causes,
            );
        }
        Some("exec") if items(&probe["exec"]["command"]).is_empty() => {
            causes.required(format!("{field}.exec.command"), "")
        }
        Some("grpc") => causes.port_number(&probe["grpc"]["port"], &format!("{field}.grpc.port")),
        _ => {}
    }
    for number in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        causes.not_negative(&probe[number], &format!("{field}.{number}"));
    }
}

fn resources(resources: &Value, field: &str, causes: &mut Causes) {
    let amount = |value: &Value| value.as_str().and_then(|text| nano_units(text).ok());
    for list in ["limits", "requests"] {
        for (name, value) in resources[list].as_object().into_iter().flatten() {
            if amount(value).is_some_and(|amount| amount < 0) {
                causes.invalid(
                    format!("{field}.{list}[{name}]"),
                    value,
                    "must be greater than or equal to 0",
                );
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        if amount(request)
            .zip(amount(limit))
            .is_some_and(|(request, limit)| request > limit)
        {
            let why = format!(
                "must be less than or equal to {name} limit of {}",
                text(limit)
            );
            causes.invalid(format!("{field}.requests"), request, &why);
        }
    }
}

fn tolerations(tolerations: &Value, field: &str, causes: &mut Causes) {
    for (index, toleration) in items(tolerations).iter().enumerate() {
        let at = format!("{field}[{index}]");
        let key = text(&toleration["key"]);
        if !key.is_empty() {
            causes.each_invalid(&format!("{at}.key"), key, names::qualified(key));
        } else if toleration["operator"] != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            causes.invalid(
                format!("{at}.operator"),
                &Value::from(text(&toleration["operator"])),
                why,
            );
        }
        if !toleration["tolerationSeconds"].is_null() && toleration["effect"] != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.invalid(
                format!("{at}.effect"),
                &Value::from(text(&toleration["effect"])),
                why,
            );
        }
    }
}
