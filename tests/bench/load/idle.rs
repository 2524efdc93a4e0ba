//! Connections that bring one request each and then nothing, for as long as asked: what an idle connection costs a server.
//!
//! When all stand, the line `ready N` is written to standard output, so that the caller can measure; SIGINT or SIGTERM ends the wait
//! early. Then every hundredth is asked again: a connection that the server has forgotten does not count as held.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::connection::{Connection, Failure};
use crate::tally::Tally;
use crate::target::Target;
use crate::threads;

/// Connections that are being opened at once.
const OPENING_MAX: usize = 64;
/// One of so many is asked again at the end.
const CHECKED_PART: usize = 100;
/// How long the first request of a connection, or a later one, may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Options {
    /// Where to connect to
    #[arg(long, value_name = "IP:PORT")]
    address: SocketAddr,
    /// The name in Host
    #[arg(long, value_name = "NAME")]
    host: String,
    #[arg(long, default_value = "/")]
    path: String,
    /// Connections; no more than the limit of descriptors allows are opened
    #[arg(long, value_name = "N")]
    count: usize,
    /// How long they stand
    #[arg(long, value_name = "S")]
    hold: f64,
    /// By TLS
    #[arg(long)]
    tls: bool,
}

/// Opens, holds, asks again.
pub(crate) fn run(options: Options, descriptors: u64) -> anyhow::Result<Value> {
    let alpn = options.tls.then_some(&b"http/1.1"[..]);
    let target = Target::new(options.address, &options.host, &options.path, alpn)?;
    let hold = threads::seconds(options.hold)?;
    let allowed = usize::try_from(descriptors)?;
    let count = options.count.min(allowed);
    if count < options.count {
        let words = "connections, as many as the limit of descriptors allows";
        writeln!(std::io::stderr(), "tiergate-load: {count} {words}")?;
    }
    let mut reports = threads::run(1, async |_| held(&target, count, hold).await)?;
    let mut report = reports.remove(0);
    report["asked_for"] = json!(options.count);
    report["descriptors_allow"] = json!(allowed);
    Ok(report)
}

async fn held(target: &Target, count: usize, hold: Duration) -> anyhow::Result<Value> {
    let request = target.request();
    let (mut connections, tally) = open(target, count, &request).await;
    let told_to_end = threads::told_to_end()?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready {}", connections.len())?;
    stdout.flush()?;
    let started = Instant::now();
    tokio::select! {
        () = sleep_until(started + hold) => {}
        () = told_to_end => {}
    }
    let held = started.elapsed();
    let mut again = Tally::new();
    for connection in connections.iter_mut().step_by(CHECKED_PART) {
        ask(connection, &request, &mut again).await;
    }
    let mut report = Value::Object(tally.report());
    report["connections"] = json!(connections.len());
    report["held_seconds"] = json!(held.as_secs_f64());
    report["asked_again"] = Value::Object(again.report());
    Ok(report)
}

/// Opens so many connections; what they were answered is counted. Ends early when there are no more descriptors.
async fn open(target: &Target, count: usize, request: &[u8]) -> (Vec<Connection>, Tally) {
    let lanes = (0..OPENING_MAX).map(async |lane| {
        let (mut connections, mut tally) = (Vec::new(), Tally::new());
        for number in (lane..count).step_by(OPENING_MAX) {
            match Connection::open(target, number).await {
                Ok(mut connection) => {
                    ask(&mut connection, request, &mut tally).await;
                    connection.shrink();
                    connections.push(connection);
                }
                Err(failure) => {
                    tally.failure(failure.kind());
                    if failure.kind() == "no_descriptor" {
                        break;
                    }
                }
            }
        }
        (connections, tally)
    });
    let (mut connections, mut tally) = (Vec::new(), Tally::new());
    for (some, counted) in futures::future::join_all(lanes).await {
        connections.extend(some);
        tally.add(&counted);
    }
    (connections, tally)
}

async fn ask(connection: &mut Connection, request: &[u8], tally: &mut Tally) {
    let started = Instant::now();
    match connection.ask_within(request, REQUEST_TIMEOUT).await {
        Ok(answered) if !(200..300).contains(&answered.status) => {
            tally.failure(format!("status_{}", answered.status));
        }
        Ok(answered) if answered.is_last => tally.failure(Failure::Closed.kind()),
        Ok(_) => tally.answer(started.elapsed()),
        Err(failure) => tally.failure(failure.kind()),
    }
}
