//! Writes what the kubelet knows of a pod: its status while it lives, and at last that it is gone.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
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

/// Keeps the status in the API equal to the view.
pub(super) struct Report<N> {
    context: Arc<Context<N>>,
    view: watch::Receiver<PodView>,
    seen: watch::Receiver<Seen>,
    /// The pod with the status that was written last, and with what others say of it.
    written: Pod,
    last: Option<PodStatus>,
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
            last: None,
        }
    }

    /// Ends when the object is gone.
    pub(super) async fn run(mut self) {
        if self.context.refusal.is_some() || has_ended(&self.context.pod) {
            return;
        }
        let mut ticks = self.context.ticks.clone();
        let mut delay = RETRY_DELAY_FIRST;
        let mut is_due = false;
        loop {
            let view = self.view.borrow_and_update().clone();
            self.learn();
            let now = wall_seconds();
            let status = status::status(&self.written, &view, &self.context.addresses(), now);
            if is_due || self.last.as_ref() != Some(&status) {
                match patch_status(&self.context, &status).await {
                    Ok(()) => {
                        delay = RETRY_DELAY_FIRST;
                        self.written.status = Some(status.clone());
                        self.last = Some(status);
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
            is_due = tokio::select! {
                changed = self.view.changed() => if changed.is_err() { return } else { false },
                changed = self.seen.changed() => if changed.is_err() { return } else { false },
                // Only at a tick: what the node controller wrote while we were away stands until then.
                changed = ticks.changed() => if changed.is_err() { return } else { self.was_overruled() },
            };
        }
    }

    /// Takes over what others say of the pod and we build on: its generation, and the conditions that gate its readiness.
    fn learn(&mut self) {
        let seen = self.seen.borrow_and_update();
        self.written.metadata.generation = seen.pod.metadata.generation;
        let others = status::foreign_conditions(&seen.pod);
        let status = self.written.status.get_or_insert_default();
        let conditions = status.conditions.get_or_insert_default();
        conditions.retain(|condition| status::is_own(&condition.type_));
        conditions.extend(others);
    }

    /// Whether somebody else changed our conditions: the node controller does, when it did not hear from us.
    fn was_overruled(&self) -> bool {
        let seen = self.seen.borrow();
        let found = conditions(&seen.pod);
        conditions(&self.written)
            .iter()
            .filter(|ours| status::is_own(&ours.type_))
            .any(|ours| {
                let mut same = found.iter().filter(|theirs| theirs.type_ == ours.type_);
                same.any(|theirs| theirs.status != ours.status)
            })
    }
}

fn conditions(pod: &Pod) -> &[PodCondition] {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
}

/// Reports that all containers ended, and removes the object.
pub(super) async fn finish<N>(context: &Arc<Context<N>>, last_seen: &Pod, view: &PodView) {
    // How a pod ended for good is told already.
    if context.refusal.is_none() && !has_ended(&context.pod) {
        let mut view = view.clone();
        view.is_over = true;
        for container in view.init.iter_mut().chain(&mut view.containers) {
            end_view(container);
        }
        let now = wall_seconds();
        let status = status::status(last_seen, &view, &context.addresses(), now);
        retry(context, "report the end of", || {
            patch_status(context, &status)
        })
        .await;
    }
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
fn end_view(container: &mut ContainerView) {
    container.ready = false;
    container.started = false;
    if !matches!(container.phase, Phase::Terminated(_)) {
        container.phase = Phase::Terminated(status::Exit {
            code: 137,
            reason: "ContainerStatusUnknown",
            message: "The container could not be located when the pod was deleted".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
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
