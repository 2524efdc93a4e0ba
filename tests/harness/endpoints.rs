//! Endpoints that a test plays: they stand in the slices of a Service as pods do, and behave as the test says.
//!
//! In: how each of them behaves. Out: every request that came to it, also those that it did not answer. Their addresses are of the
//! pod network, where no node has pods, so that both worlds take them. Each answers as the echo server does, and says its address in place of a pod.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::cluster::Cluster;
use crate::wait::Stopwatch;

/// Where they listen.
pub const PORT: u16 = 8080;

/// The third byte of their addresses: nodes have the first ones of the pod network.
const THIRD_BYTE: u8 = 127;

/// How long an answer may be held back.
const HELD_MAX: Duration = Duration::from_secs(180);

/// Bytes of an answer.
const ANSWER_BYTES: usize = 4096;

/// What an endpoint does with a request that it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers with 200.
    Answers,
    /// Closes the connection.
    Closes,
    /// Resets the connection.
    Resets,
    /// Keeps the connection, and is silent until the other side has enough.
    IsSilent,
    /// Sends half of its answer, and the rest when it is told to.
    Holds,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its method.
    pub method: String,
    /// Its path with its query.
    pub path: String,
    /// Its fields, a line each, in lower case.
    pub fields: String,
    /// When it came: so long after the start of its endpoint.
    pub after: Duration,
}

/// One endpoint. It listens as long as the test program runs.
pub struct Endpoint {
    /// Its address.
    pub ip: Ipv4Addr,
    shared: Arc<Shared>,
}

struct Shared {
    started: Stopwatch,
    state: Mutex<State>,
    released: Condvar,
}

struct State {
    manner: Manner,
    attempts: Vec<Attempt>,
    is_released: bool,
}

// === impl Endpoint ===

impl Endpoint {
    /// Starts one with an address of its own.
    ///
    /// # Panics
    /// When its address cannot be had.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the server of a test, outside of every tier"
    )]
    pub fn start(cluster: &Cluster, manner: Manner) -> Self {
        static USED: AtomicU8 = AtomicU8::new(0);
        let number = USED.fetch_add(1, Ordering::Relaxed) + 1;
        let network = cluster.pod_network().split('/').next();
        let network: Ipv4Addr = network.unwrap_or_default().parse().expect("a CIDR");
        let [first, second, ..] = network.octets();
        let ip = Ipv4Addr::new(first, second, THIRD_BYTE, number);
        let listener = TcpListener::bind((ip, PORT)).expect("nobody else has the address");
        let shared = Arc::new(Shared {
            started: Stopwatch::start(),
            state: Mutex::new(State {
                manner,
                attempts: Vec::new(),
                is_released: false,
            }),
            released: Condvar::new(),
        });
        let of_listener = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_listener);
                thread::spawn(move || {
                    // Its end is that of the connection.
                    let _ = serve(&stream, ip, &shared);
                });
            }
        });
        Self { ip, shared }
    }

    /// How long ago it was started.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Behaves so from the next request on.
    pub fn set(&self, manner: Manner) {
        self.shared.state().manner = manner;
    }

    /// Sends what it held back, and holds nothing back from now on.
    pub fn release(&self) {
        self.shared.state().is_released = true;
        self.shared.released.notify_all();
    }

    /// The requests that came to it, oldest first.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.shared.state().attempts.clone()
    }

    /// How many requests came to it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.state().attempts.len()
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the requests of a connection, until one side has enough.
fn serve(stream: &TcpStream, ip: Ipv4Addr, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(mut attempt) = read(&mut reader)? {
        attempt.after = shared.started.elapsed();
        let manner = {
            let mut state = shared.state();
            state.attempts.push(attempt);
            state.manner
        };
        let answer = format!("{{\"pod\": \"{ip}\", \"namespace\": \"played\"}}");
        let answer = format!("{answer:ANSWER_BYTES$}");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
        let answer = format!("{head} {ANSWER_BYTES}\r\n\r\n{answer}");
        let (begin, rest) = answer.split_at(answer.len() / 2);
        let mut stream = stream;
        match manner {
            Manner::Answers => stream.write_all(answer.as_bytes())?,
            Manner::Closes => return Ok(()),
            Manner::IsSilent => drop(reader.read(&mut [0])?),
            Manner::Resets => {
                let at_once = linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                return Ok(setsockopt(&stream, sockopt::Linger, &at_once)?);
            }
            Manner::Holds => {
                stream.write_all(begin.as_bytes())?;
                let is_held = |state: &mut State| !state.is_released;
                let waited = shared
                    .released
                    .wait_timeout_while(shared.state(), HELD_MAX, is_held);
                drop(waited);
                stream.write_all(rest.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// The next request with its body; nothing when the other side has closed.
fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Attempt>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let [method, path] = [words.next(), words.next()].map(Option::unwrap_or_default);
    let mut fields = String::new();
    let mut body_bytes = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(length) = line.strip_prefix("content-length:") {
            body_bytes = length.trim().parse().map_err(io::Error::other)?;
        }
        fields += &format!("{line}\n");
    }
    io::copy(&mut reader.by_ref().take(body_bytes), &mut io::sink())?;
    Ok(Some(Attempt {
        method,
        path,
        fields,
        after: Duration::ZERO,
    }))
}
