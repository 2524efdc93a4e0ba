//! The front door: owns the address, sends each host to its tenant.
//!
//! A cluster tier serves the Ingresses of its classes in all namespaces: those that hand a whole wildcard host to the
//! namespace tier of a tenant, and ordinary ones that name a Service. What it watches and what it is told is here;
//! everything else is in the two shared crates.

use std::process::ExitCode;

use tiergate_control_plane::config::Layers;
use tiergate_control_plane::failure::Failure;
use tiergate_control_plane::platform::Platform;
use tiergate_control_plane::{process, run as tier, telemetry};
use tiergate_data_plane::net::Net;

mod config;
mod scope;

pub use config::Config;
pub use scope::scope;

/// Serves by these settings, over the network of the kernel, until a signal comes.
///
/// Here and not in `main.rs`: whatever is generic over the network is compiled with it, so that a program that is linked
/// another way, or calls itself otherwise, is linked and not compiled anew.
#[must_use]
pub fn serve(layers: &Layers) -> ExitCode {
    match Config::from_layers(layers) {
        Ok(config) => process::serve(
            &config.common.clone(),
            layers.warnings(),
            |platform, telemetry, shutdown| run(config, platform, Some(telemetry), shutdown),
        ),
        Err(invalid) => process::fail(&invalid.into()),
    }
}

/// Runs the tier until `shutdown` resolves and all requests have ended. Must be called inside a `LocalSet`.
///
/// Without `telemetry` the log level cannot be changed at the admin port: the caller decides what is logged.
///
/// # Errors
/// When an address cannot be bound, or a part of the tier ends that must not.
pub async fn run<N: Net>(
    config: Config,
    platform: Platform<N>,
    telemetry: Option<telemetry::Handle>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let scope = scope(&config);
    tracing::info!(
        classes = scope.classes.join(","),
        without_class = scope.without_class,
        "cluster tier"
    );
    tier::run(config.common, scope, platform, telemetry, shutdown).await
}
