//! A probe by gRPC: one call of `grpc.health.v1.Health/Check`, without TLS.
//!
//! The two messages of that call have one field each, so they are written and read here by hand.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tiergate_data_plane::net::Net;

use super::super::probe::Outcome;
use super::connect;
use super::patience::within;

/// A health answer has 7 bytes; whatever is much longer is none.
const ANSWER_BYTES_MAX: usize = 4096;

/// What a server may say of a service.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u8 = 1;

/// gRPC's code of a method that the server does not have.
const UNIMPLEMENTED: &str = "12";

/// Asks for the health of `service`.
pub(super) async fn probe<N: Net>(
    net: &N,
    to: SocketAddr,
    service: &str,
    timeout: Duration,
) -> Outcome {
    let call = async {
        let stream = connect(net, to)
            .await
            .map_err(|error| format!("error: failed to connect service at {to:?}: {error}"))?;
        call(TokioIo::new(stream), to, service)
            .await
            .unwrap_or_else(|error| Err(format!("error: health rpc probe failed: {error}")))
    };
    match within(timeout, call).await {
        Some(Ok(())) => Outcome::Success,
        Some(Err(text)) => Outcome::Failure(text),
        None => Outcome::Failure(format!(
            "timeout: health rpc did not complete within {timeout:?}"
        )),
    }
}

/// The outer error: there was no answer. The inner one: the answer is bad.
async fn call<I>(
    stream: I,
    to: SocketAddr,
    service: &str,
) -> Result<Result<(), String>, Box<dyn std::error::Error + Send + Sync>>
where
    I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    let request = Request::post(format!("http://{to}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::USER_AGENT, "kube-probe/1.36")
        .header(header::TE, "trailers")
        .body(Full::new(question(service)))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Ok(Err(format!(
                "error: health rpc probe failed: unexpected HTTP status code received from server: {}",
                head.status
            )));
        }
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        // Without a message the status may stand in the head.
        let status = if trailers.contains_key("grpc-status") {
            trailers
        } else {
            head.headers
        };
        Ok(judge(&status, &body.to_bytes()))
    };
    let driven = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        () = driven => unreachable!("the driver of the connection waits for ever"),
    }
}

/// `HealthCheckRequest { service = 1 }` in a frame of gRPC: not compressed, four bytes of length.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).expect("seven bits"));
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

fn judge(status: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let text = |name: &str| {
        let value = status.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    match (text("grpc-status").as_str(), body) {
        ("0", [0, 0, 0, 0, 2, 0x08, SERVING]) => Ok(()),
        ("0", [0, 0, 0, 0, 2, 0x08, other]) => {
            let name = STATUSES.get(usize::from(*other));
            let name = name.map_or_else(|| other.to_string(), |name| (*name).to_owned());
            Err(format!("service unhealthy (responded with {name:?})"))
        }
        // A field with its default value is left out.
        ("0", [0, 0, 0, 0, 0]) => Err(format!(
            "service unhealthy (responded with {:?})",
            STATUSES[0]
        )),
        (UNIMPLEMENTED, _) => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            text("grpc-message")
        )),
        ("", _) | ("0", _) => {
            Err("error: health rpc probe failed: the answer is no gRPC".to_owned())
        }
        (code, _) => Err(format!(
            "error: health rpc probe failed: rpc error: code = {code} desc = {}",
            text("grpc-message")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_the_service() {
        assert_eq!(question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }

    #[test]
    fn only_serving_is_healthy() {
        let cases: [(&str, &[u8], &str); 7] = [
            ("0", &[0, 0, 0, 0, 2, 8, 1], "good"),
            ("0", &[0, 0, 0, 0, 2, 8, 2], "NOT_SERVING"),
            ("0", &[0, 0, 0, 0, 2, 8, 9], "9"),
            ("0", &[0, 0, 0, 0, 0], "UNKNOWN"),
            ("0", &[1, 2], "no gRPC"),
            ("12", &[], "does not implement"),
            ("5", &[], "code = 5"),
        ];
        for (status, body, expected) in cases {
            let headers = HeaderMap::from_iter([(
                header::HeaderName::from_static("grpc-status"),
                status.parse().unwrap(),
            )]);
            let said = judge(&headers, body).err().unwrap_or("good".to_owned());
            assert!(said.contains(expected), "{status} {body:?}: {said}");
        }
    }
}
