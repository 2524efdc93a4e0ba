//! Pods as rows: the one word that says how a pod is.
//!
//! In: a Pod. Out: its cells. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::{NONE, age, items, name, number, or_none, since};

pub(super) const COLUMNS: &[&str] = &[
    "Name",
    "Ready",
    "Status",
    "Restarts",
    "Age",
    "IP*",
    "Node*",
    "Nominated Node*",
    "Readiness Gates*",
];

/// What the containers of a pod add up to.
struct Summary {
    word: String,
    ready: usize,
    total: usize,
    restarts: i64,
    /// When a container ended last before it was started again.
    restarted_at: Option<Timestamp>,
}

/// The cells of a Pod.
pub(super) fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(pod);
    let restarts = match summary.restarted_at.filter(|_| summary.restarts > 0) {
        Some(at) => format!(
            "{} ({} ago)",
            summary.restarts,
            since(&Value::from(at.to_string()), now)
        ),
        None => summary.restarts.to_string(),
    };
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let address = items(&status["podIPs"])
        .first()
        .map_or(&status["podIP"], |address| &address["ip"]);
    vec![
        name(pod),
        Value::from(format!("{}/{}", summary.ready, summary.total)),
        Value::from(summary.word),
        Value::from(restarts),
        age(pod, now),
        or_none(address),
        or_none(&spec["nodeName"]),
        or_none(&status["nominatedNodeName"]),
        Value::from(readiness_gates(pod)),
    ]
}

fn readiness_gates(pod: &Value) -> String {
    let gates = items(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let passed = gates.iter().filter(|gate| {
        condition(pod, gate["conditionType"].as_str().unwrap_or_default()) == "True"
    });
    format!("{}/{}", passed.count(), gates.len())
}

/// The status of a condition, empty when it is not there.
fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    let found = items(&pod["status"]["conditions"])
        .iter()
        .find(|condition| condition["type"] == kind);
    found
        .and_then(|condition| condition["status"].as_str())
        .unwrap_or_default()
}

// === impl Summary ===

impl Summary {
    fn of(pod: &Value) -> Self {
        let status = &pod["status"];
        let given = |value: &Value| {
            value
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let mut summary = Self {
            word: given(&status["reason"])
                .or_else(|| given(&status["phase"]))
                .unwrap_or_default(),
            ready: 0,
            total: items(&pod["spec"]["containers"]).len(),
            restarts: 0,
            restarted_at: None,
        };
        let scheduled = items(&status["conditions"])
            .iter()
            .find(|condition| condition["type"] == "PodScheduled");
        if scheduled.is_some_and(|condition| condition["reason"] == "SchedulingGated") {
            summary.word = "SchedulingGated".to_owned();
        }
        let initializing = summary.add_init_containers(pod);
        if !initializing || condition(pod, "Initialized") == "True" {
            summary.add_containers(pod);
        }
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            let ended = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
            if status["reason"] == "NodeLost" {
                summary.word = "Unknown".to_owned();
            } else if !ended {
                summary.word = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Counts the init containers; true while one of them has still to end.
    fn add_init_containers(&mut self, pod: &Value) -> bool {
        let declared = items(&pod["spec"]["initContainers"]);
        let is_sidecar = |status: &Value| {
            declared.iter().any(|container| {
                container["name"] == status["name"] && container["restartPolicy"] == "Always"
            })
        };
        self.total += declared
            .iter()
            .filter(|container| container["restartPolicy"] == "Always")
            .count();
        for (index, status) in items(&pod["status"]["initContainerStatuses"])
            .iter()
            .enumerate()
        {
            self.add_restarts(status);
            let (waiting, terminated) =
                (&status["state"]["waiting"], &status["state"]["terminated"]);
            if terminated.is_object() && number(&terminated["exitCode"]) == 0 {
                continue;
            }
            if is_sidecar(status) && status["started"] == true {
                self.ready += usize::from(status["ready"] == true);
                continue;
            }
            self.word = match (terminated.is_object(), waiting["reason"].as_str()) {
                (true, _) => format!("Init:{}", end_of(terminated)),
                (false, Some(reason)) if !reason.is_empty() && reason != "PodInitializing" => {
                    format!("Init:{reason}")
                }
                _ => format!("Init:{index}/{}", declared.len()),
            };
            return true;
        }
        false
    }

    fn add_containers(&mut self, pod: &Value) {
        let mut runs = false;
        for status in items(&pod["status"]["containerStatuses"]).iter().rev() {
            self.add_restarts(status);
            let (waiting, terminated) =
                (&status["state"]["waiting"], &status["state"]["terminated"]);
            if let Some(reason) = waiting["reason"]
                .as_str()
                .filter(|reason| !reason.is_empty())
            {
                reason.clone_into(&mut self.word);
            } else if terminated.is_object() {
                self.word = end_of(terminated);
            } else if status["ready"] == true && status["state"]["running"].is_object() {
                runs = true;
                self.ready += 1;
            }
        }
        if self.word == "Completed" && runs {
            let is_ready = condition(pod, "Ready") == "True";
            self.word = if is_ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn add_restarts(&mut self, status: &Value) {
        self.restarts = self
            .restarts
            .saturating_add(number(&status["restartCount"]));
        let ended = status["lastState"]["terminated"]["finishedAt"].as_str();
        let ended = ended.and_then(|text| text.parse::<Timestamp>().ok());
        self.restarted_at = self.restarted_at.max(ended);
    }
}

/// Why a container ended.
fn end_of(terminated: &Value) -> String {
    match (
        terminated["reason"].as_str().unwrap_or_default(),
        number(&terminated["signal"]),
    ) {
        ("", 0) => format!("ExitCode:{}", number(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}
