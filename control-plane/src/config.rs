//! What a tier is told at its start: defaults < YAML file < environment `TIERGATE_…` < flags.
//!
//! In: the arguments and the variables of the process. Out: an [`Invocation`] with [`Layers`], and from those the
//! [`Common`] settings of both tiers. Anything wrong ends the start with one sentence that names the key, the value and
//! the cure. Each setting is described once, in [`keys`]; help, errors and the reference page come from there.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tiergate_data_plane::access_log;
use tiergate_data_plane::config::{self as data_plane, Ejection, Hsts, Limits, Retries, Timeouts};
use tiergate_data_plane::net::Families;

use crate::scope::{ExternalNames, ObjectName};
use crate::status::{self, Addresses};
use crate::telemetry::{Filter, Format};

mod flags;
mod key;
/// Every setting.
pub mod keys;
mod layers;
/// The reference page.
pub mod page;
mod value;
mod version;

pub use flags::{Invocation, Stop, invocation};
pub use key::{About, Arity, Default, Key, Place, Range, Tier, Tiers, Unfit};
pub use layers::Layers;
pub use value::Threads;
pub use version::version;

/// What the names of our environment variables begin with.
pub const VARIABLE_PREFIX: &str = "TIERGATE_";

/// Why a tier does not start: one sentence for whoever started it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// The settings that both tiers have.
#[derive(Clone, Debug)]
pub struct Common {
    /// Which tier.
    pub tier: Tier,
    /// What the program calls itself.
    pub version: &'static str,
    /// Classes that are served.
    pub ingress_classes: Vec<String>,
    /// Whether Ingresses without any class are served.
    pub watch_ingress_without_class: bool,
    /// Service for requests that no rule matches.
    pub default_backend_service: Option<ObjectName>,
    /// TLS Secret for names that no other certificate covers.
    pub default_ssl_certificate: Option<ObjectName>,
    /// The families of addresses that endpoints may have. None: as the network says.
    pub upstream_families: Option<Families>,
    /// Whether requests by http to a host with a certificate are sent to https.
    pub ssl_redirect: bool,
    /// Where Services of type ExternalName may lead to. None: they are not served.
    pub external_names: Option<ExternalNames>,
    /// Who is asked for their addresses. Empty: as `/etc/resolv.conf` says.
    pub external_name_servers: Vec<SocketAddr>,
    /// Address of the admin port.
    pub admin_address: SocketAddr,
    /// Unix socket with the same answers.
    pub admin_socket: Option<PathBuf>,
    /// How to reach the API server, when it is not found by the ordinary rules.
    pub kubeconfig: Option<PathBuf>,
    /// Threads that serve requests; 0 serves them on the thread that runs the tier, as the simulator needs.
    pub worker_threads: usize,
    /// How long everything is served as before while `/readyz` says 503.
    pub drain_delay: Duration,
    /// How long open requests may take after that.
    pub drain_timeout: Duration,
    /// How log events are written.
    pub log_format: Format,
    /// Which log events are written.
    pub log_level: Filter,
    /// Which requests are logged.
    pub access_log: access_log::Level,
    /// What is told of Ingresses.
    pub status: status::Settings,
    /// What the request path is told.
    pub data_plane: data_plane::Config,
}

// === impl Invalid ===

