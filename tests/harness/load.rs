//! Requests without a pause while something changes: every one is counted, and one that fails is kept with its reason.
//!
//! Some clients keep their connection, the others open one for each request. A client does not repair anything: a kept
//! connection that is closed without `Connection: close` is a failed request. Rate and time are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::client::{Connection, Request, Response};
use crate::wait::Stopwatch;
use crate::{tls, wait};

/// Clients of each sort.
const CLIENTS: u64 = 3;

/// Requests that each sort of client must have sent before the change begins, and again after it ended.
const REQUESTS_AROUND: u64 = 60;

/// Requests of one client, at most: about five minutes.
const REQUESTS_MAX: u64 = 20_000;

/// Failures that are kept in words.
const FAILURES_KEPT: usize = 20;

/// Where the load goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// Address to connect to.
    pub address: SocketAddr,
    /// Host to ask for, as SNI too.
    pub host: String,
    /// Path to ask for.
    pub path: String,
    /// Whether to speak TLS.
    pub is_tls: bool,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests on kept connections.
    pub kept: u64,
    /// Requests on connections of their own.
    pub fresh: u64,
    /// How long the load ran.
    pub seconds: f64,
    /// Requests that were asked once more, on a new connection, by clients that may.
    pub retried: u64,
    /// Requests that were not answered with 200.
    pub failed: u64,
    /// The first of them, in words.
    pub failures: Vec<String>,
    /// Requests by the pod that answered.
    pub pods: BTreeMap<String, u64>,
    /// Namespaces of the pods that answered.
    pub namespaces: BTreeSet<String>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    kept: AtomicU64,
    fresh: AtomicU64,
    retried: AtomicU64,
    report: Mutex<Report>,
}

/// Stops the clients, also when the change panics: the scope waits for them.
struct StopAtEnd<'a>(&'a Shared);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

/// Makes a change while clients of both sorts ask without a pause. The change begins when all are at work, and the clients
/// go on for a while after it ended.
pub fn during<T>(target: &Target, change: impl FnOnce() -> T) -> (Report, T) {
    run(target, 1, change)
}

/// The same with clients that ask once more when a request fails, a second later, as `curl --retry 1` does.
pub fn during_with_one_retry<T>(target: &Target, change: impl FnOnce() -> T) -> (Report, T) {
    run(target, 2, change)
}

fn run<T>(target: &Target, tries_max: u32, change: impl FnOnce() -> T) -> (Report, T) {
    let shared = Shared::default();
    let stopwatch = Stopwatch::start();
    let value = thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| keep_asking(target, tries_max, &shared, &shared.kept, true));
            scope.spawn(|| keep_asking(target, tries_max, &shared, &shared.fresh, false));
        }
        let _stop = StopAtEnd(&shared);
        shared.wait_for_requests(REQUESTS_AROUND);
        let value = change();
        shared.wait_for_requests(REQUESTS_AROUND);
        value
    });
    let mut report = shared.report.into_inner().expect("no client panics");
    report.kept = shared.kept.into_inner();
    report.fresh = shared.fresh.into_inner();
    report.retried = shared.retried.into_inner();
    report.seconds = stopwatch.elapsed().as_secs_f64();
    (report, value)
}

fn keep_asking(target: &Target, tries_max: u32, shared: &Shared, count: &AtomicU64, is_kept: bool) {
    let request = Request::get(&target.host, &target.path);
    let request = if is_kept {
        request
    } else {
        request.header("connection", "close")
    };
    let mut connection = None;
    for number in 0..REQUESTS_MAX {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let mut answer = ask(target, &mut connection, &request);
        for _ in 1..tries_max {
            if !matches!(&answer, Ok(response) if response.status == 200) {
                shared.retried.fetch_add(1, Ordering::SeqCst);
                wait::before_retry();
                connection = None;
                answer = ask(target, &mut connection, &request);
            }
        }
        count.fetch_add(1, Ordering::SeqCst);
        shared.record(answer, is_kept, number);
        if !is_kept || connection.as_ref().is_some_and(Connection::is_done) {
            connection = None;
        }
        wait::breathe();
    }
    let problem = io::Error::other("the load came to its bound before the change ended");
    shared.record(Err(problem), is_kept, REQUESTS_MAX);
}

fn ask(
    target: &Target,
    connection: &mut Option<Connection>,
    request: &Request,
) -> io::Result<Response> {
    if connection.is_none() {
        *connection = Some(target.open()?);
    }
    let open = connection.as_mut().expect("opened above");
    let answer = open.send(request);
    if answer.is_err() {
        *connection = None;
    }
    answer
}

// === impl Target ===

impl Target {
    fn open(&self) -> io::Result<Connection> {
        if self.is_tls {
            return tls::open(self.address, &self.host).map(|(connection, _)| connection);
        }
        Connection::open(self.address)
    }
}

// === impl Shared ===

impl Shared {
    fn wait_for_requests(&self, more: u64) {
        let seen = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let (kept, fresh) = (seen(&self.kept) + more, seen(&self.fresh) + more);
        wait::until("the load runs", wait::CHANGE_SECONDS, || {
            let counts = (seen(&self.kept), seen(&self.fresh));
            let is_there = counts.0 >= kept && counts.1 >= fresh;
            wait::seen(is_there, format!("{counts:?} of {:?}", (kept, fresh)))
        });
    }

    fn record(&self, answer: io::Result<Response>, is_kept: bool, number: u64) {
        let mut report = self.report.lock().expect("no client panics");
        let problem = match answer {
            Ok(response) if response.status == 200 => {
                *report.pods.entry(response.echo("pod")).or_default() += 1;
                report.namespaces.insert(response.echo("namespace"));
                return;
            }
            Ok(response) => format!("{} {}", response.status, response.text()),
            Err(problem) => problem.to_string(),
        };
        report.failed += 1;
        if report.failures.len() < FAILURES_KEPT {
            let sort = if is_kept { "kept" } else { "new" };
            let text = format!("request {number} of a client with {sort} connections: {problem}");
            report.failures.push(text);
        }
    }
}

// === impl Report ===

impl Report {
    /// What was sent, in words: how many requests of each sort, and at what rate.
    #[must_use]
    pub fn sent(&self) -> String {
        let rate = |count: u64| {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let count = count as f64;
            count / self.seconds
        };
        format!(
            "{} requests on kept connections ({:.0}/s) and {} on new ones ({:.0}/s)",
            self.kept,
            rate(self.kept),
            self.fresh,
            rate(self.fresh)
        )
    }

    /// Ends the test when a single request failed, or when too few were sent to tell.
    ///
    /// # Panics
    /// In both cases.
    pub fn assert_nothing_failed(&self) {
        let sent = format!("{} kept, {} new", self.kept, self.fresh);
        assert!(
            self.failed == 0,
            "{} of {sent} failed:\n{}",
            self.failed,
            self.failures.join("\n")
        );
        assert!(
            self.kept >= REQUESTS_AROUND && self.fresh >= REQUESTS_AROUND,
            "too few requests to tell: {sent}"
        );
    }
}
