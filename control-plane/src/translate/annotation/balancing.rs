//! The annotations that say which pod gets a request. Pure.
//!
//! In: names and values. Out: what a [`Policy`] says about it. Values are read as ingress-nginx reads them; a cookie has only values that
//! RFC 6265 lets it have.

use std::time::Duration;

use tiergate_data_plane::table::{Affinity, AffinityMode, Algorithm, Policy};

use super::{Refused, SWITCH, Served, hash_by, number, switch};

/// Ours: it stands beside that of ingress-nginx, and goes before it.
const LOAD_BALANCE: &str = "tiergate.dev/load-balance";

/// Ours.
const DELEGATES: &str = "tiergate.dev/delegates";

/// The name of the cookie, when none is given: ingress-nginx's.
const COOKIE: &str = "INGRESSCOOKIE";
/// Ten years.
const SECONDS_MAX: u64 = 10 * 366 * 24 * 3600;
/// Bytes of a name, a path or a domain of a cookie. Browsers take 4 KiB of a cookie at least, all in all (RFC 6265 §6.1).
const COOKIE_BYTES_MAX: usize = 256;

const COOKIE_SECONDS: &str = "seconds, 0 to 316224000";

/// What an Ingress asks for, annotation by annotation.
#[derive(Debug, Default)]
pub struct Balancing {
    algorithm: Option<Algorithm>,
    hash_by: Option<tiergate_data_plane::table::HashBy>,
    has_affinity: bool,
    mode: AffinityMode,
    cookie: Option<Box<str>>,
    path: Option<Box<str>>,
    domain: Option<Box<str>>,
    max_age: Option<u64>,
    expires: Option<u64>,
    same_site: Option<&'static str>,
    is_secure: Option<bool>,
    changes_on_failure: bool,
    delegates: bool,
}

