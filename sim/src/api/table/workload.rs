//! The kinds that make pods, and budgets, as rows.
//!
//! In: an object. Out: its cells. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    NONE, age, human_duration, items, labels, name, number, or_none, plain, selector, since,
};

pub(super) const DEPLOYMENT: &[&str] = &[
    "Name",
    "Ready",
    "Up-to-date",
    "Available",
    "Age",
    "Containers*",
    "Images*",
    "Selector*",
];
pub(super) const REPLICA_SET: &[&str] = &[
    "Name",
    "Desired:integer",
    "Current:integer",
    "Ready:integer",
    "Age",
    "Containers*",
    "Images*",
    "Selector*",
];
pub(super) const DAEMON_SET: &[&str] = &[
    "Name",
    "Desired:integer",
    "Current:integer",
    "Ready:integer",
    "Up-to-date:integer",
    "Available:integer",
    "Node Selector",
    "Age",
    "Containers*",
    "Images*",
    "Selector*",
];
pub(super) const STATEFUL_SET: &[&str] = &["Name", "Ready", "Age", "Containers*", "Images*"];
pub(super) const JOB: &[&str] = &[
    "Name",
    "Status",
    "Completions",
    "Duration",
    "Age",
    "Containers*",
    "Images*",
    "Selector*",
];
pub(super) const CRON_JOB: &[&str] = &[
    "Name",
    "Schedule",
    "Timezone",
    "Suspend:boolean",
    "Active:integer",
    "Last Schedule",
    "Age",
    "Containers*",
    "Images*",
    "Selector*",
];
pub(super) const AUTOSCALER: &[&str] = &[
    "Name",
    "Reference",
    "Targets",
    "MinPods",
    "MaxPods",
    "Replicas",
    "Age",
];
pub(super) const BUDGET: &[&str] = &[
    "Name",
    "Min Available",
    "Max Unavailable",
    "Allowed Disruptions:integer",
    "Age",
];

/// Of a Deployment.
pub(super) fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut cells = vec![
        name(object),
        Value::from(format!(
            "{}/{}",
            number(&status["readyReplicas"]),
            number(&spec["replicas"])
        )),
        Value::from(number(&status["updatedReplicas"])),
        Value::from(number(&status["availableReplicas"])),
        age(object, now),
    ];
    cells.extend(containers(&spec["template"]));
    cells.push(selector(&spec["selector"]));
    cells
}

/// Of a ReplicaSet.
pub(super) fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = counts(object, now);
    cells.push(selector(&object["spec"]["selector"]));
    cells
}

/// Of a ReplicationController, whose selector is a plain map.
pub(super) fn replication_controller(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = counts(object, now);
    cells.push(labels(&object["spec"]["selector"]));
    cells
}

fn counts(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let numbers = [
        &spec["replicas"],
        &status["replicas"],
        &status["readyReplicas"],
    ];
    let mut cells = vec![name(object)];
    cells.extend(numbers.map(|count| Value::from(number(count))));
    cells.push(age(object, now));
    cells.extend(containers(&spec["template"]));
    cells
}

/// Of a DaemonSet.
pub(super) fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![name(object)];
    cells.extend(counts.map(|count| Value::from(number(&status[count]))));
    cells.push(labels(&spec["template"]["spec"]["nodeSelector"]));
    cells.push(age(object, now));
    cells.extend(containers(&spec["template"]));
    cells.push(selector(&spec["selector"]));
    cells
}

/// Of a StatefulSet.
pub(super) fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = format!(
        "{}/{}",
        number(&status["readyReplicas"]),
        number(&spec["replicas"])
    );
    let mut cells = vec![name(object), Value::from(ready), age(object, now)];
    cells.extend(containers(&spec["template"]));
    cells
}

/// Of a Job.
pub(super) fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let is = |kind: &str| {
        items(&status["conditions"])
            .iter()
            .any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    let words = [
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
    ];
    let word = words
        .into_iter()
        .find(|(kind, _)| is(kind))
        .map_or("Running", |(_, word)| word);
    let wanted = spec["completions"]
        .as_i64()
        .unwrap_or_else(|| number(&spec["parallelism"]).max(1));
    let instant = |value: &Value| {
        value
            .as_str()
            .and_then(|text| text.parse::<Timestamp>().ok())
    };
    let duration = instant(&status["startTime"]).map_or_else(String::new, |start| {
        let end = instant(&status["completionTime"]).unwrap_or(now);
        human_duration(end.as_second() - start.as_second())
    });
    let mut cells = vec![
        name(object),
        Value::from(word),
        Value::from(format!("{}/{wanted}", number(&status["succeeded"]))),
        Value::from(duration),
        age(object, now),
    ];
    cells.extend(containers(&spec["template"]));
    cells.push(selector(&spec["selector"]));
    cells
}

/// Of a CronJob.
pub(super) fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let last = &status["lastScheduleTime"];
    let mut cells = vec![
        name(object),
        spec["schedule"].clone(),
        or_none(&spec["timeZone"]),
        Value::from(if spec["suspend"] == true {
            "True"
        } else {
            "False"
        }),
        Value::from(items(&status["active"]).len()),
        Value::from(if last.is_null() {
            NONE.to_owned()
        } else {
            since(last, now)
        }),
        age(object, now),
    ];
    cells.extend(containers(&spec["jobTemplate"]["spec"]["template"]));
    cells.push(selector(&spec["jobTemplate"]["spec"]["selector"]));
    cells
}

/// Of a HorizontalPodAutoscaler; nothing here measures, so the current values are unknown.
pub(super) fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let resources = items(&spec["metrics"]).iter().map(|metric| {
        let resource = &metric["resource"];
        format!(
            "{}: <unknown>/{}%",
            plain(&resource["name"]),
            number(&resource["target"]["averageUtilization"])
        )
    });
    vec![
        name(object),
        Value::from(format!(
            "{}/{}",
            plain(&target["kind"]),
            plain(&target["name"])
        )),
        Value::from(super::with_more(resources)),
        Value::from(
            spec["minReplicas"]
                .as_i64()
                .map_or_else(|| "<unset>".to_owned(), |count| count.to_string()),
        ),
        Value::from(number(&spec["maxReplicas"])),
        Value::from(number(&status["currentReplicas"])),
        age(object, now),
    ]
}

/// Of a PodDisruptionBudget.
pub(super) fn budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let limit = |value: &Value| {
        Value::from(if value.is_null() {
            "N/A".to_owned()
        } else {
            plain(value)
        })
    };
    vec![
        name(object),
        limit(&spec["minAvailable"]),
        limit(&spec["maxUnavailable"]),
        Value::from(number(&object["status"]["disruptionsAllowed"])),
        age(object, now),
    ]
}

/// Names and images of a pod template's containers.
fn containers(template: &Value) -> [Value; 2] {
    let list = items(&template["spec"]["containers"]);
    ["name", "image"].map(|field| {
        let texts: Vec<String> = list
            .iter()
            .map(|container| plain(&container[field]))
            .collect();
        Value::from(texts.join(","))
    })
}
