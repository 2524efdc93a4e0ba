//! The control plane of the local cluster: API server and controllers, in this process.

use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, header};
use rand::rngs::SmallRng;
use sha2::{Digest, Sha256};
use tiergate_control_plane::platform;
use tiergate_data_plane::net::TokioNet;
use tokio::task::JoinSet;

use super::error::UpError;
use super::settings::{Content, Settings};
use crate::account::Account;
use crate::api::{self, Server, tls};
use crate::kubelet::ApiAccess;
use crate::{actors, stop};

/// A running control plane. It ends when this is dropped.
pub(super) struct Control {
    /// A client of the administrator.
    pub(super) client: kube::Client,
    server: Server,
    /// How pods reach the API server.
    pub(super) access: ApiAccess,
    /// The administrator's token.
    pub(super) token: String,
    seed: u64,
    parts: JoinSet<String>,
    _stop: stop::Handle,
}

// === impl Control ===

impl Control {
    /// Starts the API server and, unless it shall stand alone, the controllers.
    pub(super) async fn start(settings: &Settings) -> Result<Self, UpError> {
        // The one place where a real cluster gets its chance from: rcgen's keys come from the operating system.
        let secret = rcgen::KeyPair::generate()
            .map_err(|error| UpError::Certificate(error.to_string()))?
            .serialize_der();
        let digest = Sha256::digest(&secret);
        let seed = u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
        let token: String = digest[8..]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();

        let mut options = api::Options::new(token.clone(), seed);
        // Without pods there is nothing whose addresses would need the exception.
        options.allows_loopback = settings.content != Content::ApiOnly;
        let served = settings.ranges.map(|ranges| ranges.services);
        if let Some(range) = served.or(settings.service_range_unserved) {
            options.service_range = range;
        }
        let names = [settings.api_address.ip(), options.own_cluster_ip().into()];
        let identity =
            tls::identity(&names).map_err(|error| UpError::Certificate(error.to_string()))?;
        let server = Server::new(options);
        if let Some(path) = &settings.request_log {
            server
                .log_requests_in(path)
                .map_err(|error| UpError::RequestLog {
                    path: path.clone(),
                    error,
                })?;
        }
        let bound = bind(&server, settings.api_address, identity.acceptor).await?;
        let address = bound
            .address()
            .map_err(|error| bind_error(settings.api_address, error))?;

        let (stop, stopping) = stop::channel();
        let mut parts = JoinSet::new();
        let mut signal = stopping.clone();
        parts.spawn(async move {
            bound.run(async move { signal.wait().await }).await;
            "the API server".to_owned()
        });
        let access = ApiAccess {
            server: format!("https://{address}"),
            ca_pem: identity.ca_pem,
        };
        let client = client_of(&access, &token, "tiergate-sim")?;
        if settings.content != Content::ApiOnly {
            let mut options = actors::Options::new(seed, access.ca_pem.clone());
            options.node_monitor = settings.node_monitor;
            let clients =
                |account: &Account| client_of(&access, &server.token_of(account), &account.agent());
            let actors = actors::start_all(clients, options)?;
            let mut signal = stopping.clone();
            parts.spawn(async move {
                match actors.run(async move { signal.wait().await }).await {
                    Ok(()) => "the controllers".to_owned(),
                    Err(error) => error.to_string(),
                }
            });
        }
        Ok(Self {
            client,
            server,
            access,
            token,
            seed,
            parts,
            _stop: stop,
        })
    }

    /// A client for a part of the cluster, which names itself so in the request log.
    pub(super) fn client_of(&self, account: &Account) -> Result<kube::Client, UpError> {
        client_of(
            &self.access,
            &self.server.token_of(account),
            &account.agent(),
        )
    }

    /// Randomness for one part of the cluster.
    pub(super) fn rng(&self, part: &str) -> SmallRng {
        platform::derive_rng(self.seed, part)
    }

    /// Waits until a part ends although nobody asked it to.
    pub(super) async fn broken(&mut self) -> UpError {
        match self.parts.join_next().await {
            Some(Ok(part)) => UpError::Broken(part),
            Some(Err(error)) => UpError::Broken(error.to_string()),
            None => UpError::Broken("all of it".to_owned()),
        }
    }
}

async fn bind(
    server: &Server,
    address: SocketAddr,
    acceptor: tokio_rustls::TlsAcceptor,
) -> Result<api::Bound<tokio::net::TcpListener>, UpError> {
    if address.port() != 0 {
        // The listener shares its port with others that allow it; whoever has it already must be found out before.
        std::net::TcpListener::bind(address).map_err(|error| bind_error(address, error))?;
    }
    server
        .bind(&TokioNet, address, Some(acceptor))
        .await
        .map_err(|error| bind_error(address, error))
}

fn bind_error(address: SocketAddr, error: std::io::Error) -> UpError {
    UpError::Bind {
        address,
        error,
        cure: "choose another address with --api-address",
    }
}

fn client_of(access: &ApiAccess, token: &str, name: &str) -> Result<kube::Client, UpError> {
    let wrong = |error: &dyn std::fmt::Display| UpError::Client(error.to_string());
    let url = access
        .server
        .parse()
        .map_err(|error: http::uri::InvalidUri| wrong(&error))?;
    let mut config = kube::Config::new(url);
    let authority = certificate_der(&access.ca_pem).map_err(|error| wrong(&error))?;
    config.root_cert = Some(vec![authority]);
    config.auth_info.token = Some(token.to_owned().into());
    let agent = HeaderValue::from_str(name).map_err(|error| wrong(&error))?;
    let header: (HeaderName, HeaderValue) = (header::USER_AGENT, agent);
    config.headers.push(header);
    platform::kube_client(TokioNet, config).map_err(|error| UpError::Client(format!("{error:#}")))
}

fn certificate_der(pem: &str) -> Result<Vec<u8>, rustls::pki_types::pem::Error> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).map(|certificate| certificate.to_vec())
}
