//! Finds the programs of the image `tiergate`: beside our own. When cargo started us, they are built first, so that
//! `cargo demo` shows the code as it is.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::TIERGATE_PROGRAMS;

/// Why the programs of the image `tiergate` are not there.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    /// A program is missing.
    #[error("no {program} in {}; build it with `cargo build -p {program}`, or name a folder that holds it: --image tiergate=FOLDER", folder.display())]
    Missing {
        /// The program.
        program: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// They cannot be built.
    #[error("cannot build the tiers: {0}")]
    Build(String),
}

/// The folder that holds both tiers.
pub(crate) async fn folder() -> Result<PathBuf, BinariesError> {
    let program = std::env::current_exe()
        .map_err(|error| BinariesError::Build(format!("our own path is unknown: {error}")))?;
    let folder = program.parent().map(Path::to_path_buf).unwrap_or_default();
    let variable = |name: &str| std::env::var_os(name);
    // `cargo run` names the package that it runs; in tests it is another one, and who runs those has built.
    let is_run_by_cargo =
        variable("CARGO_PKG_NAME").is_some_and(|name| name == env!("CARGO_PKG_NAME"));
    if let Some(cargo) = variable("CARGO").filter(|_| is_run_by_cargo) {
        let manifest = variable("CARGO_MANIFEST_DIR").unwrap_or_default();
        let manifest = Path::new(&manifest).join("Cargo.toml");
        build(Path::new(&cargo), &manifest, &folder).await?;
    }
    for program in TIERGATE_PROGRAMS {
        if !folder.join(program).is_file() {
            return Err(BinariesError::Missing { program, folder });
        }
    }
    Ok(folder)
}

/// Whether `cargo run` sets this variable for the one program that it runs (The Cargo Book, "Environment Variables").
fn is_of_our_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_")
        || variable.starts_with("CARGO_MANIFEST_")
        || [
            "CARGO_BIN_NAME",
            "CARGO_CRATE_NAME",
            "CARGO_PRIMARY_PACKAGE",
        ]
        .contains(&variable)
}

/// Builds the tiers into `folder`, with the profile whose folder it is.
async fn build(cargo: &Path, manifest: &Path, folder: &Path) -> Result<(), BinariesError> {
    let (Some(target), Some(profile)) = (folder.parent(), folder.file_name()) else {
        return Ok(());
    };
    let profile = match profile.to_str() {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut command = Command::new(cargo);
    command.args(["build", "--profile", profile]);
    command.arg("--manifest-path").arg(manifest);
    command.arg("--target-dir").arg(target);
    // With ourselves among the packages cargo chooses the features of dependencies as it did for us, and has them built.
    for package in [env!("CARGO_PKG_NAME")]
        .into_iter()
        .chain(TIERGATE_PROGRAMS)
    {
        command.args(["--package", package]);
    }
    // What cargo told us of our own package. Build scripts that look at these (ring's) would run again, and all that
    // stands on them be built again, each time that a build within `cargo run` follows one outside.
    for (name, _) in std::env::vars_os() {
        if is_of_our_package(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|error| {
            BinariesError::Build(format!("{} does not start: {error}", cargo.display()))
        })?;
    if status.success() {
        Ok(())
    } else {
        Err(BinariesError::Build(format!(
            "cargo ended with {status}; its messages stand above"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::is_of_our_package;

    #[test]
    fn the_inner_build_hears_nothing_of_our_package_and_all_of_the_user() {
        for ours in [
            "CARGO_PKG_NAME",
            "CARGO_PKG_VERSION_PRE",
            "CARGO_MANIFEST_DIR",
            "CARGO_BIN_NAME",
        ] {
            assert!(is_of_our_package(ours), "{ours}");
        }
        for the_users in ["CARGO_HOME", "CARGO_NET_OFFLINE", "RUSTFLAGS", "PATH"] {
            assert!(!is_of_our_package(the_users), "{the_users}");
        }
    }
}
