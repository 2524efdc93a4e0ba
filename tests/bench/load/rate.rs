//! Requests at a fixed rate by kept connections: an open loop.
//!
//! A request is due at a moment that the schedule alone decides. The connection that has waited longest takes it; when none is free
//! it waits, and that wait is part of its latency, which counts from the moment at which it was due: a server that stands still for a
//! while is charged for every request of that while, not for one on each connection. tokio's timers have a granularity of a
//! millisecond, far too coarse for this, so a timer of the kernel wakes each thread when requests are due.

use std::cell::{Cell, RefCell};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hdrhistogram::Histogram;
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::connection::{Answered, Connection, Failure};
use crate::schedule::Schedule;
use crate::tally::{self, Tally};
use crate::target::Target;
use crate::{process, threads};

/// A timer of no length is one that is not set.
const TICK_MIN: Duration = Duration::from_nanos(1);
/// From the last preparations to the first request.
const LEAD: Duration = Duration::from_millis(5);
/// A request that was sent later than this is counted as late.
const LATE: Duration = Duration::from_millis(1);
/// How long what is under way at the end may take.
const GRACE: Duration = Duration::from_secs(5);
/// A connection that cannot be opened is tried again after so long.
const REOPEN_DELAY: Duration = Duration::from_millis(10);

#[derive(Args)]
pub(crate) struct Options {
    /// What to ask for, by http or https
    #[arg(long)]
    url: String,
    /// The name in Host, and to ask for by TLS, when it is not the one in the URL
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Requests in a second
    #[arg(long, value_name = "N")]
    rate: f64,
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    seconds: f64,
    #[arg(long, default_value_t = 64, value_name = "C")]
    connections: usize,
    #[arg(long, default_value_t = 1, value_name = "T", value_parser = threads::count)]
    threads: usize,
    /// How long one request may take once it is sent
    #[arg(long, default_value_t = 5.0, value_name = "S")]
    timeout: f64,
    /// Requests on each connection before the run begins; they are not counted
    #[arg(long, default_value_t = 1, value_name = "N")]
    warm_up: usize,
}

/// What the connections of one thread share.
struct Line {
    target: Target,
    request: Vec<u8>,
    schedule: Schedule,
    start: Instant,
    timeout: Duration,
    /// One permit for each request that is due and not taken.
    due: Semaphore,
    taken: Cell<usize>,
    counts: RefCell<Counts>,
}

struct Counts {
    tally: Tally,
    /// How long after its moment each request was sent.
    delays: Histogram<u64>,
    late: u64,
}

/// Runs for the time that was asked for.
pub(crate) fn run(options: Options) -> anyhow::Result<Value> {
    let target = Target::of_url(&options.url, options.host.as_deref())?;
    let time = threads::seconds(options.seconds)?;
    let timeout = threads::seconds(options.timeout)?;
    anyhow::ensure!(
        options.rate >= 1.0 && options.rate <= 1e6,
        "the rate is {}: give one between 1 and 1000000",
        options.rate
    );
    anyhow::ensure!(
        options.connections >= options.threads,
        "{} connections are too few for {} threads: give each one at least",
        options.connections,
        options.threads
    );
    let barrier = std::sync::Barrier::new(options.threads);
    let counts = threads::run(options.threads, async |number| {
        let connections = threads::part(options.connections, options.threads, number);
        let open = open_all(&target, connections, options.warm_up, timeout).await;
        barrier.wait();
        let before = process::cpu_micros();
        let line = Rc::new(Line {
            request: target.request(),
            target: target.clone(),
            schedule: Schedule::new(options.rate, time, options.threads, number),
            start: Instant::now() + LEAD,
            timeout,
            due: Semaphore::new(0),
            taken: Cell::new(0),
            counts: RefCell::new(Counts::new()),
        });
        line.clone().run(open).await?;
        let line = Rc::into_inner(line).context("a connection outlived its run")?;
        Ok((line.counts.into_inner(), before))
    })?;
    let cpu = process::cpu_micros();
    let own = counts.iter().map(|(_, before)| cpu - before).max();
    let mut all = Counts::new();
    counts.iter().for_each(|(one, _)| all.add(one));
    let mut report = all.tally.report();
    report.insert("rate".into(), json!(options.rate));
    report.insert(
        "achieved_rate".into(),
        json!(all.tally.answered as f64 / time.as_secs_f64()),
    );
    report.insert("seconds".into(), json!(options.seconds));
    report.insert("connections".into(), json!(options.connections));
    report.insert("late".into(), json!(all.late));
    report.extend(tally::percentiles("send_delay_", &all.delays));
    report.insert("own_cpu_us".into(), json!(own));
    Ok(Value::Object(report))
}

