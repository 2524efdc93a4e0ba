use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn budget(spec: &Value, status: &Value) -> PodDisruptionBudget {
    let mut budget = json!({
        "metadata": { "name": "web", "namespace": "a", "generation": 2 },
        "spec": { "selector": { "matchLabels": { "app": "web" } } },
        "status": status,
    });
    json_patch::merge(&mut budget["spec"], spec);
    serde_json::from_value(budget).unwrap()
}

/// A pod from words: `name [ready] [dying] [alone] [other]`.
fn pod(words: &str) -> Arc<Pod> {
    let has = |word: &str| words.split(' ').any(|known| known == word);
    let name = words.split(' ').next().unwrap();
    let owner = if has("other") { "other" } else { "set" };
    let owners = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true }]);
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "a", "labels": { "app": "web" },
                "ownerReferences": if has("alone") { json!(null) } else { owners },
                "deletionTimestamp": has("dying").then_some(NOW),
            },
            "status": { "phase": "Running", "conditions": [
                { "type": "Ready", "status": if has("ready") { "True" } else { "False" } }
            ] },
        }))
        .unwrap(),
    )
}

#[track_caller]
fn check(spec: &Value, status: &Value, pods: &[&str], expected: Expect) {
    let budget = budget(spec, status);
    let pods: Vec<_> = pods.iter().map(|words| pod(words)).collect();
    // Two ReplicaSets: one of a Deployment that wants 4 pods, and one that wants 3.
    let scales = [("set", "deployment", 4), ("other", "other", 3)].map(|(owner, uid, replicas)| {
        let uid = uid.to_owned();
        (owner.to_owned(), Scale { uid, replicas })
    });
    let owners: Vec<&str> = pods
        .iter()
        .filter_map(|pod| controller_of(&pod.metadata))
        .map(|owner| owner.uid.as_str())
        .collect();
    let scales = scales
        .into_iter()
        .filter(|(owner, _)| owners.contains(&owner.as_str()));
    let reckoned = reckon(&Observed {
        budget: &budget,
        pods: &pods,
        scales: &scales.collect(),
        now: NOW.parse().unwrap(),
    });
    let status = reckoned.status;
    let condition = &status.conditions.unwrap()[0];
    let disrupted: Vec<String> = status
        .disrupted_pods
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .collect();
    let reports: Vec<&str> = reckoned
        .reports
        .iter()
        .map(|report| report.reason)
        .collect();
    expected.assert_eq(&format!(
        "{} of {} healthy, {} needed, {} allowed ({} {}){}{}{}",
        status.current_healthy.unwrap(),
        status.expected_pods.unwrap(),
        status.desired_healthy.unwrap(),
        status.disruptions_allowed.unwrap(),
        condition.status,
        condition.reason,
        disrupted
            .iter()
            .map(|name| format!(", {name} on its way"))
            .collect::<String>(),
        reports
            .iter()
            .map(|reason| format!(", {reason}"))
            .collect::<String>(),
        reckoned
            .look_again
            .map(|delay| format!(", again in {delay:?}"))
            .unwrap_or_default(),
    ));
}

#[test]
fn a_number_counts_the_pods_that_are_there() {
    let one = json!({ "minAvailable": 1 });
    check(
        &one,
        &json!({}),
        &["a ready", "b ready"],
        expect!["2 of 2 healthy, 1 needed, 1 allowed (True SufficientPods)"],
    );
    check(
        &one,
        &json!({}),
        &["a ready", "b ready dying", "c"],
        expect!["1 of 3 healthy, 1 needed, 0 allowed (False InsufficientPods)"],
    );
    check(
        &one,
        &json!({}),
        &["a ready alone", "b ready alone"],
        expect!["2 of 2 healthy, 1 needed, 1 allowed (True SufficientPods)"],
    );
    check(
        &json!({ "minAvailable": 0 }),
        &json!({}),
        &[],
        expect!["0 of 0 healthy, 0 needed, 0 allowed (False InsufficientPods), NoPods"],
    );
}

