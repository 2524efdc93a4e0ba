//! Writes what the kubelet knows of a pod: its status while it lives, and at last that it is gone.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::FIELD_MANAGER;
use super::context::Context;
use super::pod::{Seen, has_ended};
use super::status::{self, ContainerView, Phase, PodView};
use crate::clock::wall_seconds;

/// How long a failed request to the API server waits for its next try, at first and at most.
pub(super) const RETRY_DELAY_FIRST: Duration = Duration::from_millis(200);
pub(super) const RETRY_DELAY_MAX: Duration = Duration::from_secs(7);

/// How often the kubelet looks whether somebody else changed what it reports.
const STATUS_PERIOD: Duration = Duration::from_secs(10);

/// Keeps the status in the API equal to the view.
pub(super) struct Report<N> {
    context: Arc<Context<N>>,
    view: watch::Receiver<PodView>,
    seen: watch::Receiver<Seen>,
    /// The pod with the status that was written last.
    written: Pod,
}

// === impl Report ===

impl<N> Report<N> {
    pub(super) fn new(
        context: Arc<Context<N>>,
        view: watch::Receiver<PodView>,
        seen: watch::Receiver<Seen>,
    ) -> Self {
        let written = context.pod.as_ref().clone();
        Self {
            context,
            view,
            seen,
            written,
        }
    }

    /// Ends when the object is gone.
    pub(super) async fn run(mut self) {
        if self.context.refusal.is_some() || has_ended(&self.context.pod) {
            return;
        }
        let mut delay = RETRY_DELAY_FIRST;
        let mut is_first = true;
        loop {
            let view = self.view.borrow_and_update().clone();
            let now = wall_seconds();
            let status = status::status(&self.written, &view, &self.context.addresses(), now);
            if is_first
                || self.written.status.as_ref() != Some(&status)
                || self.was_overruled(&status)
            {
                match patch_status(&self.context, &status).await {
                    Ok(()) => {
                        is_first = false;
                        delay = RETRY_DELAY_FIRST;
                        self.written.status = Some(status);
                    }
                    Err(error) if is_about_another_pod(&error) => return,
                    Err(error) => {
                        tracing::warn!(pod = self.context.title(), %error, reason = "api", "cannot report a pod's status; trying again");
                        tokio::time::sleep(delay).await;
                        delay = (delay * 2).min(RETRY_DELAY_MAX);
                        continue;
                    }
                }
            }
            tokio::select! {
                changed = self.view.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(STATUS_PERIOD) => {}
            }
        }
    }

    /// Whether somebody else changed our conditions: the node controller does, when it did not hear from us.
    fn was_overruled(&self, status: &PodStatus) -> bool {
        let seen = self.seen.borrow();
        let found = seen
            .pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_ref());
        status.conditions.iter().flatten().any(|ours| {
            found
                .iter()
                .flat_map(|found| found.iter())
                .any(|theirs| theirs.type_ == ours.type_ && theirs.status != ours.status)
        })
    }
}

/// Reports that all containers ended, and removes the object.
pub(super) async fn finish<N>(context: &Arc<Context<N>>, view: &PodView) {
    let mut view = view.clone();
    for container in view.init.iter_mut().chain(&mut view.containers) {
        end_view(container, wall_seconds());
    }
    let now = wall_seconds();
    let status = status::status(&context.pod, &view, &context.addresses(), now);
    retry(context, "report the end of", || {
        patch_status(context, &status)
    })
    .await;
    retry(context, "delete", || async {
        let parameters = DeleteParams::default()
            .grace_period(0)
            .preconditions(Preconditions {
                uid: Some(context.uid().to_owned()),
                ..Preconditions::default()
            });
        context
            .pods()
            .delete(context.name(), &parameters)
            .await
            .map(drop)
    })
    .await;
}

/// A container that never came to run ends without a trace of success.
fn end_view(container: &mut ContainerView, now: Timestamp) {
    container.ready = false;
    if !matches!(container.phase, Phase::Terminated(_)) {
        container.phase = Phase::Terminated(status::Exit {
            code: 137,
            reason: "ContainerStatusUnknown",
            message: "The container could not be located when the pod was deleted".to_owned(),
            started: now,
            finished: now,
        });
    }
}

/// Repeats a request until it is done or the object is gone.
pub(super) async fn retry<N, F>(context: &Context<N>, what: &str, mut request: impl FnMut() -> F)
where
    F: Future<Output = Result<(), kube::Error>>,
{
    let mut delay = RETRY_DELAY_FIRST;
    loop {
        match request().await {
            Ok(()) => return,
            Err(error) if is_about_another_pod(&error) => return,
            Err(error) => {
                tracing::warn!(pod = context.title(), %error, reason = "api", "cannot {what} a pod; trying again");
            }
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(RETRY_DELAY_MAX);
    }
}

/// The object is gone (404), or another one has its name (409).
fn is_about_another_pod(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}

/// Writes as kubelets do: a strategic merge patch, so that conditions of others stay.
pub(super) async fn patch_status<N>(
    context: &Context<N>,
    status: &PodStatus,
) -> Result<(), kube::Error> {
    let mut status = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    name_what_is_gone(&mut status);
    let patch = json!({"metadata": {"uid": context.uid()}, "status": status});
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    context
        .pods()
        .patch_status(context.name(), &parameters, &Patch::Strategic(patch))
        .await
        .map(drop)
}

/// A merge keeps what the patch leaves out: the reason of a condition that became true has to be taken back.
fn name_what_is_gone(status: &mut Value) {
    let conditions = status["conditions"].as_array_mut();
    for condition in conditions.into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            for field in ["reason", "message"] {
                condition.entry(field).or_insert(Value::Null);
            }
        }
    }
}
