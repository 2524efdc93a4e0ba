//! What the annotations of an Ingress ask for: those of ingress-nginx, for whoever comes from there. Pure.
//!
//! In: an Ingress that is ours. Out: a [`Policy`], and a condition for each annotation that is not followed. One that makes no
//! sense, or that is not supported, costs only itself. Where it guards access its rules are closed: a guard that is silently not
//! there is worse than an answer with 503. So is TLS to the application that is silently none, or silently not verified.
//!
//! Values are read as ingress-nginx reads them (its "Annotations" page): times are seconds without a unit, sizes have `k`, `m` or `g`.

mod balancing;
mod hash_by;
mod of_paths;
mod to_pods;

use std::collections::BTreeSet;
use std::time::Duration;

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{Policy, Protocol};

use super::OurIngress;
use super::condition::{Condition, Reason};
use super::secret::Named;
use crate::model::tenant::Tenant;
use crate::objects::ingress::{ANNOTATION_BYTES_MAX, ANNOTATION_PREFIX};
pub use balancing::{BALANCING, Balancing};
pub(super) use of_paths::reads_expressions;
pub use of_paths::{OF_PATHS, OfPaths};
pub(super) use to_pods::secret;
pub use to_pods::{TO_PODS, ToPods};

/// The longest time that an annotation may ask for: a day, as settings may.
const SECONDS_MAX: u64 = 24 * 60 * 60;
/// Names of annotations in one condition, and characters of a value.
const NAMES_SHOWN: usize = 8;
const VALUE_SHOWN: usize = 64;

/// An annotation that is followed.
pub struct Served<T: 'static = Policy> {
    /// Its name, behind `nginx.ingress.kubernetes.io/`; with all before it where it is ours.
    pub name: &'static str,
    /// What it may say.
    pub values: &'static str,
    /// What it does.
    pub meaning: &'static str,
    follow: fn(&str, &mut T) -> Result<(), Refused>,
}

/// Why an annotation is not followed.
enum Refused {
    /// Its value makes no sense: as it should be.
    Invalid(&'static str),
    /// What it asks for cannot be done, and must not be left out.
    Closes,
}

const SWITCH: &str = "`true`, `false`";
const SECONDS: &str = "seconds, 1 to 86400";

/// By name.
pub const SERVED: [Served; 5] = [
    Served {
        name: "backend-protocol",
        values: "`HTTP`, `HTTPS`, `GRPC`, `GRPCS`",
        meaning: "How pods are spoken to, in place of what the Service port says (`appProtocol`): HTTP/1.1, or HTTP/2 for `GRPC`; within TLS where there is \
                  an `S` at the end. `AUTO_HTTP` and `FCGI` are not supported and close the rules.",
        follow: |value, policy| {
            policy.protocol = Some(protocol(value)?);
            Ok(())
        },
    },
    Served {
        name: "proxy-body-size",
        values: "bytes, with `k`, `m` or `g` or without; 0 is no limit",
        meaning: "The largest body of a request, in place of `limits.body_bytes_max`. More: 413.",
        follow: |value, policy| {
            policy.body_bytes_max = Some(bytes(value)?);
            Ok(())
        },
    },
    Served {
        name: "proxy-connect-timeout",
        values: SECONDS,
        meaning: "The longest wait for a connection to a pod, in place of `timeouts.connect`. Connections that requests share (HTTP/2) keep \
                  the tier's limit.",
        follow: |value, policy| {
            policy.connect = Some(seconds(value)?);
            Ok(())
        },
    },
    Served {
        name: "proxy-read-timeout",
        values: SECONDS,
        meaning: "The longest wait for the head of a response, and between two pieces of its body or of a WebSocket, in place of \
                  `timeouts.response_head` and, as far as the pod is waited for, `timeouts.response_body`.",
        follow: |value, policy| {
            policy.read = Some(seconds(value)?);
            Ok(())
        },
    },
    Served {
        name: "proxy-send-timeout",
        values: SECONDS,
        meaning: "How long a pod may take no more of the body of a request while there is more of it, in place of `timeouts.response_head`.",
        follow: |value, policy| {
            policy.send = Some(seconds(value)?);
            Ok(())
        },
    },
];

/// Annotations that keep requests out, beside those that begin with `auth-`.
pub const GUARDS: [&str; 4] = [
    "allowlist-source-range",
    "denylist-source-range",
    "satisfy",
    "whitelist-source-range",
];

/// Client certificates: ingress-nginx asks for them on all of the host, whichever Ingress says so.
const GUARDS_OF_HOST: &str = "auth-tls-";

/// What one Ingress is told, beside values that make no sense.
#[derive(Default)]
struct Told<'a> {
    closing: Vec<&'a str>,
    unsupported: Vec<&'a str>,
    balancing: Balancing,
    of_paths: OfPaths,
    to_pods: ToPods,
}