/// By name.
pub const BALANCING: [Served<Balancing>; 14] = [
    Served {
        name: "affinity",
        values: "`cookie`",
        meaning: "A client stays with its pod, by a cookie that it is given with the first answer. Goes before `upstream-hash-by` and \
                  `load-balance`.",
        follow: |value, balancing| {
            if value != "cookie" {
                return Err(Refused::Invalid("cookie"));
            }
            balancing.has_affinity = true;
            Ok(())
        },
    },
    Served {
        name: "affinity-mode",
        values: "`balanced`, `persistent`",
        meaning: "`balanced` (the default): the cookie is hashed to a pod; when pods come, a part of the sessions moves to them. `persistent`: it \
                  stands for one pod, and a session moves only when that has gone.",
        follow: |value, balancing| {
            balancing.mode = match value {
                "balanced" => AffinityMode::Balanced,
                "persistent" => AffinityMode::Persistent,
                _ => return Err(Refused::Invalid("balanced or persistent")),
            };
            Ok(())
        },
    },
    Served {
        name: "load-balance",
        values: "`round_robin`, `ewma`",
        meaning: "How requests are spread, in place of `load_balance`: one pod after another, or of two at random the one that is expected to \
                  answer sooner.",
        follow: |value, balancing| {
            balancing.algorithm = match value {
                "round_robin" => Some(Algorithm::RoundRobin),
                "ewma" => Some(Algorithm::Ewma),
                _ => return Err(Refused::Invalid("round_robin or ewma")),
            };
            Ok(())
        },
    },
    Served {
        name: "session-cookie-change-on-failure",
        values: SWITCH,
        meaning: "Whether a session whose pod cannot be reached gets another for good. `false` (the default): only until its own is back.",
        follow: |value, balancing| {
            balancing.changes_on_failure = switch(value)?;
            Ok(())
        },
    },
    Served {
        name: "session-cookie-domain",
        values: "a DNS name",
        meaning: "`Domain` of the cookie of `affinity`.",
        follow: |value, balancing| {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            balancing.domain = Some(text(value, is_name, "a DNS name")?);
            Ok(())
        },
    },
    Served {
        name: "session-cookie-expires",
        values: COOKIE_SECONDS,
        meaning: "`Expires` of the cookie of `affinity`, counted from its answer.",
        follow: |value, balancing| {
            balancing.expires = Some(cookie_seconds(value)?);
            Ok(())
        },
    },
    Served {
        name: "session-cookie-max-age",
        values: COOKIE_SECONDS,
        meaning: "`Max-Age` of the cookie of `affinity`.",
        follow: |value, balancing| {
            balancing.max_age = Some(cookie_seconds(value)?);
            Ok(())
        },
    },
    Served {
        name: "session-cookie-name",
        values: "a token (RFC 6265)",
        meaning: "Name of the cookie of `affinity`, in place of `INGRESSCOOKIE`.",
        follow: |value, balancing| {
            let is_token =
                |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
            balancing.cookie = Some(text(value, is_token, "a token: letters, digits, - and _")?);
            Ok(())
        },
    },
    Served {
        name: "session-cookie-path",
        values: "a path",
        meaning: "`Path` of the cookie of `affinity`, in place of the path of the rule that the request met.",
        follow: |value, balancing| {
            let wanted = "a path that begins with / and has no semicolon";
            let is_path = |byte: u8| byte.is_ascii_graphic() && byte != b';';
            let path = text(value, is_path, wanted)?;
            if !path.starts_with('/') {
                return Err(Refused::Invalid(wanted));
            }
            balancing.path = Some(path);
            Ok(())
        },
    },
    Served {
        name: "session-cookie-samesite",
        values: "`None`, `Lax`, `Strict`",
        meaning: "`SameSite` of the cookie of `affinity`.",
        follow: |value, balancing| {
            let known = ["None", "Lax", "Strict"];
            let known = known
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(value));
            balancing.same_site = Some(known.ok_or(Refused::Invalid("None, Lax or Strict"))?);
            Ok(())
        },
    },
    Served {
        name: "session-cookie-secure",
        values: SWITCH,
        meaning: "Whether the cookie of `affinity` is `Secure`. By default where the client speaks HTTPS.",
        follow: |value, balancing| {
            balancing.is_secure = Some(switch(value)?);
            Ok(())
        },
    },
    Served {
        name: DELEGATES,
        values: SWITCH,
        meaning: "Whether the Service is a tier of Tiergate, which is told of requests that are sent again and so sends them no further time (ADR 0033). The \
                  chart says so where a namespace tier gets its hosts.",
        follow: |value, balancing| {
            balancing.delegates = switch(value)?;
            Ok(())
        },
    },
    Served {
        name: LOAD_BALANCE,
        values: "`round_robin`, `least_request`, `ewma`",
        meaning: "As `load-balance`, and goes before it; `least_request`: of two pods at random the one with fewer requests under way.",
        follow: |value, balancing| {
            let wanted = Refused::Invalid("round_robin, least_request or ewma");
            balancing.algorithm = Some(value.parse().map_err(|_| wanted)?);
            Ok(())
        },
    },
    Served {
        name: "upstream-hash-by",
        values: "text with variables",
        meaning: "Requests for which the text is the same go to the same pod; when pods come or go, only their own share moves. Variables: \
                  `$request_uri`, `$uri`, `$args`, `$query_string`, `$host`, `$remote_addr`, `$binary_remote_addr`, `$request_method`, `$scheme`, \
                  `$http_NAME`, `$arg_NAME`, `$cookie_NAME`, also as `${NAME}`. A request in which all of them are empty is spread like any other.",
        follow: |value, balancing| {
            let wanted = "a text of at most 16 parts with supported variables, of which there is one at least; docs/annotations.md names them";
            balancing.hash_by = Some(hash_by::parse(value).ok_or(Refused::Invalid(wanted))?);
            Ok(())
        },
    },
];

// === impl Balancing ===

impl Balancing {
    /// Says in the policy what was asked for.
    pub(super) fn finish(self, policy: &mut Policy) {
        (policy.algorithm, policy.hash_by) = (self.algorithm, self.hash_by);
        policy.delegates = self.delegates;
        if !self.has_affinity {
            return;
        }
        let mut attributes = String::new();
        for (name, value) in [
            ("Max-Age", self.max_age.map(|seconds| seconds.to_string())),
            ("Domain", self.domain.map(String::from)),
            ("SameSite", self.same_site.map(str::to_owned)),
        ] {
            if let Some(value) = value {
                attributes.extend(["; ", name, "=", &value]);
            }
        }
        policy.affinity = Some(Box::new(Affinity {
            mode: self.mode,
            cookie: self.cookie.unwrap_or_else(|| COOKIE.into()),
            path: self.path,
            attributes: attributes.into(),
            expires: self.expires.map(Duration::from_secs),
            is_secure: self.is_secure,
            changes_on_failure: self.changes_on_failure,
        }));
    }
}

fn text(
    value: &str,
    is_allowed: impl Fn(u8) -> bool,
    wanted: &'static str,
) -> Result<Box<str>, Refused> {
    let is_fit = (1..=COOKIE_BYTES_MAX).contains(&value.len()) && value.bytes().all(is_allowed);
    is_fit.then(|| value.into()).ok_or(Refused::Invalid(wanted))
}

fn cookie_seconds(value: &str) -> Result<u64, Refused> {
    let seconds = number(value).filter(|seconds| *seconds <= SECONDS_MAX);
    seconds.ok_or(Refused::Invalid(
        "a number of seconds from 0 to 316224000, without a unit",
    ))
}
