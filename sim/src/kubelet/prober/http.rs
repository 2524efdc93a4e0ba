//! A probe by HTTP: one GET over a connection of its own, as kubelets make it.
//!
//! Good from 200 to 399. A redirect to the same host is followed; one to another host ends there and is a warning.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tiergate_data_plane::net::Net;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::probe::{HttpCheck, Outcome};
use super::{ProbeError, connect, target, tls};

const REDIRECTS_MAX: usize = 10;

/// How much of an answer's body a warning tells.
const BODY_BYTES_MAX: usize = 512;

/// What was answered.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: String,
}

/// Asks, and judges the answer. The caller limits the time.
pub(super) async fn probe<N: Net>(
    net: &N,
    address: IpAddr,
    check: &HttpCheck,
) -> Result<Outcome, ProbeError> {
    let mut check = check.clone();
    for _ in 0..REDIRECTS_MAX {
        let answer = ask(net, address, &check).await?;
        let status = answer.status.as_u16();
        let location = answer.location.filter(|_| (300..=399).contains(&status));
        match location.map(|location| redirected(&check, address, &location)) {
            Some(Some(next)) => check = next,
            None if status < 300 => return Ok(Outcome::Success),
            None | Some(None) if (300..=399).contains(&status) => {
                let body = answer.body;
                let text = format!("Probe terminated redirects, Response body: {body}");
                return Ok(Outcome::Warning(text));
            }
            None | Some(None) => {
                let text = format!("HTTP probe failed with statuscode: {status}");
                return Ok(Outcome::Failure(text));
            }
        }
    }
    Err(ProbeError::Redirects)
}

/// The URL as messages name it.
pub(super) fn url(address: IpAddr, check: &HttpCheck) -> String {
    let scheme = if check.is_secure { "https" } else { "http" };
    let path = &check.path;
    match &check.host {
        Some(host) => format!("{scheme}://{host}:{}{path}", check.port),
        None => format!("{scheme}://{}{path}", SocketAddr::new(address, check.port)),
    }
}

/// What a redirect asks for. None: it leads to another host.
fn redirected(check: &HttpCheck, address: IpAddr, location: &str) -> Option<HttpCheck> {
    let uri: Uri = location.parse().ok()?;
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut next = HttpCheck {
        path: path.to_owned(),
        ..check.clone()
    };
    if let Some(host) = uri.host() {
        let own = check.host.clone().unwrap_or_else(|| address.to_string());
        if host != own {
            return None;
        }
        next.is_secure = uri.scheme_str() == Some("https");
        let default = if next.is_secure { 443 } else { 80 };
        next.port = uri.port_u16().unwrap_or(default);
    }
    Some(next)
}

async fn ask<N: Net>(net: &N, address: IpAddr, check: &HttpCheck) -> Result<Answer, ProbeError> {
    let to = target(net, address, check.host.as_deref(), check.port).await?;
    let stream = connect(net, to).await?;
    if !check.is_secure {
        return exchange(stream, to, check).await;
    }
    let name = check.host.as_deref();
    let stream = tls::connect(stream, to.ip(), name).await?;
    exchange(stream, to, check).await
}

async fn exchange<S>(stream: S, to: SocketAddr, check: &HttpCheck) -> Result<Answer, ProbeError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = request(to, check)?;
    let answer = async {
        let response = sender.send_request(request).await?;
        Ok(read(response).await)
    };
    // The connection must be driven; when it ends first, the answer fails by itself.
    let driven = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        () = driven => unreachable!("the driver of the connection waits for ever"),
    }
}

fn request(to: SocketAddr, check: &HttpCheck) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let is_given = |name: &str| {
        let headers = check.headers.iter();
        headers
            .map(|(given, _)| given)
            .any(|given| given.eq_ignore_ascii_case(name))
    };
    let host = match &check.host {
        Some(host) => format!("{host}:{}", check.port),
        None => to.to_string(),
    };
    let defaults = [
        (header::HOST, host.as_str()),
        (header::USER_AGENT, "kube-probe/1.36"),
        (header::ACCEPT, "*/*"),
        (header::CONNECTION, "close"),
    ];
    let mut request = Request::get(check.path.as_str());
    for (name, value) in defaults {
        if !is_given(name.as_str()) {
            request = request.header(name, value);
        }
    }
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    Ok(request.body(Empty::new())?)
}

async fn read(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let location = head.headers.get(header::LOCATION);
    let location = location.and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let is_told = head.status.is_redirection();
    let body = if is_told {
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    } else {
        String::new()
    };
    Answer {
        status: head.status,
        location,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: Option<&str>) -> HttpCheck {
        HttpCheck {
            is_secure: false,
            host: host.map(str::to_owned),
            port: 8080,
            path: "/healthz".to_owned(),
            headers: Vec::new(),
        }
    }

    #[test]
    fn only_a_redirect_to_the_same_host_is_followed() {
        let address: IpAddr = "127.0.0.7".parse().unwrap();
        let cases = [
            (None, "/ok?a=b", Some("http://127.0.0.7:8080/ok?a=b")),
            (None, "http://127.0.0.7/", Some("http://127.0.0.7:80/")),
            (
                None,
                "https://127.0.0.7:8443/x",
                Some("https://127.0.0.7:8443/x"),
            ),
            (None, "http://elsewhere.example/", None),
            (
                Some("a.example"),
                "https://a.example/",
                Some("https://a.example:443/"),
            ),
            (Some("a.example"), "http://127.0.0.7/", None),
        ];
        for (host, location, expected) in cases {
            let next = redirected(&check(host), address, location);
            let next = next.map(|next| url(address, &next));
            assert_eq!(next.as_deref(), expected, "{location}");
        }
    }
}