/// What an Ingress asks for beside its rules, as far as annotations are followed, and what it asks to be done to its requests. `guarded` are
/// the hosts for which somebody of the same namespace asks for client certificates.
pub(super) fn policy(
    our: &OurIngress<'_>,
    guarded: &BTreeSet<(Tenant, HostPattern)>,
    secrets: &mut Named<'_>,
    conditions: &mut Vec<Condition>,
) -> (Option<Policy>, OfPaths) {
    let mut policy = Policy::default();
    let mut told = Told::default();
    for (name, value) in &our.ingress.annotations {
        if let Some(message) = follow(name, value, &mut policy, &mut told) {
            let field = format!("metadata.annotations[{}]", whole(name));
            conditions.push(our.condition(field, Reason::AnnotationInvalid, message));
        }
    }
    told.balancing.finish(&mut policy);
    policy.tls = told.to_pods.finish(our, secrets, conditions);
    for (reason, names, message) in [
        (
            Reason::GuardUnsupported,
            told.closing,
            "not supported, and to leave it out would open what it guards: the requests of this Ingress are answered with 503",
        ),
        (
            Reason::AnnotationUnsupported,
            told.unsupported,
            "not supported: it has no effect",
        ),
    ] {
        if !names.is_empty() {
            let message = format!("{}: {message}", shown(&names));
            conditions.push(our.condition("metadata.annotations", reason, message));
        }
    }
    if !policy.is_closed
        && !guarded.is_empty()
        && let Some(host) = guarded_host(our, guarded)
    {
        policy.is_closed = true;
        let message = format!(
            "another Ingress of this namespace asks for client certificates for {host}, which are not supported: the requests of this \
             Ingress are answered with 503"
        );
        conditions.push(our.condition("spec.rules", Reason::GuardUnsupported, message));
    }
    let mut of_paths = told.of_paths;
    of_paths.reads_expressions = reads_expressions(&our.ingress.annotations);
    ((policy != Policy::default()).then_some(policy), of_paths)
}

/// The hosts for which client certificates are asked for, by namespace.
pub(super) fn guarded_hosts(ingresses: &[OurIngress<'_>]) -> BTreeSet<(Tenant, HostPattern)> {
    let guards = |our: &&OurIngress<'_>| {
        let mut names = our.ingress.annotations.iter();
        names.any(|(name, _)| name.starts_with(GUARDS_OF_HOST))
    };
    let hosts = |our: &OurIngress<'_>| {
        let hosts = super::ingress::hosts(our).into_iter();
        let tenant = our.tenant.clone();
        hosts.map(move |host| (tenant.clone(), host))
    };
    ingresses.iter().filter(guards).flat_map(hosts).collect()
}

fn guarded_host(
    our: &OurIngress<'_>,
    guarded: &BTreeSet<(Tenant, HostPattern)>,
) -> Option<HostPattern> {
    let mut hosts = super::ingress::hosts(our).into_iter();
    hosts.find(|host| guarded.contains(&(our.tenant.clone(), host.clone())))
}

/// Names in a sentence.
fn shown(names: &[&str]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMES_SHOWN)
        .map(|name| whole(name))
        .collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The whole name of an annotation.
fn whole(name: &str) -> String {
    if name.contains('/') {
        name.to_owned()
    } else {
        format!("{ANNOTATION_PREFIX}{name}")
    }
}

