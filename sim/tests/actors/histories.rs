//! What happened to nodes, in the words of `recorded/node_histories.tsv`, and whether two such histories agree.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde_json::Value;
use tiergate_sim::api::log::Entry;
use tokio::time::Instant;

use super::fleet::{Change, Fleet, condition};

/// A change that matters, in the order of the API server.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The node that was lost.
    pub(crate) node: String,
    pub(crate) at: Instant,
    pub(crate) what: String,
    object: (&'static str, String, String),
}

/// A line of the recording.
struct Recorded {
    node: &'static str,
    seconds: f64,
    what: &'static str,
    account: &'static str,
}

/// All changes of a cluster whose lost nodes are called `ZONE-v`, and whose pods have labels `app` and `zone`.
pub(crate) fn steps(history: &[Change]) -> Vec<Step> {
    let mut pods: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut generations: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut steps = Vec::new();
    for change in history {
        let object = change.after.as_ref().or(change.before.as_ref()).unwrap();
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let name = text("/metadata/name");
        let mut add = |node: String, what: String, resource: &'static str| {
            let object = (resource, text("/metadata/namespace"), name.clone());
            steps.push(Step {
                node,
                at: change.at,
                what,
                object,
            });
        };
        match change.kind {
            "Node" => node_changes(change)
                .into_iter()
                .for_each(|what| add(name.clone(), what, "nodes")),
            "Pod" => {
                let (zone, app) = (text("/metadata/labels/zone"), text("/metadata/labels/app"));
                let (node, called) = pods.entry(name.clone()).or_insert_with(|| {
                    let called = generations
                        .entry((zone.clone(), app.clone()))
                        .or_insert(app);
                    let this = called.clone();
                    called.push('\'');
                    (format!("{zone}-v"), this)
                });
                for what in pod_changes(change) {
                    add(node.clone(), format!("pod {called} {what}"), "pods");
                }
            }
            _ => {
                let (before, after) = (
                    endpoints(change.before.as_ref()),
                    endpoints(change.after.as_ref()),
                );
                for pod in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
                    let state = |endpoints: &BTreeMap<String, String>| {
                        endpoints
                            .get(pod)
                            .cloned()
                            .unwrap_or_else(|| "absent".to_owned())
                    };
                    let (Some((node, called)), true) =
                        (pods.get(pod), state(&before) != state(&after))
                    else {
                        continue;
                    };
                    add(
                        node.clone(),
                        format!("endpoint {called} {}>{}", state(&before), state(&after)),
                        "endpointslices",
                    );
                }
            }
        }
    }
    steps
}

fn node_changes(change: &Change) -> Vec<String> {
    let Some(before) = &change.before else {
        return Vec::new();
    };
    let Some(after) = &change.after else {
        return vec!["node object exists>gone".to_owned()];
    };
    let mut changes = Vec::new();
    if let (Some(from), Some(to)) = (condition(before, "Ready"), condition(after, "Ready"))
        && from != to
    {
        changes.push(format!("node Ready {from}>{to}"));
    }
    let taints = |node: &Value| -> BTreeSet<String> {
        let taints = node["spec"]["taints"].as_array().into_iter().flatten();
        let short = |taint: &Value| {
            let key = taint["key"]
                .as_str()
                .unwrap()
                .trim_start_matches("node.kubernetes.io/")
                .to_owned();
            format!("{key}:{}", taint["effect"].as_str().unwrap())
        };
        taints.map(short).collect()
    };
    let (before, after) = (taints(before), taints(after));
    let added = after.difference(&before).map(|taint| format!("+{taint}"));
    let removed = before.difference(&after).map(|taint| format!("-{taint}"));
    let all: Vec<String> = added.chain(removed).collect();
    if !all.is_empty() {
        changes.push(format!("node taints {}", all.join(",")));
    }
    changes
}

fn pod_changes(change: &Change) -> Vec<String> {
    let Some(after) = &change.after else {
        return vec!["gone".to_owned()];
    };
    let Some(before) = &change.before else {
        return vec!["created".to_owned()];
    };
    let mut changes = Vec::new();
    let mut compare = |label: &str, from: Option<&str>, to: Option<&str>| {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            changes.push(format!("{label} {from}>{to}"));
        }
    };
    compare(
        "Ready",
        condition(before, "Ready"),
        condition(after, "Ready"),
    );
    compare(
        "phase",
        before["status"]["phase"].as_str(),
        after["status"]["phase"].as_str(),
    );
    let reason = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array()?;
        let target = conditions
            .iter()
            .find(|condition| condition["type"] == "DisruptionTarget")?;
        target["reason"].as_str().map(str::to_owned)
    };
    if reason(before) != reason(after) {
        changes.extend(reason(after));
    }
    let begins =
        |pointer: &str| before.pointer(pointer).is_none() && after.pointer(pointer).is_some();
    if begins("/metadata/deletionTimestamp") {
        changes.push("deletion".to_owned());
    }
    if begins("/spec/nodeName") {
        changes.push("bound".to_owned());
    }
    changes
}

