//! One container through all its runs: prepare, run, restart, end.
//!
//! In: the container's spec and when it has to end. Out: its state in the pod's [`PodView`], and Events. A container of an image that
//! we have is a [`Process`]; any other is [`Played`]. One run, with its probes and hooks, is in `life`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use tiergate_data_plane::net::Net;
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::care::Care;
use super::context::Context;
use super::event::Severity;
use super::played::Played;
use super::prepare::{Plan, PrepareError, prepare};
use super::prober::Commands;
use super::process::Process;
use super::status::{ContainerView, Exit, Phase, PodView};
use crate::clock::wall_seconds;

mod ending;
mod life;

pub(super) use ending::{Deadline, asked_to_end};

/// How long a container that could not be prepared waits for the next try.
const PREPARE_RETRY_DELAY: Duration = Duration::from_secs(5);

/// How often a container that waits for its next start is told of.
const BACK_OFF_EVENT_PERIOD: Duration = Duration::from_secs(10);

/// Which container of its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It runs to its end before the next one begins.
    Init(usize),
    /// It stands among the init containers and runs as long as the pod.
    Sidecar(usize),
    Main(usize),
}

/// One container.
pub(super) struct Job<N> {
    pub(super) context: Arc<Context<N>>,
    pub(super) container: Container,
    pub(super) place: Place,
    pub(super) view: watch::Sender<PodView>,
    pub(super) deadline: Deadline,
    /// Whether it serves the ports that only Services name.
    pub(super) serves_services: bool,
}

/// All that is needed to start it.
struct Prepared {
    plan: Plan,
    commands: Commands,
    care: Care,
}

enum Running {
    Process(Box<Process>),
    Played(Played),
}

// === impl Job ===

impl<N: Net> Job<N> {
    /// Runs the container until it ended for good. True: with success.
    pub(super) async fn run(mut self) -> bool {
        if let Some(success) = self.ended_before() {
            return success;
        }
        let mut backoff = Backoff::default();
        let mut previous = None;
        loop {
            let started = Instant::now();
            self.tell_pulled();
            let mut deadline = self.deadline.clone();
            let prepared = tokio::select! {
                prepared = self.prepare() => prepared,
                () = asked_to_end(&mut deadline) => return self.end(never_started()),
            };
            let exit = match prepared {
                Ok(prepared) => self.run_once(prepared, previous.take()).await,
                Err(error) => {
                    self.tell(Severity::Warning, "Failed", format!("Error: {error}"));
                    self.wait(error.reason(), error.to_string());
                    tokio::select! {
                        () = tokio::time::sleep(PREPARE_RETRY_DELAY) => continue,
                        () = asked_to_end(&mut self.deadline) => return self.end(never_started()),
                    }
                }
            };
            if self.deadline.borrow().is_some() || !self.restarts_after(&exit) {
                return self.end(exit);
            }
            self.log_crash(&exit);
            let delay = backoff.after_exit(started, Instant::now());
            tokio::select! {
                () = self.back_off(&exit, delay) => previous = Some(exit),
                () = asked_to_end(&mut deadline) => return self.end(exit),
            }
        }
    }

    /// Some: an earlier kubelet saw it end, and it is not to be started again.
    fn ended_before(&self) -> Option<bool> {
        let mut view = self.view.borrow().clone();
        match &container_of(&mut view, self.place).phase {
            Phase::Terminated(exit) if !self.restarts_after(exit) => Some(exit.is_success()),
            Phase::Terminated(_) | Phase::Waiting { .. } | Phase::Running { .. } => None,
        }
    }

    async fn prepare(&self) -> Result<Prepared, PrepareError> {
        let care = Care::of(&self.container)?;
        let (plan, commands) = prepare(self).await?;
        Ok(Prepared {
            plan,
            commands,
            care,
        })
    }