/// Follows one annotation. Some: what is wrong with its value.
fn follow<'a>(
    name: &'a str,
    value: &str,
    policy: &mut Policy,
    told: &mut Told<'a>,
) -> Option<String> {
    let is_passthrough = name == "ssl-passthrough" && value.trim() == "true";
    if name.starts_with("auth-") || GUARDS.contains(&name) || is_passthrough {
        policy.is_closed = true;
        told.closing.push(name);
        return None;
    }
    let served = SERVED.iter().find(|served| served.name == name);
    let balancing = BALANCING.iter().find(|served| served.name == name);
    let of_paths = OF_PATHS.iter().find(|served| served.name == name);
    let to_pods = TO_PODS.iter().find(|served| served.name == name);
    if served.is_none() && balancing.is_none() && of_paths.is_none() && to_pods.is_none() {
        told.unsupported.push(name);
        return None;
    }
    if value.len() > ANNOTATION_BYTES_MAX {
        // Whether it asks for verification is not known.
        if to_pods.is_some() {
            told.to_pods.refuse();
        }
        return Some(format!(
            "it is left out: it is longer than {ANNOTATION_BYTES_MAX} bytes"
        ));
    }
    let of_policy = served.map_or(Ok(()), |served| (served.follow)(value.trim(), policy));
    let of_balancing =
        |served: &Served<Balancing>| (served.follow)(value.trim(), &mut told.balancing);
    let followed = of_policy
        .and_then(|()| balancing.map_or(Ok(()), of_balancing))
        .and_then(|()| {
            of_paths.map_or(Ok(()), |one| (one.follow)(value.trim(), &mut told.of_paths))
        })
        .and_then(|()| to_pods.map_or(Ok(()), |one| (one.follow)(value.trim(), &mut told.to_pods)));
    match followed {
        Ok(()) => None,
        Err(Refused::Invalid(wanted)) => {
            let value: String = value.chars().take(VALUE_SHOWN).collect();
            Some(format!("it is left out: {value:?} is not {wanted}"))
        }
        Err(Refused::Closes) => {
            policy.is_closed = true;
            told.closing.push(name);
            None
        }
    }
}

fn protocol(value: &str) -> Result<Protocol, Refused> {
    match value.to_ascii_uppercase().as_str() {
        "HTTP" => Ok(Protocol::Http1),
        "GRPC" => Ok(Protocol::H2c),
        "HTTPS" => Ok(Protocol::Https),
        "GRPCS" => Ok(Protocol::H2),
        // With AUTO_HTTP the pod gets TLS when the client speaks it.
        "AUTO_HTTP" | "FCGI" => Err(Refused::Closes),
        _ => Err(Refused::Invalid(
            "HTTP, AUTO_HTTP, GRPC, HTTPS, GRPCS or FCGI",
        )),
    }
}

fn seconds(value: &str) -> Result<Duration, Refused> {
    let seconds = number(value);
    let seconds = seconds.filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
    let wanted = Refused::Invalid("a number of seconds from 1 to 86400, without a unit");
    seconds.map(Duration::from_secs).ok_or(wanted)
}

fn bytes(value: &str) -> Result<u64, Refused> {
    let (digits, factor) = match value.char_indices().next_back() {
        Some((end, 'k' | 'K')) => (&value[..end], 1 << 10),
        Some((end, 'm' | 'M')) => (&value[..end], 1 << 20),
        Some((end, 'g' | 'G')) => (&value[..end], 1 << 30),
        _ => (value, 1),
    };
    let wanted =
        Refused::Invalid("a number of bytes, with k, m or g behind it or none; 0 is no limit");
    number(digits)
        .and_then(|number| number.checked_mul(factor))
        .ok_or(wanted)
}

fn switch(value: &str) -> Result<bool, Refused> {
    value.parse().map_err(|_| Refused::Invalid("true or false"))
}

