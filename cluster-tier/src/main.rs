//! The program `tiergate-cluster`.

use std::process::ExitCode;

use tiergate_cluster::{Config, scope, serve};
use tiergate_control_plane::config::{Invocation, Tier, invocation, version};
use tiergate_control_plane::process;

/// Another one than the package's when the build is told so (docs/versions.md).
const VERSION: &str = version(option_env!("TIERGATE_VERSION"), env!("CARGO_PKG_VERSION"));

/// Requests allocate small things for a moment, many times a second (docs/adr/0028-mimalloc.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = std::env::args_os();
    match invocation(Tier::Cluster, VERSION, arguments, process::variables()) {
        Ok(Invocation::Serve(layers)) => serve(&layers),
        Ok(Invocation::Explain {
            layers,
            files,
            requests,
        }) => match Config::from_layers(&layers) {
            Ok(config) => process::explain(&scope(&config), &files, &requests),
            Err(invalid) => process::fail(&invalid.into()),
        },
        Ok(Invocation::ClearStatus(layers)) => match Config::from_layers(&layers) {
            Ok(config) => process::clear_status(&config.common, &scope(&config)),
            Err(invalid) => process::fail(&invalid.into()),
        },
        Ok(Invocation::Probe(probe)) => process::probe(&probe),
        Err(stop) => process::stop(stop),
    }
}
