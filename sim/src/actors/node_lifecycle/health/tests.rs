use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn node(conditions: &Value) -> Node {
    serde_json::from_value(json!({
        "metadata": { "name": "n", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "status": { "conditions": conditions },
    }))
    .unwrap()
}

fn ready_node(heartbeat: u32) -> Node {
    let heartbeat = format!("2026-01-01T00:00:{heartbeat:02}Z");
    node(&json!([{ "type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat }]))
}

fn lease(renewals: i64) -> Lease {
    let time = Timestamp::from_second(renewals).unwrap();
    serde_json::from_value(json!({ "spec": { "renewTime": format!("{time:.6}") } })).unwrap()
}

/// Passes at these seconds, each with the heartbeat and the renewal that it sees: when the grace of 50 s was over.
fn overdue(passes: &[(u64, u32, i64)]) -> Option<u64> {
    let start = Instant::now();
    let mut health: Option<Health> = None;
    for (seconds, heartbeat, renewals) in passes {
        let (node, lease) = (ready_node(*heartbeat), lease(*renewals));
        let seen = Seen {
            node: &node,
            lease: Some(&lease),
            age: 1000 * SECOND,
            now: start + SECOND * u32::try_from(*seconds).unwrap(),
        };
        let next = Health::observe(health.as_ref(), &seen);
        if next.is_overdue(50 * SECOND, seen.now) {
            return Some(*seconds);
        }
        health = Some(next);
    }
    None
}

#[test]
fn the_grace_begins_with_the_pass_that_first_sees_a_sign_of_life() {
    let every_5_s = |heard: &dyn Fn(u64) -> (u32, i64)| {
        let passes = (0..40).map(|pass| (pass * 5, heard(pass * 5).0, heard(pass * 5).1));
        passes.collect::<Vec<_>>()
    };
    // The last renewal is at 12 s and seen at 15 s.
    assert_eq!(
        overdue(&every_5_s(&|at| (0, if at > 12 { 2 } else { 1 }))),
        Some(70)
    );
    // What a clock of the node says does not count: its renewals may be hours old, they are only different.
    assert_eq!(
        overdue(&every_5_s(&|at| (0, if at > 12 { -9000 } else { -9001 }))),
        Some(70)
    );
    // Time that goes back is no sign of life.
    assert_eq!(
        overdue(&every_5_s(&|at| (0, if at > 12 { 0 } else { 1 }))),
        Some(55)
    );
    // A status without a renewal is one; and the lease counts once more in the pass after it.
    assert_eq!(overdue(&every_5_s(&|at| (u32::from(at > 12), 1))), Some(75));
}

/// F1: renewal → Unknown is U(0, P') + P'·⌈grace/P'⌉, and always in (grace, grace + 2·P').
#[test]
fn a_node_is_unknown_one_grace_and_up_to_two_periods_after_its_last_renewal() {
    let mut rng = SmallRng::seed_from_u64(1);
    // Grace, period, and the recorded least and most of "last renewal → Ready=Unknown" of the real one in seconds.
    for (grace, period, least, most) in [
        (50.0, 5.0, 50.3, 60.4),
        (20.0, 1.0, 20.67, 21.92),
        (20.0, 5.0, 20.67, 27.5),
    ] {
        let (mut shortest, mut longest) = (f64::MAX, 0.0_f64);
        let (node, leases) = (ready_node(0), [lease(0), lease(1)]);
        for _ in 0..10_000 {
            // A pass takes 5 ms when it writes nothing, and a tenth of the period on a busy machine; its phase is any.
            let pass = 0.005 + rng.random::<f64>() * period * 0.11;
            let (start, mut at) = (Instant::now(), rng.random::<f64>() * period);
            let renewed = 12.0;
            let mut health: Option<Health> = None;
            let unknown = loop {
                let now = start + Duration::from_secs_f64(at);
                let seen = Seen {
                    node: &node,
                    lease: Some(&leases[usize::from(at > renewed)]),
                    age: SECOND,
                    now,
                };
                let next = Health::observe(health.as_ref(), &seen);
                if next.is_overdue(Duration::from_secs_f64(grace), now) {
                    break at - renewed;
                }
                health = Some(next);
                at += period + pass;
            };
            assert!(
                unknown > grace && unknown < grace + 2.0 * (period + pass),
                "{unknown}"
            );
            (shortest, longest) = (shortest.min(unknown), longest.max(unknown));
        }
        // The recorded spread lies within ours.
        assert!(
            shortest < least && most < longest,
            "{grace} {period}: {shortest} … {longest}"
        );
    }
}

#[test]
fn a_node_that_never_said_anything_has_a_minute_from_its_creation() {
    let node = node(&json!([]));
    let start = Instant::now();
    for (age, later, expected) in [
        (0, 60, false),
        (0, 61, true),
        (59, 1, false),
        (59, 2, true),
        (3600, 0, true),
    ] {
        let seen = |seconds: u32| Seen {
            node: &node,
            lease: None,
            age: SECOND * (age + seconds),
            now: start + SECOND * (3600 + seconds),
        };
        let health = Health::observe(None, &seen(0));
        let health = Health::observe(Some(&health), &seen(later));
        assert_eq!(
            health.is_overdue(SECOND, seen(later).now),
            expected,
            "{age} {later}"
        );
    }
}

#[test]
fn a_node_that_comes_back_has_a_fresh_grace() {
    let (start, dead, back) = (Instant::now(), ready_node(0), ready_node(9));
    let old = lease(1);
    let seen = |node, seconds| Seen {
        node,
        lease: Some(&old),
        age: SECOND,
        now: start + SECOND * seconds,
    };
    let health = Health::observe(None, &seen(&dead, 0));
    assert!(health.is_overdue(50 * SECOND, start + 51 * SECOND));
    let written = health.written(&dead, Some(&old));
    assert_eq!(written.ready(), Some(Status::Unknown));
    assert!(
        written.is_overdue(50 * SECOND, start + 60 * SECOND),
        "a write of ours is no sign of life"
    );
    let health = Health::observe(Some(&written), &seen(&back, 60));
    assert_eq!(health.ready(), Some(Status::True));
    assert!(!health.is_overdue(50 * SECOND, start + 110 * SECOND));
}

#[test]
fn conditions_become_unknown_with_the_reasons_of_the_real_controller() {
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    let before = json!([
        { "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
          "lastHeartbeatTime": "2026-01-01T00:00:30Z", "lastTransitionTime": "2026-01-01T00:00:10Z" },
        { "type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated", "message": "" },
        { "type": "DiskPressure", "status": "Unknown", "reason": "Mine", "message": "" },
    ]);
    let unknown = super::unknown(&node(&before), now).unwrap();
    let conditions = serde_json::to_value(unknown.status.unwrap().conditions).unwrap();
    let never = |type_: &str| {
        json!({ "type": type_, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
            "message": "Kubelet never posted node status.",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-02T03:04:05Z" })
    };
    let expected = json!([
        { "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
          "message": "Kubelet stopped posting node status.",
          "lastHeartbeatTime": "2026-01-01T00:00:30Z", "lastTransitionTime": "2026-01-02T03:04:05Z" },
        { "type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated", "message": "" },
        { "type": "DiskPressure", "status": "Unknown", "reason": "Mine", "message": "" },
        never("MemoryPressure"),
        never("PIDPressure"),
    ]);
    assert_eq!(conditions, expected);
    let again = node(&expected);
    assert_eq!(super::unknown(&again, now), None, "unknown stays unknown");
}
