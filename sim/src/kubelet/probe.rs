//! What a probe is and what a row of its results means. Pure.
//!
//! [`Schedule`] says when to probe: `initialDelaySeconds` after the start, then every `periodSeconds`. [`Verdict`]
//! counts: only `successThreshold` successes or `failureThreshold` failures in a row say something. [`Check`] is what is done,
//! [`Outcome`] what came of it.

use std::fmt;

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whether it has started: until then there are no other probes.
    Startup,
    /// Whether it lives: if not, it is started again.
    Liveness,
    /// Whether it may be sent requests.
    Readiness,
}

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

/// What to do in one probe, or in a hook of the container's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Run a command; good when it ends with 0.
    Exec(Vec<String>),
    /// GET; good from 200 to 399.
    Http(HttpCheck),
    /// Ask `grpc.health.v1.Health`; good when it says SERVING.
    Grpc {
        /// Where to connect to.
        port: u16,
        /// Whose health; often empty.
        service: String,
    },
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
    /// With TLS; the certificate is not looked at.
    pub is_secure: bool,
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
    /// Nothing is to be done.
    #[error("the probe names nothing to do; use exec, httpGet, tcpSocket or grpc")]
    Kind,
    /// The port has a name that no container port has.
    #[error("the container has no port named {0:?}")]
    PortName(String),
    /// The port is out of range.
    #[error("{0} is no port number")]
    PortNumber(i32),
}

/// What came of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Good.
    Success,
    /// Good, but somebody should look.
    Warning(String),
    /// Bad.
    Failure(String),
    /// It could not be made; it counts for nothing.
    Error(String),
}

/// Counts the results of one probe.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    last: Option<bool>,
    run: u32,
}

// === impl Kind ===

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        })
    }
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
        if let Some(grpc) = &probe.grpc {
            return Ok(Self::Grpc {
                port: port(&IntOrString::Int(grpc.port), container)?,
                service: grpc.service.clone().unwrap_or_default(),
            });
        }
        Self::of_parts(
            probe.exec.as_ref(),
            probe.http_get.as_ref(),
            probe.tcp_socket.as_ref(),
            container,
        )
    }

    /// Reads what a hook does.
    ///
    /// # Errors
    /// When it says nothing or the port cannot be found.
    pub fn of_hook(hook: &LifecycleHandler, container: &Container) -> Result<Self, Unusable> {
        Self::of_parts(hook.exec.as_ref(), hook.http_get.as_ref(), None, container)
    }

    fn of_parts(
        exec: Option<&ExecAction>,
        http: Option<&HTTPGetAction>,
        tcp: Option<&TCPSocketAction>,
        container: &Container,
    ) -> Result<Self, Unusable> {
        let host = |host: &Option<String>| host.clone().filter(|host| !host.is_empty());
        if let Some(exec) = exec {
            return Ok(Self::Exec(exec.command.clone().unwrap_or_default()));
        }
        if let Some(http) = http {
            let path = http.path.as_deref().unwrap_or_default();
            let slash = if path.starts_with('/') { "" } else { "/" };
            let headers = http.http_headers.iter().flatten();
            return Ok(Self::Http(HttpCheck {
                is_secure: http.scheme.as_deref() == Some("HTTPS"),
                host: host(&http.host),
                port: port(&http.port, container)?,
                path: format!("{slash}{path}"),
                headers: headers
                    .map(|header| (header.name.clone(), header.value.clone()))
                    .collect(),
            }));
        }
        let tcp = tcp.ok_or(Unusable::Kind)?;
        Ok(Self::Tcp {
            host: host(&tcp.host),
            port: port(&tcp.port, container)?,
        })
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

// === impl Outcome ===

impl Outcome {
    /// What it says of the container. None: nothing.
    #[must_use]
    pub fn is_success(&self) -> Option<bool> {
        match self {
            Self::Success | Self::Warning(_) => Some(true),
            Self::Failure(_) => Some(false),
            Self::Error(_) => None,
        }
    }

    /// Reason and message of the Event that tells of it.
    #[must_use]
    pub fn event(&self, kind: Kind) -> Option<(&'static str, String)> {
        match self {
            Self::Success => None,
            Self::Warning(text) => Some(("ProbeWarning", format!("{kind} probe warning: {text}"))),
            Self::Failure(text) => Some(("Unhealthy", format!("{kind} probe failed: {text}"))),
            Self::Error(text) => {
                let message = format!("{kind} probe errored and resulted in unknown state: {text}");
                Some(("Unhealthy", message))
            }
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Takes a result. Some: enough of them came in a row to say so.
    pub fn take(&mut self, success: bool, schedule: &Schedule) -> Option<bool> {
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
        (self.run >= needed).then_some(success)
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
            let mut verdict = Verdict::default();
            let mut good = begin;
            let verdicts: String = results
                .chars()
                .map(|result| {
                    good = verdict.take(result == '+', &schedule).unwrap_or(good);
                    if good { '+' } else { '-' }
                })
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
                    is_secure: false,
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
            (
                json!({"exec": {"command": ["cat", "/ok"]}}),
                Ok(Check::Exec(vec!["cat".to_owned(), "/ok".to_owned()])),
            ),
            (
                json!({"httpGet": {"port": 1, "scheme": "HTTPS", "path": "a?b", "host": "c"}}),
                Ok(Check::Http(HttpCheck {
                    is_secure: true,
                    host: Some("c".to_owned()),
                    port: 1,
                    path: "/a?b".to_owned(),
                    headers: Vec::new(),
                })),
            ),
            (
                json!({"grpc": {"port": 9, "service": "shop"}}),
                Ok(Check::Grpc {
                    port: 9,
                    service: "shop".to_owned(),
                }),
            ),
            (json!({}), Err(Unusable::Kind)),
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