fn endpoints(slice: Option<&Value>) -> BTreeMap<String, String> {
    let endpoints = slice
        .and_then(|slice| slice["endpoints"].as_array())
        .into_iter()
        .flatten();
    let state = |endpoint: &Value| {
        let letter = |name: &str, letter: &str| {
            let is_so = endpoint["conditions"][name] == true;
            if is_so {
                letter.to_owned()
            } else {
                "-".to_owned()
            }
        };
        letter("ready", "R") + &letter("serving", "S") + &letter("terminating", "T")
    };
    endpoints
        .filter_map(|endpoint| {
            Some((
                endpoint["targetRef"]["name"].as_str()?.to_owned(),
                state(endpoint),
            ))
        })
        .collect()
}

/// How near a history must come to its recording.
#[derive(Clone, Copy)]
pub(crate) struct Tolerance {
    /// How far beyond the recorded times something may happen: periods of kubelets and controllers.
    pub(crate) seconds: f64,
    /// What happened so far apart, or more, in one order for all recorded nodes must happen in it.
    pub(crate) gap: f64,
}

/// Compares with the recording of an experiment, whose second 0 was at these times for these nodes: the same things happen,
/// by the same accounts, at the recorded times, and in the recorded order.
pub(crate) fn compare(
    fleet: &Fleet,
    steps: &[Step],
    experiment: &str,
    zero: &[(String, Instant)],
    tolerance: Tolerance,
) {
    let recorded = recorded(experiment);
    let nodes: BTreeSet<&str> = recorded.iter().map(|line| line.node).collect();
    let mut lines: BTreeMap<&'static str, Vec<&Recorded>> = BTreeMap::new();
    for line in &recorded {
        lines.entry(line.what).or_default().push(line);
    }
    lines.retain(|_, lines| lines.len() == nodes.len());
    assert!(lines.len() > 10, "{experiment}: the recording is there");
    let (mut faults, writes) = (Vec::new(), fleet.writes());
    let mut ours: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for (node, zero) in zero {
        let mut indices: BTreeMap<&'static str, usize> = BTreeMap::new();
        for (what, lines) in &lines {
            match find(steps, node, *zero, lines, tolerance) {
                Ok(index) => {
                    indices.insert(what, index);
                    faults.extend(wrong_account(fleet, &writes, &steps[index], account(lines)));
                }
                Err(fault) => faults.push(fault),
            }
        }
        faults.extend(disorder(node, &indices, &lines, tolerance));
        for (what, index) in &indices {
            let second = seconds(&steps[*index], *zero);
            ours.entry(what).or_default().push(second);
        }
    }
    print_rows(experiment, &lines, &ours, tolerance);
    let (node, zero) = &zero[0];
    let history = steps.iter().filter(|step| step.node == *node);
    let history: Vec<String> = history
        .map(|step| format!("{:8.3} {}", seconds(step, *zero), step.what))
        .collect();
    assert!(
        faults.is_empty(),
        "{experiment}:\n{}\n\n{node} in full:\n{}",
        faults.join("\n"),
        history.join("\n")
    );
}

/// The rows of the table in `docs/simulation.md`, in the order of time; `--show-output` shows them.
#[expect(clippy::print_stdout, reason = "the rows of a table for the reader")]
fn print_rows(
    experiment: &str,
    lines: &BTreeMap<&'static str, Vec<&Recorded>>,
    ours: &BTreeMap<&'static str, Vec<f64>>,
    tolerance: Tolerance,
) {
    let mut rows: Vec<_> = lines.iter().collect();
    rows.sort_by(|a, b| a.1[0].seconds.total_cmp(&b.1[0].seconds));
    for (what, lines) in rows {
        let (least, most) = extremes(lines.iter().map(|line| line.seconds));
        let (first, last) = extremes(ours.get(what).into_iter().flatten().copied());
        let (account, slack) = (account(lines), slack(lines, tolerance));
        println!(
            "| {experiment} | {what} | {account} | {least:.1} to {most:.1} | {first:.1} to {last:.1} | ± {slack} |"
        );
    }
}

