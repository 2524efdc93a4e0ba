//! What a kubelet reports about a pod. Pure.
//!
//! In: the pod, its addresses and the state of its containers. Out: the `PodStatus` to write. A condition keeps the
//! time of its last transition until its status changes.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not running, and why.
    Waiting {
        /// As `kubectl get pods` shows it.
        reason: &'static str,
        /// The details.
        message: String,
    },
    /// Running.
    Running {
        /// When it started.
        since: Timestamp,
    },
    /// Ended for good.
    Terminated(Exit),
}

/// How a run of a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 and the signal when a signal ended it.
    pub code: i32,
    /// `Completed`, `Error` or `StartError`.
    pub reason: &'static str,
    /// What there is to say, such as the last lines of its log.
    pub message: String,
    /// When the run began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// One container as the kubelet sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerView {
    /// What it does.
    pub phase: Phase,
    /// How the run before ended.
    pub last: Option<Exit>,
    /// Starts after the first.
    pub restarts: i32,
    /// Whether its readiness probe is content; without a probe: whether it runs.
    pub ready: bool,
}

/// All containers of a pod, in the order of its spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// When the kubelet took the pod.
    pub accepted: Timestamp,
    /// Containers that run to their end before the others begin.
    pub init: Vec<ContainerView>,
    /// The containers.
    pub containers: Vec<ContainerView>,
}

/// Addresses of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The pod's.
    pub pod: String,
    /// Its node's.
    pub node: String,
}

// === impl Exit ===

impl Exit {
    /// Whether the container did what it was asked to do.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == 0
    }

    fn state(&self) -> ContainerStateTerminated {
        ContainerStateTerminated {
            exit_code: self.code,
            reason: Some(self.reason.to_owned()),
            message: (!self.message.is_empty()).then(|| self.message.clone()),
            started_at: Some(Time(self.started)),
            finished_at: Some(Time(self.finished)),
            ..ContainerStateTerminated::default()
        }
    }
}

// === impl ContainerView ===

impl ContainerView {
    /// A container that has not begun.
    #[must_use]
    pub fn waiting(reason: &'static str) -> Self {
        Self {
            phase: Phase::Waiting {
                reason,
                message: String::new(),
            },
            last: None,
            restarts: 0,
            ready: false,
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    fn exit(&self) -> Option<&Exit> {
        match &self.phase {
            Phase::Terminated(exit) => Some(exit),
            Phase::Waiting { .. } | Phase::Running { .. } => None,
        }
    }

    fn status(&self, container: &Container, pod_uid: &str) -> ContainerStatus {
        let mut state = ContainerState::default();
        match &self.phase {
            Phase::Waiting { reason, message } => {
                state.waiting = Some(ContainerStateWaiting {
                    reason: Some((*reason).to_owned()),
                    message: (!message.is_empty()).then(|| message.clone()),
                });
            }
            Phase::Running { since } => {
                state.running = Some(ContainerStateRunning {
                    started_at: Some(Time(*since)),
                });
            }
            Phase::Terminated(exit) => state.terminated = Some(exit.state()),
        }
        let last_state = ContainerState {
            terminated: self.last.as_ref().map(Exit::state),
            ..ContainerState::default()
        };
        let image = container.image.clone().unwrap_or_default();
        let has_begun = self.is_running() || self.exit().is_some() || self.last.is_some();
        let number = self.restarts;
        let id = format!("tiergate-sim://{pod_uid}/{}/{number}", container.name);
        ContainerStatus {
            name: container.name.clone(),
            state: Some(state),
            last_state: Some(last_state),
            ready: self.ready,
            restart_count: self.restarts,
            image_id: if has_begun {
                image.clone()
            } else {
                String::new()
            },
            image,
            container_id: has_begun.then_some(id),
            started: Some(self.is_running()),
            ..ContainerStatus::default()
        }
    }
}

// === impl PodView ===

impl PodView {
    /// A pod that was just taken.
    #[must_use]
    pub fn new(pod: &Pod, accepted: Timestamp) -> Self {
        let spec = pod.spec.as_ref();
        let init = spec.and_then(|spec| spec.init_containers.as_ref());
        let init_count = init.map_or(0, Vec::len);
        let containers = spec.map_or(0, |spec| spec.containers.len());
        let reason = if init_count > 0 {
            "PodInitializing"
        } else {
            "ContainerCreating"
        };
        Self {
            accepted,
            init: vec![ContainerView::waiting("PodInitializing"); init_count],
            containers: vec![ContainerView::waiting(reason); containers],
        }
    }

    fn is_initialized(&self) -> bool {
        self.init
            .iter()
            .all(|container| container.exit().is_some_and(Exit::is_success))
    }

    fn phase(&self, pod: &Pod) -> &'static str {
        let policy = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.restart_policy.as_deref());
        let init_failed = self
            .init
            .iter()
            .any(|container| container.exit().is_some_and(|exit| !exit.is_success()));
        if init_failed && policy == Some("Never") {
            return "Failed";
        }
        let all_ended = self
            .containers
            .iter()
            .all(|container| container.exit().is_some());
        if all_ended && !self.containers.is_empty() {
            let succeeded = self
                .containers
                .iter()
                .all(|container| container.exit().is_some_and(Exit::is_success));
            return if succeeded { "Succeeded" } else { "Failed" };
        }
        let has_begun = |container: &ContainerView| {
            container.is_running() || container.exit().is_some() || container.last.is_some()
        };
        if self.is_initialized() && self.containers.iter().all(has_begun) {
            "Running"
        } else {
            "Pending"
        }
    }
}

