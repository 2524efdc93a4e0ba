//! Defaults of pods and pod templates.
//!
//! In: a Pod, or the pod spec of a template, in canonical form. Out: its defaults filled in. Pure.

use serde_json::{Map, Value, json};

use super::{each, fill, is_unset, object, text, within};

/// A Pod: what every template gets, and what only pods get.
pub(super) fn pod(entries: &mut Map<String, Value>) {
    within(entries, &["spec"], |spec| {
        fill(spec, "enableServiceLinks", true);
        for list in ["containers", "initContainers"] {
            each(spec, list, requests_from_limits);
        }
        if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
            for list in ["containers", "initContainers"] {
                each(spec, list, |container| each(container, "ports", host_port));
            }
        }
        template_spec(spec);
    });
}

/// The pod spec of a template.
pub(super) fn template_spec(spec: &mut Map<String, Value>) {
    fill(spec, "restartPolicy", "Always");
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "schedulerName", "default-scheduler");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "securityContext", json!({}));
    let accounts = [
        text(spec, "serviceAccountName"),
        text(spec, "serviceAccount"),
    ];
    let account = accounts
        .into_iter()
        .find(|account| !account.is_empty())
        .map(str::to_owned);
    if let Some(account) = account {
        spec.insert("serviceAccountName".to_owned(), account.clone().into());
        spec.insert("serviceAccount".to_owned(), account.into());
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        each(spec, list, container);
    }
    each(spec, "volumes", volume);
}

fn container(container: &mut Map<String, Value>) {
    let policy = pull_policy(text(container, "image"));
    fill(container, "imagePullPolicy", policy);
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    each(container, "ports", |port| fill(port, "protocol", "TCP"));
    each(container, "env", |variable| {
        field_reference(variable, &["valueFrom", "fieldRef"])
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(container, &[name], probe);
    }
    for name in ["postStart", "preStop"] {
        within(container, &["lifecycle", name, "httpGet"], http_get);
    }
}

/// Images without a tag and with the tag `latest` are asked for each time.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let tag = match last.split_once('@') {
        Some(_) => "digest",
        None => last.split_once(':').map_or("latest", |(_, tag)| tag),
    };
    if tag == "latest" {
        "Always"
    } else {
        "IfNotPresent"
    }
}

fn probe(probe: &mut Map<String, Value>) {
    for (name, default) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        fill(probe, name, default);
    }
    within(probe, &["httpGet"], http_get);
    within(probe, &["grpc"], |grpc| {
        if is_unset(grpc.get("service")) {
            grpc.insert("service".to_owned(), json!(""));
        }
    });
}

fn http_get(action: &mut Map<String, Value>) {
    fill(action, "path", "/");
    fill(action, "scheme", "HTTP");
}

fn field_reference(entries: &mut Map<String, Value>, path: &[&str]) {
    within(entries, path, |reference| {
        fill(reference, "apiVersion", "v1")
    });
}

/// Limits that have no request of their own become the request.
fn requests_from_limits(container: &mut Map<String, Value>) {
    within(container, &["resources"], |resources| {
        let Some(Value::Object(limits)) = resources.get("limits").cloned() else {
            return;
        };
        let Some(requests) = object(resources, "requests") else {
            return;
        };
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    });
}

fn host_port(port: &mut Map<String, Value>) {
    if let Some(number) = port.get("containerPort").cloned() {
        fill(port, "hostPort", number);
    }
}

fn volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|name| name == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        within(volume, &[source], |source| {
            fill(source, "defaultMode", 0o644);
            each(source, "items", |item| field_reference(item, &["fieldRef"]));
            each(source, "sources", |source| {
                within(source, &["serviceAccountToken"], |token| {
                    fill(token, "expirationSeconds", 3600)
                });
                within(source, &["downwardAPI"], |api| {
                    each(api, "items", |item| field_reference(item, &["fieldRef"]));
                });
            });
        });
    }
    within(volume, &["hostPath"], |path| {
        path.entry("type").or_insert_with(|| json!(""));
    });
    within(
        volume,
        &["ephemeral", "volumeClaimTemplate", "spec"],
        |claim| fill(claim, "volumeMode", "Filesystem"),
    );
}

/// The class of a pod by its requests and limits of processor and memory.
pub fn quality_of_service(pod: &Map<String, Value>) -> &'static str {
    let containers = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| {
            pod.get("spec")
                .and_then(|spec| spec[list].as_array())
                .map_or(&[][..], Vec::as_slice)
        });
    let (mut any, mut all) = (false, true);
    for container in containers {
        let resources = &container["resources"];
        for name in ["cpu", "memory"] {
            let (limit, request) = (&resources["limits"][name], &resources["requests"][name]);
            any |= !is_zero(limit) || !is_zero(request);
            all &= !is_zero(limit) && (request.is_null() || request == limit);
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn is_zero(amount: &Value) -> bool {
    amount.is_null() || amount == "0"
}
