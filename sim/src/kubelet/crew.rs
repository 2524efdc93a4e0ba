//! The containers of a pod and the order of their life: init containers one after the other, sidecars beside them, then all others;
//! at the end the sidecars, the last one first.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use tiergate_data_plane::net::Net;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::care::seconds;
use super::container::{Deadline, Job, Place, asked_to_end};
use super::context::Context;
use super::status::{PodView, is_sidecar};

/// The containers of one pod.
pub(super) struct Crew<N> {
    pub(super) context: Arc<Context<N>>,
    pub(super) view: watch::Sender<PodView>,
    pub(super) deadline: Deadline,
    /// In the order of their start.
    pub(super) sidecars: Vec<Sidecar>,
}

/// A running sidecar. It has a deadline of its own, since it ends after the others.
pub(super) struct Sidecar {
    deadline: watch::Sender<Option<Instant>>,
    task: JoinSet<bool>,
}

// === impl Crew ===

impl<N: Net> Crew<N> {
    /// Runs the init containers and starts the sidecars. True: the others may begin.
    pub(super) async fn initialize(&mut self) -> bool {
        let context = Arc::clone(&self.context);
        let spec = context.pod.spec.as_ref();
        let init = spec
            .and_then(|spec| spec.init_containers.as_deref())
            .unwrap_or_default();
        for (index, container) in init.iter().enumerate() {
            let may_go_on = if is_sidecar(container) {
                self.start_sidecar(index, container).await
            } else {
                let deadline = self.deadline.clone();
                let job = self.job(container, Place::Init(index), deadline);
                job.run().await
            };
            if !may_go_on {
                return false;
            }
        }
        true
    }

    /// Starts a sidecar. True as soon as it has started, false when the pod ends before.
    async fn start_sidecar(&mut self, index: usize, container: &Container) -> bool {
        let (sender, deadline) = watch::channel(None);
        let job = self.job(container, Place::Sidecar(index), deadline);
        let mut task = JoinSet::new();
        task.spawn(job.run());
        self.sidecars.push(Sidecar {
            deadline: sender,
            task,
        });
        let mut view = self.view.subscribe();
        tokio::select! {
            _ = view.wait_for(|view| view.init[index].started) => true,
            () = asked_to_end(&mut self.deadline) => false,
        }
    }

    /// Runs the containers until all of them ended for good.
    pub(super) async fn run_mains(&self) {
        let is_played = |container: &&Container| {
            let image = container.image.as_deref().unwrap_or_default();
            self.context.images.folder(image).is_none()
        };
        let containers = self.context.containers();
        let first_played = containers.iter().find(is_played);
        let first_played = first_played.map(|container| &container.name);
        let mut running = JoinSet::new();
        for (index, container) in containers.iter().enumerate() {
            let deadline = self.deadline.clone();
            let mut job = self.job(container, Place::Main(index), deadline);
            job.serves_services = first_played == Some(&container.name);
            running.spawn(job.run());
        }
        while let Some(ended) = running.join_next().await {
            self.log_fault(ended.err());
        }
    }

    /// Ends the sidecars, the last one first.
    pub(super) async fn end_sidecars(&mut self) {
        let spec = self.context.pod.spec.as_ref();
        let grace = spec.and_then(|spec| spec.termination_grace_period_seconds);
        let own = Instant::now() + grace.map_or(Duration::from_secs(30), seconds);
        while let Some(mut sidecar) = self.sidecars.pop() {
            loop {
                let of_pod = *self.deadline.borrow_and_update();
                let until = of_pod.map_or(own, |of_pod| of_pod.min(own));
                sidecar.deadline.send_replace(Some(until));
                tokio::select! {
                    ended = sidecar.task.join_next() => {
                        self.log_fault(ended.and_then(Result::err));
                        break;
                    }
                    Ok(()) = self.deadline.changed() => {}
                }
            }
        }
    }

    fn job(&self, container: &Container, place: Place, deadline: Deadline) -> Job<N> {
        Job {
            context: Arc::clone(&self.context),
            container: container.clone(),
            place,
            view: self.view.clone(),
            deadline,
            serves_services: false,
        }
    }

    fn log_fault(&self, error: Option<JoinError>) {
        if let Some(error) = error {
            tracing::error!(%error, pod = self.context.title(), reason = "internal", "the task of a container failed");
        }
    }
}
