//! What the status of a Deployment says: counts, and the conditions that `kubectl rollout status` reads.
//!
//! Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::work::{Set, Work};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const DONE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// Brings counts and the Available condition up to date.
pub(crate) fn count(work: &mut Work<'_>) {
    let available = work.sum(Set::available);
    let new_actual = work.new.map_or(0, |new| work.sets[new].actual());
    let before = work.deployment.status.take().unwrap_or_default();
    let terminating = work
        .sets
        .iter()
        .map(|set| {
            set.object
                .status
                .as_ref()
                .map_or(Some(0), |status| status.terminating_replicas)
        })
        .sum();
    work.deployment.status = Some(DeploymentStatus {
        observed_generation: work.deployment.metadata.generation,
        replicas: some(work.sum(Set::actual)),
        updated_replicas: some(new_actual),
        ready_replicas: some(work.sum(Set::ready)),
        available_replicas: some(available),
        unavailable_replicas: some((work.sum(Set::wanted) - available).max(0)),
        terminating_replicas: terminating,
        ..before
    });
    let least = work.replicas - work.bounds.unavailable_max;
    let (status, reason, message) = if available >= least {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    let now = work.now;
    set(
        &mut work.deployment,
        now,
        AVAILABLE,
        status,
        reason,
        message.into(),
    );
}

/// Brings counts and all conditions of a roll-out up to date, and says when to look again.
pub(crate) fn roll_out(work: &mut Work<'_>) {
    let before = work.deployment.status.clone().unwrap_or_default();
    count(work);
    let status = work.deployment.status.clone().unwrap_or_default();
    if !has_deadline(&work.deployment) {
        remove(&mut work.deployment, PROGRESSING);
    } else if status.replicas.unwrap_or(0) != status.updated_replicas.unwrap_or(0)
        || reason(&work.deployment) != Some(DONE)
    {
        let subject = match work.new {
            Some(new) => format!("ReplicaSet \"{}\"", work.sets[new].name()),
            None => {
                let name = work.deployment.metadata.name.as_deref();
                format!("Deployment \"{}\"", name.unwrap_or_default())
            }
        };
        if is_complete(work) {
            let message = format!("{subject} has successfully progressed.");
            set_progressing(work, "True", DONE, message);
        } else if has_progressed(&before, &status) {
            restart_clock(work, format!("{subject} is progressing."));
        } else if has_timed_out(work) {
            let message = format!("{subject} has timed out progressing.");
            set_progressing(work, "False", TIMED_OUT, message);
        }
    }
    pass_on_failure(work);
    work.look_again = deadline_in(work);
}

/// Marks the beginning and the end of a pause.
pub(crate) fn pause(work: &mut Work<'_>) {
    let is_paused = is_paused(&work.deployment);
    let reason = reason(&work.deployment);
    if !has_deadline(&work.deployment) || reason == Some(TIMED_OUT) {
        return;
    }
    if is_paused && reason != Some(PAUSED) {
        set_progressing(work, "Unknown", PAUSED, "Deployment is paused".into());
    } else if !is_paused && reason == Some(PAUSED) {
        set_progressing(
            work,
            "Unknown",
            "DeploymentResumed",
            "Deployment is resumed".into(),
        );
    }
}

/// Whether all pods are new and available.
pub(crate) fn is_complete(work: &Work<'_>) -> bool {
    work.new
        .is_some_and(|new| work.sets[new].actual() == work.replicas)
        && work.sum(Set::actual) == work.replicas
        && work.sum(Set::available) == work.replicas
}

pub(crate) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.paused.unwrap_or(false)
}

/// Whether a roll-out without progress is reported. (`i32::MAX` means never.)
pub(crate) fn has_deadline(deployment: &Deployment) -> bool {
    let seconds = deployment.spec.progress_deadline_seconds;
    seconds.is_some_and(|seconds| seconds != i32::MAX)
}

pub(crate) fn progressing(deployment: &Deployment) -> Option<&DeploymentCondition> {
    find(deployment, PROGRESSING)
}

pub(crate) fn set_progressing(
    work: &mut Work<'_>,
    status: &str,
    reason: &'static str,
    message: String,
) {
    let now = work.now;
    set(
        &mut work.deployment,
        now,
        PROGRESSING,
        status,
        reason,
        message,
    );
}

