//! Clients that are slow on purpose: with their heads, their bodies, their reads, or the TLS handshake.
//!
//! They stay until the time is up or the server closes them, which is what a server should do; `--reopen` makes them come again. The
//! report says how many the server let go and how soon, and what it answered. SIGINT or SIGTERM ends the time early.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::connection::{Connection, Failure};
use crate::script::{Request, Script};
use crate::tally;
use crate::target::Target;
use crate::threads;

/// How long opening a connection may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever could not connect, or was let go, waits so long before it comes again.
const REOPEN_DELAY: Duration = Duration::from_millis(100);
/// Bytes of an answer that are looked at for its status.
const ANSWER_BYTES: usize = 512;

/// In what a client is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The head of the request never ends
    Heads,
    /// The body of the request never ends
    Bodies,
    /// The answer is hardly taken
    Reads,
    /// The TLS handshake never ends
    Handshakes,
}

/// What it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Http1,
    /// With prior knowledge, or by ALPN with --tls
    H2,
}

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    kind: Kind,
    #[arg(long, default_value = "http1")]
    protocol: Protocol,
    /// Where to connect to
    #[arg(long, value_name = "IP:PORT")]
    address: SocketAddr,
    /// The name in Host
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    host: String,
    /// With reads: of a large answer
    #[arg(long, default_value = "/")]
    path: String,
    /// Clients
    #[arg(long, value_name = "N")]
    count: usize,
    #[arg(long, value_name = "S")]
    seconds: f64,
    /// Pause after each piece
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    interval: f64,
    /// With reads: bytes that are taken after each pause
    #[arg(long, value_name = "N", default_value_t = 0)]
    read_bytes: usize,
    /// With h2: requests on each connection
    #[arg(long, value_name = "N", default_value_t = 1)]
    streams: u32,
    /// With h2: bytes of each answer that the server may send
    #[arg(long, value_name = "N", default_value_t = 65_535)]
    window: u32,
    #[arg(long)]
    tls: bool,
    /// Come again when the server lets go
    #[arg(long)]
    reopen: bool,
}

/// What all clients of a run share.
struct Plan {
    target: Target,
    script: Script,
    interval: Duration,
    /// Taken after each pause; nothing: everything as it comes.
    read_bytes: Option<usize>,
    is_http1: bool,
    reopen: bool,
    until: Instant,
    /// Whether the caller has seen enough before that.
    is_over: watch::Receiver<bool>,
}

/// What clients saw.
struct Seen {
    opened: u64,
    standing: u64,
    ends: BTreeMap<String, u64>,
    answers: BTreeMap<String, u64>,
    lives: Histogram<u64>,
}

/// Runs for the time that was asked for.
pub(crate) fn run(options: Options, descriptors: u64) -> anyhow::Result<Value> {
    let is_http1 = options.protocol == Protocol::Http1;
    let alpn = if is_http1 { "http/1.1" } else { "h2" };
    // A handshake that never ends is written as it is.
    let is_tls = options.tls && options.kind != Kind::Handshakes;
    let alpn = is_tls.then_some(alpn.as_bytes());
    let target = Target::new(options.address, &options.host, &options.path, alpn)?;
    let seconds = threads::seconds(options.seconds)?;
    let count = options.count.min(usize::try_from(descriptors)?);
    let request = Request {
        host: &options.host,
        path: &options.path,
        is_tls,
        streams: options.streams,
        window: options.window,
    };
    let (end, is_over) = watch::channel(false);
    let plan = Plan {
        script: Script::new(options.kind, options.protocol, request),
        target,
        interval: threads::seconds(options.interval)?,
        read_bytes: (options.kind == Kind::Reads).then_some(options.read_bytes),
        is_http1,
        reopen: options.reopen,
        until: Instant::now() + seconds,
        is_over,
    };
    let mut reports = threads::run(1, async |_| all(&plan, count, &end).await)?;
    let mut report = reports.remove(0);
    report["clients"] = json!(count);
    report["asked_for"] = json!(options.count);
    Ok(report)
}

async fn all(plan: &Plan, count: usize, end: &watch::Sender<bool>) -> anyhow::Result<Value> {
    let told_to_end = threads::told_to_end()?;
    let clients = (0..count).map(|number| client(plan, number));
    let mut clients = pin!(futures::future::join_all(clients));
    let ended = tokio::select! {
        ended = &mut clients => ended,
        () = told_to_end => {
            end.send_replace(true);
            clients.await
        }
    };
    let mut seen = Seen::new();
    for one in ended {
        seen.add(&one);
    }
    writeln!(
        std::io::stderr(),
        "tiergate-load: {} of {} connections stood until the end",
        seen.standing,
        seen.opened
    )?;
    Ok(seen.report())
}

