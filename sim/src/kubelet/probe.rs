//! What a row of probe results means. Pure.
//!
//! [`Schedule`] says when to probe: `initialDelaySeconds` after the start, then every `periodSeconds`. [`Verdict`]
//! counts: only `successThreshold` successes or `failureThreshold` failures in a row change it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// When a probe is made and what its results need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// From the start of the container to the first probe.
    pub initial_delay: Duration,
    /// From probe to probe.
    pub period: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// Successes in a row that make it good.
    pub success_threshold: u32,
    /// Failures in a row that make it bad.
    pub failure_threshold: u32,
}

/// What to do in one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// GET; good from 200 to 399.
    Http(HttpCheck),
    /// Connect and close.
    Tcp {
        /// None: the pod's own address.
        host: Option<String>,
        /// Where to connect to.
        port: u16,
    },
}

/// An HTTP probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// None: the pod's own address.
    pub host: Option<String>,
    /// Where to connect to.
    pub port: u16,
    /// Path with query.
    pub path: String,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
}

/// Why a probe cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The kind of probe is not modelled.
    #[error(
        "probes of this kind are not modelled here; use httpGet with scheme HTTP, or tcpSocket"
    )]
    Kind,
    /// The port has a name that no container port has.
    #[error("the container has no port named {0:?}")]
    PortName(String),
    /// The port is out of range.
    #[error("{0} is no port number")]
    PortNumber(i32),
}

/// The state of a probed container.
#[derive(Debug, Clone)]
pub struct Verdict {
    good: bool,
    last: Option<bool>,
    run: u32,
}

// === impl Schedule ===

impl Schedule {
    /// Reads the times of a probe, with Kubernetes' defaults.
    #[must_use]
    pub fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u32, least: u32| {
            let value = value.and_then(|value| u32::try_from(value).ok());
            value.unwrap_or(default).max(least)
        };
        let duration = |seconds: u32| Duration::from_secs(seconds.into());
        Self {
            initial_delay: duration(seconds(probe.initial_delay_seconds, 0, 0)),
            period: duration(seconds(probe.period_seconds, 10, 1)),
            timeout: duration(seconds(probe.timeout_seconds, 1, 1)),
            success_threshold: seconds(probe.success_threshold, 1, 1),
            failure_threshold: seconds(probe.failure_threshold, 3, 1),
        }
    }
}

// === impl Check ===

impl Check {
    /// Reads what to do.
    ///
    /// # Errors
    /// When the kind is not modelled or the port cannot be found.
    pub fn of(probe: &Probe, container: &Container) -> Result<Self, Unusable> {
        if let Some(http) = &probe.http_get {
            if http.scheme.as_deref().unwrap_or("HTTP") != "HTTP" {
                return Err(Unusable::Kind);
            }
            let path = http.path.as_deref().filter(|path| !path.is_empty());
            let headers = http.http_headers.iter().flatten();
            return Ok(Self::Http(HttpCheck {
                host: http.host.clone().filter(|host| !host.is_empty()),
                port: port(&http.port, container)?,
                path: path.unwrap_or("/").to_owned(),
                headers: headers
                    .map(|header| (header.name.clone(), header.value.clone()))
                    .collect(),
            }));
        }
        if let Some(tcp) = &probe.tcp_socket {
            return Ok(Self::Tcp {
                host: tcp.host.clone().filter(|host| !host.is_empty()),
                port: port(&tcp.port, container)?,
            });
        }
        Err(Unusable::Kind)
    }
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, Unusable> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port)
            .ok_or_else(|| Unusable::PortName(name.clone()))?,
    };
    u16::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or(Unusable::PortNumber(number))
}

// === impl Verdict ===

impl Verdict {
    /// Before the first result: a readiness probe begins bad, a liveness probe good.
    #[must_use]
    pub fn new(good: bool) -> Self {
        Self {
            good,
            last: None,
            run: 0,
        }
    }

    /// Takes a result and returns the verdict that holds from here on.
    pub fn take(&mut self, success: bool, schedule: &Schedule) -> bool {
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let needed = if success {
            schedule.success_threshold
        } else {
            schedule.failure_threshold
        };
        if self.run >= needed {
            self.good = success;
        }
        self.good
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn probe(value: Value) -> Probe {
        serde_json::from_value(value).unwrap()
    }

    fn container() -> Container {
        serde_json::from_value(json!({
            "name": "web", "ports": [{"name": "http", "containerPort": 8080}],
        }))
        .unwrap()
    }

    #[test]
    fn only_results_in_a_row_change_the_verdict() {
        // One letter per probe: what came in, and above it the verdict that holds then.
        let cases = [
            (1, 3, false, "+", "+"),
            (1, 3, false, "--+--+---", "--++++++-"),
            (2, 1, false, "+-++-", "---+-"),
            (1, 2, true, "-+--+", "+++-+"),
        ];
        for (success_threshold, failure_threshold, begin, results, expected) in cases {
            let schedule = Schedule {
                success_threshold,
                failure_threshold,
                ..Schedule::of(&Probe::default())
            };
            let mut verdict = Verdict::new(begin);
            let verdicts: String = results
                .chars()
                .map(|result| verdict.take(result == '+', &schedule))
                .map(|good| if good { '+' } else { '-' })
                .collect();
            assert_eq!(verdicts, expected, "{results}");
        }
    }

    #[test]
    fn what_a_probe_leaves_out_is_as_kubernetes_documents_it() {
        let schedule = Schedule::of(&Probe::default());
        let expected = Schedule {
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
        };
        assert_eq!(schedule, expected);
    }

    #[test]
    fn ports_are_found_by_number_and_by_name() {
        let cases = [
            (
                json!({"httpGet": {"port": "http", "httpHeaders": [{"name": "Host", "value": "a"}]}}),
                Ok(Check::Http(HttpCheck {
                    host: None,
                    port: 8080,
                    path: "/".to_owned(),
                    headers: vec![("Host".to_owned(), "a".to_owned())],
                })),
            ),
            (
                json!({"tcpSocket": {"port": 81, "host": "127.0.0.1"}}),
                Ok(Check::Tcp {
                    host: Some("127.0.0.1".to_owned()),
                    port: 81,
                }),
            ),
            (
                json!({"tcpSocket": {"port": "admin"}}),
                Err(Unusable::PortName("admin".to_owned())),
            ),
            (
                json!({"tcpSocket": {"port": 0}}),
                Err(Unusable::PortNumber(0)),
            ),
            (json!({"exec": {"command": ["true"]}}), Err(Unusable::Kind)),
            (
                json!({"httpGet": {"port": 1, "scheme": "HTTPS"}}),
                Err(Unusable::Kind),
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(
                Check::of(&probe(value.clone()), &container()),
                expected,
                "{value}"
            );
        }
    }
}
