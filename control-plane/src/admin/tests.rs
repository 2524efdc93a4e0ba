use std::time::Duration;

use http_body_util::Empty;
use hyper::client::conn::http1::handshake;
use tiergate_data_plane::net::TokioNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;
use crate::platform::{Platform, kube_client};
use crate::publish::ControlPlane;
use crate::scope::Scope;

/// An admin port of a tier whose API server nobody listens for.
struct Port {
    address: SocketAddr,
    readiness: Readiness,
    access_log: access_log::Switch,
    _stop: oneshot::Sender<()>,
}

const PATIENCE: Duration = Duration::from_secs(20);
const VERSION: &str = "1.2.3-rc.1";

async fn port(telemetry: Option<telemetry::Handle>) -> Port {
    let mut all = telemetry::registry::registry(Tier::Namespace);
    let registry = telemetry::registry::families(&mut all, Tier::Namespace, VERSION);
    let nobody = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let platform = Platform {
        net: TokioNet,
        client: kube_client(TokioNet, nobody).unwrap(),
        seed: 1,
        identity: crate::platform::Identity::new([], "here".to_owned()),
    };
    let cell = Arc::new(tiergate_data_plane::snapshot::SnapshotCell::new(
        tiergate_data_plane::metrics::Metrics::register(registry),
    ));
    let (_, handle) = ControlPlane::new(&platform, Scope::default(), cell, registry);
    let admin = Admin::bind(&TokioNet, "127.0.0.1:0".parse().unwrap(), registry)
        .await
        .unwrap();
    let address = admin.address();
    let readiness = Readiness::default();
    let access_log = access_log::Switch::new(access_log::Level::Off);
    let sources = Sources {
        tier: Tier::Namespace,
        version: VERSION,
        registry: all,
        control_plane: handle,
        readiness: readiness.clone(),
        access_log: access_log.clone(),
        telemetry,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(admin.run(sources, async { drop(stopped.await) }));
    Port {
        address,
        readiness,
        access_log,
        _stop: stop,
    }
}

/// A handle, and the subscriber that must live for as long.
fn log_handle() -> (tracing::Dispatch, telemetry::Handle) {
    let (dispatch, handle) = telemetry::subscriber(
        Tier::Namespace,
        telemetry::Format::Text,
        "info".parse().unwrap(),
        false,
        std::io::sink,
    );
    (dispatch, handle)
}

// === impl Port ===

impl Port {
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, http::HeaderMap, String) {
        let stream = TokioNet.connect(self.address, None).await.unwrap();
        let (mut sender, connection) = handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let response = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
        let (head, body) = response.unwrap().unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            head.status.as_u16(),
            head.headers,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask("GET", path, "").await;
        (status, body)
    }
}

