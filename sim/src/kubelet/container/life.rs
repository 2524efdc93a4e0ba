//! One run of a container: start, postStart, probes, and the end with preStop, SIGTERM and SIGKILL.

use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;
use tiergate_data_plane::net::Net;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ending::{Limit, asked_to_end};
use super::{Job, Place, Plan, Prepared, Running, container_of};
use crate::clock::wall_seconds;
use crate::kubelet::care::{Care, Hook, Watch, seconds};
use crate::kubelet::event::Severity;
use crate::kubelet::played::Played;
use crate::kubelet::probe::{Kind, Outcome};
use crate::kubelet::prober::Prober;
use crate::kubelet::process::Process;
use crate::kubelet::status::{Exit, Phase};

/// How long a container without restarts may still take to end after it was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// The least time from SIGTERM to SIGKILL, whatever grace is left.
const GRACE_MIN: Duration = Duration::from_secs(2);

/// The longest that a hook may take; a container that is being ended gives it its grace at most.
const HOOK_TIMEOUT: Duration = Duration::from_secs(600);

/// Why a container is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The pod is.
    Pod,
    /// This probe failed.
    Probe(Kind, Option<Duration>),
    /// Its postStart hook failed.
    Hook,
}

/// What looks after one run.
#[derive(Clone)]
struct Nurse<N> {
    care: Care,
    prober: Prober<N>,
}

// === impl Job ===

impl<N: Net> Job<N> {
    /// Runs it once. `previous`: how the run before ended.
    pub(super) async fn run_once(&mut self, prepared: Prepared, previous: Option<Exit>) -> Exit {
        let started = wall_seconds();
        if let Some(previous) = previous {
            self.change(|view| {
                view.last = Some(previous);
                view.restarts += 1;
            });
        }
        let nurse = Nurse {
            care: prepared.care,
            prober: Prober {
                net: self.context.net.clone(),
                address: self.context.address.into(),
                commands: prepared.commands,
            },
        };
        self.tell(Severity::Normal, "Created", "Container created".to_owned());
        let begun = match prepared.plan {
            Plan::Nothing => None,
            Plan::Process(order) => Some(
                Process::start(&order)
                    .map(|process| Running::Process(Box::new(process)))
                    .map_err(|error| format!("cannot start {}: {error}", order.program.display())),
            ),
            Plan::Play(part) => Some(
                Played::start(self.context.net.clone(), part)
                    .await
                    .map(Running::Played),
            ),
        };
        if let Some(Err(message)) = begun {
            self.tell(Severity::Warning, "Failed", format!("Error: {message}"));
            return self.exit(started, 128, "StartError", message);
        }
        self.tell(Severity::Normal, "Started", "Container started".to_owned());
        let Some(Ok(mut running)) = begun else {
            return self.exit(started, 0, "Completed", String::new());
        };
        let (code, words) = self.live(&mut running, nurse, started).await;
        let reason = if code == 0 { "Completed" } else { "Error" };
        let words = if code == 0 { String::new() } else { words };
        self.exit(started, code, reason, words)
    }

    async fn live(
        &mut self,
        running: &mut Running,
        nurse: Nurse<N>,
        started: Timestamp,
    ) -> (i32, String) {
        let began = Instant::now();
        if let Some(hook) = &nurse.care.post_start {
            let greeted = tokio::select! {
                ended = running.ended() => return ended,
                () = asked_to_end(&mut self.deadline) => Err(Cause::Pod),
                done = nurse.run_hook(hook) => done.map_err(|message| {
                    tracing::info!(pod = self.context.title(), container = self.container.name, reason = "post_start", "{message}");
                    let told = "PostStartHook failed".to_owned();
                    self.tell(Severity::Warning, "FailedPostStartHook", told);
                    Cause::Hook
                }),
            };
            if let Err(cause) = greeted {
                return self.terminate(running, &nurse, cause).await;
            }
        }
        let has_started = nurse.care.startup.is_none();
        let is_ready = has_started && nurse.care.readiness.is_none();
        let serves = !matches!(self.place, Place::Init(_));
        self.change(|view| {
            view.phase = Phase::Running { since: started };
            view.started = has_started;
            view.ready = is_ready && serves;
        });
        let mut probing = JoinSet::new();
        probing.spawn(self.watch_over(nurse.clone(), began));
        let cause = tokio::select! {
            ended = running.ended() => return ended,
            () = asked_to_end(&mut self.deadline) => Cause::Pod,
            Some(Ok(cause)) = probing.join_next() => cause,
        };
        self.terminate(running, &nurse, cause).await
    }

