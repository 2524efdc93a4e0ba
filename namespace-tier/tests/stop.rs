//! How the program stops: signals, and what it says meanwhile, by running it against a small API server.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tiergate_control_plane::config::version;
use tiergate_data_plane::net::{Listener, Net as _, TokioNet};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

const PATIENCE: Duration = Duration::from_secs(30);
/// What the program calls itself. `TIERGATE_VERSION=1.2.3 cargo test` holds it to that.
const VERSION: &str = version(option_env!("TIERGATE_VERSION"), env!("CARGO_PKG_VERSION"));

/// An API server without objects: it answers lists, and leaves watches open.
async fn kubernetes() -> SocketAddr {
    let mut listener = TokioNet.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = Listener::accept(&mut listener).await;
            tokio::spawn(answer(stream));
        }
    });
    address
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if String::from_utf8_lossy(&head).contains("watch=true") {
        std::future::pending::<()>().await;
    }
    let list = r#"{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}"#;
    let length = list.len();
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{list}"
    );
    stream.write_all(response.as_bytes()).await
}

/// A running tier, its log, and where it listens.
struct Tier {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
    _folder: tempfile::TempDir,
}

// === impl Tier ===

impl Tier {
    fn start(api: SocketAddr, variables: &[(&str, &str)]) -> Self {
        Self::start_at(api, ["127.0.0.1:0"; 3], variables)
    }

    /// Starts it with these addresses for HTTP, HTTPS and the admin port.
    fn start_at(api: SocketAddr, addresses: [&str; 3], variables: &[(&str, &str)]) -> Self {
        let [http, https, admin] = addresses;
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: a, contexts: [{{name: a, context: {{cluster: a, user: a}}}}],\n\
             clusters: [{{name: a, cluster: {{server: 'http://{api}'}}}}], users: [{{name: a, user: {{token: t}}}}]}}"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_tiergate-namespace"))
            .args(["--watch-namespace", "a", "--worker-threads", "2"])
            .args(["--http-address", http, "--https-address", https])
            .args(["--admin-address", admin])
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap()).lines();
        Self {
            process,
            log,
            _folder: folder,
        }
    }

    /// The next event with this message, as JSON.
    async fn event(&mut self, message: &str) -> serde_json::Value {
        let mut before = String::new();
        let reading = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                let event: serde_json::Value =
                    serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                if event["msg"].as_str().unwrap().starts_with(message) {
                    return event;
                }
                before.push_str(&line);
                before.push('\n');
            }
            panic!("the log ended");
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.unwrap_or_else(|_| panic!("no event {message:?} in\n{before}"))
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.id().expect("it still runs");
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        ended.expect("it ends in time").unwrap().code()
    }
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TokioNet
        .connect(address.parse().unwrap(), None)
        .await
        .unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: nobody.example\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn it_waits_for_the_api_server_and_says_so_and_ends_with_code_0() {
    let mut tier = Tier::start("127.0.0.1:1".parse().unwrap(), &[]);
    let admin = tier.event("started").await["admin"]
        .as_str()
        .unwrap()
        .to_owned();
    let event = tier
        .event("the API server does not give what is asked for")
        .await;
    assert_eq!(event["reason"], "list_failed", "{event}");
    assert!(
        event["detail"]
            .as_str()
            .unwrap()
            .contains("Connection refused"),
        "{event}"
    );
    // Which kind is missing, and why.
    let missing = format!(
        "\n      {}: client error (Connect): ",
        event["kind"].as_str().unwrap()
    );
    let ready = get(&admin, "/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains(&missing),
        "{ready}"
    );
    assert!(get(&admin, "/livez").await.starts_with("HTTP/1.1 200"));
    tier.signal(Signal::SIGTERM);
    assert_eq!(tier.exit_code().await, Some(0));
}

#[tokio::test]
async fn it_says_what_it_serves_drains_on_a_signal_and_ends_with_code_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut tier = Tier::start(kubernetes().await, &[("TIERGATE_DRAIN_DELAY", "10ms")]);
        let started = tier.event("started").await;
        let admin = started["admin"].as_str().unwrap().to_owned();
        assert_eq!(started["version"], VERSION);
        let serving = tier.event("serving").await;
        assert!(get(&admin, "/readyz").await.starts_with("HTTP/1.1 200"));
        let answer = get(serving["http"].as_str().unwrap(), "/").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let metrics = get(&admin, "/metrics").await;
        assert!(
            metrics.contains("\nprocess_open_fds{tier=\"namespace\"} "),
            "{metrics}"
        );
        let build = format!(
            "\ntiergate_build_info{{tier=\"namespace\",version=\"{VERSION}\",mode=\"namespace\"}} 1\n"
        );
        assert!(metrics.contains(&build), "{metrics}");
        tier.signal(signal);
        tier.event("draining").await;
        tier.event("stopped").await;
        assert_eq!(tier.exit_code().await, Some(0));
    }
}