/// One client, until the time is up or it was let go.
async fn client(plan: &Plan, number: usize) -> Seen {
    let mut seen = Seen::new();
    loop {
        let opening = Connection::open(&plan.target, number);
        let in_time = plan.until.min(Instant::now() + OPEN_TIMEOUT);
        let opened = tokio::select! {
            opened = timeout_at(in_time, opening) => opened,
            () = plan.over() => return seen,
        };
        match opened.unwrap_or(Err(Failure::TimedOut)) {
            Ok(connection) => {
                seen.opened += 1;
                let began = Instant::now();
                match slowly(plan, connection, &mut seen).await {
                    None => seen.standing += 1,
                    Some(end) => {
                        seen.ended(end);
                        tally::note(&mut seen.lives, began.elapsed());
                    }
                }
            }
            Err(failure) => seen.ended(failure.kind()),
        }
        let again = Instant::now() + REOPEN_DELAY;
        if !plan.reopen || again >= plan.until {
            return seen;
        }
        sleep_until(again).await;
    }
}

/// How the server ended the connection; nothing when it stood until the time was up.
async fn slowly(plan: &Plan, mut connection: Connection, seen: &mut Seen) -> Option<&'static str> {
    if connection.send(&plan.script.opening).await.is_err() {
        return Some("reset");
    }
    let mut room = vec![0; plan.read_bytes.unwrap_or(ANSWER_BYTES).max(1)];
    let mut is_answered = false;
    let mut next = Instant::now() + plan.interval;
    loop {
        let reads_now = plan.read_bytes.is_none();
        tokio::select! {
            biased;
            () = plan.over() => return None,
            received = connection.receive(&mut room), if reads_now => match received {
                Ok(0) => return Some("closed"),
                Ok(count) => seen.answered(plan, &room[..count], &mut is_answered),
                Err(_) => return Some("reset"),
            },
            () = sleep_until(next) => {
                next += plan.interval;
                if !plan.script.further.is_empty() && connection.send(&plan.script.further).await.is_err() {
                    return Some("reset");
                }
                if plan.read_bytes.is_some_and(|bytes| bytes > 0) {
                    let received = tokio::select! {
                        () = plan.over() => return None,
                        received = connection.receive(&mut room) => received,
                    };
                    match received {
                        Ok(0) => return Some("closed"),
                        Ok(count) => seen.answered(plan, &room[..count], &mut is_answered),
                        Err(_) => return Some("reset"),
                    }
                }
            }
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Waits until the time is up or the caller has seen enough.
    async fn over(&self) {
        let mut is_over = self.is_over.clone();
        tokio::select! {
            () = sleep_until(self.until) => {}
            _ = is_over.wait_for(|&is_over| is_over) => {}
        }
    }
}

// === impl Seen ===

impl Seen {
    fn new() -> Self {
        Self {
            opened: 0,
            standing: 0,
            ends: BTreeMap::new(),
            answers: BTreeMap::new(),
            lives: tally::waits(),
        }
    }

    fn ended(&mut self, how: &str) {
        *self.ends.entry(how.to_owned()).or_default() += 1;
    }

    /// Counts the status of an answer of HTTP/1.1, by its first bytes.
    fn answered(&mut self, plan: &Plan, bytes: &[u8], is_answered: &mut bool) {
        if !plan.is_http1 || std::mem::replace(is_answered, true) {
            return;
        }
        let status = bytes.get(9..12).unwrap_or(b"???");
        let status = String::from_utf8_lossy(status).into_owned();
        *self.answers.entry(status).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.standing += other.standing;
        for (how, count) in &other.ends {
            *self.ends.entry(how.clone()).or_default() += count;
        }
        for (status, count) in &other.answers {
            *self.answers.entry(status.clone()).or_default() += count;
        }
        tally::join(&mut self.lives, &other.lives);
    }

    fn report(&self) -> Value {
        let mut report = tally::percentiles("let_go_after_", &self.lives);
        report.insert("opened".into(), json!(self.opened));
        report.insert("standing_at_the_end".into(), json!(self.standing));
        report.insert("ends_by_kind".into(), json!(self.ends));
        report.insert("answers_by_status".into(), json!(self.answers));
        Value::Object(report)
    }
}
