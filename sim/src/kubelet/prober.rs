//! Makes the probes of a running container, until it is dropped.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tiergate_data_plane::net::Net;

use super::probe::{Check, HttpCheck, Schedule, Verdict};

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("cannot find {0}")]
    Host(String),
    #[error(transparent)]
    Connect(#[from] std::io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error("HTTP probe failed with statuscode: {0}")]
    Status(u16),
}

/// Probes without end; calls `report` with every verdict and the failure behind it.
pub(super) async fn run<N: Net>(
    net: N,
    address: IpAddr,
    check: Check,
    schedule: Schedule,
    mut report: impl FnMut(bool, Option<&ProbeError>),
) {
    let mut verdict = Verdict::new(false);
    tokio::time::sleep(schedule.initial_delay).await;
    let mut ticks = tokio::time::interval(schedule.period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let probe = once(&net, address, &check);
        let result = match tokio::time::timeout(schedule.timeout, probe).await {
            Ok(result) => result,
            Err(_) => Err(ProbeError::Timeout(schedule.timeout)),
        };
        let good = verdict.take(result.is_ok(), &schedule);
        report(good, result.as_ref().err());
    }
}

async fn once<N: Net>(net: &N, address: IpAddr, check: &Check) -> Result<(), ProbeError> {
    match check {
        Check::Tcp { host, port } => {
            let to = target(net, address, host.as_deref(), *port).await?;
            net.connect(to, None).await?;
            Ok(())
        }
        Check::Http(check) => http(net, address, check).await,
    }
}

async fn target<N: Net>(
    net: &N,
    address: IpAddr,
    host: Option<&str>,
    port: u16,
) -> Result<SocketAddr, ProbeError> {
    let Some(host) = host else {
        return Ok(SocketAddr::new(address, port));
    };
    let found = net.resolve(host, port).await?;
    found
        .first()
        .copied()
        .ok_or_else(|| ProbeError::Host(host.to_owned()))
}

async fn http<N: Net>(net: &N, address: IpAddr, check: &HttpCheck) -> Result<(), ProbeError> {
    let to = target(net, address, check.host.as_deref(), check.port).await?;
    let stream = net.connect(to, None).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(check.path.as_str())
        .header(header::USER_AGENT, "kube-probe/1.36")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close");
    let names_host = |(name, _): &(String, String)| name.eq_ignore_ascii_case("host");
    if !check.headers.iter().any(names_host) {
        request = request.header(header::HOST, to.to_string());
    }
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        match response.status().as_u16() {
            200..=399 => Ok(()),
            status => Err(ProbeError::Status(status)),
        }
    };
    // The connection must be driven; when it ends first, the answer fails by itself.
    let driven = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        result = answer => result,
        () = driven => unreachable!("the driver of the connection waits for ever"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use tiergate_data_plane::net::TokioNet;

    use super::*;
    use crate::{echo, stop};

    #[tokio::test]
    async fn answers_and_connections_decide() {
        let listener = TokioNet
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let identity = echo::Identity {
            pod: "web-1".to_owned(),
            namespace: "shop".to_owned(),
            node: "node-1".to_owned(),
        };
        let (_stop, signal) = stop::channel();
        tokio::spawn(echo::serve(listener, Arc::new(identity), signal));

        let http = |path: &str, port| {
            Check::Http(HttpCheck {
                host: None,
                port,
                path: path.to_owned(),
                headers: vec![("Host".to_owned(), "a.example".to_owned())],
            })
        };
        let closed = TokioNet
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .unwrap();
        let closed_port = closed.local_addr().unwrap().port();
        drop(closed);
        let tcp = |port| Check::Tcp { host: None, port };
        let cases = [
            (http("/", port), true),
            (http("/?status=399", port), true),
            (http("/?status=400", port), false),
            (http("/?status=503", port), false),
            (http("/", closed_port), false),
            (tcp(port), true),
            (tcp(closed_port), false),
        ];
        for (check, good) in cases {
            let result = once(&TokioNet, Ipv4Addr::LOCALHOST.into(), &check).await;
            assert_eq!(result.is_ok(), good, "{check:?}: {result:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_without_an_answer_fails_after_its_timeout() {
        let silent = TokioNet
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .unwrap();
        let check = Check::Http(HttpCheck {
            host: None,
            port: silent.local_addr().unwrap().port(),
            path: "/".to_owned(),
            headers: Vec::new(),
        });
        let schedule = Schedule {
            failure_threshold: 1,
            ..Schedule::of(&k8s_openapi::api::core::v1::Probe::default())
        };
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let probing = run(
            TokioNet,
            Ipv4Addr::LOCALHOST.into(),
            check,
            schedule,
            |good, error| {
                let _ = sender.try_send((good, error.map(ToString::to_string)));
            },
        );
        tokio::select! {
            () = probing => unreachable!("it never ends"),
            first = receiver.recv() => {
                assert_eq!(first, Some((false, Some("no answer within 1s".to_owned()))));
            }
        }
    }
}
