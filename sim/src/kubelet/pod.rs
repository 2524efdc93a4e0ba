//! One pod from the moment it is bound to the node until its object is gone.
//!
//! In: the pod's object, as it changes. Out: its containers, its status, and at the end the deletion of the object. On a
//! deletionTimestamp every container is asked to end, with the grace that the object names; readiness stays what the
//! probes say, because the EndpointSlice controller takes the pod out by the deletionTimestamp itself.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tiergate_data_plane::net::Net;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::admission::Refusal;
use super::container::Deadline;
use super::context::Context;
use super::crew::Crew;
use super::event::Severity;
use super::hosts;
use super::report::{RETRY_DELAY_FIRST, RETRY_DELAY_MAX, Report, finish, patch_status, retry};
use super::status::{Phase, PodView};
use super::volumes::Volumes;
use crate::clock::wall_seconds;

/// Grace of a pod whose object is already gone.
const GRACE_OF_GONE: Duration = Duration::from_secs(2);

/// The newest state of the pod's object.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) pod: Arc<Pod>,
    /// The object is gone, whatever became of the containers.
    pub(super) is_gone: bool,
}

/// Runs the pod until its object is gone.
pub(super) async fn run<N: Net>(context: Context<N>, seen: watch::Receiver<Seen>) {
    let context = Arc::new(context);
    let accepted = wall_seconds();
    let (resumed, had_run) = PodView::resumed(&context.pod, accepted);
    let (view, _) = watch::channel(resumed);
    let (deadline, until) = watch::channel(None);
    let report = Report::new(Arc::clone(&context), view.subscribe(), seen.clone());
    let reporting = async {
        report.run().await;
        std::future::pending::<()>().await;
    };
    let living = async {
        if let Some(refusal) = &context.refusal {
            refuse(&context, refusal).await;
        } else if !has_ended(&context.pod) {
            if had_run {
                let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
                context.tell(None, Severity::Normal, "SandboxChanged", message);
            }
            live(&context, &view, until).await;
        }
        // Ended by itself: the object stays, with its status, until somebody deletes it.
        let mut seen = seen.clone();
        let _ = seen.wait_for(is_ending).await;
    };
    tokio::select! {
        () = living => {}
        () = reporting => {}
        () = follow_deletion(seen.clone(), deadline) => {}
    }
    if !seen.borrow().is_gone {
        let last = view.borrow().clone();
        let pod = Arc::clone(&seen.borrow().pod);
        finish(&context, &pod, &last).await;
    }
    if let Err(error) = fs::remove_dir_all(&context.folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(%error, folder = %context.folder.display(), "the folder of a pod stays");
    }
}

async fn refuse<N>(context: &Context<N>, refusal: &Refusal) {
    let status = PodStatus {
        phase: Some("Failed".to_owned()),
        reason: Some(refusal.reason().to_owned()),
        message: Some(format!("Pod was rejected: {refusal}")),
        ..PodStatus::default()
    };
    tracing::warn!(
        pod = context.title(),
        reason = refusal.reason(),
        "{refusal}"
    );
    context.tell(
        None,
        Severity::Warning,
        refusal.reason(),
        refusal.to_string(),
    );
    retry(context, "refuse", || patch_status(context, &status)).await;
}

/// Whether an earlier kubelet saw it end for good.
pub(super) fn has_ended(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_ending(seen: &Seen) -> bool {
    seen.is_gone || seen.pod.metadata.deletion_timestamp.is_some()
}

/// Turns the deletionTimestamp into a deadline, and moves it when the grace is shortened. Never ends.
async fn follow_deletion(
    mut seen: watch::Receiver<Seen>,
    deadline: watch::Sender<Option<Instant>>,
) {
    loop {
        let grace = {
            let seen = seen.borrow_and_update();
            let metadata = &seen.pod.metadata;
            let seconds = metadata.deletion_grace_period_seconds.unwrap_or(30);
            let asked = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            match (seen.is_gone, &metadata.deletion_timestamp) {
                (true, _) => Some(GRACE_OF_GONE),
                (false, Some(_)) => Some(asked),
                (false, None) => None,
            }
        };
        if let Some(grace) = grace {
            let ends = Instant::now() + grace;
            deadline.send_if_modified(|deadline| {
                let is_nearer = deadline.is_none_or(|before| ends < before);
                if is_nearer {
                    *deadline = Some(ends);
                }
                is_nearer
            });
        }
        if seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The containers, from the first to the last.
async fn live<N: Net>(
    context: &Arc<Context<N>>,
    view: &watch::Sender<PodView>,
    deadline: Deadline,
) {
    let mut background = JoinSet::new();
    let mut until = deadline.clone();
    let volumes = tokio::select! {
        volumes = prepare(context, view) => volumes,
        _ = until.wait_for(Option::is_some) => return,
    };
    background.spawn(volumes.keep());
    background.spawn(hosts::keep(Arc::clone(context)));
    let mut crew = Crew {
        context: Arc::clone(context),
        view: view.clone(),
        deadline,
        sidecars: Vec::new(),
    };
    if crew.initialize().await {
        crew.run_mains().await;
    }
    crew.end_sidecars().await;
}

/// Makes the folder of the pod and its volumes; tries until that works.
async fn prepare<N>(context: &Arc<Context<N>>, view: &watch::Sender<PodView>) -> Volumes<N> {
    let mut volumes = Volumes::new(Arc::clone(context));
    let mut delay = RETRY_DELAY_FIRST;
    loop {
        let error = match fs::create_dir_all(&context.folder) {
            Ok(()) => match volumes.set_up().await {
                Ok(()) => return volumes,
                Err(error) => error.to_string(),
            },
            Err(error) => format!("cannot make {}: {error}", context.folder.display()),
        };
        tracing::debug!(pod = context.title(), reason = "volumes", "{error}");
        context.tell(None, Severity::Warning, "FailedMount", error.clone());
        view.send_modify(|view| {
            for container in &mut view.containers {
                if let Phase::Waiting { message, .. } = &mut container.phase {
                    message.clone_from(&error);
                }
            }
        });
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(RETRY_DELAY_MAX);
    }
}
