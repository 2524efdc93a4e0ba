//! A pod that an earlier kubelet of this node ran. Pure.
//!
//! Its processes ended with that kubelet, so the node is as after a reboot: what ran is started again with one restart more, what had
//! ended for good stays so, and a pod that never restarts has failed.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use super::{ContainerView, Exit, Phase, PodView};

/// The exit code of a container whose end nobody saw.
const UNKNOWN: i32 = 255;

impl PodView {
    /// The view of a pod with what an earlier kubelet reported of it. `bool`: whether it had run.
    #[must_use]
    pub fn resumed(pod: &Pod, now: Timestamp) -> (Self, bool) {
        let mut view = Self::new(pod, now);
        let Some(status) = &pod.status else {
            return (view, false);
        };
        if let Some(start) = &status.start_time {
            view.accepted = start.0;
        }
        let policy = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.restart_policy.as_deref());
        let mains = status.container_statuses.as_deref().unwrap_or_default();
        let inits = status
            .init_container_statuses
            .as_deref()
            .unwrap_or_default();
        let mut had_run = false;
        for (view, status) in view.containers.iter_mut().zip(mains) {
            had_run |= resume(view, status, policy, now);
        }
        for (view, status) in view.init.iter_mut().zip(inits) {
            // They run again before the others do, as after every loss of a pod's network.
            had_run |= resume(view, status, None, now);
        }
        (view, had_run)
    }
}

/// Whether it had run.
fn resume(
    view: &mut ContainerView,
    status: &ContainerStatus,
    policy: Option<&str>,
    now: Timestamp,
) -> bool {
    let state = status.state.as_ref();
    let last = status.last_state.as_ref();
    let last = last.and_then(|last| last.terminated.as_ref()).map(exit);
    let running = state.and_then(|state| state.running.as_ref());
    let ended = state.and_then(|state| state.terminated.as_ref()).map(exit);
    let is_over = ended.is_some();
    let cut = running.map(|running| Exit {
        code: UNKNOWN,
        reason: "Unknown",
        message: String::new(),
        started: running
            .started_at
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |at| at.0),
        finished: now,
    });
    let Some(newest) = ended.or(cut).or_else(|| last.clone()) else {
        return false;
    };
    let stays = match policy {
        Some("Never") => true,
        Some("OnFailure") => is_over && newest.is_success(),
        _ => false,
    };
    view.restarts = status.restart_count;
    if stays {
        view.last = last;
        view.phase = Phase::Terminated(newest);
    } else {
        view.restarts += 1;
        view.last = Some(newest);
    }
    true
}

fn exit(state: &ContainerStateTerminated) -> Exit {
    let time = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    };
    // Only reasons that a kubelet gives itself are known; the others all mean a failure.
    let reason = match state.reason.as_deref() {
        Some("Completed") => "Completed",
        Some("StartError") => "StartError",
        Some("ContainerStatusUnknown") => "ContainerStatusUnknown",
        Some("Unknown") => "Unknown",
        _ => "Error",
    };
    Exit {
        code: state.exit_code,
        reason,
        message: state.message.clone().unwrap_or_default(),
        started: time(&state.started_at),
        finished: time(&state.finished_at),
    }
}
