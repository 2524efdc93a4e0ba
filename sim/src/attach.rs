//! Nodes for an API server that somebody else runs: `tiergate-sim attach`.
//!
//! In: a kubeconfig and the arguments. Out: nodes whose pods are processes and echo servers of this machine, the service proxy of
//! these nodes, and a line `ready` once pods can be bound to them; nothing else of a cluster. At the end the nodes, their leases and
//! their pods are gone from the API server. The order: `settings` checks what was asked for, `access` reads the kubeconfig, `check` looks at the cluster before anything
//! is written, `services` makes the proxy, `membership` waits and, at the end, removes, `report` prints.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tiergate_control_plane::platform;
use tiergate_data_plane::net::TokioNet;
use tokio::task::JoinSet;

use crate::images::{BinariesError, Images, binaries};
use crate::kubelet::{self, Launcher, Node, OWN_PROGRAM};
use crate::{service_proxy, stop};

mod access;
mod check;
mod error;
mod membership;
mod report;
mod rights;
mod services;
mod settings;

use access::Access;
pub use error::{AttachError, EXIT_CODES};
pub use settings::Arguments;
use settings::Settings;

/// How long the nodes may take to end their pods. What is left then is killed with this process.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The nodes that were added.
#[derive(Default)]
struct Nodes {
    names: Vec<String>,
    running: JoinSet<()>,
}

/// Adds nodes to a cluster and keeps them until SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// When the cluster cannot take the nodes, when they break, or when they cannot be removed at the end.
pub async fn attach(arguments: Arguments) -> Result<(), AttachError> {
    let settings = Settings::new(arguments)?;
    let mut end = std::pin::pin!(stop::asked_to_end().map_err(AttachError::Signals)?);
    let begun = async {
        let images = images(&settings).await?;
        let access = Access::read(&settings).await?;
        let version = check::check(&access.client, &access.server(), &settings).await?;
        Ok::<_, AttachError>((images, access, version))
    };
    let (images, access, version) = tokio::select! {
        begun = begun => begun?,
        () = &mut end => return Ok(()),
    };
    let folder = tempfile::Builder::new()
        .prefix("tiergate-")
        .tempdir()
        .map_err(AttachError::Folder)?;
    let _ports: Vec<TcpListener> = settings.claim_addresses()?;

    let (stop, stopping) = stop::channel();
    let mut nodes = Nodes::default();
    let launcher = Launcher::new(OWN_PROGRAM.into(), folder.path()).await;
    let running = async {
        nodes
            .start(
                &settings,
                &access,
                images,
                &launcher,
                folder.path(),
                stopping,
            )
            .await?;
        membership::joined(&access.client, &settings).await?;
        say_ready(&report::text(
            &settings,
            &access.server(),
            &version,
            launcher.note(),
            folder.path(),
        ))?;
        let ended = nodes.running.join_next().await;
        Err(AttachError::Broken(match ended {
            Some(Err(error)) => error.to_string(),
            _ => "a node, or the service proxy".to_owned(),
        }))
    };
    let result = tokio::select! {
        result = running => result,
        () = end => Ok(()),
    };
    stop.stop();
    let ended = async { while nodes.running.join_next().await.is_some() {} };
    if tokio::time::timeout(END_TIMEOUT, ended).await.is_err() {
        tracing::warn!(limit = ?END_TIMEOUT, reason = "slow_nodes", "pods that had not ended are killed");
    }
    let left = membership::leave(&access.client, &nodes.names).await;
    // What broke says more than what stays behind because of it.
    result.and(left)
}

// === impl Nodes ===

impl Nodes {
    /// Registers the nodes and lets them run.
    async fn start(
        &mut self,
        settings: &Settings,
        access: &Access,
        images: Images,
        launcher: &Launcher,
        folder: &Path,
        stopping: stop::Signal,
    ) -> Result<(), AttachError> {
        let images = Arc::new(images);
        let of_pods = access.of_pods().await?;
        let seed = rand::RngCore::next_u64(&mut SmallRng::from_os_rng());
        for place in &settings.nodes {
            // Before it is registered: a request that is given up may still have made the node.
            self.names.push(place.name.clone());
            let node = Node::register(kubelet::Options {
                name: place.name.clone(),
                slice: place.slice,
                address: place.address,
                net: TokioNet,
                client: access.client_of(&format!("kubelet-{}", place.name))?,
                access: of_pods.clone(),
                images: Arc::clone(&images),
                launcher: Some(launcher.clone()),
                folder: folder.join(&place.name),
                rng: platform::derive_rng(seed, &place.name),
            })
            .await?;
            self.running.spawn(node.run(stopping.clone()));
        }
        let rng = platform::derive_rng(seed, "service-proxy");
        if let Some(proxy) = services::proxy(settings, access, rng)? {
            self.running.spawn(async move {
                service_proxy::run(proxy, stopping).await;
            });
        }
        Ok(())
    }
}

fn say_ready(text: &str) -> Result<(), AttachError> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}ready")
        .and_then(|()| output.flush())
        .map_err(AttachError::Output)
}

/// The images that run as processes. Whoever tries another ingress has no tiers, and needs none.
async fn images(settings: &Settings) -> Result<Images, AttachError> {
    let is_given = settings
        .images
        .iter()
        .any(|image| image.is_every("tiergate"));
    let tiergate = if is_given {
        None
    } else {
        match binaries::folder().await {
            Ok(folder) => Some(folder),
            Err(BinariesError::Missing { program, folder }) => {
                tracing::warn!(
                    program,
                    folder = %folder.display(),
                    reason = "no_tiers",
                    "pods of the image tiergate are played like those of any other: name a folder with --image tiergate=FOLDER"
                );
                None
            }
            Err(error) => return Err(error.into()),
        }
    };
    Ok(Images::new(settings.images.clone(), tiergate)?)
}
