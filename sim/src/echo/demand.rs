//! What the query asks of the echo server: a status, a delay, a number of bytes. Pure.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Body, Frame, SizeHint};

/// Longest delay that may be asked for.
const DELAY_MAX: Duration = Duration::from_secs(300);

/// Largest body that may be asked for.
const BODY_BYTES_MAX: u64 = 1 << 30;

static FILLING: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// How to answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) status: StatusCode,
    pub(super) delay: Duration,
    pub(super) body_bytes: Option<u64>,
}

/// A body of `x`, made as it is read.
#[derive(Debug)]
pub(super) struct Filler {
    left_bytes: u64,
}

// === impl Demand ===

impl Demand {
    /// Reads `status`, `delay_ms` and `bytes`; every other parameter is the application's own.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut demand = Self {
            status: StatusCode::OK,
            delay: Duration::ZERO,
            body_bytes: None,
        };
        for parameter in query.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "status" => demand.status = parse_status(value)?,
                "delay_ms" => {
                    let limit = u64::try_from(DELAY_MAX.as_millis()).expect("five minutes fit");
                    demand.delay = Duration::from_millis(parse_number(name, value, limit)?);
                }
                "bytes" => demand.body_bytes = Some(parse_number(name, value, BODY_BYTES_MAX)?),
                _ => {}
            }
        }
        Ok(demand)
    }
}

fn parse_status(value: &str) -> Result<StatusCode, String> {
    let code = parse_number("status", value, 599)?;
    u16::try_from(code)
        .ok()
        .filter(|code| *code >= 200)
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| format!("status={value}: use a number from 200 to 599"))
}

fn parse_number(name: &str, value: &str, limit: u64) -> Result<u64, String> {
    value
        .parse()
        .ok()
        .filter(|number| *number <= limit)
        .ok_or_else(|| format!("{name}={value}: use a number from 0 to {limit}"))
}

// === impl Filler ===

impl Filler {
    pub(super) fn new(bytes: u64) -> Self {
        Self { left_bytes: bytes }
    }
}

impl Body for Filler {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece_bytes = usize::try_from(self.left_bytes)
            .unwrap_or(usize::MAX)
            .min(FILLING.len());
        if piece_bytes == 0 {
            return Poll::Ready(None);
        }
        self.left_bytes -= piece_bytes as u64;
        let piece = Bytes::from_static(&FILLING[..piece_bytes]);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_says_how_to_answer() {
        let cases = [
            ("", 200, 0, None),
            ("status=503", 503, 0, None),
            ("a=1&delay_ms=20&status=201", 201, 20, None),
            ("bytes=0", 200, 0, Some(0)),
            ("bytes=70000&next=/", 200, 0, Some(70_000)),
        ];
        for (query, status, delay_ms, body_bytes) in cases {
            let expected = Demand {
                status: StatusCode::from_u16(status).unwrap(),
                delay: Duration::from_millis(delay_ms),
                body_bytes,
            };
            assert_eq!(Demand::parse(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn a_wrong_demand_is_refused_with_the_parameter_and_its_range() {
        for (query, message) in [
            ("status=abc", "status=abc: use a number from 0 to 599"),
            ("status=101", "status=101: use a number from 200 to 599"),
            ("delay_ms=", "delay_ms=: use a number from 0 to 300000"),
            (
                "bytes=1073741825",
                "bytes=1073741825: use a number from 0 to 1073741824",
            ),
        ] {
            assert_eq!(Demand::parse(query), Err(message.to_owned()), "{query}");
        }
    }
}
