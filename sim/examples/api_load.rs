//! How much the model of the API server bears: lists, changes and watchers over real sockets.
//!
//! ```sh
//! cargo run --release -p tiergate-sim --example api_load -- [CHANGES_PER_S] [WATCHERS] [OBJECTS] [SECONDS]
//! ```
//!
//! The server runs in a process of its own, so that its CPU time is told apart from that of the load. Every watcher
//! counts what it gets; the program ends with 1 when one of them has lost or doubled a change.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tiergate_data_plane::net::{Net as _, TokioNet};
use tiergate_sim::api::{Options, Server};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;

type Anything<T> = Result<T, Box<dyn Error + Send + Sync>>;

const TOKEN: &str = "load";
const LIST: &str = "/api/v1/namespaces/default/configmaps";
const WRITERS: usize = 8;

/// What is asked of the server.
#[derive(Clone, Copy)]
struct Load {
    changes_per_s: usize,
    watchers: usize,
    objects: usize,
    seconds: usize,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Anything<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return serve().await;
    }
    let number = |index: usize, default: usize| match arguments.get(index) {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    let load = Load {
        changes_per_s: number(0, 1000)?,
        watchers: number(1, 20)?,
        objects: number(2, 1000)?,
        seconds: number(3, 10)?,
    };
    run(load).await
}

/// The server: prints its address and ends with its parent.
#[expect(clippy::print_stdout, reason = "its parent reads the address there")]
async fn serve() -> Anything<()> {
    let server = Server::new(Options::new(TOKEN, 1));
    let bound = server
        .bind(&TokioNet, SocketAddr::from(([127, 0, 0, 1], 0)), None)
        .await?;
    println!("{}", bound.address()?);
    // However its parent ends, the server ends too.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    bound.run(std::future::pending()).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are the point")]
async fn run(load: Load) -> Anything<()> {
    let (mut child, address) = start_server().await?;
    let process = child.id().ok_or("the server has ended")?;
    let mut sender = connect(address).await?;
    for number in 0..load.objects {
        send(&mut sender, "POST", LIST, object(number, 0, 0)).await?;
    }
    let begin = Instant::now();
    let list = send(&mut sender, "GET", LIST, String::new()).await?;
    let listed = (begin.elapsed(), list.len());
    let list: Value = serde_json::from_slice(&list)?;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or("0")
        .to_owned();

    let cpu_before = cpu_seconds(process)?;
    let begin = Instant::now();
    let total = load.changes_per_s * load.seconds / WRITERS * WRITERS;
    let mut watchers = JoinSet::new();
    for _ in 0..load.watchers {
        watchers.spawn(watch(address, version.clone(), total, begin));
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(address, writer, load, begin));
    }
    let mut writes = Vec::new();
    while let Some(done) = writers.join_next().await {
        writes.extend(done??);
    }
    let written = begin.elapsed();
    let mut delays = Vec::new();
    while let Some(done) = watchers.join_next().await {
        delays.extend(done??);
    }
    let read = begin.elapsed();
    let cpu = cpu_seconds(process)? - cpu_before;
    child.kill().await?;

    println!(
        "{} objects listed in {:.1} ms, {} kB",
        load.objects,
        listed.0.as_secs_f64() * 1e3,
        listed.1 / 1000
    );
    println!(
        "{total} changes written in {:.2} s: {:.0} changes/s",
        written.as_secs_f64(),
        total as f64 / written.as_secs_f64()
    );
    println!(
        "{} watchers had all {} events after {:.2} s",
        load.watchers,
        delays.len(),
        read.as_secs_f64()
    );
    println!("a write took {}", spread(&mut writes));
    println!("from the write to a watcher {}", spread(&mut delays));
    println!(
        "the server used {cpu:.2} s of CPU: {:.0} us per change",
        cpu * 1e6 / total as f64
    );
    Ok(())
}

async fn start_server() -> Anything<(Child, SocketAddr)> {
    let mut child = Command::new(env::current_exe()?)
        .arg("serve")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).await?;
    let address = line.trim().parse()?;
    Ok((child, address))
}

