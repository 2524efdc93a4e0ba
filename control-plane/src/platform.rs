//! Everything outside the process, in one struct: the network, the API server, the seed of all randomness.
//!
//! In: a [`Net`] and what the kubeconfig says. Out: a [`kube::Client`] whose every byte passes that network, so that the
//! same client code runs in the product and in the simulator. It does not look for a kubeconfig.

mod connector;
mod credentials;
mod retry;
pub mod version;

use std::time::Duration;

use anyhow::Context as _;
use http::header::USER_AGENT;
use http::{HeaderValue, Request};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tiergate_data_plane::net::Net;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use connector::Connector;
use credentials::Credentials;
use retry::RetryWhenSafe;

/// Everything outside the process.
#[derive(Clone)]
pub struct Platform<N> {
    /// The network.
    pub net: N,
    /// The API server.
    pub client: kube::Client,
    /// Seed of every random decision of the process.
    pub seed: u64,
    /// Which process this is.
    pub identity: Identity,
}

/// Which process this is, for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of its pod, else that of its host.
    pub name: String,
    /// The namespace of its pod, where it is known.
    pub namespace: Option<String>,
    /// Whether the name is a pod's: nobody else has it then.
    pub is_pod: bool,
}

/// Connecting to the API server, TLS included, over all of its addresses.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// From the sent request to the head of the response. A watch gets its head at once, a list of thousands in seconds.
const RESPONSE_HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Silence on a connection that is being read. API servers send a bookmark to every watch about once a minute, so a
/// connection that is silent for longer is dead. This stands in for TCP keepalive, which a [`Net`] does not know.
const READ_TIMEOUT: Duration = Duration::from_secs(75);

/// Keeps a connection for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

// === impl Identity ===

impl Identity {
    /// From the variables `POD_NAME` and `POD_NAMESPACE`, which a pod has by the downward API; else the name of the host.
    #[must_use]
    pub fn new(variables: impl IntoIterator<Item = (String, String)>, host: String) -> Self {
        let (mut name, mut namespace) = (None, None);
        for (variable, value) in variables {
            match variable.as_str() {
                "POD_NAME" => name = Some(value),
                "POD_NAMESPACE" => namespace = Some(value),
                _ => {}
            }
        }
        let name = name.filter(|name| !name.is_empty());
        Self {
            is_pod: name.is_some(),
            name: name.unwrap_or(host),
            namespace: namespace.filter(|namespace| !namespace.is_empty()),
        }
    }
}

// === impl Platform ===

impl<N> Platform<N> {
    /// Randomness for one part of the process: it depends on the seed and the name, not on who asks first.
    #[must_use]
    pub fn rng(&self, name: &str) -> SmallRng {
        derive_rng(self.seed, name)
    }
}

/// Randomness for the part `name` of a process with this seed.
#[must_use]
pub fn derive_rng(seed: u64, name: &str) -> SmallRng {
    // FNV-1a: any mixing will do, it must only stay the same.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    SmallRng::seed_from_u64(seed ^ hash)
}

/// The wall clock, for timestamps that people read. Decisions never ask it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks for the time of day"
)]
#[must_use]
pub fn wall_now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A client of the API server that `config` names, over `net`. Must be called inside a tokio runtime.
///
/// Differs from kube's own stack where that stack hurts an ingress: its pool follows tokio's time, a response head and a
/// silent connection have limits, and a request is repeated only when that is safe, and not for minutes. Longer limits
/// for connecting (at most 10 s) and reading are taken from `config`. A token file is read again
/// every 10 s, and a refused credential or certificate is told in a sentence.
///
/// # Errors
/// When certificates, keys, tokens or headers of `config` cannot be used.
pub fn kube_client<N: Net>(net: N, mut config: kube::Config) -> anyhow::Result<kube::Client> {
    // So that an audit log of the API server tells us from others; a name that the caller has given stays.
    if !config.headers.iter().any(|(name, _)| name == USER_AGENT) {
        let agent = HeaderValue::from_static(concat!("tiergate/", env!("CARGO_PKG_VERSION")));
        config.headers.push((USER_AGENT, agent));
    }
    if let Some(proxy) = &config.proxy_url {
        tracing::warn!(
            proxy = proxy.host().unwrap_or_default(),
            reason = "proxy_unsupported",
            "connecting to the API server directly"
        );
    }
    let https = config
        .rustls_https_connector_with_connector(Connector::new(net))
        .context("TLS settings of the kubeconfig")?;
    let mut connector = TimeoutConnector::new(https);
    connector.set_connect_timeout(Some(
        config
            .connect_timeout
            .map_or(CONNECT_TIMEOUT_MAX, |limit| limit.min(CONNECT_TIMEOUT_MAX)),
    ));
    connector.set_read_timeout(Some(config.read_timeout.unwrap_or(READ_TIMEOUT)));
    connector.set_write_timeout(Some(config.write_timeout.unwrap_or(READ_TIMEOUT)));
    // A request on a kept connection starts the wait anew.
    connector.set_reset_reader_on_write(true);

    let http = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build::<_, Body>(connector);
    let http = ServiceExt::<Request<Body>>::map_future(http, |response| async move {
        match tokio::time::timeout(RESPONSE_HEAD_TIMEOUT, response).await {
            Ok(answer) => answer.map_err(BoxError::from),
            Err(_) => Err(BoxError::from("the API server did not answer in time")),
        }
    });
    let http = Credentials::new(http, &mut config).context("credentials of the kubeconfig")?;
    let auth = config
        .auth_layer()
        .context("credentials of the kubeconfig")?;
    let headers = config
        .extra_headers_layer()
        .context("headers of the kubeconfig")?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .retry(RetryWhenSafe::default())
        .option_layer(auth)
        .layer(headers)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

#[cfg(test)]
mod tests;
