//! Defaults of the kinds that make pods.
//!
//! In: an object in canonical form. Out: its defaults filled in, its pod template's too. Pure.

use serde_json::{Map, Value, json};

use super::{each, fill, object, pod, text, within};

/// Counts the changes of a DaemonSet's template; kubectl's `rollout` reads it nowhere, but it is part of every answer.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Fills in the defaults of a workload.
pub(super) fn apply(kind: &str, version: &str, entries: &mut Map<String, Value>) {
    within(entries, &["spec"], |spec| match kind {
        "Deployment" => deployment(spec),
        "ReplicaSet" | "ReplicationController" => fill(spec, "replicas", 1),
        "DaemonSet" => daemon_set(spec),
        "StatefulSet" => stateful_set(spec),
        "Job" => job(spec),
        "CronJob" => cron_job(spec),
        _ => autoscaler(version, spec),
    });
    within(entries, &["spec", "template", "spec"], pod::template_spec);
}

fn deployment(spec: &mut Map<String, Value>) {
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
    let Some(strategy) = object(spec, "strategy") else {
        return;
    };
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = object(strategy, "rollingUpdate")
    {
        fill(rolling, "maxUnavailable", "25%");
        fill(rolling, "maxSurge", "25%");
    }
}

fn daemon_set(spec: &mut Map<String, Value>) {
    fill(spec, "revisionHistoryLimit", 10);
    let Some(strategy) = object(spec, "updateStrategy") else {
        return;
    };
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = object(strategy, "rollingUpdate")
    {
        fill(rolling, "maxUnavailable", 1);
        fill(rolling, "maxSurge", 0);
    }
}

fn stateful_set(spec: &mut Map<String, Value>) {
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "podManagementPolicy", "OrderedReady");
    if let Some(retention) = object(spec, "persistentVolumeClaimRetentionPolicy") {
        fill(retention, "whenDeleted", "Retain");
        fill(retention, "whenScaled", "Retain");
    }
    each(spec, "volumeClaimTemplates", |claim| {
        fill(claim, "kind", "PersistentVolumeClaim");
        fill(claim, "apiVersion", "v1");
        within(claim, &["spec"], |spec| {
            fill(spec, "volumeMode", "Filesystem")
        });
        within(claim, &["status"], |status| {
            fill(status, "phase", "Pending")
        });
    });
    let Some(strategy) = object(spec, "updateStrategy") else {
        return;
    };
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = object(strategy, "rollingUpdate")
    {
        fill(rolling, "partition", 0);
    }
}

fn job(spec: &mut Map<String, Value>) {
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    fill(spec, "backoffLimit", 6);
    fill(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "podReplacementPolicy", "TerminatingOrFailed");
}

fn cron_job(spec: &mut Map<String, Value>) {
    fill(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    within(
        spec,
        &["jobTemplate", "spec", "template", "spec"],
        pod::template_spec,
    );
}

fn autoscaler(version: &str, spec: &mut Map<String, Value>) {
    fill(spec, "minReplicas", 1);
    if version == "autoscaling/v1" {
        fill(spec, "targetCPUUtilizationPercentage", 80);
    } else {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        fill(
            spec,
            "metrics",
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
        );
    }
}

/// How often the template of a DaemonSet changed.
pub(super) fn template_generation(daemon_set: &Value) -> i64 {
    let text = daemon_set["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Writes it down.
pub(super) fn set_template_generation(daemon_set: &mut Map<String, Value>, generation: i64) {
    let annotations =
        object(daemon_set, "metadata").and_then(|metadata| object(metadata, "annotations"));
    if let Some(annotations) = annotations {
        annotations.insert(
            TEMPLATE_GENERATION.to_owned(),
            generation.to_string().into(),
        );
    }
}
