//! The API server of a real cluster, taken away and given back, while all else of the control plane stays.
//!
//! `tests/kubernetes/up` kills it when a file comes, as a lost machine would, and starts it again when the file goes.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::client::{Connection, Request, Response, connect};
use crate::cluster::Cluster;
use crate::process::Process;
use crate::{kubectl, wait, world};

/// The API server is away until this value is dropped.
#[derive(Debug)]
pub struct Away {
    file: PathBuf,
}

/// An API server in plain HTTP, for the account of a kubeconfig: `kubectl proxy`. It runs until this value is dropped.
pub struct PlainApiServer {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

/// A client of a [`PlainApiServer`] that keeps its connection.
pub struct ApiClient {
    address: SocketAddr,
    connection: Connection,
}

/// A watch that goes on: its events, each an object with `type` and `object`. It ends when the API server ends it, or when nothing
/// came for too long.
pub struct Watch {
    lines: BufReader<TcpStream>,
}

/// How long a connection through [`as_version`] may be silent: longer than any watch is.
const SILENCE: Duration = Duration::from_secs(60);

// === impl Cluster ===

impl Cluster {
    /// Takes the API server away, and returns when nobody answers there.
    ///
    /// # Panics
    /// In the local world, whose API server is no process of its own; and when it does not go in time.
    #[must_use]
    pub fn take_api_server_away(&self) -> Away {
        assert!(world::is_real(), "the real control plane can do that");
        let file = self.folder().join("hold-apiserver");
        File::create(&file).expect("target can be written");
        let away = Away { file };
        let kubectl = self.kubectl();
        wait::until("the API server is away", wait::CHANGE_SECONDS, || {
            let said = kubectl.run("get --raw /readyz --request-timeout=2s");
            wait::seen(!said.is_good, "it answers")
        });
        away
    }

    /// Changes nothing for this long by the clock of the API server's log, and returns the window.
    ///
    /// # Panics
    /// When nobody asks the API server any more, so that its clock stands.
    #[must_use]
    pub fn leave_alone(&self, window_ms: i64) -> Range<i64> {
        const PAUSES_BETWEEN_LOOKS: usize = 20;
        let begin = self.last_request_ms();
        wait::until("the time to leave it alone", wait::CHANGE_SECONDS, || {
            for _ in 0..PAUSES_BETWEEN_LOOKS {
                wait::pause();
            }
            wait::seen(self.last_request_ms() > begin + window_ms, "not over")
        });
        begin..begin + window_ms
    }

    /// When the API server was asked last, by its clock; 0 when it never was.
    #[must_use]
    pub fn last_request_ms(&self) -> i64 {
        let requests = self.requests();
        let times = requests.iter().map(|request| request.received_ms);
        times.max().unwrap_or_default()
    }

    /// Waits until no pod has these labels in any namespace, and returns when that was, by the clock of the API server.
    ///
    /// # Panics
    /// When some stay.
    #[must_use]
    pub fn until_no_pods(&self, selector: &str) -> i64 {
        let kubectl = self.kubectl();
        wait::until("the pods are gone", wait::CHANGE_SECONDS, || {
            let pods = kubectl.ok(&format!("get pods -A --selector={selector} -o name"));
            wait::seen(pods.is_empty(), pods)
        });
        self.last_request_ms()
    }

    /// Starts an API server in plain HTTP for the account of this kubeconfig.
    ///
    /// # Panics
    /// When it is not there in time.
    #[must_use]
    pub fn plain_api_server(&self, kubeconfig: &Path) -> PlainApiServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let mut command = Command::new(kubectl::program("1.37"));
        command
            .arg("proxy")
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--port={}", address.port()));
        let process = Process::spawn("kubectl-proxy", self.folder(), &command);
        wait::until("kubectl proxy", wait::CHANGE_SECONDS, || {
            connect(address)
                .map(drop)
                .map_err(|error| error.to_string())
        });
        PlainApiServer {
            address,
            _process: process,
        }
    }
}

// === impl PlainApiServer ===

impl PlainApiServer {
    /// A client with a connection of its own.
    ///
    /// # Panics
    /// When nobody answers.
    #[must_use]
    pub fn client(&self) -> ApiClient {
        ApiClient {
            address: self.address,
            connection: Connection::open(self.address).expect("the API server answers"),
        }
    }