/// What `probe` says of this page of the socket, and its exit code.
async fn probe(socket: &str, path: &str) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_tiergate-namespace");
    let mut command = Command::new(program);
    command
        .args(["probe", "--socket", socket, path])
        .env_clear();
    let output = command.output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn its_socket_tells_a_probe_whether_it_is_ready_and_leaves_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let socket = socket.to_str().unwrap();
    let variables = [
        ("TIERGATE_ADMIN_SOCKET", socket),
        ("TIERGATE_DRAIN_DELAY", "1h"),
    ];
    // Told to stop before it was ready.
    let mut tier = Tier::start("127.0.0.1:1".parse().unwrap(), &variables);
    tier.event("started").await;
    let (code, said) = probe(socket, "/readyz").await;
    assert!(code == Some(1) && said.contains("not bound yet"), "{said}");
    tier.signal(Signal::SIGTERM);
    assert_eq!(tier.exit_code().await, Some(0));
    assert!(!std::fs::exists(socket).unwrap());

    // Killed: the next one replaces what it left.
    let mut tier = Tier::start(kubernetes().await, &variables);
    tier.event("serving").await;
    tier.signal(Signal::SIGKILL);
    assert_eq!(tier.exit_code().await, None);
    let (code, said) = probe(socket, "/livez").await;
    assert!(code == Some(1) && said.contains("refused"), "{said}");

    let mut tier = Tier::start(kubernetes().await, &variables);
    tier.event("serving").await;
    let (code, said) = probe(socket, "/readyz").await;
    let ready = format!("/readyz at {socket}: answers 200 OK.\n");
    assert_eq!((code, said), (Some(0), ready));
    tier.signal(Signal::SIGTERM);
    tier.event("draining").await;
    let (code, said) = probe(socket, "/readyz").await;
    assert!(code == Some(1) && said.contains("draining"), "{said}");
    assert_eq!(probe(socket, "/livez").await.0, Some(0));
}

/// Asks without a pause until told to stop, by a connection for each request, and counts.
async fn keep_asking(address: String, is_done: Arc<AtomicBool>, asked: Arc<AtomicUsize>) {
    while !is_done.load(Ordering::Relaxed) {
        let answer = get(&address, "/").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_successor_shares_every_address_and_takes_over_without_a_failed_request() {
    let api = kubernetes().await;
    let folder = tempfile::tempdir().unwrap();
    let sockets = ["old", "new"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let variables = |number: usize| {
        [
            ("TIERGATE_DRAIN_DELAY", "100ms"),
            ("TIERGATE_ADMIN_SOCKET", sockets[number].as_str()),
        ]
    };
    let mut old = Tier::start(api, &variables(0));
    let admin = old.event("started").await["admin"].clone();
    let serving = old.event("serving").await;
    let addresses = [&serving["http"], &serving["https"], &admin].map(|a| a.as_str().unwrap());
    let (is_done, asked) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let asking: Vec<_> = (0..16)
        .map(|_| keep_asking(addresses[0].to_owned(), is_done.clone(), Arc::clone(&asked)))
        .map(tokio::spawn)
        .collect();
    let more = async || {
        let wanted = asked.load(Ordering::Relaxed) + 200;
        while asked.load(Ordering::Relaxed) < wanted {
            assert!(!asking.iter().any(tokio::task::JoinHandle::is_finished));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    more().await;
    let mut new = Tier::start_at(api, addresses, &variables(1));
    new.event("serving").await;
    more().await;
    old.signal(Signal::SIGTERM);
    old.event("draining").await;
    // Each answers for itself.
    assert_eq!(probe(&sockets[0], "/readyz").await.0, Some(1));
    assert_eq!(probe(&sockets[1], "/readyz").await.0, Some(0));
    assert_eq!(old.exit_code().await, Some(0));
    more().await;
    is_done.store(true, Ordering::Relaxed);
    for asked in asking {
        asked.await.expect("no request failed");
    }
    assert!(
        get(addresses[2], "/readyz")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_with_code_1() {
    let mut tier = Tier::start(kubernetes().await, &[("TIERGATE_DRAIN_DELAY", "1h")]);
    let admin = tier.event("started").await["admin"]
        .as_str()
        .unwrap()
        .to_owned();
    tier.event("serving").await;
    tier.signal(Signal::SIGTERM);
    tier.event("draining").await;
    let ready = get(&admin, "/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("draining"),
        "{ready}"
    );
    tier.signal(Signal::SIGINT);
    assert_eq!(tier.exit_code().await, Some(1));
}

#[tokio::test]
async fn the_variables_of_a_service_named_tiergate_do_no_harm_and_an_unknown_one_is_told() {
    let variables = [
        ("TIERGATE_PORT", "tcp://10.0.0.11:80"),
        ("TIERGATE_SERVICE_HOST", "10.0.0.11"),
        ("TIERGATE_SERVICE_PORT", "80"),
        ("TIERGATE_PORT_80_TCP_ADDR", "10.0.0.11"),
        ("TIERGATE_UNHEARD_OF", "1"),
        ("TIERGATE_ACCESS_LOG", "all"),
    ];
    let mut tier = Tier::start(kubernetes().await, &variables);
    let warning = tier.event("the environment variable").await;
    let message = warning["msg"].as_str().unwrap();
    assert!(message.contains("TIERGATE_UNHEARD_OF"), "{message}");
    let serving = tier.event("serving").await;
    get(serving["http"].as_str().unwrap(), "/some/path?secret=1").await;
    let request = tier.event("request").await;
    assert_eq!(request["path"], "/some/path", "{request}");
    assert_eq!(request["tier"], "namespace");
    tier.signal(Signal::SIGTERM);
    tier.signal(Signal::SIGTERM);
}