async fn connect(address: SocketAddr) -> Anything<SendRequest<Full<Bytes>>> {
    let stream = TokioNet.connect(address, None).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn request(method: &str, path: &str, body: String) -> Anything<Request<Full<Bytes>>> {
    let request = Request::builder().method(method).uri(path);
    let request = request
        .header("host", "localhost")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json");
    Ok(request.body(Full::new(Bytes::from(body)))?)
}

async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    method: &str,
    path: &str,
    body: String,
) -> Anything<Bytes> {
    sender.ready().await?;
    let answer = sender.send_request(request(method, path, body)?).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        return Err(format!(
            "{method} {path}: {status}: {}",
            String::from_utf8_lossy(&body)
        )
        .into());
    }
    Ok(body)
}

/// An object that says which change made it, and when.
fn object(number: usize, change: usize, micros: u128) -> String {
    let padding = "x".repeat(500);
    json!({
        "metadata": {"name": format!("object-{number}"), "labels": {"app": "load"}},
        "data": {"change": change.to_string(), "micros": micros.to_string(), "padding": padding},
    })
    .to_string()
}

async fn write(
    address: SocketAddr,
    writer: usize,
    load: Load,
    begin: Instant,
) -> Anything<Vec<u64>> {
    let mut sender = connect(address).await?;
    let mut took = Vec::new();
    let count = load.changes_per_s * load.seconds / WRITERS;
    let period = Duration::from_secs_f64(WRITERS as f64 / load.changes_per_s as f64);
    for step in 0..count {
        tokio::time::sleep_until(begin + period * u32::try_from(step)?).await;
        let change = step * WRITERS + writer;
        // Two writers never have the same object.
        let number = (step * WRITERS + writer) % (load.objects / WRITERS * WRITERS).max(1);
        let body = object(number, change, begin.elapsed().as_micros());
        let path = format!("{LIST}/object-{number}");
        let start = Instant::now();
        send(&mut sender, "PUT", &path, body).await?;
        took.push(u64::try_from(start.elapsed().as_micros())?);
    }
    Ok(took)
}

/// Reads `total` events; gives how long each took, and fails when one came twice or never.
async fn watch(
    address: SocketAddr,
    version: String,
    total: usize,
    begin: Instant,
) -> Anything<Vec<u64>> {
    let mut sender = connect(address).await?;
    let path = format!("{LIST}?watch=1&resourceVersion={version}");
    let mut body = sender
        .send_request(request("GET", &path, String::new())?)
        .await?
        .into_body();
    let mut seen = vec![false; total];
    let (mut delays, mut rest, mut last) = (Vec::with_capacity(total), Vec::new(), 0_u64);
    while delays.len() < total {
        let frame = body.frame().await.ok_or("the watch has ended")??;
        rest.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        let Some(end) = rest.iter().rposition(|&byte| byte == b'\n') else {
            continue;
        };
        let now = begin.elapsed().as_micros();
        for line in rest[..end].split(|&byte| byte == b'\n') {
            let event: Value = serde_json::from_slice(line)?;
            let text = |pointer: &str| {
                event
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let version: u64 = text("/object/metadata/resourceVersion").parse()?;
            let change: usize = text("/object/data/change").parse()?;
            let written: u128 = text("/object/data/micros").parse()?;
            if version <= last || std::mem::replace(&mut seen[change], true) {
                return Err(format!("change {change} came twice or out of order").into());
            }
            last = version;
            delays.push(u64::try_from(now.saturating_sub(written))?);
        }
        rest.drain(..=end);
    }
    Ok(delays)
}

/// CPU time of a process so far.
fn cpu_seconds(process: u32) -> Anything<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    // Linux counts these in hundredths of a second on every machine that we know.
    Ok(ticks as f64 / 100.0)
}

fn spread(micros: &mut [u64]) -> String {
    micros.sort_unstable();
    let at = |share: f64| {
        let index = ((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1));
        micros.get(index).copied().unwrap_or(0) as f64 / 1e3
    };
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
