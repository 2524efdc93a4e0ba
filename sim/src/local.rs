//! The local cluster: `tiergate-sim up`.
//!
//! In: the arguments. Out: an API server, controllers and nodes in this process, pods as processes and echo servers, a
//! kubeconfig, and a line `ready` once everything answers. At the end nothing is left. The order: `settings` checks what was asked
//! for, `control` starts the cluster, `crate::story` fills it, `readiness` waits, `report` prints.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tiergate_data_plane::net::TokioNet;
use tokio::task::JoinSet;

use crate::account::Account;
use crate::images::{Images, binaries};
use crate::kubelet::{self, Launcher, Node, OWN_PROGRAM, addresses};
use crate::service_proxy::{self, ExclusiveNet, LoadBalancers, NodeIdentity};
use crate::{stop, story};

mod certificates;
mod control;
mod error;
mod kubeconfig;
mod ranges;
mod readiness;
mod report;
mod settings;

use control::Control;
pub use error::{EXIT_CODES, UpError};
pub use settings::Arguments;
use settings::{Content, Settings};

/// How long the nodes may take to end their pods. What is left then is killed with this process.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts a cluster and keeps it until SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// When the cluster cannot begin, does not become ready, or breaks.
pub async fn up(arguments: Arguments) -> Result<(), UpError> {
    let mut settings = Settings::new(arguments)?;
    let mut end = std::pin::pin!(stop::asked_to_end().map_err(UpError::Signals)?);
    let images = tokio::select! {
        images = images(&settings) => Arc::new(images?),
        () = &mut end => return Ok(()),
    };
    let folder = tempfile::Builder::new()
        .prefix("tiergate-")
        .tempdir()
        .map_err(UpError::Folder)?;
    let _ports = settings.claim_addresses()?;
    let (stop, stopping) = stop::channel();
    let mut nodes = JoinSet::new();
    let result = tokio::select! {
        result = run(&settings, images, folder.path(), stopping, &mut nodes) => result,
        () = end => Ok(()),
    };
    stop.stop();
    let ended = async { while nodes.join_next().await.is_some() {} };
    if tokio::time::timeout(END_TIMEOUT, ended).await.is_err() {
        tracing::warn!(limit = ?END_TIMEOUT, reason = "slow_nodes", "pods that had not ended are killed");
    }
    result
}

/// Runs until something breaks or it is dropped; the caller ends the nodes.
async fn run(
    settings: &Settings,
    images: Arc<Images>,
    folder: &Path,
    stopping: stop::Signal,
    nodes: &mut JoinSet<()>,
) -> Result<(), UpError> {
    let mut control = Control::start(settings).await?;
    kubeconfig::write(&settings.kubeconfig, &control.access, &control.token)?;
    let mut note = None;
    if settings.content.has_nodes() {
        let launcher = Launcher::new(OWN_PROGRAM.into(), folder).await;
        note = launcher.note();
        for (index, slice) in settings.slices.iter().enumerate() {
            let name = node_name(index);
            let node = Node::register(kubelet::Options {
                folder: folder.join(&name),
                slice: *slice,
                address: addresses::Pool::new(*slice).node_address(),
                net: TokioNet,
                client: control.client_of(&Account::Kubelet(name.clone()))?,
                access: control.access.clone(),
                images: Arc::clone(&images),
                launcher: Some(launcher.clone()),
                rng: control.rng(&name),
                name,
            })
            .await?;
            nodes.spawn(node.run(stopping.clone()));
        }
    }
    if let Some(proxy) = service_proxy_of(settings, &control)? {
        let stopping = stopping.clone();
        nodes.spawn(async move {
            service_proxy::run(proxy, stopping).await;
        });
    }
    let client = control.client.clone();
    let broken = async {
        let node_ended = async {
            match nodes.join_next().await {
                Some(_) => UpError::Broken("a node, or the service proxy".to_owned()),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = control.broken() => error,
            error = node_ended => error,
        }
    };
    let mut broken = std::pin::pin!(broken);
    tokio::select! {
        result = begin(settings, &client, note, folder) => result?,
        error = &mut broken => return Err(error),
    }
    Err(broken.await)
}

/// The proxy of all nodes, when there are any.
fn service_proxy_of(
    settings: &Settings,
    control: &Control,
) -> Result<Option<service_proxy::Options<ExclusiveNet>>, UpError> {
    let Some(ranges) = settings.ranges.filter(|_| settings.content.has_nodes()) else {
        return Ok(None);
    };
    let slices = settings.slices.iter().enumerate();
    let nodes = slices.map(|(index, slice)| NodeIdentity {
        name: node_name(index),
        address: addresses::Pool::new(*slice).node_address(),
        slice: *slice,
    });
    Ok(Some(service_proxy::Options {
        net: ExclusiveNet,
        client: control.client_of(&Account::ServiceProxy)?,
        nodes: nodes.collect(),
        load_balancers: Some(LoadBalancers {
            pool: ranges.load_balancers,
            client: control.client_of(&Account::Controller("service-controller"))?,
        }),
        limits: service_proxy::Limits::of_this_process(),
        rng: control.rng("service-proxy"),
    }))
}

fn node_name(index: usize) -> String {
    format!("node-{}", index + 1)
}

/// Fills the cluster, waits until it is ready, and says so.
async fn begin(
    settings: &Settings,
    client: &kube::Client,
    note: Option<String>,
    folder: &Path,
) -> Result<(), UpError> {
    let certificates = certificates::make(settings)?;
    if settings.content.has_cluster_tier() {
        let is_story = settings.content == Content::Story;
        story::apply(client, is_story, &settings.values(), &certificates).await?;
    }
    readiness::wait(settings, client, &certificates, folder).await?;
    let text = report::text(settings, client, note, folder).await?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}ready")
        .and_then(|()| output.flush())
        .map_err(UpError::Output)
}

async fn images(settings: &Settings) -> Result<Images, UpError> {
    let is_given = settings
        .images
        .iter()
        .any(|image| image.is_every("tiergate"));
    let tiergate = if !settings.content.has_nodes() || is_given {
        None
    } else {
        Some(binaries::folder().await?)
    };
    Ok(Images::new(settings.images.clone(), tiergate)?)
}
