//! One tenant: its objects to its pods.
//!
//! A namespace tier watches one namespace, with namespaced requests only, and serves the Ingresses of its classes there,
//! straight from ready pods. What it watches and what it is told is here; everything else is in the two shared crates.

use tiergate_control_plane::failure::Failure;
use tiergate_control_plane::platform::Platform;
use tiergate_control_plane::{run as tier, telemetry};
use tiergate_data_plane::net::Net;

mod config;
mod scope;

pub use config::Config;
pub use scope::scope;

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
        namespace = config.watch_namespace,
        classes = scope.classes.join(","),
        without_class = scope.without_class,
        "namespace tier"
    );
    tier::run(config.common, scope, platform, telemetry, shutdown).await
}
