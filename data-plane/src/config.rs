//! What the data plane is told at its start. Plain values: the control plane's `config` reads files and flags.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::table::Algorithm;

/// Settings of the request path of one process.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name of the tier in `Via` and `Server`: `tiergate-cluster` or `tiergate-namespace`.
    pub tier: &'static str,
    /// Where plain HTTP is served.
    pub http_addresses: Vec<SocketAddr>,
    /// Where HTTPS is served.
    pub https_addresses: Vec<SocketAddr>,
    /// Whether these addresses may be ones that no interface has yet.
    pub free_bind: bool,
    /// Peers that may speak for a client with `X-Forwarded-*`, `X-Real-IP` and `X-Request-ID`. Empty: nobody.
    pub trusted_proxies: Vec<IpNet>,
    /// Address that upstream connections come from. None: the kernel chooses.
    pub upstream_source_address: Option<IpAddr>,
    /// Whether requests to upstreams carry `Via` (RFC 9110 §7.6.3).
    pub via: bool,
    /// How requests are spread where their Ingress says nothing.
    pub load_balance: Algorithm,
    /// What answers over https say about coming by https. None: nothing of ours.
    pub hsts: Option<Hsts>,
    /// What downstream may ask of us.
    pub limits: Limits,
    /// How long we wait.
    pub timeouts: Timeouts,
    /// How many requests may be sent again.
    pub retries: Retries,
    /// When endpoints are left alone.
    pub ejection: Ejection,
}

/// When an endpoint gets no requests because it fails: when it cannot be connected to, or closes before it answers; what it answers does
/// not matter. With fewer than half of a backend's endpoints left all of them get requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Whether that is done at all.
    pub is_on: bool,
    /// Failures in a row.
    pub failures: u32,
    /// How long the first time; each further time in a row twice as long.
    pub time: Duration,
    /// How long at most.
    pub time_max: Duration,
}

/// How many requests of a backend may be sent again although an endpoint may have had them. More: the error of the first try,
/// `tiergate_retries_refused_total`. One request is sent again once at most. What no endpoint has had is not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// So many of a hundred requests of the window.
    pub percent_max: u32,
    /// And so many in each window, however few requests there were.
    pub floor: u32,
    /// What is not used is forgotten after so long.
    pub window: Duration,
}

/// What `Strict-Transport-Security` says (RFC 6797 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// How long the client is to come by https only; whole seconds of it. Zero: it may forget what it was told.
    pub max_age: Duration,
    /// Whether that is for all names below the host as well.
    pub includes_subdomains: bool,
    /// Whether the host may be put on the lists that browsers bring along.
    pub preload: bool,
}

/// Upper bounds. Each has a counter: `tiergate_proxy_errors_total{reason}` or one that its field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head. More: 431.
    pub head_bytes_max: usize,
    /// Fields of a request head. More: 431.
    pub headers_max: usize,
    /// Bytes of a request body; 0 is no limit. More: 413.
    pub body_bytes_max: u64,
    /// Open downstream connections of the process. More: closed at once, `tiergate_client_connections_total{result="refused"}`.
    pub connections_max: usize,
    /// Concurrent HTTP/2 streams of one downstream connection. More: refused by `REFUSED_STREAM`.
    pub streams_max: u32,
    /// Idle upstream connections kept per endpoint and worker. More: closed.
    pub upstream_idle_max: usize,
    /// Tries of one request, the first included. A further one needs a request that may be repeated.
    pub tries_max: u32,
}

/// Waits. Every one ends in an answer or a closed connection, and in a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TLS handshake, from the accepted connection.
    pub tls_handshake: Duration,
    /// From the first byte of a request to the end of its head. Then: closed.
    pub head_read: Duration,
    /// Between two pieces of a request body. Then: 408.
    pub body_read: Duration,
    /// Downstream connection without a request. Then: closed.
    pub downstream_idle: Duration,
    /// After so long without a request an HTTP/1 connection gives its buffers back. No setting: nobody sees it. Ten thousand clients that
    /// come at once hold 29 to 59 MiB with this, and 172 with a second of it.
    pub downstream_rest: Duration,
    /// TCP connect to an endpoint. Then: the next endpoint, or 504.
    pub connect: Duration,
    /// From the sent request to the head of the response. Then: 504.
    pub response_head: Duration,
    /// Between two pieces of a response body, and of an upgraded connection in both directions. Then: reset.
    pub response_body: Duration,
    /// Pooled upstream connection without a request. Then: closed.
    pub upstream_idle: Duration,
}

// === impl Config ===

impl Config {
    /// Defaults, without any address.
    #[must_use]
    pub fn new(tier: &'static str) -> Self {
        Self {
            tier,
            http_addresses: Vec::new(),
            https_addresses: Vec::new(),
            free_bind: false,
            trusted_proxies: Vec::new(),
            upstream_source_address: None,
            via: true,
            load_balance: Algorithm::default(),
            hsts: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            ejection: Ejection::default(),
        }
    }
}

impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "max-age={}", self.max_age.as_secs())?;
        if self.includes_subdomains {
            f.write_str("; includeSubDomains")?;
        }
        if self.preload {
            f.write_str("; preload")?;
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 * 1024,
            headers_max: 100,
            body_bytes_max: 0,
            connections_max: 16_384,
            streams_max: 128,
            upstream_idle_max: 256,
            tries_max: 3,
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            percent_max: 20,
            floor: 10,
            window: Duration::from_secs(10),
        }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            is_on: true,
            failures: 5,
            time: Duration::from_secs(5),
            time_max: Duration::from_secs(60),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(10),
            head_read: Duration::from_secs(15),
            body_read: Duration::from_secs(60),
            downstream_idle: Duration::from_secs(75),
            downstream_rest: Duration::from_millis(100),
            connect: Duration::from_secs(5),
            response_head: Duration::from_secs(60),
            response_body: Duration::from_secs(60),
            upstream_idle: Duration::from_secs(60),
        }
    }
}