/// Progress is condition `ReplicaSetUpdated` with a new update time, from which the deadline counts.
fn restart_clock(work: &mut Work<'_>, message: String) {
    let before = progressing(&work.deployment).cloned();
    let since = before
        .filter(|before| before.status.as_deref() == Some("True"))
        .and_then(|before| before.last_transition_time);
    remove(&mut work.deployment, PROGRESSING);
    set_progressing(work, "True", "ReplicaSetUpdated", message);
    let conditions = work
        .deployment
        .status
        .as_mut()
        .and_then(|status| status.conditions.as_mut());
    let condition = conditions.and_then(|conditions| conditions.last_mut());
    if let (Some(condition), Some(since)) = (condition, since) {
        condition.last_transition_time = Some(since);
    }
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let old_pods = |status: &DeploymentStatus| {
        status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
    };
    after.updated_replicas.unwrap_or(0) > before.updated_replicas.unwrap_or(0)
        || old_pods(after) < old_pods(before)
        || after.ready_replicas.unwrap_or(0) > before.ready_replicas.unwrap_or(0)
        || after.available_replicas.unwrap_or(0) > before.available_replicas.unwrap_or(0)
}

fn has_timed_out(work: &Work<'_>) -> bool {
    match reason(&work.deployment) {
        None | Some(DONE | PAUSED) => false,
        Some(TIMED_OUT) => true,
        Some(_) => deadline(work).is_some_and(|deadline| deadline < work.now),
    }
}

fn deadline(work: &Work<'_>) -> Option<Timestamp> {
    let since = progressing(&work.deployment)?.last_update_time.as_ref()?.0;
    let seconds = work.deployment.spec.progress_deadline_seconds?;
    since
        .checked_add(SignedDuration::from_secs(seconds.into()))
        .ok()
}

/// One second after the deadline, if there is something to wait for.
fn deadline_in(work: &Work<'_>) -> Option<Duration> {
    if !has_deadline(&work.deployment)
        || is_complete(work)
        || reason(&work.deployment) == Some(TIMED_OUT)
    {
        return None;
    }
    let deadline = deadline(work)?;
    let left = deadline.duration_since(work.now).max(SignedDuration::ZERO);
    Some(left.unsigned_abs() + Duration::from_secs(1))
}

/// A ReplicaSet that cannot make its pods is the Deployment's trouble.
fn pass_on_failure(work: &mut Work<'_>) {
    let of_set = |set: &Set| {
        let conditions = set.object.status.as_ref()?.conditions.as_ref()?;
        let failure = conditions
            .iter()
            .find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE))?;
        Some((failure.reason.clone(), failure.message.clone()))
    };
    let new_first = work.new.into_iter().chain(work.old());
    let failure = new_first
        .into_iter()
        .find_map(|index| of_set(&work.sets[index]));
    match failure {
        Some((reason, message)) => {
            let reason = reason.unwrap_or_default();
            let now = work.now;
            let message = message.unwrap_or_default();
            set(
                &mut work.deployment,
                now,
                REPLICA_FAILURE,
                "True",
                &reason,
                message,
            );
        }
        None => remove(&mut work.deployment, REPLICA_FAILURE),
    }
}

fn reason(deployment: &Deployment) -> Option<&str> {
    progressing(deployment)?.reason.as_deref()
}

fn find<'a>(deployment: &'a Deployment, type_: &str) -> Option<&'a DeploymentCondition> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_.as_deref() == Some(type_))
}

/// Sets a condition; one with the same status and reason stays as it is.
fn set(
    deployment: &mut Deployment,
    now: Timestamp,
    type_: &str,
    status: &str,
    reason: &str,
    message: String,
) {
    let mut last_transition_time = Some(Time(now));
    if let Some(before) = find(deployment, type_)
        && before.status.as_deref() == Some(status)
    {
        if before.reason.as_deref() == Some(reason) {
            return;
        }
        last_transition_time.clone_from(&before.last_transition_time);
    }
    remove(deployment, type_);
    let status_of = deployment.status.get_or_insert_default();
    status_of
        .conditions
        .get_or_insert_default()
        .push(DeploymentCondition {
            type_: Some(type_.into()),
            status: Some(status.into()),
            reason: Some(reason.into()),
            message: Some(message),
            last_update_time: Some(Time(now)),
            last_transition_time,
        });
}

fn remove(deployment: &mut Deployment, type_: &str) {
    let conditions = deployment
        .status
        .as_mut()
        .and_then(|status| status.conditions.as_mut());
    if let Some(conditions) = conditions {
        conditions.retain(|condition| condition.type_.as_deref() != Some(type_));
    }
}

/// Counts of zero are left out, as the real controllers do.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
