use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Probe;
use tiergate_data_plane::net::TokioNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::api::tls::identity;
use crate::kubelet::probe::HttpCheck;
use crate::kubelet::process::Order;
use crate::{echo, stop};

fn prober() -> Prober<TokioNet> {
    Prober {
        net: TokioNet,
        address: Ipv4Addr::LOCALHOST.into(),
        commands: Commands {
            order: Order {
                program: PathBuf::new(),
                arguments: Vec::new(),
                variables: BTreeMap::new(),
                folder: PathBuf::from("/"),
                log: PathBuf::new(),
                launcher: None,
                plan: None,
            },
            image: None,
            log: PathBuf::new(),
        },
    }
}

async fn listener() -> (tokio::net::TcpListener, u16) {
    let listener = TokioNet
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn http(path: &str, port: u16) -> HttpCheck {
    HttpCheck {
        is_secure: false,
        host: None,
        port,
        path: path.to_owned(),
        headers: vec![("Host".to_owned(), "a.example".to_owned())],
    }
}

#[tokio::test]
async fn answers_and_connections_decide() {
    let (listener, port) = listener().await;
    let identity = echo::Identity {
        pod: "web-1".to_owned(),
        namespace: "shop".to_owned(),
        node: "node-1".to_owned(),
    };
    let (_stop, signal) = stop::channel();
    tokio::spawn(echo::serve(listener, Arc::new(identity), signal));
    let (closed, closed_port) = self::listener().await;
    drop(closed);

    let tcp = |port| Check::Tcp { host: None, port };
    let grpc = |port, service: &str| Check::Grpc {
        port,
        service: service.to_owned(),
    };
    let get = |path, port| Check::Http(http(path, port));
    let cases = [
        (get("/", port), "Success"),
        (
            get("/?status=399", port),
            "Warning(\"Probe terminated redirects",
        ),
        (
            get("/?status=400", port),
            "HTTP probe failed with statuscode: 400",
        ),
        (
            get("/?status=503", port),
            "HTTP probe failed with statuscode: 503",
        ),
        (get("/", closed_port), "connect: connection refused"),
        (tcp(port), "Success"),
        (tcp(closed_port), "connect: connection refused"),
        (grpc(port, ""), "Success"),
        (grpc(port, "shop"), "Success"),
        (grpc(closed_port, ""), "failed to connect service"),
    ];
    for (check, expected) in cases {
        let outcome = prober().once(&check, Duration::from_secs(60)).await;
        let outcome = format!("{outcome:?}");
        assert!(outcome.contains(expected), "{check:?}: {outcome}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_knows_is_no_failure() {
    let (listener, port) = listener().await;
    let acceptor = identity(&["192.0.2.1".parse().unwrap()]).unwrap().acceptor;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            let is_probe = String::from_utf8_lossy(&head[..read]).contains("kube-probe/");
            let status = if is_probe { 200 } else { 400 };
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    for is_secure in [true, false] {
        let check = Check::Http(HttpCheck {
            is_secure,
            ..http("/", port)
        });
        let outcome = prober().once(&check, Duration::from_secs(60)).await;
        assert_eq!(outcome == Outcome::Success, is_secure, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_without_an_answer_fails_after_its_timeout() {
    let (_silent, port) = listener().await;
    let schedule = Schedule {
        failure_threshold: 2,
        initial_delay: Duration::from_secs(5),
        ..Schedule::of(&Probe::default())
    };
    let begin = Instant::now();
    let mut outcomes = Vec::new();
    let prober = prober();
    let check = Check::Http(http("/", port));
    let probing = prober.run(&check, &schedule, begin, |outcome, verdict| {
        outcomes.push((begin.elapsed().as_secs(), format!("{outcome:?}"), verdict));
        match verdict {
            Some(verdict) => ControlFlow::Break(verdict),
            None => ControlFlow::Continue(()),
        }
    });
    assert!(!probing.await);
    let times: Vec<_> = outcomes.iter().map(|(at, _, said)| (*at, *said)).collect();
    assert_eq!(times, [(6, None), (16, Some(false))]);
    assert!(
        outcomes[0].1.contains("Client.Timeout exceeded"),
        "{outcomes:?}"
    );
}