    /// Ends the container as Kubernetes does: preStop, SIGTERM, and SIGKILL when the grace is over.
    async fn terminate(
        &mut self,
        running: &mut Running,
        nurse: &Nurse<N>,
        cause: Cause,
    ) -> (i32, String) {
        self.tell(Severity::Normal, "Killing", self.last_words(cause));
        let mut limit = Limit {
            pod: self.deadline.clone(),
            own: self.grace(cause).map(|grace| Instant::now() + grace),
        };
        if let Some(hook) = &nurse.care.pre_stop {
            tokio::select! {
                biased;
                () = limit.passed() => {}
                ended = running.ended() => return ended,
                done = nurse.run_hook(hook) => if let Err(message) = done {
                    tracing::info!(pod = self.context.title(), container = self.container.name, reason = "pre_stop", "{message}");
                    let told = "PreStopHook failed".to_owned();
                    self.tell(Severity::Warning, "FailedPreStopHook", told);
                },
            }
        }
        running.terminate();
        let least = tokio::time::sleep(GRACE_MIN);
        tokio::select! {
            ended = running.ended() => return ended,
            _ = async { tokio::join!(least, limit.passed()) } => running.kill(),
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

    /// What the Event says.
    fn last_words(&self, cause: Cause) -> String {
        let name = &self.container.name;
        match cause {
            Cause::Pod => format!("Stopping container {name}"),
            Cause::Hook => "FailedPostStartHook".to_owned(),
            Cause::Probe(kind, _) => {
                let probe = kind.to_string().to_lowercase();
                let killed = self.exit(Timestamp::UNIX_EPOCH, 137, "Error", String::new());
                let then = if self.restarts_after(&killed) {
                    ", will be restarted"
                } else {
                    ""
                };
                format!("Container {name} failed {probe} probe{then}")
            }
        }
    }

    /// How long it may take to end. None: as long as the pod's deadline says.
    fn grace(&self, cause: Cause) -> Option<Duration> {
        let spec = self.context.pod.spec.as_ref();
        let grace = spec.and_then(|spec| spec.termination_grace_period_seconds);
        let of_pod = grace.map_or(Duration::from_secs(30), seconds);
        match cause {
            Cause::Pod => None,
            Cause::Probe(_, own) => Some(own.unwrap_or(of_pod)),
            Cause::Hook => Some(of_pod),
        }
    }

    /// Probes it; ends when it has to be ended.
    fn watch_over(
        &self,
        nurse: Nurse<N>,
        began: Instant,
    ) -> impl Future<Output = Cause> + Send + use<N> {
        // A copy of the job for the task: what it changes, it changes in the shared view.
        let job = Self {
            context: self.context.clone(),
            container: self.container.clone(),
            place: self.place,
            view: self.view.clone(),
            deadline: self.deadline.clone(),
            serves_services: self.serves_services,
        };
        async move {
            let care = &nurse.care;
            if let Some(startup) = &care.startup {
                let good = job.judge(&nurse, Kind::Startup, startup, began).await;
                if !good {
                    return Cause::Probe(Kind::Startup, startup.grace);
                }
                let is_ready = care.readiness.is_none();
                job.change(|view| {
                    view.started = true;
                    view.ready = is_ready && !matches!(job.place, Place::Init(_));
                });
            }
            let living = async {
                match &care.liveness {
                    Some(liveness) => {
                        job.judge(&nurse, Kind::Liveness, liveness, began).await;
                        Cause::Probe(Kind::Liveness, liveness.grace)
                    }
                    None => std::future::pending().await,
                }
            };
            let ready = async {
                match &care.readiness {
                    Some(readiness) => job.follow_readiness(&nurse, readiness, began).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                cause = living => cause,
                cause = ready => cause,
            }
        }
    }

    /// Probes until the container failed; for startup, also until it succeeded. A pod that ends anyhow is not judged.
    async fn judge(&self, nurse: &Nurse<N>, kind: Kind, watch: &Watch, began: Instant) -> bool {
        let see = |outcome: &Outcome, verdict: Option<bool>| {
            if self.deadline.borrow().is_some() {
                return ControlFlow::Continue(());
            }
            self.tell_outcome(kind, outcome);
            match verdict {
                Some(good) if !good || kind == Kind::Startup => ControlFlow::Break(good),
                Some(_) | None => ControlFlow::Continue(()),
            }
        };
        let Watch {
            check, schedule, ..
        } = watch;
        nurse.prober.run(check, schedule, began, see).await
    }

    /// Never ends.
    async fn follow_readiness(&self, nurse: &Nurse<N>, watch: &Watch, began: Instant) -> Cause {
        let see = |outcome: &Outcome, verdict: Option<bool>| {
            self.tell_outcome(Kind::Readiness, outcome);
            if let Some(good) = verdict {
                self.view.send_if_modified(|pod| {
                    let container = container_of(pod, self.place);
                    std::mem::replace(&mut container.ready, good) != good
                });
            }
            ControlFlow::Continue(())
        };
        let Watch {
            check, schedule, ..
        } = watch;
        nurse.prober.run(check, schedule, began, see).await
    }

    fn tell_outcome(&self, kind: Kind, outcome: &Outcome) {
        if let Some((reason, message)) = outcome.event(kind) {
            tracing::debug!(
                pod = self.context.title(),
                container = self.container.name,
                reason,
                "{message}"
            );
            self.tell(Severity::Warning, reason, message);
        }
    }
}

// === impl Nurse ===

impl<N: Net> Nurse<N> {
    async fn run_hook(&self, hook: &Hook) -> Result<(), String> {
        let check = match hook {
            Hook::Sleep(duration) => {
                tokio::time::sleep(*duration).await;
                return Ok(());
            }
            Hook::Do(check) => check,
        };
        match self.prober.once(check, HOOK_TIMEOUT).await {
            Outcome::Success | Outcome::Warning(_) => Ok(()),
            Outcome::Failure(message) | Outcome::Error(message) => Err(message),
        }
    }
}