/// Digits only: `parse` would take a sign.
fn number(digits: &str) -> Option<u64> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::VALUES_READ;

    /// What one annotation makes of a policy, and what is said of it.
    fn followed(name: &str, value: &str) -> (Policy, Option<Reason>) {
        let (mut policy, mut told) = (Policy::default(), Told::default());
        let invalid = follow(name, value, &mut policy, &mut told).is_some();
        let said = [
            (invalid, Reason::AnnotationInvalid),
            (!told.closing.is_empty(), Reason::GuardUnsupported),
            (!told.unsupported.is_empty(), Reason::AnnotationUnsupported),
        ];
        let mut said = said.into_iter().filter(|(is_said, _)| *is_said);
        (policy, said.next().map(|(_, reason)| reason))
    }

    #[test]
    fn the_values_of_all_that_is_followed_are_kept() {
        let followed = SERVED.iter().map(|served| served.name);
        let followed = followed.chain(OF_PATHS.iter().map(|served| served.name));
        let followed = followed.chain(TO_PODS.iter().map(|served| served.name));
        let lost: Vec<_> = followed
            .filter(|name| !VALUES_READ.contains(name))
            .collect();
        assert_eq!(lost, [""; 0]);
    }

    #[test]
    fn values_are_read_as_ingress_nginx_reads_them() {
        let body = |bytes| Policy {
            body_bytes_max: Some(bytes),
            ..Policy::default()
        };
        let seconds = Duration::from_secs;
        for (name, value, policy) in [
            ("proxy-body-size", "0", body(0)),
            ("proxy-body-size", "1024", body(1024)),
            ("proxy-body-size", "100k", body(100 << 10)),
            ("proxy-body-size", " 50m ", body(50 << 20)),
            ("proxy-body-size", "4G", body(4 << 30)),
            (
                "proxy-connect-timeout",
                "5",
                Policy {
                    connect: Some(seconds(5)),
                    ..Policy::default()
                },
            ),
            (
                "proxy-read-timeout",
                "3600",
                Policy {
                    read: Some(seconds(3600)),
                    ..Policy::default()
                },
            ),
            (
                "proxy-send-timeout",
                "600",
                Policy {
                    send: Some(seconds(600)),
                    ..Policy::default()
                },
            ),
            (
                "backend-protocol",
                "grpc",
                Policy {
                    protocol: Some(Protocol::H2c),
                    ..Policy::default()
                },
            ),
            (
                "backend-protocol",
                "HTTPS",
                Policy {
                    protocol: Some(Protocol::Https),
                    ..Policy::default()
                },
            ),
            (
                "backend-protocol",
                "GRPCS",
                Policy {
                    protocol: Some(Protocol::H2),
                    ..Policy::default()
                },
            ),
            (
                "backend-protocol",
                "HTTP",
                Policy {
                    protocol: Some(Protocol::Http1),
                    ..Policy::default()
                },
            ),
        ] {
            assert_eq!(followed(name, value), (policy, None), "{name}: {value}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let long = "1".repeat(ANNOTATION_BYTES_MAX + 1);
        for (name, value) in [
            ("proxy-body-size", ""),
            ("proxy-body-size", "m"),
            ("proxy-body-size", "+1"),
            ("proxy-body-size", "-1"),
            ("proxy-body-size", "1.5m"),
            ("proxy-body-size", "1mb"),
            ("proxy-body-size", "18446744073709551615g"),
            ("proxy-body-size", &long),
            ("proxy-read-timeout", "0"),
            ("proxy-read-timeout", "60s"),
            ("proxy-read-timeout", "+5"),
            ("proxy-read-timeout", "86401"),
            ("ssl-redirect", "yes"),
            ("ssl-redirect", "True"),
            ("force-ssl-redirect", ""),
            ("backend-protocol", "ftp"),
            ("backend-protocol", "ö"),
        ] {
            let invalid = (Policy::default(), Some(Reason::AnnotationInvalid));
            assert_eq!(followed(name, value), invalid, "{name}: {value}");
        }
    }

    #[test]
    fn what_is_not_supported_has_no_effect_unless_that_would_open_a_door() {
        let closed = Policy {
            is_closed: true,
            ..Policy::default()
        };
        for (name, value, policy, reason) in [
            (
                "server-snippet",
                "deny all;",
                Policy::default(),
                Reason::AnnotationUnsupported,
            ),
            (
                "proxy-bodysize",
                "1m",
                Policy::default(),
                Reason::AnnotationUnsupported,
            ),
            (
                "auth-url",
                "https://a.example/",
                closed.clone(),
                Reason::GuardUnsupported,
            ),
            (
                "auth-tls-secret",
                "a/b",
                closed.clone(),
                Reason::GuardUnsupported,
            ),
            (
                "whitelist-source-range",
                "10.0.0.0/8",
                closed.clone(),
                Reason::GuardUnsupported,
            ),
            (
                "denylist-source-range",
                "",
                closed.clone(),
                Reason::GuardUnsupported,
            ),
            (
                "backend-protocol",
                "FCGI",
                closed.clone(),
                Reason::GuardUnsupported,
            ),
            (
                "backend-protocol",
                "AUTO_HTTP",
                closed.clone(),
                Reason::GuardUnsupported,
            ),
            ("ssl-passthrough", "true", closed, Reason::GuardUnsupported),
            (
                "ssl-passthrough",
                "false",
                Policy::default(),
                Reason::AnnotationUnsupported,
            ),
        ] {
            assert_eq!(
                followed(name, value),
                (policy, Some(reason)),
                "{name}: {value}"
            );
        }
    }
}