/// Opens the connections and warms them up. What fails here fails again when it is used, and is counted then.
async fn open_all(
    target: &Target,
    connections: usize,
    warm_up: usize,
    timeout: Duration,
) -> Vec<Option<Connection>> {
    let request = target.request();
    let opening = (0..connections).map(async |number| {
        let mut connection = Connection::open(target, number).await.ok()?;
        for _ in 0..warm_up {
            let answered = connection.ask_within(&request, timeout).await.ok()?;
            if answered.is_last {
                return None;
            }
        }
        Some(connection)
    });
    futures::future::join_all(opening).await
}

// === impl Line ===

impl Line {
    /// Sends every request of the schedule, unless the server does not keep up until the end.
    async fn run(self: Rc<Self>, open: Vec<Option<Connection>>) -> anyhow::Result<()> {
        let mut lanes = JoinSet::new();
        for (number, connection) in open.into_iter().enumerate() {
            lanes.spawn_local(self.clone().lane(number, connection));
        }
        self.tick().await?;
        let last = self.start + self.schedule.due(self.schedule.requests) + GRACE + self.timeout;
        let ended = async { while lanes.join_next().await.is_some() {} };
        if timeout_at(last, ended).await.is_err() {
            lanes.shutdown().await;
        }
        let unsent = self.schedule.requests - self.taken.get();
        let mut counts = self.counts.borrow_mut();
        counts.tally.failures("unsent", unsent as u64);
        Ok(())
    }

    /// Lets requests go at their moments.
    async fn tick(&self) -> anyhow::Result<()> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        #[expect(
            deprecated,
            reason = "the descriptor is owned, so it is open as long as it is registered"
        )]
        let rung = AsyncFd::new(timer.as_fd().try_clone_to_owned()?)?;
        let mut released = 0;
        loop {
            let due = match Instant::now().checked_duration_since(self.start) {
                Some(passed) => self.schedule.due_by(passed),
                None => 0,
            };
            self.due.add_permits(due - released);
            released = due;
            if released == self.schedule.requests {
                // Whoever waits for a further one has nothing left to do; what is due can still be taken.
                self.due.add_permits(Semaphore::MAX_PERMITS - released);
                return Ok(());
            }
            let next = self.start + self.schedule.due(released);
            let pause = next.saturating_duration_since(Instant::now()).max(TICK_MIN);
            let pause = TimeSpec::nanoseconds(i64::try_from(pause.as_nanos())?);
            // Arming it anew also takes back that it has rung.
            timer.set(Expiration::OneShot(pause), TimerSetTimeFlags::empty())?;
            rung.readable().await?.clear_ready();
        }
    }

    /// One connection: takes a request that is due, again and again.
    async fn lane(self: Rc<Self>, number: usize, mut connection: Option<Connection>) {
        while let Ok(permit) = self.due.acquire().await {
            permit.forget();
            let request = self.taken.get();
            if request == self.schedule.requests {
                return;
            }
            self.taken.set(request + 1);
            let due = self.start + self.schedule.due(request);
            let asked = match &mut connection {
                Some(connection) => self.ask(connection, due).await,
                None => match Connection::open(&self.target, number).await {
                    Ok(opened) => self.ask(connection.insert(opened), due).await,
                    Err(failure) => Err(failure),
                },
            };
            let ended = Instant::now();
            let is_kept = asked.as_ref().is_ok_and(|answered| !answered.is_last);
            if !is_kept {
                connection = None;
            }
            let is_unopened = matches!(asked, Err(Failure::Connect(_)));
            self.counts.borrow_mut().ended(asked, ended - due);
            if is_unopened {
                tokio::time::sleep(REOPEN_DELAY).await;
            }
        }
    }

    async fn ask(&self, connection: &mut Connection, due: Instant) -> Result<Answered, Failure> {
        let delay = due.elapsed();
        self.counts.borrow_mut().sent(delay);
        connection.ask_within(&self.request, self.timeout).await
    }
}

// === impl Counts ===

impl Counts {
    fn new() -> Self {
        Self {
            tally: Tally::new(),
            delays: tally::waits(),
            late: 0,
        }
    }

    fn sent(&mut self, delay: Duration) {
        tally::note(&mut self.delays, delay);
        self.late += u64::from(delay > LATE);
    }

    fn ended(&mut self, asked: Result<Answered, Failure>, latency: Duration) {
        match asked {
            Ok(answered) if (200..300).contains(&answered.status) => self.tally.answer(latency),
            Ok(answered) => self.tally.failure(format!("status_{}", answered.status)),
            Err(failure) => self.tally.failure(failure.kind()),
        }
    }

    fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        tally::join(&mut self.delays, &other.delays);
        self.late += other.late;
    }
}