impl Invalid {
    /// The sentence.
    #[must_use]
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

// === impl Common ===

impl Common {
    /// Parses the settings that both tiers have.
    ///
    /// # Errors
    /// When one does not fit, or does not go with another.
    pub fn from_layers(layers: &Layers) -> Result<Self, Invalid> {
        refuse_what_is_not_there(layers)?;
        let common = Self {
            tier: layers.tier(),
            version: layers.version(),
            ingress_classes: layers.all(&keys::INGRESS_CLASS)?,
            watch_ingress_without_class: layers.one(&keys::WATCH_INGRESS_WITHOUT_CLASS)?,
            default_backend_service: layers.maybe(&keys::DEFAULT_BACKEND_SERVICE)?,
            default_ssl_certificate: layers.maybe(&keys::DEFAULT_SSL_CERTIFICATE)?,
            upstream_families: layers.one(&keys::UPSTREAM_FAMILIES)?,
            ssl_redirect: layers.one(&keys::SSL_REDIRECT)?,
            external_names: external_names(layers)?,
            external_name_servers: layers.all(&keys::EXTERNAL_NAME_SERVERS)?,
            admin_address: layers.one(&keys::ADMIN_ADDRESS)?,
            admin_socket: layers.maybe(&keys::ADMIN_SOCKET)?,
            kubeconfig: layers.maybe(&keys::KUBECONFIG)?,
            worker_threads: threads(layers.one(&keys::WORKER_THREADS)?),
            drain_delay: layers.one(&keys::DRAIN_DELAY)?,
            drain_timeout: layers.one(&keys::DRAIN_TIMEOUT)?,
            log_format: layers.one(&keys::LOG_FORMAT)?,
            log_level: layers.one(&keys::LOG_LEVEL)?,
            access_log: layers.one(&keys::ACCESS_LOG)?,
            status: status(layers)?,
            data_plane: request_path(layers)?,
        };
        common.check_addresses(layers)?;
        common.check_classes(layers)?;
        Ok(common)
    }

    /// Something must be served, and nothing twice.
    fn check_addresses(&self, layers: &Layers) -> Result<(), Invalid> {
        let http = self.data_plane.http_addresses.iter();
        let https = self.data_plane.https_addresses.iter();
        if http.len() + https.len() == 0 {
            return Err(layers.contradiction(
                &keys::HTTPS_ADDRESS.about,
                "nothing is served when http_address is none as well; give one of them an address",
            ));
        }
        let served = http
            .map(|address| (address, "http_address"))
            .chain(https.map(|address| (address, "https_address")));
        let mut seen = Vec::new();
        for (address, name) in served.chain([(&self.admin_address, "admin_address")]) {
            let holder = seen.iter().find(|(other, _)| *other == address);
            if let Some((_, holder)) = holder.filter(|_| address.port() != 0) {
                let about = keys::ALL.iter().find(|about| about.name == name);
                let about = about.expect("the name of a setting");
                let trouble = format!(
                    "{:?} is the {holder} already; give each its own",
                    address.to_string()
                );
                return Err(layers.contradiction(about, &trouble));
            }
            seen.push((address, name));
        }
        Ok(())
    }