    /// Waits for the next start, and says so.
    async fn back_off(&self, exit: &Exit, delay: Duration) {
        if delay.is_zero() {
            self.change(|view| {
                view.ready = false;
                view.started = false;
                view.phase = Phase::Terminated(exit.clone());
            });
            return;
        }
        let name = &self.container.name;
        let title = self.context.title();
        self.change(|view| {
            view.last = Some(exit.clone());
            view.ready = false;
            view.started = false;
            view.phase = Phase::Waiting {
                reason: "CrashLoopBackOff",
                message: format!(
                    "back-off {} restarting failed container={name} pod={title}",
                    as_go_says_it(delay)
                ),
            };
        });
        let telling = async {
            loop {
                let message = format!("Back-off restarting failed container {name} in pod {title}");
                self.tell(Severity::Warning, "BackOff", message);
                tokio::time::sleep(BACK_OFF_EVENT_PERIOD).await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = telling => {}
        }
    }

    fn restarts_after(&self, exit: &Exit) -> bool {
        let spec = self.context.pod.spec.as_ref();
        let policy = spec.and_then(|spec| spec.restart_policy.as_deref());
        match (policy, self.place) {
            (_, Place::Sidecar(_)) => true,
            (Some("Never"), _) => false,
            (Some("OnFailure"), _) | (_, Place::Init(_)) => !exit.is_success(),
            _ => true,
        }
    }

    fn log_crash(&self, exit: &Exit) {
        tracing::warn!(
            pod = self.context.title(),
            container = self.container.name,
            code = exit.code,
            log = %self.context.log_of(&self.container.name).display(),
            reason = "container_ended",
            "a container ended and is started again; its last lines:\n{}",
            exit.message
        );
    }

    fn tell_pulled(&self) {
        let image = self.container.image.as_deref().unwrap_or_default();
        let message = format!(
            "Container image {image:?} already present on machine and can be accessed by the pod"
        );
        self.tell(Severity::Normal, "Pulled", message);
    }

    fn tell(&self, severity: Severity, reason: &'static str, message: String) {
        let list = match self.place {
            Place::Init(_) | Place::Sidecar(_) => "initContainers",
            Place::Main(_) => "containers",
        };
        let path = format!("spec.{list}{{{}}}", self.container.name);
        self.context.tell(Some(path), severity, reason, message);
    }

    fn exit(&self, started: Timestamp, code: i32, reason: &'static str, message: String) -> Exit {
        Exit {
            code,
            reason,
            message,
            started,
            finished: wall_seconds(),
        }
    }

    fn wait(&self, reason: &'static str, message: String) {
        self.change(|view| view.phase = Phase::Waiting { reason, message });
    }

    fn end(&self, exit: Exit) -> bool {
        let success = exit.is_success();
        self.change(|view| {
            view.ready = matches!(self.place, Place::Init(_)) && success;
            view.started = false;
            view.phase = Phase::Terminated(exit);
        });
        success
    }

    fn change(&self, change: impl FnOnce(&mut ContainerView)) {
        self.view
            .send_modify(|pod| change(container_of(pod, self.place)));
    }
}

fn container_of(pod: &mut PodView, place: Place) -> &mut ContainerView {
    match place {
        Place::Init(index) | Place::Sidecar(index) => &mut pod.init[index],
        Place::Main(index) => &mut pod.containers[index],
    }
}

/// `10s`, `1m20s`, `5m0s`.
fn as_go_says_it(delay: Duration) -> String {
    let seconds = delay.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

/// How a container ends that was deleted before it began, as kubelets report it.
fn never_started() -> Exit {
    Exit {
        code: 137,
        reason: "ContainerStatusUnknown",
        message: "The container could not be located when the pod was terminated".to_owned(),
        started: Timestamp::UNIX_EPOCH,
        finished: Timestamp::UNIX_EPOCH,
    }
}

// === impl Running ===

impl Running {
    async fn ended(&mut self) -> (i32, String) {
        match self {
            Self::Process(process) => process.ended().await,
            Self::Played(played) => played.ended().await,
        }
    }

    fn terminate(&self) {
        match self {
            Self::Process(process) => process.terminate(),
            Self::Played(played) => played.terminate(),
        }
    }

    fn kill(&self) {
        match self {
            Self::Process(process) => process.kill(),
            Self::Played(played) => played.kill(),
        }
    }
}
