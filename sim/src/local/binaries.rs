//! Finds the programs of the image `tiergate`: beside our own. When cargo started us, they are built first, so that
//! `cargo demo` shows the code as it is.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::error::UpError;
use crate::images::TIERGATE_PROGRAMS;

/// The folder that holds both tiers.
pub(super) async fn folder() -> Result<PathBuf, UpError> {
    let program = std::env::current_exe()
        .map_err(|error| UpError::Build(format!("our own path is unknown: {error}")))?;
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
            return Err(UpError::NoProgram { program, folder });
        }
    }
    Ok(folder)
}

/// Builds the tiers into `folder`, with the profile whose folder it is.
async fn build(cargo: &Path, manifest: &Path, folder: &Path) -> Result<(), UpError> {
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
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|error| UpError::Build(format!("{} does not start: {error}", cargo.display())))?;
    if status.success() {
        Ok(())
    } else {
        Err(UpError::Build(format!(
            "cargo ended with {status}; its messages stand above"
        )))
    }
}