    fn check_classes(&self, layers: &Layers) -> Result<(), Invalid> {
        if self.ingress_classes.is_empty() && !self.watch_ingress_without_class {
            return Err(layers.contradiction(
                &keys::INGRESS_CLASS.about,
                "no Ingress is served without any class; name one, or set watch_ingress_without_class",
            ));
        }
        Ok(())
    }
}

/// Settings of the contract whose part of the product is not there: taking them would promise what nobody does.
fn refuse_what_is_not_there(layers: &Layers) -> Result<(), Invalid> {
    layers.maybe(&keys::STORE)?;
    Ok(())
}

fn external_names(layers: &Layers) -> Result<Option<ExternalNames>, Invalid> {
    let networks = layers.all::<IpNet>(&keys::EXTERNAL_NAME_NETWORKS)?;
    let is_on = layers.one(&keys::EXTERNAL_NAMES)?;
    Ok(is_on.then_some(ExternalNames { networks }))
}

fn status(layers: &Layers) -> Result<status::Settings, Invalid> {
    let fixed = layers.all(&keys::PUBLISH_ADDRESS)?;
    let service = layers.maybe(&keys::PUBLISH_SERVICE)?;
    let addresses = match service {
        Some(_) if !fixed.is_empty() => {
            return Err(layers.contradiction(
                &keys::PUBLISH_SERVICE.about,
                "publish_address is given as well; leave one of them out",
            ));
        }
        Some(service) => Addresses::OfService(service),
        None if fixed.is_empty() => Addresses::None,
        None => Addresses::Fixed(fixed),
    };
    let election_id = match layers.maybe(&keys::ELECTION_ID)? {
        Some(name) => name,
        None => {
            let classes = layers.all(&keys::INGRESS_CLASS)?;
            let class = classes.first().map_or("any", String::as_str);
            let mut name = format!("{}-{class}", layers.tier().program());
            name.truncate(63);
            name.trim_end_matches(['-', '.']).to_owned()
        }
    };
    Ok(status::Settings {
        election_id,
        addresses,
    })
}

fn request_path(layers: &Layers) -> Result<data_plane::Config, Invalid> {
    use keys::{ejection, limits, retries, timeouts};
    Ok(data_plane::Config {
        tier: layers.tier().program(),
        http_addresses: layers.all(&keys::HTTP_ADDRESS)?,
        https_addresses: layers.all(&keys::HTTPS_ADDRESS)?,
        free_bind: layers.one(&keys::FREE_BIND)?,
        trusted_proxies: layers.all::<IpNet>(&keys::TRUSTED_PROXIES)?,
        upstream_source_address: layers.maybe::<IpAddr>(&keys::UPSTREAM_SOURCE_ADDRESS)?,
        via: layers.one(&keys::VIA)?,
        load_balance: layers.one(&keys::LOAD_BALANCE)?,
        hsts: hsts(layers)?,
        limits: Limits {
            head_bytes_max: number(layers.one(&limits::HEAD_BYTES_MAX)?),
            headers_max: number(layers.one(&limits::HEADERS_MAX)?),
            body_bytes_max: layers.one(&limits::BODY_BYTES_MAX)?,
            connections_max: number(layers.one(&limits::CONNECTIONS_MAX)?),
            streams_max: number(layers.one(&limits::STREAMS_MAX)?),
            upstream_idle_max: number(layers.one(&limits::UPSTREAM_IDLE_MAX)?),
            tries_max: number(layers.one(&limits::TRIES_MAX)?),
        },
        timeouts: Timeouts {
            tls_handshake: layers.one(&timeouts::TLS_HANDSHAKE)?,
            head_read: layers.one(&timeouts::HEAD_READ)?,
            body_read: layers.one(&timeouts::BODY_READ)?,
            downstream_idle: layers.one(&timeouts::DOWNSTREAM_IDLE)?,
            downstream_rest: Timeouts::default().downstream_rest,
            connect: layers.one(&timeouts::CONNECT)?,
            response_head: layers.one(&timeouts::RESPONSE_HEAD)?,
            response_body: layers.one(&timeouts::RESPONSE_BODY)?,
            upstream_idle: layers.one(&timeouts::UPSTREAM_IDLE)?,
        },
        retries: Retries {
            percent_max: number(layers.one(&retries::PERCENT_MAX)?),
            floor: number(layers.one(&retries::FLOOR)?),
            window: layers.one(&retries::WINDOW)?,
        },
        ejection: Ejection {
            is_on: layers.one(&ejection::ENABLED)?,
            failures: number(layers.one(&ejection::FAILURES)?),
            time: layers.one(&ejection::TIME)?,
            time_max: layers.one(&ejection::TIME_MAX)?,
        },
    })
}

fn hsts(layers: &Layers) -> Result<Option<Hsts>, Invalid> {
    use keys::hsts;
    let includes_subdomains = layers.one(&hsts::INCLUDE_SUBDOMAINS)?;
    let preload = layers.one(&hsts::PRELOAD)?;
    let Some(max_age) = layers.maybe(&hsts::MAX_AGE)? else {
        let set = [
            (includes_subdomains, &hsts::INCLUDE_SUBDOMAINS.about),
            (preload, &hsts::PRELOAD.about),
        ];
        return match set.into_iter().find(|(is_set, _)| *is_set) {
            None => Ok(None),
            Some((_, about)) => Err(layers.contradiction(
                about,
                "nothing is said without hsts.max_age; set that as well",
            )),
        };
    };
    Ok(Some(Hsts {
        max_age,
        includes_subdomains,
        preload,
    }))
}

fn number<T: TryFrom<u64>>(checked: u64) -> T {
    T::try_from(checked)
        .ok()
        .expect("the range of such a setting ends below 2^32")
}

fn threads(threads: Threads) -> usize {
    match threads {
        Threads::Exactly(number) => number.get(),
        Threads::Auto => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

#[cfg(test)]
mod tests;
