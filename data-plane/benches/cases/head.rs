//! The steps that judge and rewrite a head, each alone, with the head of a browser.

use std::hint::black_box;
use std::net::SocketAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Response};
use tiergate_data_plane::config::Config;
use tiergate_data_plane::steps::Steps;

use crate::case::{Case, Operation, uncounted};

pub(super) const CASES: &[Case] = &[
    Case::new("head/admit", 2000, || {
        let (steps, (parts, ())) = (steps(), request().into_parts());
        Box::new(move |operations| {
            for _ in 0..operations {
                assert!(steps.admit(black_box(&parts)).is_ok());
            }
        })
    }),
    Case::new("head/strip", 2000, || {
        on_request(|steps, headers| steps.strip(headers))
    }),
    Case::new("head/forwarded", 2000, || {
        let id = HeaderValue::from_static("0123456789abcdef0123456789abcdef");
        let host = HeaderValue::from_static("h0.example.test");
        on_request(move |steps, headers| steps.forwarded(headers, &host, &id))
    }),
    Case::new("head/via", 2000, || {
        on_request(|steps, headers| assert!(steps.via(headers).is_ok()))
    }),
    Case::new("head/strip-answer", 2000, || {
        let answer = Response::builder()
            .header("server", "nginx/1.22.1")
            .header("date", "Sat, 01 Jan 2000 00:00:00 GMT")
            .header("content-type", "application/octet-stream")
            .header("content-length", "64")
            .header("last-modified", "Sat, 01 Jan 2000 00:00:00 GMT")
            .header("connection", "keep-alive")
            .header("etag", "\"386d4380-40\"")
            .header("accept-ranges", "bytes")
            .body(());
        let headers = answer.expect("this is an answer").into_parts().0.headers;
        on_copy(headers, |steps, headers| steps.strip_answer(headers))
    }),
];

fn steps() -> Steps {
    let local = SocketAddr::from(([192, 0, 2, 1], 80));
    let peer = SocketAddr::from(([192, 0, 2, 9], 40_000));
    Steps::new(Config::new("tiergate-namespace"), peer, local)
}

fn request() -> Request<()> {
    let request = Request::builder()
        .uri("/a?b=c")
        .header(HOST, "h0.example.test")
        .header("connection", "keep-alive")
        .header("upgrade-insecure-requests", "1")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        )
        .header(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        )
        .header("sec-fetch-site", "none")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-user", "?1")
        .header("sec-fetch-dest", "document")
        .header("accept-encoding", "gzip, deflate, br")
        .header("accept-language", "en-GB,en;q=0.9")
        .header("cookie", "session=0123456789abcdef")
        .body(());
    request.expect("this is a request")
}

fn on_request(step: impl Fn(&Steps, &mut HeaderMap) + 'static) -> Operation {
    on_copy(request().into_parts().0.headers, step)
}

/// The step changes the head, so each operation has a copy, which is not counted.
fn on_copy(headers: HeaderMap, step: impl Fn(&Steps, &mut HeaderMap) + 'static) -> Operation {
    let steps = steps();
    Box::new(move |operations| {
        for _ in 0..operations {
            let mut copy = uncounted(|| headers.clone());
            step(&steps, black_box(&mut copy));
            uncounted(|| drop(copy));
        }
    })
}