/// The status to report.
#[must_use]
pub fn status(pod: &Pod, view: &PodView, addresses: &Addresses, now: Timestamp) -> PodStatus {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let init_specs = spec
        .and_then(|spec| spec.init_containers.as_deref())
        .unwrap_or_default();
    let specs = spec
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default();
    let statuses = |specs: &[Container], views: &[ContainerView]| -> Vec<ContainerStatus> {
        specs
            .iter()
            .zip(views)
            .map(|(container, view)| view.status(container, uid))
            .collect()
    };
    let init_statuses = statuses(init_specs, &view.init);
    PodStatus {
        phase: Some(view.phase(pod).to_owned()),
        conditions: Some(conditions(pod, view, specs, now)),
        host_ip: Some(addresses.node.clone()),
        host_ips: Some(vec![HostIP {
            ip: addresses.node.clone(),
        }]),
        pod_ip: Some(addresses.pod.clone()),
        pod_ips: Some(vec![PodIP {
            ip: addresses.pod.clone(),
        }]),
        start_time: Some(Time(view.accepted)),
        init_container_statuses: (!init_statuses.is_empty()).then_some(init_statuses),
        container_statuses: Some(statuses(specs, &view.containers)),
        ..PodStatus::default()
    }
}

/// The conditions that a kubelet owns. `PodScheduled` is the scheduler's.
fn conditions(pod: &Pod, view: &PodView, specs: &[Container], now: Timestamp) -> Vec<PodCondition> {
    let phase = view.phase(pod);
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let unready: Vec<&str> = specs
        .iter()
        .zip(&view.containers)
        .filter(|(_, view)| !view.ready)
        .map(|(container, _)| container.name.as_str())
        .collect();
    let not_ready = if phase == "Succeeded" {
        Some(("PodCompleted", String::new()))
    } else if !unready.is_empty() {
        let names = unready.join(" ");
        Some((
            "ContainersNotReady",
            format!("containers with unready status: [{names}]"),
        ))
    } else {
        None
    };
    let not_initialized = (!view.is_initialized()).then(|| {
        let waiting: Vec<&str> = pod
            .spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten())
            .zip(&view.init)
            .filter(|(_, view)| !view.exit().is_some_and(Exit::is_success))
            .map(|(container, _)| container.name.as_str())
            .collect();
        let names = waiting.join(" ");
        (
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{names}]"),
        )
    });
    let network_gone = is_over.then(|| ("PodTerminated", String::new()));
    [
        ("PodReadyToStartContainers", network_gone),
        ("Initialized", not_initialized),
        ("Ready", not_ready.clone()),
        ("ContainersReady", not_ready),
    ]
    .into_iter()
    .map(|(kind, wrong)| condition(pod, kind, wrong, now))
    .collect()
}

fn condition(
    pod: &Pod,
    kind: &str,
    wrong: Option<(&'static str, String)>,
    now: Timestamp,
) -> PodCondition {
    let status = if wrong.is_none() { "True" } else { "False" };
    let before = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .find(|condition| condition.type_ == kind && condition.status == status)
        .and_then(|condition| condition.last_transition_time.clone());
    let (reason, message) = wrong.unzip();
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        message: message.filter(|message| !message.is_empty()),
        last_transition_time: Some(before.unwrap_or(Time(now))),
        ..PodCondition::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u-1"},
            "spec": {"containers": [{"name": "web", "image": "web:1"}, {"name": "log", "image": "log:1"}]},
        }))
        .unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn running(ready: bool) -> ContainerView {
        ContainerView {
            phase: Phase::Running { since: at(1) },
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
}
