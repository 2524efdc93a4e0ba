//! One answer of the admin port: from method, path and body. No I/O, no waiting.

use std::str::FromStr;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use prometheus_client::encoding::text::encode;
use serde_json::Value;

use super::Sources;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Index,
    Livez,
    Readyz,
    Metrics,
    Objects,
    Model,
    Table,
    LogLevel,
    AccessLog,
}

/// Every page: its path, whether it can be PUT, and what it is.
const PAGES: [(&str, Page, bool, &str); 9] = [
    ("/", Page::Index, false, "this list"),
    (
        "/livez",
        Page::Livez,
        false,
        "200 while the process answers",
    ),
    (
        "/readyz",
        Page::Readyz,
        false,
        "200 while requests may be sent here, else 503; says what is missing",
    ),
    (
        "/metrics",
        Page::Metrics,
        false,
        "metrics as OpenMetrics text",
    ),
    (
        "/debug/objects",
        Page::Objects,
        false,
        "the objects as they were read, without keys",
    ),
    (
        "/debug/model",
        Page::Model,
        false,
        "what they mean, and the conditions",
    ),
    ("/debug/table", Page::Table, false, "what is served"),
    (
        "/log-level",
        Page::LogLevel,
        true,
        "the log filter; PUT one such as debug or warn,tiergate=debug",
    ),
    (
        "/access-log",
        Page::AccessLog,
        true,
        "which requests are logged; PUT off, all or sampled:N",
    ),
];

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The answer.
pub(super) fn answer(
    sources: &Sources,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Response<Full<Bytes>> {
    let Some((_, page, is_settable, _)) = PAGES.into_iter().find(|(known, ..)| *known == path)
    else {
        let text = format!("there is no page {path:?}; / lists all pages\n");
        return self::text(StatusCode::NOT_FOUND, text);
    };
    match *method {
        Method::GET | Method::HEAD => get(sources, page),
        Method::PUT if is_settable => put(sources, page, body),
        _ => {
            let allow = if is_settable {
                "GET, HEAD, PUT"
            } else {
                "GET, HEAD"
            };
            let text = format!("{path} takes {allow}\n");
            let mut response = self::text(StatusCode::METHOD_NOT_ALLOWED, text);
            let allow = HeaderValue::from_static(allow);
            response.headers_mut().insert(ALLOW, allow);
            response
        }
    }
}

fn get(sources: &Sources, page: Page) -> Response<Full<Bytes>> {
    match page {
        Page::Index => text(StatusCode::OK, index(sources)),
        Page::Livez => text(StatusCode::OK, "live\n".to_owned()),
        Page::Readyz => {
            let (is_ready, report) = sources.readiness.report(&sources.control_plane);
            let status = if is_ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            text(status, report)
        }
        Page::Metrics => metrics(sources),
        Page::Objects => json(&sources.control_plane.objects_json()),
        Page::Model => json(&sources.control_plane.model_json()),
        Page::Table => json(&sources.control_plane.table_json()),
        Page::LogLevel => match &sources.telemetry {
            Some(telemetry) => text(StatusCode::OK, format!("{}\n", telemetry.filter())),
            None => no_telemetry(),
        },
        Page::AccessLog => text(StatusCode::OK, format!("{}\n", sources.access_log.get())),
    }
}

fn put(sources: &Sources, page: Page, body: &[u8]) -> Response<Full<Bytes>> {
    match page {
        Page::LogLevel => match &sources.telemetry {
            Some(telemetry) => set(body, |filter| {
                tracing::info!(%filter, "log filter changed");
                telemetry.set_filter(filter);
            }),
            None => no_telemetry(),
        },
        Page::AccessLog => set(body, |level| {
            tracing::info!(%level, "access log changed");
            sources.access_log.set(level);
        }),
        Page::Index
        | Page::Livez
        | Page::Readyz
        | Page::Metrics
        | Page::Objects
        | Page::Model
        | Page::Table => unreachable!("PAGES says which pages can be PUT"),
    }
}

/// Parses the body and hands it over; the answer is the value that holds now, or why it does not.
fn set<T>(body: &[u8], apply: impl FnOnce(T)) -> Response<Full<Bytes>>
where
    T: FromStr<Err: std::fmt::Display> + std::fmt::Display,
{
    let parsed = std::str::from_utf8(body)
        .map_err(|_| "the body is not UTF-8".to_owned())
        .and_then(|text| text.trim().parse::<T>().map_err(|error| error.to_string()));
    match parsed {
        Ok(value) => {
            let now = format!("{value}\n");
            apply(value);
            text(StatusCode::OK, now)
        }
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

fn no_telemetry() -> Response<Full<Bytes>> {
    let message = "the log of this process is not this tier's to change\n";
    text(StatusCode::NOT_FOUND, message.to_owned())
}

fn index(sources: &Sources) -> String {
    let mut index = format!("{} {}\n\n", sources.tier.program(), sources.version);
    for (path, _, is_settable, meaning) in PAGES {
        let methods = if is_settable { "GET PUT" } else { "GET" };
        index.push_str(&format!("{methods:<8}{path:<16}{meaning}\n"));
    }
    index
}

fn metrics(sources: &Sources) -> Response<Full<Bytes>> {
    let mut body = String::new();
    match encode(&mut body, &sources.registry) {
        Ok(()) => respond(StatusCode::OK, OPEN_METRICS, body),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "a metric could not be written\n".to_owned(),
        ),
    }
}

fn json(value: &Value) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, JSON, format!("{value:#}\n"))
}

/// A plain answer.
pub(super) fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, TEXT, body)
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