fn extremes(seconds: impl Iterator<Item = f64>) -> (f64, f64) {
    seconds.fold((f64::MAX, f64::MIN), |(least, most), second| {
        (least.min(second), most.max(second))
    })
}

fn slack(lines: &[&Recorded], tolerance: Tolerance) -> f64 {
    match account(lines) {
        // Its passes are 20 s apart.
        "pod-garbage-collector" => 20.0,
        // Done by the test itself.
        "operator" => 1.0,
        _ => tolerance.seconds,
    }
}

/// Which step is the recorded one.
fn find(
    steps: &[Step],
    node: &str,
    zero: Instant,
    lines: &[&Recorded],
    tolerance: Tolerance,
) -> Result<usize, String> {
    let what = lines[0].what;
    let (least, most) = extremes(lines.iter().map(|line| line.seconds));
    let slack = slack(lines, tolerance);
    let expected = least - slack..=most + slack;
    let mut times = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if step.node == node && step.what == what {
            if expected.contains(&seconds(step, zero)) {
                return Ok(index);
            }
            times.push(seconds(step, zero));
        }
    }
    Err(format!(
        "{node}: {what} not within {expected:.1?} s, but {times:.1?}"
    ))
}

fn wrong_account(fleet: &Fleet, writes: &[Entry], step: &Step, account: &str) -> Option<String> {
    let (resource, namespace, name) = &step.object;
    let at = fleet.time(step.at);
    let writers: BTreeSet<&str> = writes
        .iter()
        .filter(|entry| {
            entry.resource.split('/').next() == Some(resource)
                && entry.namespace == *namespace
                && (entry.name == *name || entry.verb == "create" && entry.name.is_empty())
                && entry.time.duration_since(at).abs() < SignedDuration::from_millis(10)
        })
        .map(|entry| entry.user.as_str())
        .collect();
    let expected = user(account);
    let is_right = writers.iter().any(|writer| writer.starts_with(&expected));
    (!is_right).then(|| {
        let Step { node, what, .. } = step;
        format!("{node}: {what} not by {expected}, but by one of {writers:?}")
    })
}

/// What came after something that it should have come before.
fn disorder(
    node: &str,
    indices: &BTreeMap<&'static str, usize>,
    lines: &BTreeMap<&'static str, Vec<&Recorded>>,
    tolerance: Tolerance,
) -> Vec<String> {
    let seconds_on = |what: &str, node: &str| {
        let mut lines = lines[what].iter();
        lines
            .find(|line| line.node == node)
            .map(|line| line.seconds)
    };
    let is_always_before = |one: &str, other: &str| {
        let mut nodes = lines[one].iter().map(|line| line.node);
        nodes.all(|node| {
            let times = seconds_on(one, node).zip(seconds_on(other, node));
            times.is_some_and(|(one, other)| one + tolerance.gap < other)
        })
    };
    let mut faults = Vec::new();
    for (one, one_index) in indices {
        for (other, other_index) in indices {
            if one_index > other_index && is_always_before(one, other) {
                faults.push(format!("{node}: {one} after {other}"));
            }
        }
    }
    faults
}

fn seconds(step: &Step, zero: Instant) -> f64 {
    let after = step.at.saturating_duration_since(zero).as_secs_f64();
    after - zero.saturating_duration_since(step.at).as_secs_f64()
}

fn recorded(experiment: &str) -> Vec<Recorded> {
    let lines = include_str!("recorded/node_histories.tsv").lines().skip(1);
    let fields = lines.map(|line| line.split('\t').collect::<Vec<_>>());
    fields
        .filter(|fields| fields[0] == experiment)
        .map(|fields| Recorded {
            node: fields[1],
            seconds: fields[2].parse().unwrap(),
            what: fields[3],
            account: fields[4],
        })
        .collect()
}

/// Who did it. The recording took the last request before a change for its cause, and so is wrong once in a while.
fn account(lines: &[&Recorded]) -> &'static str {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for line in lines {
        *counts.entry(line.account).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .unwrap()
        .0
}

/// How an account of the recording is called here.
fn user(account: &str) -> String {
    match account {
        "fleet" => "system:node:".to_owned(),
        "operator" => "admin".to_owned(),
        "kube-scheduler" => "system:kube-scheduler".to_owned(),
        controller => format!("system:serviceaccount:kube-system:{controller}"),
    }
}