    /// Watches a collection: its path with its parameters. Without a `resourceVersion` the objects that are there come first.
    ///
    /// # Panics
    /// When the API server refuses.
    #[must_use]
    pub fn watch(&self, path: &str) -> Watch {
        let mut stream = connect(self.address).expect("the API server answers");
        stream
            .set_read_timeout(Some(SILENCE))
            .expect("it is a socket");
        let mark = if path.contains('?') { '&' } else { '?' };
        // Of HTTP/1.0, so that the events come without the frames of chunks.
        let asked = write!(
            stream,
            "GET {path}{mark}watch=true HTTP/1.0\r\nhost: localhost\r\naccept: application/json\r\n\r\n"
        );
        asked.expect("the API server reads");
        let head = read_head(&mut stream).expect("the API server answers");
        assert!(head.contains(" 200 OK\r\n"), "{path}: {head}");
        Watch {
            lines: BufReader::new(stream),
        }
    }
}

// === impl ApiClient ===

impl ApiClient {
    /// Sends JSON, a merge patch where it is one, and returns what came back.
    ///
    /// # Panics
    /// When the API server does not answer.
    pub fn send(&mut self, method: &str, path: &str, body: &Value) -> Response {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::new(method, "localhost", path)
            .header("content-type", kind)
            .body(body.to_string().as_bytes());
        if self.connection.is_done() {
            self.connection = Connection::open(self.address).expect("the API server answers");
        }
        let response = self.connection.send(&request);
        response.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
}

// === impl Watch ===

impl Watch {
    /// The same, which waits for as long as it takes.
    ///
    /// # Panics
    /// Never: it is a socket.
    #[must_use]
    pub fn patient(self) -> Self {
        let stream = self.lines.get_ref();
        stream.set_read_timeout(None).expect("it is a socket");
        self
    }
}

impl Iterator for Watch {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).unwrap_or_default();
        if length == 0 {
            return None;
        }
        Some(serde_json::from_str(&line).expect("a watch is JSON in lines"))
    }
}

// === impl Away ===

impl Drop for Away {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Runs `what` with the address of an API server that says it is version 1.`minor`, in front of a real one that speaks plain
/// HTTP at `upstream`, as `kubectl proxy` does. Everything but `/version` goes through.
///
/// # Panics
/// When no port is free.
pub fn as_version<T>(upstream: SocketAddr, minor: u32, what: impl FnOnce(SocketAddr) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for connection in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                scope.spawn(move || serve(connection, upstream, minor));
            }
        });
        let _end = AtEnd(&is_over, address);
        what(address)
    })
}

/// Wakes the listener for the last time, also when the test panics: the scope waits for it.
struct AtEnd<'a>(&'a AtomicBool, SocketAddr);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.1);
    }
}

/// One request on one connection: both sides are told to close, so that every request comes with a head to look at.
fn serve(mut client: TcpStream, upstream: SocketAddr, minor: u32) -> io::Result<()> {
    let head = read_head(&mut client)?;
    if head.starts_with("GET /version") {
        let body = format!(
            r#"{{"major": "1", "minor": "{minor}", "gitVersion": "v1.{minor}.0", "gitCommit": "", "gitTreeState": "clean",
                "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64"}}"#
        );
        let length = body.len();
        return write!(
            client,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
    }
    let mut server = connect(upstream)?;
    for side in [&client, &server] {
        side.set_read_timeout(Some(SILENCE))?;
    }
    server.write_all(
        head.replacen("\r\n", "\r\nconnection: close\r\n", 1)
            .as_bytes(),
    )?;
    let mut from_client = client.try_clone()?;
    let mut to_server = server.try_clone()?;
    thread::scope(|scope| {
        scope.spawn(move || io::copy(&mut from_client, &mut to_server));
        let copied = io::copy(&mut server, &mut client);
        // Ends the other direction too.
        let _ = client.shutdown(Shutdown::Both);
        copied.map(drop)
    })
}

/// The head of a request, with its empty line, and nothing behind it.
fn read_head(client: &mut TcpStream) -> io::Result<String> {
    const HEAD_BYTES_MAX: usize = 64 * 1024;
    let mut head = Vec::new();
    let mut byte = [0];
    client.set_read_timeout(Some(SILENCE))?;
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES_MAX || client.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).map_err(io::Error::other)
}
