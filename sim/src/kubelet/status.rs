//! What a kubelet reports about a pod. Pure.
//!
//! In: the pod, its addresses and the state of its containers. Out: the `PodStatus` to write. A condition keeps the
//! time of its last transition until its status changes.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

mod conditions;
mod resume;

pub(super) use conditions::{foreign as foreign_conditions, is_own};

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
    /// Whether its startup probe was content; without a probe: whether it runs.
    pub started: bool,
    /// Whether its readiness probe is content; without a probe: whether it has started.
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
    /// Whether the pod is being deleted and nothing of it runs: no container will be started again.
    pub is_over: bool,
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

    fn state(&self, container_id: Option<String>) -> ContainerStateTerminated {
        // A run that never was has no times.
        let time = |time: Timestamp| (time != Timestamp::UNIX_EPOCH).then_some(Time(time));
        ContainerStateTerminated {
            container_id: container_id.filter(|_| self.started != Timestamp::UNIX_EPOCH),
            exit_code: self.code,
            reason: Some(self.reason.to_owned()),
            message: (!self.message.is_empty()).then(|| self.message.clone()),
            started_at: time(self.started),
            finished_at: time(self.finished),
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
            started: false,
            ready: false,
        }
    }

    fn has_begun(&self) -> bool {
        self.is_running() || self.exit().is_some() || self.last.is_some()
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
        let name = &container.name;
        let id = |number: i32| format!("tiergate-sim://{pod_uid}/{name}/{number}");
        let has_begun = self.has_begun();
        let own_id = has_begun.then(|| id(self.restarts));
        let mut state = ContainerState::default();
        let mut is_waiting = false;
        match &self.phase {
            Phase::Waiting { reason, message } => {
                is_waiting = true;
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
            Phase::Terminated(exit) => state.terminated = Some(exit.state(own_id.clone())),
        }
        // While it waits for its next start, the container that ended is still the newest one.
        let last_number = self.restarts - i32::from(!is_waiting);
        let last = self.last.as_ref();
        let last_state = ContainerState {
            terminated: last.map(|exit| exit.state(Some(id(last_number.max(0))))),
            ..ContainerState::default()
        };
        let image = container.image.clone().unwrap_or_default();
        ContainerStatus {
            name: name.clone(),
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
            container_id: own_id,
            started: Some(self.is_running() && self.started),
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
            is_over: false,
        }
    }

    pub(super) fn phase(&self, pod: &Pod) -> &'static str {
        let policy = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.restart_policy.as_deref());
        let failed = |container: &ContainerView| {
            let exit = container.exit();
            exit.is_some_and(|exit| !exit.is_success())
        };
        let init_failed = init(pod)
            .iter()
            .zip(&self.init)
            .any(|(spec, view)| !is_sidecar(spec) && failed(view));
        if init_failed && policy == Some("Never") {
            return "Failed";
        }
        let all_ended = self
            .containers
            .iter()
            .all(|container| container.exit().is_some());
        let any_failed = self.containers.iter().any(failed);
        if all_ended && !self.containers.is_empty() {
            let stays_so = match policy {
                Some("Never") => true,
                Some("OnFailure") => !any_failed,
                _ => false,
            };
            return match (stays_so || self.is_over, any_failed) {
                (false, _) => "Running",
                (true, false) => "Succeeded",
                (true, true) => "Failed",
            };
        }
        let has_begun = self.containers.iter().all(ContainerView::has_begun);
        if has_begun && conditions::is_initialized(pod, self) {
            "Running"
        } else {
            "Pending"
        }
    }
}

/// Whether an init container runs as long as the pod.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn init(pod: &Pod) -> &[Container] {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.init_containers.as_deref())
        .unwrap_or_default()
}

fn main(pod: &Pod) -> &[Container] {
    let spec = pod.spec.as_ref();
    spec.map(|spec| spec.containers.as_slice())
        .unwrap_or_default()
}

/// The status to report.
#[must_use]
pub fn status(pod: &Pod, view: &PodView, addresses: &Addresses, now: Timestamp) -> PodStatus {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let statuses = |specs: &[Container], views: &[ContainerView]| -> Vec<ContainerStatus> {
        specs
            .iter()
            .zip(views)
            .map(|(container, view)| view.status(container, uid))
            .collect()
    };
    let init_statuses = statuses(init(pod), &view.init);
    PodStatus {
        phase: Some(view.phase(pod).to_owned()),
        observed_generation: pod.metadata.generation,
        conditions: Some(conditions::of(pod, view, now)),
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
        container_statuses: Some(statuses(main(pod), &view.containers)),
        ..PodStatus::default()
    }
}

#[cfg(test)]
mod tests;
