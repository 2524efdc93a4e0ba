//! The conditions that a kubelet reports. Pure.
//!
//! `PodScheduled` is the scheduler's, and the conditions of readiness gates are those of whoever gates; they are read here, not
//! written.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{ContainerView, Exit, PodView, init, is_sidecar, main};

/// The conditions that a kubelet owns.
const OWN: [&str; 4] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
];

/// Why a condition is not as one would wish, or is although it is not met.
#[derive(Clone)]
struct Cause {
    reason: Option<&'static str>,
    message: String,
    is_met: bool,
}

/// Whether a kubelet owns the condition.
pub(in crate::kubelet) fn is_own(kind: &str) -> bool {
    OWN.contains(&kind)
}

/// The conditions of the pod that others own.
pub(in crate::kubelet) fn foreign(pod: &Pod) -> Vec<PodCondition> {
    let all = conditions(pod).iter();
    all.filter(|condition| !is_own(&condition.type_))
        .cloned()
        .collect()
}

pub(super) fn of(pod: &Pod, view: &PodView, now: Timestamp) -> Vec<PodCondition> {
    let phase = view.phase(pod);
    let containers = containers_ready(pod, view, phase);
    let ready = containers.clone().or_else(|| gates_closed(pod));
    let network = view.is_over || matches!(phase, "Succeeded" | "Failed");
    let causes = [
        network.then(|| unmet(None, String::new())),
        initialized(pod, view, phase),
        ready,
        containers,
    ];
    OWN.into_iter()
        .zip(causes)
        .map(|(kind, cause)| condition(pod, kind, cause, now))
        .collect()
}

/// Whether every container that has to be done before the others begin is done.
pub(super) fn is_initialized(pod: &Pod, view: &PodView) -> bool {
    view.containers.iter().any(ContainerView::has_begun) || incomplete(pod, view).is_empty()
}

fn incomplete<'a>(pod: &'a Pod, view: &PodView) -> Vec<&'a str> {
    let done = |container: &Container, view: &ContainerView| {
        if is_sidecar(container) {
            view.is_running() && view.started
        } else {
            view.exit().is_some_and(Exit::is_success)
        }
    };
    init(pod)
        .iter()
        .zip(&view.init)
        .filter(|(container, view)| !done(container, view))
        .map(|(container, _)| container.name.as_str())
        .collect()
}

fn initialized(pod: &Pod, view: &PodView, phase: &str) -> Option<Cause> {
    if phase == "Succeeded" {
        return Some(Cause {
            is_met: true,
            ..unmet(Some("PodCompleted"), String::new())
        });
    }
    let names = incomplete(pod, view).join(" ");
    let message = format!("containers with incomplete status: [{names}]");
    (!is_initialized(pod, view)).then(|| unmet(Some("ContainersNotInitialized"), message))
}

fn containers_ready(pod: &Pod, view: &PodView, phase: &str) -> Option<Cause> {
    match phase {
        "Succeeded" => return Some(unmet(Some("PodCompleted"), String::new())),
        "Failed" => return Some(unmet(Some("PodFailed"), String::new())),
        _ => {}
    }
    let sidecars = init(pod).iter().zip(&view.init);
    let sidecars = sidecars.filter(|(container, _)| is_sidecar(container));
    let unready: Vec<&str> = sidecars
        .chain(main(pod).iter().zip(&view.containers))
        .filter(|(_, view)| !view.ready)
        .map(|(container, _)| container.name.as_str())
        .collect();
    let names = unready.join(" ");
    let message = format!("containers with unready status: [{names}]");
    (!unready.is_empty()).then(|| unmet(Some("ContainersNotReady"), message))
}

/// Some: a readiness gate of the pod is not open.
fn gates_closed(pod: &Pod) -> Option<Cause> {
    let spec = pod.spec.as_ref();
    let gates = spec.and_then(|spec| spec.readiness_gates.as_ref());
    let closed = |kind: &String| {
        let mut found = conditions(pod)
            .iter()
            .filter(|condition| condition.type_ == *kind);
        match found.next() {
            None => Some(format!(
                "corresponding condition of pod readiness gate {kind:?} does not exist."
            )),
            Some(condition) if condition.status != "True" => Some(format!(
                "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                condition.status
            )),
            Some(_) => None,
        }
    };
    let closed: Vec<String> = gates
        .into_iter()
        .flatten()
        .filter_map(|gate| closed(&gate.condition_type))
        .collect();
    (!closed.is_empty()).then(|| unmet(Some("ReadinessGatesNotReady"), closed.join(", ")))
}

fn unmet(reason: Option<&'static str>, message: String) -> Cause {
    Cause {
        reason,
        message,
        is_met: false,
    }
}

fn conditions(pod: &Pod) -> &[PodCondition] {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
}

fn condition(pod: &Pod, kind: &str, cause: Option<Cause>, now: Timestamp) -> PodCondition {
    let is_met = cause.as_ref().is_none_or(|cause| cause.is_met);
    let status = if is_met { "True" } else { "False" };
    let before = conditions(pod)
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status)
        .and_then(|condition| condition.last_transition_time.clone());
    let (reason, message) = cause.map(|cause| (cause.reason, cause.message)).unzip();
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.flatten().map(str::to_owned),
        message: message.filter(|message| !message.is_empty()),
        last_transition_time: Some(before.unwrap_or(Time(now))),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    }
}