#[tokio::test]
async fn every_page_answers_and_every_other_path_is_404() {
    let (_subscriber, telemetry) = log_handle();
    let port = port(Some(telemetry)).await;
    let mut said = String::new();
    for path in [
        "/",
        "/livez",
        "/readyz",
        "/metrics",
        "/debug/objects",
        "/debug/model",
        "/debug/table",
        "/log-level",
        "/access-log",
        "/livez/",
        "/debug",
        "/..",
        "/metricsx",
    ] {
        let (status, headers, _) = port.ask("GET", path, "").await;
        let kind = headers["content-type"].to_str().unwrap();
        said.push_str(&format!("{status} {path} {kind}\n"));
    }
    expect_test::expect![[r#"
        200 / text/plain; charset=utf-8
        200 /livez text/plain; charset=utf-8
        503 /readyz text/plain; charset=utf-8
        200 /metrics application/openmetrics-text; version=1.0.0; charset=utf-8
        200 /debug/objects application/json
        200 /debug/model application/json
        200 /debug/table application/json
        200 /log-level text/plain; charset=utf-8
        200 /access-log text/plain; charset=utf-8
        404 /livez/ text/plain; charset=utf-8
        404 /debug text/plain; charset=utf-8
        404 /.. text/plain; charset=utf-8
        404 /metricsx text/plain; charset=utf-8
    "#]]
    .assert_eq(&said);
    let (_, index) = port.get("/").await;
    expect_test::expect![[r#"
        tiergate-namespace 1.2.3-rc.1

        GET     /               this list
        GET     /livez          200 while the process answers
        GET     /readyz         200 while requests may be sent here, else 503; says what is missing
        GET     /metrics        metrics as OpenMetrics text
        GET     /debug/objects  the objects as they were read, without keys
        GET     /debug/model    what they mean, and the conditions
        GET     /debug/table    what is served
        GET PUT /log-level      the log filter; PUT one such as debug or warn,tiergate=debug
        GET PUT /access-log     which requests are logged; PUT off, all or sampled:N
    "#]]
    .assert_eq(&index);
    assert_eq!(
        port.get("/nothing?x=1").await,
        (
            404,
            "there is no page \"/nothing\"; / lists all pages\n".to_owned()
        )
    );
    assert_eq!(port.get("/livez?verbose").await, (200, "live\n".to_owned()));
}

#[tokio::test]
async fn a_wrong_method_is_405_and_says_which_are_right() {
    let port = port(None).await;
    for (method, path, allow) in [
        ("POST", "/livez", "GET, HEAD"),
        ("PUT", "/readyz", "GET, HEAD"),
        ("DELETE", "/log-level", "GET, HEAD, PUT"),
        ("POST", "/access-log", "GET, HEAD, PUT"),
    ] {
        let (status, headers, body) = port.ask(method, path, "").await;
        assert_eq!(
            (status, headers["allow"].to_str().unwrap()),
            (405, allow),
            "{method} {path}"
        );
        assert_eq!(body, format!("{path} takes {allow}\n"));
    }
    let (status, _, body) = port.ask("HEAD", "/livez", "").await;
    assert_eq!((status, body.as_str()), (200, ""));
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let port = port(None).await;
    expect_test::expect![[r#"
        [-] kubernetes: not read in full yet
              Ingress: no answer yet
              Service: no answer yet
              EndpointSlice: no answer yet
              Secret: no answer yet
        [-] listeners: not bound yet; they wait for the objects
        [+] process: stays
        not ready
    "#]]
    .assert_eq(&port.get("/readyz").await.1);
    port.readiness.listening();
    let (status, body) = port.get("/readyz").await;
    assert_eq!(status, 503);
    expect_test::expect![[r#"
        [-] kubernetes: not read in full yet
              Ingress: no answer yet
              Service: no answer yet
              EndpointSlice: no answer yet
              Secret: no answer yet
        [+] listeners: bound
        [+] process: stays
        not ready
    "#]]
    .assert_eq(&body);
    port.readiness.draining();
    port.readiness.listening();
    let (status, body) = port.get("/readyz").await;
    assert_eq!(status, 503);
    expect_test::expect![[r#"
        [-] kubernetes: not read in full yet
              Ingress: no answer yet
              Service: no answer yet
              EndpointSlice: no answer yet
              Secret: no answer yet
        [+] listeners: bound
        [-] process: draining
        not ready
    "#]]
    .assert_eq(&body);
}

#[tokio::test]
async fn the_switches_can_be_read_and_turned_and_refuse_what_they_do_not_know() {
    let (_subscriber, telemetry) = log_handle();
    let port = port(Some(telemetry.clone())).await;
    assert_eq!(port.get("/log-level").await, (200, "info\n".to_owned()));
    assert_eq!(
        port.ask("PUT", "/log-level", "tiergate=debug\n").await.0,
        200
    );
    assert_eq!(telemetry.filter().to_string(), "tiergate=debug");
    let (status, _, body) = port.ask("PUT", "/log-level", "loud").await;
    assert_eq!(status, 400);
    assert!(body.starts_with("\"loud\" is not a log level"), "{body}");
    assert_eq!(
        port.get("/log-level").await,
        (200, "tiergate=debug\n".to_owned())
    );

    assert_eq!(port.get("/access-log").await, (200, "off\n".to_owned()));
    for level in ["all", "sampled:7", "off"] {
        let (status, _, body) = port.ask("PUT", "/access-log", level).await;
        assert_eq!((status, body), (200, format!("{level}\n")));
        assert_eq!(port.access_log.get().to_string(), level);
    }
    for bad in ["", "on", "sampled:0", "sampled:x"] {
        assert_eq!(port.ask("PUT", "/access-log", bad).await.0, 400, "{bad}");
    }
    assert_eq!(port.access_log.get(), access_log::Level::Off);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let port = port(None).await;
    let body = "x".repeat(BODY_BYTES_MAX + 1);
    assert_eq!(port.ask("PUT", "/access-log", &body).await.0, 413);
    assert_eq!(port.ask("PUT", "/access-log", &body[1..]).await.0, 400);
}

#[tokio::test]
async fn without_a_handle_the_log_is_not_ours_to_change() {
    let port = port(None).await;
    assert_eq!(port.get("/log-level").await.0, 404);
    assert_eq!(port.ask("PUT", "/log-level", "debug").await.0, 404);
}

#[tokio::test]
async fn metrics_are_open_metrics_text_with_the_tier_on_every_family() {
    let port = port(None).await;
    let (_, headers, text) = port.ask("GET", "/metrics", "").await;
    assert!(
        headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(
            line.starts_with("tiergate_") && line.contains("{tier=\"namespace\""),
            "{line}"
        );
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let port = port(None).await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TokioNet.connect(port.address, None).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        idle.push(stream);
    }
    let mut refused = TokioNet.connect(port.address, None).await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, refused.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(read.is_err() || rest.is_empty(), "{rest:?}");
    // One that ends makes room for the next.
    let mut last = idle.pop().unwrap();
    last.write_all(b"Host: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, last.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let counted = async {
        loop {
            let stream = TokioNet.connect(port.address, None).await.unwrap();
            let Ok((mut sender, connection)) =
                handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await
            else {
                continue;
            };
            tokio::spawn(connection);
            let request = Request::get("/metrics").body(Empty::new()).unwrap();
            // The place may not be free yet.
            let Ok(response) = sender.send_request(request).await else {
                continue;
            };
            break response.into_body().collect().await.unwrap().to_bytes();
        }
    };
    let text = tokio::time::timeout(PATIENCE, counted).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let name = "tiergate_admin_connections_refused_total{tier=\"namespace\"} ";
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    assert!(value.parse::<u64>().unwrap() >= 1);
}
