//! The data plane over real sockets: raw bytes in, raw bytes out, against endpoints that follow a script.
//!
//! Every test runs a worker, its endpoints and its clients on one thread, and ends by itself: `harness::run` gives up
//! after a generous time. Nothing here sleeps to make something happen; small waits are settings of the worker.

#![expect(
    clippy::disallowed_methods,
    reason = "a test fails loudly, and its clients and endpoints open sockets themselves"
)]

mod harness;

mod access_log;
mod balancing;
mod default_backend;
mod drain;
mod ejection;
mod framing;
mod handoff;
mod heads;
mod http2;
mod http2_endpoints;
mod http2_frames;
mod http2_streams;
mod interim;
mod limits;
mod limits_descriptors;
mod limits_stalled;
mod link;
mod link_fallback;
mod link_heads;
mod link_pair;
mod metrics;
mod panics;
mod policy;
mod redirect;
mod rest;
mod retry;
mod retry_budget;
mod rewrite;
mod streaming;
mod tls;
mod tls_key_kinds;
mod trailers;
mod upgrade;
mod upstream;
mod upstream_tls;
mod workers;
