//! The kinds that make pods, and budgets.
//!
//! In: an object with its defaults, for a change also the old one. Out: causes. Pure.

use serde_json::Value;

use super::{Causes, items, metadata, names, pod, text};

/// Of a Deployment, ReplicaSet, DaemonSet, StatefulSet, ReplicationController or Job.
pub(super) fn workload(kind: &str, old: Option<&Value>, object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    causes.not_negative(&spec["replicas"], "spec.replicas");
    if kind == "Job" || kind == "ReplicationController" {
        return pod::spec(&spec["template"]["spec"], "spec.template.spec", causes);
    }
    selector(kind, spec, causes);
    template(spec, causes);
    causes.not_negative(&spec["minReadySeconds"], "spec.minReadySeconds");
    causes.not_negative(&spec["revisionHistoryLimit"], "spec.revisionHistoryLimit");
    match kind {
        "Deployment" => deployment(spec, causes),
        "DaemonSet" => {
            causes.one_of(
                &spec["updateStrategy"]["type"],
                "spec.updateStrategy.type",
                &["RollingUpdate", "OnDelete"],
            );
        }
        _ => {}
    }
    if let Some(old) = old {
        causes.immutable(&old["spec"]["selector"], &spec["selector"], "spec.selector");
    }
}

fn selector(kind: &str, spec: &Value, causes: &mut Causes) {
    let selector = &spec["selector"];
    if selector.is_null() {
        if kind != "DaemonSet" {
            causes.required("spec.selector", "");
        }
        return;
    }
    metadata::labels(
        &selector["matchLabels"],
        "spec.selector.matchLabels",
        causes,
    );
    for (index, expression) in items(&selector["matchExpressions"]).iter().enumerate() {
        let field = format!("spec.selector.matchExpressions[{index}]");
        let has_values = !items(&expression["values"]).is_empty();
        match text(&expression["operator"]) {
            "In" | "NotIn" if !has_values => {
                causes.required(
                    format!("{field}.values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                );
            }
            "Exists" | "DoesNotExist" if has_values => {
                causes.forbidden(
                    format!("{field}.values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => causes.invalid(
                format!("{field}.operator"),
                &expression["operator"],
                "not a valid selector operator",
            ),
        }
        let key = text(&expression["key"]);
        causes.each_invalid(&format!("{field}.key"), key, names::qualified(key));
    }
    if selector.as_object().is_some_and(serde_json::Map::is_empty) {
        let noun = kind.to_lowercase();
        causes.invalid(
            "spec.selector",
            selector,
            &format!("empty selector is invalid for {noun}"),
        );
    }
}

fn template(spec: &Value, causes: &mut Causes) {
    let labels = &spec["template"]["metadata"]["labels"];
    if !matches(&spec["selector"], labels) {
        causes.invalid(
            "spec.template.metadata.labels",
            labels,
            "`selector` does not match template `labels`",
        );
    }
    metadata::labels(labels, "spec.template.labels", causes);
    pod::spec(&spec["template"]["spec"], "spec.template.spec", causes);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if matches!(policy.as_str(), Some("OnFailure" | "Never")) {
        causes.not_supported("spec.template.spec.restartPolicy", policy, &["Always"]);
    }
}

/// Whether a label selector takes these labels; no selector takes none.
fn matches(selector: &Value, labels: &Value) -> bool {
    let Some(_) = selector.as_object() else {
        return false;
    };
    let mut equal = selector["matchLabels"].as_object().into_iter().flatten();
    equal.all(|(key, value)| labels[key] == *value)
        && items(&selector["matchExpressions"])
            .iter()
            .all(|expression| {
                let value = &labels[text(&expression["key"])];
                let is_listed = items(&expression["values"]).contains(value);
                match text(&expression["operator"]) {
                    "In" => is_listed,
                    "NotIn" => !is_listed,
                    "Exists" => !value.is_null(),
                    _ => value.is_null(),
                }
            })
}

fn deployment(spec: &Value, causes: &mut Causes) {
    let strategy = &spec["strategy"];
    let rolling = &strategy["rollingUpdate"];
    causes.one_of(
        &strategy["type"],
        "spec.strategy.type",
        &["Recreate", "RollingUpdate"],
    );
    if strategy["type"] == "Recreate" && !rolling.is_null() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        causes.forbidden("spec.strategy.rollingUpdate", why);
    } else if !rolling.is_null() {
        let field = "spec.strategy.rollingUpdate";
        count_or_percent(
            &rolling["maxUnavailable"],
            &format!("{field}.maxUnavailable"),
            causes,
        );
        count_or_percent(&rolling["maxSurge"], &format!("{field}.maxSurge"), causes);
        let is_nothing = |value: &Value| *value == 0 || value == "0%";
        if is_nothing(&rolling["maxUnavailable"]) && is_nothing(&rolling["maxSurge"]) {
            let why = "may not be 0 when `maxSurge` is 0";
            causes.invalid(
                format!("{field}.maxUnavailable"),
                &rolling["maxUnavailable"],
                why,
            );
        }
    }
    let (deadline, ready) = (
        &spec["progressDeadlineSeconds"],
        spec["minReadySeconds"].as_i64().unwrap_or_default(),
    );
    causes.not_negative(deadline, "spec.progressDeadlineSeconds");
    if deadline.as_i64().is_some_and(|deadline| deadline <= ready) {
        causes.invalid(
            "spec.progressDeadlineSeconds",
            deadline,
            "must be greater than minReadySeconds",
        );
    }
}

/// A number that is not negative, or a share of at most all.
fn count_or_percent(value: &Value, field: &str, causes: &mut Causes) {
    let Some(share) = value.as_str() else {
        return causes.not_negative(value, field);
    };
    match share
        .strip_suffix('%')
        .and_then(|number| number.parse::<u32>().ok())
    {
        Some(percent) if percent > 100 => {
            causes.invalid(field, value, "must not be greater than 100%")
        }
        Some(_) => {}
        None => {
            let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for \
                validation is '[0-9]+%')";
            causes.invalid(field, value, why);
        }
    }
}

/// Of the status of a Deployment.
pub(super) fn deployment_status(status: &Value, causes: &mut Causes) {
    let counts = [
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ];
    for count in counts {
        causes.not_negative(&status[count], &format!("status.{count}"));
    }
    let all = status["replicas"].as_i64().unwrap_or_default();
    for count in &counts[1..4] {
        let number = status[*count].as_i64().unwrap_or_default();
        if number > all {
            causes.invalid(
                format!("status.{count}"),
                &Value::from(number),
                "cannot be greater than status.replicas",
            );
        }
    }
    let (ready, available) = (
        status["readyReplicas"].as_i64(),
        status["availableReplicas"].as_i64(),
    );
    if available.unwrap_or_default() > ready.unwrap_or_default() {
        let why = "cannot be greater than readyReplicas";
        causes.invalid(
            "status.availableReplicas",
            &status["availableReplicas"],
            why,
        );
    }
}

/// Of a PodDisruptionBudget.
pub(super) fn budget(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let (least, most) = (&spec["minAvailable"], &spec["maxUnavailable"]);
    if !least.is_null() && !most.is_null() {
        let policy = &spec["unhealthyPodEvictionPolicy"];
        let shown = format!(
            "{{\"MinAvailable\":{least},\"Selector\":{},\"MaxUnavailable\":{most},\"UnhealthyPodEvictionPolicy\":{policy}}}",
            spec["selector"]
        );
        causes.invalid_text(
            "spec",
            &shown,
            "minAvailable and maxUnavailable cannot be both set",
        );
    }
    count_or_percent(least, "spec.minAvailable", causes);
    count_or_percent(most, "spec.maxUnavailable", causes);
}
