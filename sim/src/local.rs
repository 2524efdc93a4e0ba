//! The local cluster: `tiergate-sim up`.
//!
//! In: the arguments. Out: an API server, controllers and nodes in this process, pods as processes and echo servers, a
//! kubeconfig, and a line `ready` once everything answers. At the end nothing is left. The order: [`settings`] checks what was asked
//! for, [`binaries`] finds the programs of the image `tiergate`, [`control`] starts the cluster, [`crate::story`] fills it,
//! [`readiness`] waits, [`report`] prints.

use std::io::Write;
use std::sync::Arc;

use tiergate_data_plane::net::TokioNet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::images::Images;
use crate::kubelet::{self, Node};
use crate::{stop, story};

mod binaries;
mod certificates;
mod control;
mod error;
mod kubeconfig;
mod readiness;
mod report;
mod settings;

pub(crate) use certificates::Certificates;
use control::Control;
pub use error::UpError;
pub use settings::Arguments;
use settings::{Content, Settings};

/// Starts a cluster and keeps it until SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// When the cluster cannot begin, does not become ready, or breaks.
pub async fn up(arguments: Arguments) -> Result<(), UpError> {
    let settings = Settings::new(arguments)?;
    let mut end = std::pin::pin!(asked_to_end()?);
    let running = run(&settings);
    tokio::select! {
        result = running => result,
        () = &mut end => Ok(()),
    }
}

/// Runs until it is dropped or something breaks. Whatever it started ends when it is dropped.
async fn run(settings: &Settings) -> Result<(), UpError> {
    let images = Arc::new(images(settings).await?);
    let folder = tempfile::Builder::new()
        .prefix("tiergate-")
        .tempdir()
        .map_err(UpError::Folder)?;
    let _ports = settings.claim_addresses()?;
    let mut control = Control::start(settings).await?;
    kubeconfig::write(&settings.kubeconfig, &control.access, &control.token)?;

    let (_stop, stopping) = stop::channel();
    let mut nodes = JoinSet::new();
    if settings.content != Content::ApiOnly {
        for (index, slice) in settings.slices.iter().enumerate() {
            let name = format!("node-{}", index + 1);
            let node = Node::register(kubelet::Options {
                folder: folder.path().join(&name),
                slice: *slice,
                net: TokioNet,
                client: control.client_of(&format!("kubelet-{name}"))?,
                access: control.access.clone(),
                images: Arc::clone(&images),
                launcher: Some("/proc/self/exe".into()),
                rng: control.rng(&name),
                name,
            })
            .await?;
            nodes.spawn(node.run(stopping.clone()));
        }
    }
    let client = control.client.clone();
    let begun = async {
        let certificates = certificates::make(settings)?;
        if settings.content != Content::ApiOnly {
            story::apply(
                &client,
                settings.content == Content::Story,
                &settings.values(),
                &certificates,
            )
            .await?;
        }
        readiness::wait(settings, &client, &certificates, folder.path()).await?;
        let text = report::text(settings, &client, folder.path()).await?;
        let mut output = std::io::stdout().lock();
        write!(output, "{text}ready\n")
            .and_then(|()| output.flush())
            .map_err(UpError::Output)
    };
    tokio::select! {
        result = begun => result?,
        error = control.broken() => return Err(error),
    }
    Err(control.broken().await)
}

async fn images(settings: &Settings) -> Result<Images, UpError> {
    let is_given = settings
        .images
        .iter()
        .any(|image| image.is_every("tiergate"));
    let tiergate = if settings.content == Content::ApiOnly || is_given {
        None
    } else {
        Some(binaries::folder().await?)
    };
    Ok(Images::new(settings.images.clone(), tiergate)?)
}

/// Returns when somebody asks us to end.
fn asked_to_end() -> Result<impl Future<Output = ()>, UpError> {
    let on = |kind| signal(kind).map_err(UpError::Signals);
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hang_up = on(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}
