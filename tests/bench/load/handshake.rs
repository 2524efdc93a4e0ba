//! Requests by a new TCP connection and a full TLS 1.3 handshake each.
//!
//! Each connection is opened when the one before has had its answer and was closed, so as many are open at once as asked for. The
//! time of a request runs from the call of connect to the end of the answer.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::connection::{Connection, Failure};
use crate::tally::Tally;
use crate::target::Target;
use crate::{process, threads};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Options {
    /// Where TLS is served
    #[arg(long, value_name = "IP:PORT")]
    address: SocketAddr,
    /// The name to ask for, by TLS and in Host
    #[arg(long, value_name = "NAME")]
    name: String,
    #[arg(long, default_value = "/")]
    path: String,
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    seconds: f64,
    /// Connections that are open at once
    #[arg(long, default_value_t = 32, value_name = "C")]
    connections: usize,
    #[arg(long, default_value_t = 1, value_name = "T", value_parser = threads::count)]
    threads: usize,
    /// Ends sooner when so many requests have been sent
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    requests_max: usize,
    /// Without TLS: what a new connection alone costs
    #[arg(long)]
    plain: bool,
}

/// Runs for the time that was asked for.
pub(crate) fn run(options: Options) -> anyhow::Result<Value> {
    let alpn = (!options.plain).then_some(&b"http/1.1"[..]);
    let target = Target::new(options.address, &options.name, &options.path, alpn)?;
    let seconds = threads::seconds(options.seconds)?;
    let (cpu, started) = (process::cpu_micros(), Instant::now());
    let tallies = threads::run(options.threads, async |number| {
        let connections = threads::part(options.connections, options.threads, number);
        let requests = threads::part(options.requests_max, options.threads, number);
        let lanes = (0..connections).map(|lane| {
            let most = threads::part(requests, connections, lane);
            // Each lane has a source address of its own, and with it ports of its own.
            lane_of_requests(&target, lane, most, started + seconds)
        });
        let mut tally = Tally::new();
        for lane in futures::future::join_all(lanes).await {
            tally.add(&lane);
        }
        Ok(tally)
    })?;
    let elapsed = started.elapsed();
    let mut tally = Tally::new();
    tallies.iter().for_each(|one| tally.add(one));
    let mut report = tally.report();
    report.insert("seconds".into(), json!(elapsed.as_secs_f64()));
    report.insert("connections".into(), json!(options.connections));
    report.insert("own_cpu_us".into(), json!(process::cpu_micros() - cpu));
    Ok(Value::Object(report))
}

/// One request after the other, until the time is up.
async fn lane_of_requests(target: &Target, lane: usize, most: usize, until: Instant) -> Tally {
    let request = target.request();
    let mut tally = Tally::new();
    for _ in 0..most {
        let started = Instant::now();
        if started >= until {
            break;
        }
        let asked = timeout_at(started + REQUEST_TIMEOUT, once(target, lane, &request)).await;
        match asked.unwrap_or(Err(Failure::TimedOut)) {
            Ok((200..300, ended)) => tally.answer(ended - started),
            Ok((status, _)) => tally.failure(format!("status_{status}")),
            Err(failure) => tally.failure(failure.kind()),
        }
    }
    tally
}

/// The status and when the answer had ended; the connection is closed behind it.
async fn once(target: &Target, lane: usize, request: &[u8]) -> Result<(u16, Instant), Failure> {
    let mut connection = Connection::open(target, lane).await?;
    let answered = connection.ask(request).await?;
    let ended = Instant::now();
    connection.close().await;
    Ok((answered.status, ended))
}
