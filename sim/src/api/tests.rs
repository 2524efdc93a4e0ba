//! The server as a whole, asked through its dispatcher or over real sockets.

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;

use super::{Options, Server, dispatch, present};

mod admission;
mod custom;
mod history;

const TOKEN: &str = "secret";

/// What came back.
#[derive(Debug)]
struct Reply {
    code: u16,
    body: Value,
    warnings: Vec<String>,
}

// === impl Reply ===

impl Reply {
    /// The sentence of a refusal.
    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// The body of an answer that must be a success.
    fn ok(self) -> Value {
        assert!(self.code < 300, "{} {}", self.code, self.body);
        self.body
    }
}

fn server() -> Server {
    Server::new(Options::new(TOKEN, 11))
}

/// Asks as the administrator, without a socket.
async fn ask(server: &Server, method: &str, path: &str, kind: &str, body: Value) -> Reply {
    ask_as(server, method, path, kind, "", body).await
}

async fn ask_as(
    server: &Server,
    method: &str,
    path: &str,
    kind: &str,
    accept: &str,
    body: Value,
) -> Reply {
    let (parts, ()) = Request::builder()
        .method(method)
        .uri(path)
        .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(CONTENT_TYPE, kind)
        .header(ACCEPT, accept)
        .body(())
        .unwrap()
        .into_parts();
    let sent = if body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(body.to_string())
    };
    let outcome = dispatch::dispatch(&server.shared, &parts, sent).await;
    match (outcome.call, outcome.answer) {
        (_, Err(failure)) => Reply {
            code: failure.code,
            body: failure.to_value(),
            warnings: failure.warnings.clone(),
        },
        (Some(call), Ok(answer)) => {
            let now = server.shared.clock.now();
            let (_, bytes) = present::answer(&call, &answer.content, now).unwrap();
            Reply {
                code: answer.code,
                body: serde_json::from_slice(&bytes).unwrap(),
                warnings: answer.warnings,
            }
        }
        (None, Ok(answer)) => {
            let super::call::Content::Bytes(_, bytes) = &answer.content else {
                panic!("an answer without a call is ready");
            };
            Reply {
                code: answer.code,
                body: serde_json::from_slice(bytes).unwrap_or(Value::Null),
                warnings: answer.warnings,
            }
        }
    }
}

async fn post(server: &Server, path: &str, body: Value) -> Reply {
    ask(server, "POST", path, "application/json", body).await
}

async fn put(server: &Server, path: &str, body: Value) -> Reply {
    ask(server, "PUT", path, "application/json", body).await
}

async fn get(server: &Server, path: &str) -> Reply {
    ask(server, "GET", path, "", Value::Null).await
}

async fn delete(server: &Server, path: &str) -> Reply {
    ask(server, "DELETE", path, "", Value::Null).await
}
