//! The sections `limits`, `timeouts`, `retries` and `ejection`: what the request path may spend; and `hsts`: what it says about https. Pure.

use std::time::Duration;

use tiergate_data_plane::table::Algorithm;

use super::super::key::{About, Default, Key, Place, Range};
use super::super::value;
use super::ABOUT;

/// How requests are spread where their Ingress says nothing.
pub const LOAD_BALANCE: Key<Algorithm> = Key {
    about: About {
        name: "load_balance",
        place: Place::File,
        form: "round_robin, least_request or ewma",
        example: "least_request",
        default: Default::Value("round_robin"),
        meaning: "How requests are spread over the pods of a Service where their Ingress says nothing: one after another; of two at random the one with \
                  fewer requests under way; of two at random the one that is expected to answer sooner.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// Upper bounds of the request path.
pub mod limits {
    use super::{Key, Range, bytes, count};

    /// Size of a request head. More is answered with 431.
    pub const HEAD_BYTES_MAX: Key<u64> = bytes(
        "limits.head_bytes_max",
        "32Ki",
        Range::Bytes(1 << 10, 1 << 20),
        "Size of a request head. More is answered with 431.",
    );
    /// Fields of a request head. More is answered with 431.
    pub const HEADERS_MAX: Key<u64> = count(
        "limits.headers_max",
        "100",
        Range::Count(10, 1000),
        "Fields of a request head. More is answered with 431.",
    );
    /// Size of a request body; 0 is no limit. More is answered with 413.
    pub const BODY_BYTES_MAX: Key<u64> = bytes(
        "limits.body_bytes_max",
        "0",
        Range::Bytes(0, 1 << 40),
        "Size of a request body; 0 is no limit. More is answered with 413.",
    );
    /// Open client connections of the process. Further ones are closed at once.
    pub const CONNECTIONS_MAX: Key<u64> = count(
        "limits.connections_max",
        "16384",
        Range::Count(1, 1_000_000),
        "Open client connections of the process. Further ones are closed at once.",
    );
    /// Concurrent HTTP/2 streams of one client connection. Further ones are refused.
    pub const STREAMS_MAX: Key<u64> = count(
        "limits.streams_max",
        "128",
        Range::Count(1, 10_000),
        "Concurrent HTTP/2 streams of one client connection. Further ones are refused.",
    );
    /// Idle upstream connections that are kept for each endpoint by each worker. Further ones are closed.
    pub const UPSTREAM_IDLE_MAX: Key<u64> = count(
        "limits.upstream_idle_max",
        "256",
        Range::Count(0, 10_000),
        "Idle upstream connections that are kept for each endpoint by each worker. Further ones are closed.",
    );
    /// Tries of one request, the first included.
    pub const TRIES_MAX: Key<u64> = count(
        "limits.tries_max",
        "3",
        Range::Count(1, 10),
        "Tries of one request, the first included. Endpoints that refuse the connection do not count; of requests that a pod may have had see `retries`.",
    );
}

/// Waits of the request path.
pub mod timeouts {
    use std::time::Duration;

    use super::{Key, time};

    /// TLS handshake of a client. Then the connection is closed.
    pub const TLS_HANDSHAKE: Key<Duration> = time(
        "timeouts.tls_handshake",
        "10s",
        "TLS handshake of a client. Then the connection is closed.",
    );
    /// From the first byte of a request to the end of its head. Then the connection is closed.
    pub const HEAD_READ: Key<Duration> = time(
        "timeouts.head_read",
        "15s",
        "From the first byte of a request to the end of its head. Then the connection is closed.",
    );
    /// Between two pieces of a request body. Then 408.
    pub const BODY_READ: Key<Duration> = time(
        "timeouts.body_read",
        "1m",
        "Between two pieces of a request body. Then 408.",
    );
    /// Client connection without a request. Then it is closed.
    pub const DOWNSTREAM_IDLE: Key<Duration> = time(
        "timeouts.downstream_idle",
        "75s",
        "Client connection without a request. Then it is closed.",
    );
    /// TCP connect to an endpoint. Then the next endpoint is tried, or 504.
    pub const CONNECT: Key<Duration> = time(
        "timeouts.connect",
        "5s",
        "TCP connect to an endpoint. Then the next endpoint is tried, or 504.",
    );
    /// From the sent request to the head of the response. Then 504.
    pub const RESPONSE_HEAD: Key<Duration> = time(
        "timeouts.response_head",
        "1m",
        "From the sent request to the head of the response. Then 504.",
    );
    /// Between two pieces of a response body, and of an upgraded connection. Then it is cut.
    pub const RESPONSE_BODY: Key<Duration> = time(
        "timeouts.response_body",
        "1m",
        "Between two pieces of a response body, and of an upgraded connection. Then it is cut.",
    );
    /// Kept upstream connection without a request. Then it is closed.
    pub const UPSTREAM_IDLE: Key<Duration> = time(
        "timeouts.upstream_idle",
        "1m",
        "Kept upstream connection without a request. Then it is closed.",
    );
}

/// What answers over https say about it.
pub mod hsts {
    use std::time::Duration;

    use super::super::super::value;
    use super::{ABOUT, About, Default, Key, Place, Range, switch};

    /// How long clients are to come by https only.
    pub const MAX_AGE: Key<Duration> = Key {
        about: About {
            name: "hsts.max_age",
            place: Place::File,
            form: "a time such as 8760h",
            example: "8760h",
            default: Default::Nothing("no such field"),
            range: Some(Range::Time(
                Duration::ZERO,
                Duration::from_secs(10 * 365 * 24 * 3600),
            )),
            meaning: "Answers over https get `Strict-Transport-Security` with this `max-age`, unless the application has sent one: for \
                      so long browsers come by https only (RFC 6797). 0s makes them forget it. Who is sent to https and who gets \
                      the field are two questions: see `ssl_redirect`.",
            ..ABOUT
        },
        parse: value::time,
    };
    /// Whether that is for the names below as well.
    pub const INCLUDE_SUBDOMAINS: Key<bool> = switch(
        "hsts.include_subdomains",
        "Whether that field is for all names below the host as well, whoever has them.",
    );
    /// Whether the host may be put on the lists of browsers.
    pub const PRELOAD: Key<bool> = switch(
        "hsts.preload",
        "Whether that field says `preload`: that hosts may be put on the lists which browsers bring along.",
    );
}

const fn switch(name: &'static str, meaning: &'static str) -> Key<bool> {
    Key {
        about: About {
            name,
            place: Place::File,
            form: "true or false",
            example: "false",
            default: Default::Value("false"),
            meaning,
            ..ABOUT
        },
        parse: value::from_text,
    }
}

/// When endpoints that fail are left alone.
pub mod ejection {
    use std::time::Duration;

    use super::super::super::value;
    use super::{ABOUT, About, Default, Key, Place, Range, count, time};

    /// Whether that is done at all.
    pub const ENABLED: Key<bool> = Key {
        about: About {
            name: "ejection.enabled",
            place: Place::File,
            form: "true or false",
            example: "true",
            default: Default::Value("true"),
            meaning: "Whether a pod that cannot be connected to, or closes before it answers, again and again, gets no requests for a while. What it answers \
                      does not matter. With fewer than half of the pods of a Service left all of them get requests.",
            ..ABOUT
        },
        parse: value::from_text,
    };
    /// Failures in a row.
    pub const FAILURES: Key<u64> = count(
        "ejection.failures",
        "5",
        Range::Count(1, 1000),
        "Failures in a row that bring a pod rest. After it, one more does, and one answer ends the row.",
    );
    /// How long the first time.
    pub const TIME: Key<Duration> = time(
        "ejection.time",
        "5s",
        "How long a pod gets no requests the first time. Each further time in a row it is twice as long.",
    );
    /// How long at most.
    pub const TIME_MAX: Key<Duration> = time(
        "ejection.time_max",
        "1m",
        "How long at most. A pod that has not failed for so long begins anew.",
    );
}

/// How many requests may be sent again.
pub mod retries {
    use std::time::Duration;

    use super::{Key, Range, count, time};

    /// Requests of a hundred that may be sent again although a pod may have had them.
    pub const PERCENT_MAX: Key<u64> = count(
        "retries.percent_max",
        "20",
        Range::Count(0, 100),
        "Of a hundred requests of a Service port, so many may be sent again although a pod may have had them: those without a body whose method is \
         idempotent, when the connection closes without an answer. Each once at most.",
    );
    /// Such requests in each window, however few there were.
    pub const FLOOR: Key<u64> = count(
        "retries.floor",
        "10",
        Range::Count(0, 10_000),
        "And so many in each window, however few requests there were.",
    );
    /// The window.
    pub const WINDOW: Key<Duration> = time(
        "retries.window",
        "10s",
        "What is not sent again is forgotten after so long.",
    );
}

const fn count(
    name: &'static str,
    default: &'static str,
    range: Range,
    meaning: &'static str,
) -> Key<u64> {
    Key {
        about: in_file(name, "a number", default, range, meaning),
        parse: value::count,
    }
}

const fn bytes(
    name: &'static str,
    default: &'static str,
    range: Range,
    meaning: &'static str,
) -> Key<u64> {
    Key {
        about: in_file(
            name,
            "a number of bytes such as 32Ki",
            default,
            range,
            meaning,
        ),
        parse: value::bytes,
    }
}

const fn time(name: &'static str, default: &'static str, meaning: &'static str) -> Key<Duration> {
    let range = Range::Time(Duration::from_millis(1), Duration::from_secs(24 * 3600));
    Key {
        about: in_file(name, "a time such as 10s", default, range, meaning),
        parse: value::time,
    }
}

const fn in_file(
    name: &'static str,
    form: &'static str,
    default: &'static str,
    range: Range,
    meaning: &'static str,
) -> About {
    About {
        name,
        place: Place::File,
        form,
        example: default,
        default: Default::Value(default),
        range: Some(range),
        meaning,
        ..ABOUT
    }
}
