//! When the cluster is ready: the API answers, every Deployment has all its pods, every host of the story answers 200 at
//! the VIP, over HTTP and over HTTPS with a certificate that names it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tiergate_data_plane::net::{Net, TokioNet};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::error::UpError;
use super::settings::{Content, Settings};
use crate::story::{self, Certificates};

const READY_TIMEOUT: Duration = Duration::from_secs(120);
const PERIOD: Duration = Duration::from_millis(50);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Lines of each log that are shown when the cluster does not become ready.
const LOG_LINES: usize = 5;

/// Waits until the cluster is ready.
pub(super) async fn wait(
    settings: &Settings,
    client: &kube::Client,
    certificates: &Certificates,
    folder: &Path,
) -> Result<(), UpError> {
    let tls = connector(certificates).map_err(|error| UpError::Certificate(error.to_string()))?;
    let until = Instant::now() + READY_TIMEOUT;
    loop {
        let missing = match missing(settings, client, &tls).await {
            None => return Ok(()),
            Some(missing) => missing,
        };
        if Instant::now() >= until {
            return Err(UpError::NotReady {
                seconds: READY_TIMEOUT.as_secs(),
                missing: format!("{missing}{}", last_lines(folder)),
            });
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What is not there yet.
async fn missing(settings: &Settings, client: &kube::Client, tls: &TlsConnector) -> Option<String> {
    if let Err(error) = client.apiserver_version().await {
        return Some(format!("the API server does not answer: {error}"));
    }
    if !settings.content.has_cluster_tier() {
        return None;
    }
    if let Some(missing) = missing_pods(client).await {
        return Some(missing);
    }
    let http = SocketAddr::from((settings.vip, settings.http_port));
    let https = SocketAddr::from((settings.vip, settings.https_port));
    let hosts: &[&str] = match settings.content {
        Content::Story => &story::HOSTS,
        Content::Empty | Content::Bare | Content::ControlPlane | Content::ApiOnly => &[],
    };
    for host in hosts {
        for (address, tls) in [(http, None), (https, Some(tls))] {
            match ask(address, tls, host).await {
                Ok(StatusCode::OK) => {}
                Ok(status) => return Some(format!("{host} at {address} answers {status}")),
                Err(error) => return Some(format!("{host} at {address} does not answer: {error}")),
            }
        }
    }
    if hosts.is_empty() {
        // No host is served, and both ports say so.
        for (address, tls) in [(http, None), (https, Some(tls))] {
            match ask(address, tls, "localhost").await {
                Ok(StatusCode::NOT_FOUND) => {}
                Ok(status) => return Some(format!("{address} answers {status}")),
                Err(error) => return Some(format!("{address} does not answer: {error}")),
            }
        }
    }
    None
}

async fn missing_pods(client: &kube::Client) -> Option<String> {
    let deployments: Api<Deployment> = Api::all(client.clone());
    let list = match deployments.list(&ListParams::default()).await {
        Ok(list) => list,
        Err(error) => return Some(format!("the Deployments cannot be listed: {error}")),
    };
    list.items.into_iter().find_map(|deployment| {
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let available = deployment
            .status
            .as_ref()
            .and_then(|status| status.available_replicas);
        let available = available.unwrap_or(0);
        (available < wanted).then(|| {
            let namespace = deployment.namespace().unwrap_or_default();
            let name = deployment.name_any();
            format!("Deployment {namespace}/{name} has {available} of {wanted} pods available")
        })
    })
}

/// One request on a connection of its own.
async fn ask(
    address: SocketAddr,
    tls: Option<&TlsConnector>,
    host: &str,
) -> anyhow::Result<StatusCode> {
    let request = async {
        let stream = TokioNet.connect(address, None).await?;
        match tls {
            None => get(stream, host).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned())?;
                get(tls.connect(name, stream).await?, host).await
            }
        }
    };
    tokio::time::timeout(REQUEST_TIMEOUT, request).await?
}

async fn get<S>(stream: S, host: &str) -> anyhow::Result<StatusCode>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/")
        .header(header::HOST, host)
        .body(Empty::<Bytes>::new())?;
    let answer = async { Ok(sender.send_request(request).await?.status()) };
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        status = answer => status,
        () = driven => unreachable!("the driver of the connection waits for ever"),
    }
}

fn connector(certificates: &Certificates) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(
        certificates.authority_pem.as_bytes(),
    )?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The end of every pod's log: usually it says what is wrong.
fn last_lines(folder: &Path) -> String {
    let mut text = String::new();
    for log in logs(folder) {
        let content = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = content.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES);
        if !lines.is_empty() {
            text.push_str(&format!(
                "\n--- {}\n{}",
                log.display(),
                lines[from..].join("\n")
            ));
        }
    }
    text
}

/// `node/pod/container.log`, sorted.
fn logs(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut logs: Vec<_> = entries(folder)
        .iter()
        .flat_map(|node| entries(node))
        .flat_map(|pod| entries(&pod))
        .filter(|file| file.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    logs
}
