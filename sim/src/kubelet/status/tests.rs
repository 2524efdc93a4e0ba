use serde_json::json;

use super::*;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u-1"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "web", "image": "web:1"}, {"name": "log", "image": "log:1"}]},
    }))
    .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn running(ready: bool) -> ContainerView {
    ContainerView {
        phase: Phase::Running { since: at(1) },
        started: true,
        ready,
        ..ContainerView::waiting("ContainerCreating")
    }
}

fn ended(code: i32) -> ContainerView {
    let exit = Exit {
        code,
        reason: "Error",
        message: String::new(),
        started: at(1),
        finished: at(2),
    };
    ContainerView {
        phase: Phase::Terminated(exit),
        ..ContainerView::waiting("ContainerCreating")
    }
}

fn addresses() -> Addresses {
    Addresses {
        pod: "127.10.0.2".to_owned(),
        node: "127.10.0.1".to_owned(),
    }
}

fn report(pod: &Pod, containers: [ContainerView; 2], now: i64) -> PodStatus {
    let view = PodView {
        accepted: at(0),
        init: Vec::new(),
        containers: containers.to_vec(),
        is_over: false,
    };
    status(pod, &view, &addresses(), at(now))
}

fn ready_condition(status: &PodStatus) -> (String, Timestamp) {
    let conditions = status.conditions.as_ref().unwrap();
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .unwrap();
    let since = ready.last_transition_time.as_ref().unwrap().0;
    (ready.status.clone(), since)
}

#[test]
fn phase_and_readiness_follow_the_containers() {
    let waiting = ContainerView::waiting("ContainerCreating");
    let crashed = ContainerView {
        restarts: 2,
        last: match ended(1).phase {
            Phase::Terminated(exit) => Some(exit),
            Phase::Waiting { .. } | Phase::Running { .. } => None,
        },
        ..ContainerView::waiting("CrashLoopBackOff")
    };
    let cases = [
        ([waiting.clone(), waiting.clone()], "Pending", "False"),
        ([running(true), waiting], "Pending", "False"),
        ([running(true), running(false)], "Running", "False"),
        ([running(true), running(true)], "Running", "True"),
        ([running(true), crashed], "Running", "False"),
        ([running(true), ended(0)], "Running", "False"),
        ([ended(0), ended(0)], "Succeeded", "False"),
        ([ended(0), ended(137)], "Failed", "False"),
    ];
    for (containers, phase, ready) in cases {
        let status = report(&pod(), containers.clone(), 5);
        assert_eq!(status.phase.as_deref(), Some(phase), "{containers:?}");
        assert_eq!(ready_condition(&status).0, ready, "{containers:?}");
    }
}

#[test]
fn a_condition_keeps_its_time_until_it_changes() {
    let mut pod = pod();
    for (ready, now, since) in [
        (false, 5, 5),
        (false, 6, 5),
        (true, 7, 7),
        (true, 9, 7),
        (false, 10, 10),
    ] {
        let status = report(&pod, [running(true), running(ready)], now);
        assert_eq!(ready_condition(&status).1, at(since), "at {now}");
        pod.status = Some(status);
    }
}

#[test]
fn unready_containers_are_named() {
    let status = report(&pod(), [running(true), running(false)], 5);
    let conditions = status.conditions.unwrap();
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .unwrap();
    assert_eq!(ready.reason.as_deref(), Some("ContainersNotReady"));
    assert_eq!(
        ready.message.as_deref(),
        Some("containers with unready status: [log]")
    );
}
