//! Starts a program that ends with us, in a world of its own: the child side of a pod process.
//!
//! `tiergate-sim launch-pod PARENT PROGRAM ARGUMENT…` asks the kernel to kill this process when its parent dies, and
//! becomes the program. So no pod outlives the cluster, even when the cluster is killed. With `--plan FILE` it first leaves for a
//! mount namespace of its own (`launch/root.rs`): it sees the files of this machine, its volumes among them, and changes none of the machine's.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd;
use serde::{Deserialize, Serialize};

mod root;

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "launch-pod";

/// What a container sees beside the files of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// An empty folder of the machine. Its place is taken by what the container writes; the folder itself stays empty.
    pub scratch: PathBuf,
    /// Parents before children.
    pub binds: Vec<Bind>,
    /// Where the program starts. It is made when it is not there.
    pub working_folder: PathBuf,
    /// Whether the container may write only to its volumes.
    pub read_only_root: bool,
}

/// A file or folder of the machine at another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Where it is on the machine, without symbolic links.
    pub source: PathBuf,
    /// Where the container sees it.
    pub target: PathBuf,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// Becomes `program`. Returns only when that fails.
#[must_use]
pub fn launch(
    parent: i32,
    plan: Option<&Path>,
    program: &OsString,
    arguments: &[OsString],
) -> io::Error {
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        return error.into();
    }
    if unistd::getppid().as_raw() != parent {
        return io::Error::other("the cluster ended before the pod began");
    }
    if let Some(plan) = plan
        && let Err(error) = enter(plan)
    {
        return error;
    }
    Command::new(program).args(arguments).exec()
}

fn enter(plan: &Path) -> io::Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(plan)?)?;
    root::enter(&plan)
}
