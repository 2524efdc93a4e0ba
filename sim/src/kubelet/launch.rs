//! Starts a program that ends with us: the child side of a pod process.
//!
//! `tiergate-sim launch-pod PARENT PROGRAM ARGUMENT…` asks the kernel to kill this process when its parent dies, and
//! becomes the program. So no pod outlives the cluster, even when the cluster is killed.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd;

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "launch-pod";

/// Becomes `program`. Returns only when that fails.
#[must_use]
pub fn launch(parent: i32, program: &OsString, arguments: &[OsString]) -> io::Error {
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        return error.into();
    }
    if unistd::getppid().as_raw() != parent {
        return io::Error::other("the cluster ended before the pod began");
    }
    Command::new(program).args(arguments).exec()
}
