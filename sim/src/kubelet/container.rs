//! One container through all its runs: prepare, run, restart, end.
//!
//! In: the container's spec and when it has to end. Out: its state in the pod's [`PodView`]. A container of an image that
//! we have is a [`Process`]; any other is [`Played`].

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use tiergate_data_plane::net::Net;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::context::Context;
use super::played::Played;
use super::prepare::{Plan, prepare};
use super::probe::{Check, Schedule};
use super::prober;
use super::process::Process;
use super::status::{ContainerView, Exit, Phase, PodView};
use crate::clock::wall_seconds;

/// How long a container that could not be prepared waits for the next try.
const PREPARE_RETRY_DELAY: Duration = Duration::from_secs(5);

/// How long a container without restarts may still take to end after it was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Which container of its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Init(usize),
    Main(usize),
}

/// When the pod has to be gone. None: not at all. It may come nearer.
pub(super) type Deadline = watch::Receiver<Option<Instant>>;

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

enum Running {
    Process(Box<Process>),
    Played(Played),
}

// === impl Job ===

impl<N: Net> Job<N> {
    /// Runs the container until it ended for good. True: with success.
    pub(super) async fn run(mut self) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let exit = match prepare(&self).await {
                Ok((plan, probe)) => self.run_once(plan, probe).await,
                Err(error) => {
                    self.wait(error.reason(), error.to_string());
                    tokio::select! {
                        () = tokio::time::sleep(PREPARE_RETRY_DELAY) => continue,
                        () = asked_to_end(&mut self.deadline) => never_started(),
                    }
                }
            };
            if self.deadline.borrow().is_some() || !self.restarts_after(&exit) {
                return self.end(exit);
            }
            self.log_crash(&exit);
            let delay = backoff.after_exit(started, Instant::now());
            let name = &self.container.name;
            let message = format!(
                "back-off {}s restarting failed container={name} pod={}",
                delay.as_secs(),
                self.context.title()
            );
            self.change(|view| {
                view.last = Some(exit.clone());
                view.ready = false;
                view.phase = Phase::Waiting {
                    reason: "CrashLoopBackOff",
                    message,
                };
            });
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = asked_to_end(&mut self.deadline) => return self.end(exit),
            }
            self.change(|view| view.restarts += 1);
        }
    }

    async fn run_once(&mut self, plan: Plan, probe: Option<(Check, Schedule)>) -> Exit {
        let started = wall_seconds();
        let begun = match plan {
            Plan::Nothing => return completed(started),
            Plan::Process(order) => Process::start(&order)
                .map(|process| Running::Process(Box::new(process)))
                .map_err(|error| format!("cannot start {}: {error}", order.program.display())),
            Plan::Play(part) => Played::start(self.context.net.clone(), part)
                .await
                .map(Running::Played),
        };
        let mut running = match begun {
            Ok(running) => running,
            Err(message) => return self.exit(started, 128, "StartError", message),
        };
        let ready = probe.is_none() && matches!(self.place, Place::Main(_));
        self.change(|view| {
            view.phase = Phase::Running { since: started };
            view.ready = ready;
        });
        let mut probes = JoinSet::new();
        if let Some((check, schedule)) = probe {
            probes.spawn(self.probing(check, schedule));
        }
        let (code, words) = tokio::select! {
            ended = running.ended() => ended,
            () = asked_to_end(&mut self.deadline) => self.terminate(&mut running).await,
        };
        probes.shutdown().await;
        let reason = if code == 0 { "Completed" } else { "Error" };
        let words = if code == 0 { String::new() } else { words };
        self.exit(started, code, reason, words)
    }

    /// Ends the container as Kubernetes does: preStop, SIGTERM, and SIGKILL at the deadline.
    async fn terminate(&mut self, running: &mut Running) -> (i32, String) {
        let lifecycle = self.container.lifecycle.as_ref();
        let pre_stop = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let sleep = pre_stop.and_then(|hook| hook.sleep.as_ref());
        let sleep_s = sleep.map_or(0, |sleep| u64::try_from(sleep.seconds).unwrap_or(0));
        tokio::select! {
            ended = running.ended() => return ended,
            () = tokio::time::sleep(Duration::from_secs(sleep_s)) => running.terminate(),
            () = passed(&mut self.deadline) => {}
        }
        tokio::select! {
            ended = running.ended() => return ended,
            () = passed(&mut self.deadline) => running.kill(),
        }
        let killed = running.ended();
        match tokio::time::timeout(KILL_TIMEOUT, killed).await {
            Ok(ended) => ended,
            Err(_) => (
                137,
                "the process does not end although it was killed".to_owned(),
            ),
        }
    }

    fn probing(&self, check: Check, schedule: Schedule) -> impl Future<Output = ()> + use<N> {
        let view = self.view.clone();
        let place = self.place;
        let title = format!("{}/{}", self.context.title(), self.container.name);
        let (net, address) = (self.context.net.clone(), self.context.address.into());
        prober::run(net, address, check, schedule, move |good, error| {
            if let Some(error) = error {
                tracing::debug!(container = title, %error, reason = "unready", "a readiness probe failed");
            }
            view.send_if_modified(|pod| {
                let container = container_of(pod, place);
                let before = container.ready;
                container.ready = good;
                before != good
            });
        })
    }

    fn restarts_after(&self, exit: &Exit) -> bool {
        let spec = self.context.pod.spec.as_ref();
        let policy = spec.and_then(|spec| spec.restart_policy.as_deref());
        match (policy, self.place) {
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
            log = %self.context.folder.join(format!("{}.log", self.container.name)).display(),
            reason = "container_ended",
            "a container ended and is started again; its last lines:\n{}",
            exit.message
        );
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
        Place::Init(index) => &mut pod.init[index],
        Place::Main(index) => &mut pod.containers[index],
    }
}

async fn asked_to_end(deadline: &mut Deadline) {
    if deadline.wait_for(Option::is_some).await.is_err() {
        // Nobody is left to ask: the pod's task is being dropped, and this one with it.
        std::future::pending().await
    }
}

/// Returns when the deadline is over, wherever it moves meanwhile.
async fn passed(deadline: &mut Deadline) {
    loop {
        let until = *deadline.borrow_and_update();
        let over = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => return,
            moved = deadline.changed() => if moved.is_err() { return },
        }
    }
}

fn completed(at: Timestamp) -> Exit {
    Exit {
        code: 0,
        reason: "Completed",
        message: String::new(),
        started: at,
        finished: at,
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
