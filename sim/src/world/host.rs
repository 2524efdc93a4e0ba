//! One host: a kernel's worth of processes with a runtime and clocks of their own.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::clock::{self, Skew};

/// A machine, or a pod, of the world.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) skew: Skew,
    /// Seconds of its own clock since the beginning of the world. It goes on while nothing runs, as a clock with a battery does.
    elapsed: Duration,
    running: Option<Running>,
    is_hung: bool,
}

/// What runs on a host.
#[derive(Debug)]
struct Running {
    runtime: Runtime,
    tasks: LocalSet,
    /// What the host's clock said when the runtime began, and what tokio said.
    began: (Duration, Instant),
    /// How far the host's clock had come when the runtime last ran.
    reached: Duration,
}

// === impl Host ===

impl Host {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            skew: Skew::default(),
            elapsed: Duration::ZERO,
            running: None,
            is_hung: false,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// While it is hung its clocks run and its code does not.
    pub(super) fn hang(&mut self, is_hung: bool) {
        self.is_hung = is_hung;
    }

    /// Runs `main` from now on, on a runtime whose time stands until the world lets it pass.
    pub(super) fn start(&mut self, main: impl Future<Output = ()> + 'static) {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing of the kernel");
        let tasks = LocalSet::new();
        tasks.spawn_local(main);
        let began = runtime.block_on(async { Instant::now() });
        self.is_hung = false;
        self.running = Some(Running {
            runtime,
            tasks,
            began: (self.elapsed, began),
            reached: self.elapsed,
        });
    }

    /// Ends everything that runs here, at once. Sockets are closed by being dropped.
    pub(super) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let entered = running.runtime.enter();
            // The tasks first: what they hold may want the runtime when it is dropped.
            drop(running.tasks);
            drop(entered);
        }
    }

    /// Lets `step` of the world's time pass here.
    pub(super) fn run(&mut self, step: Duration) {
        let before = self.elapsed;
        self.elapsed += step.mul_f64(self.skew.rate);
        if let Some(running) = self.running.as_mut().filter(|_| !self.is_hung) {
            running.run(before, self.elapsed, self.skew);
        }
    }
}

// === impl Running ===

impl Running {
    /// Runs until the host's clock says `until`, in whole milliseconds: tokio's timers know no less.
    fn run(&mut self, from: Duration, until: Duration, skew: Skew) {
        let (origin, began) = self.began;
        let at = |clock: Duration| began + whole_millis(clock.saturating_sub(origin));
        // While it hung the time went by in one piece: whoever waited finds that it is late.
        let missed = from.saturating_sub(self.reached);
        self.reached = until;
        self.runtime.block_on(self.tasks.run_until(async move {
            clock::enter(origin, began, skew);
            if !missed.is_zero() {
                tokio::time::advance(at(from).saturating_duration_since(Instant::now())).await;
            }
            tokio::time::sleep_until(at(until)).await;
        }));
    }
}

/// Without the part that is less than a millisecond.
fn whole_millis(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs()) + Duration::from_millis(u64::from(time.subsec_millis()))
}
