//! What has to be known before a container can start: its program, its variables, its ports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tiergate_data_plane::net::Net;

use super::container::{Job, Place};
use super::environment::{self, ConfigError, Facts, Sources};
use super::played::Part;
use super::probe::Unusable;
use super::prober::Commands;
use super::process::Order;
use super::surroundings::{self, SurroundingsError};
use super::{expand, ports, service_links, sources, wildcard};
use crate::images::{self, CommandError};

/// What to start.
pub(super) enum Plan {
    Process(Order),
    Play(Part),
    /// An init container whose image we do not have has nothing to do.
    Nothing,
}

/// Why a container cannot be started: the reason and the message of its `waiting` state.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot read what the variables come from: {0}")]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Probe(#[from] Unusable),
    #[error(transparent)]
    Surroundings(#[from] SurroundingsError),
}

/// What to start for a container, and how commands are run in it.
pub(super) async fn prepare<N: Net>(job: &Job<N>) -> Result<(Plan, Commands), PrepareError> {
    let image = job.container.image.as_deref().unwrap_or_default();
    let Some(folder) = job.context.images.folder(image) else {
        let plan = match job.place {
            Place::Init(_) => Plan::Nothing,
            Place::Sidecar(_) | Place::Main(_) => Plan::Play(part(job)),
        };
        return Ok((plan, commands(job, None)));
    };
    let pod = job.context.pod.as_ref();
    let needs = environment::needs(&job.container);
    let namespace = job.context.namespace();
    let sources = sources::read(&job.context.client, namespace, &needs).await?;
    let mut variables = variables(job, pod, &sources)?;
    let expanded = |texts: &Option<Vec<String>>| -> Vec<String> {
        let texts = texts.iter().flatten();
        let expanded = texts.map(|text| expand::expand(text, &variables));
        expanded
            .map(|text| wildcard::at_address(&text, job.context.address))
            .collect()
    };
    let mut command = expanded(&job.container.command).into_iter();
    let program = images::program(folder, command.next().as_deref())?;
    let arguments = command.chain(expanded(&job.container.args)).collect();
    let plan = surroundings::prepare(&job.context, &job.container, &mut variables)?;
    job.context.add_runtime_variables(&mut variables);
    let order = Order {
        program,
        arguments,
        variables,
        folder: job.context.folder.clone(),
        log: job.context.log_of(&job.container.name),
        launcher: job.context.launcher.clone(),
        plan,
    };
    let commands = commands(job, Some((order.clone(), folder)));
    Ok((Plan::Process(order), commands))
}

/// How commands are run in the container: as its own program, or with little when its image is not here.
fn commands<N>(job: &Job<N>, own: Option<(Order, &Path)>) -> Commands {
    let log = job
        .context
        .folder
        .join(format!("{}.commands.log", job.container.name));
    if let Some((order, image)) = own {
        let image = Some(image.to_owned());
        return Commands { order, image, log };
    }
    let mut variables = BTreeMap::new();
    job.context.add_runtime_variables(&mut variables);
    let order = Order {
        program: PathBuf::new(),
        arguments: Vec::new(),
        variables,
        folder: job.context.folder.clone(),
        log: log.clone(),
        launcher: job.context.launcher.clone(),
        plan: None,
    };
    Commands {
        order,
        image: None,
        log,
    }
}

fn variables<N>(
    job: &Job<N>,
    pod: &Pod,
    sources: &Sources,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let services = job.context.services.borrow().clone();
    let spec = pod.spec.as_ref();
    let links_enabled = spec
        .and_then(|spec| spec.enable_service_links)
        .unwrap_or(true);
    let namespace = job.context.namespace();
    let mut service_links =
        service_links::variables(services.values().map(Arc::as_ref), namespace, links_enabled);
    service_links.extend(job.context.access.variables());
    let facts = Facts {
        pod,
        pod_address: job.context.address.to_string(),
        node_address: job.context.node_address.to_string(),
        service_links,
    };
    let mut variables = environment::variables(&job.container, &facts, sources)?;
    for value in variables.values_mut() {
        *value = wildcard::at_address(value, job.context.address);
    }
    Ok(variables)
}

fn part<N>(job: &Job<N>) -> Part {
    let services = job.context.services.clone();
    Part {
        pod: Arc::clone(&job.context.pod),
        identity: job.context.identity(),
        address: job.context.address.into(),
        declared: ports::declared(&job.container),
        services: job.serves_services.then_some(services),
        claims: job.context.claims.clone(),
    }
}

// === impl PrepareError ===

impl PrepareError {
    /// The reason of the `waiting` state.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Config(_) | Self::Api(_) | Self::Surroundings(_) => "CreateContainerConfigError",
            Self::Command(_) | Self::Probe(_) => "RunContainerError",
        }
    }
}