#[test]
fn a_share_is_of_what_the_controllers_want_and_rounded_up() {
    let ready = ["a ready", "b ready", "c ready", "d ready"];
    check(
        &json!({ "minAvailable": "51%" }),
        &json!({}),
        &ready,
        expect!["4 of 4 healthy, 3 needed, 1 allowed (True SufficientPods)"],
    );
    check(
        &json!({ "maxUnavailable": "26%" }),
        &json!({}),
        &ready,
        expect!["4 of 4 healthy, 2 needed, 2 allowed (True SufficientPods)"],
    );
    check(
        &json!({ "maxUnavailable": 1 }),
        &json!({}),
        &["a ready", "b ready", "c ready other"],
        expect!["3 of 7 healthy, 6 needed, 0 allowed (False InsufficientPods)"],
    );
    check(
        &json!({ "maxUnavailable": 9 }),
        &json!({}),
        &ready,
        expect!["4 of 4 healthy, 0 needed, 4 allowed (True SufficientPods)"],
    );
    check(
        &json!({ "maxUnavailable": 1 }),
        &json!({}),
        &["a ready", "z ready alone"],
        expect!["2 of 4 healthy, 3 needed, 0 allowed (False InsufficientPods), UnmanagedPods"],
    );
}

#[test]
fn a_granted_eviction_counts_until_it_is_seen_or_two_minutes_are_over() {
    let granted = |at: &str| json!({ "disruptedPods": { "a": at } });
    let one = json!({ "minAvailable": 1 });
    check(
        &one,
        &granted("2026-01-01T00:59:00Z"),
        &["a ready", "b ready"],
        expect![
            "1 of 2 healthy, 1 needed, 0 allowed (False InsufficientPods), a on its way, again in 60.001s"
        ],
    );
    check(
        &one,
        &granted("2026-01-01T00:57:59Z"),
        &["a ready", "b ready"],
        expect!["2 of 2 healthy, 1 needed, 1 allowed (True SufficientPods), NotDeleted"],
    );
    check(
        &one,
        &granted("2026-01-01T00:59:00Z"),
        &["a ready dying", "b ready"],
        expect!["1 of 2 healthy, 1 needed, 0 allowed (False InsufficientPods)"],
    );
}

#[test]
fn a_selector_that_is_missing_is_for_none_and_an_empty_one_for_all() {
    let pod = pod("a");
    let cases = [
        (json!({ "selector": null }), false),
        (json!({ "selector": { "matchLabels": null } }), true),
        (json!({}), true),
        (
            json!({ "selector": { "matchLabels": { "app": "db" } } }),
            false,
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(
            selects(&budget(&spec, &json!({})), &pod),
            expected,
            "{spec}"
        );
    }
}

#[test]
fn a_failure_allows_nothing_and_keeps_what_was_known() {
    let status = json!({ "disruptionsAllowed": 3, "currentHealthy": 4, "observedGeneration": 1, "conditions": [
        { "type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }
    ] });
    let status = failed(
        &budget(&json!({}), &status),
        "no scale",
        NOW.parse().unwrap(),
    );
    let condition = &status.conditions.unwrap()[0];
    assert_eq!(
        (status.disruptions_allowed, status.current_healthy),
        (Some(0), Some(4))
    );
    assert_eq!(
        (condition.reason.as_str(), condition.message.as_str()),
        ("SyncFailed", "no scale")
    );
    assert_eq!(condition.last_transition_time, Time(NOW.parse().unwrap()));
}

#[test]
fn an_announced_disruption_is_given_up_after_two_minutes() {
    let now: Timestamp = NOW.parse().unwrap();
    let announced = |change: Value| {
        let mut pod = json!({
            "metadata": { "name": "a" },
            "status": { "phase": "Running", "conditions": [{
                "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "lastTransitionTime": "2026-01-01T00:59:00Z",
            }] },
        });
        json_patch::merge(&mut pod, &change);
        serde_json::from_value::<Pod>(pod).unwrap()
    };
    let pod = announced(json!({}));
    assert_eq!(stale_in(&pod, now), Some(Duration::from_secs(60)));
    let later = now + SignedDuration::from_secs(100);
    assert_eq!(stale_in(&pod, later), Some(Duration::ZERO));
    let cleaned = without_announcement(&pod, later);
    let condition = pod::condition(&cleaned, "DisruptionTarget").unwrap();
    assert_eq!(
        (condition.status.as_str(), &condition.reason),
        ("False", &None)
    );
    assert_eq!(stale_in(&cleaned, later), None);
    for never in [
        json!({ "metadata": { "deletionTimestamp": NOW } }),
        json!({ "status": { "phase": "Failed" } }),
        json!({ "status": { "conditions": [{ "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet" }] } }),
    ] {
        assert_eq!(stale_in(&announced(never.clone()), later), None, "{never}");
    }
}
