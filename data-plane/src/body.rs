//! Bodies on their way through: never whole, always counted, limited and timed.
//!
//! `request`: what the client sends, on its way to the endpoint. `response`: what the endpoint sends, on its way to the
//! client, together with the connection that it comes by. `received`: how either arrives by HTTP/2.

mod received;
mod request;
mod response;

pub(crate) use received::Received;
pub(crate) use request::{RequestBody, Upload};
pub(crate) use response::{Forwarded, ResponseBody};

/// Why a body ended early. The codec passes it to the other side as a broken body.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BodyError(pub(crate) &'static str);
