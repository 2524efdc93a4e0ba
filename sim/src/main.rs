//! `tiergate-sim`: the cluster around the tiers.
//!
//! In: the command line. Out: an exit code. What a command does is in the library; here is the log, the runtime and the end.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tiergate_sim::kubelet::launch;
use tiergate_sim::local;

/// The cluster around Tiergate, for a laptop and for tests.
#[derive(Debug, Parser)]
#[command(name = "tiergate-sim", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a local cluster: API server, controllers, nodes; pods are processes on this machine.
    #[command(after_help = local::EXIT_CODES)]
    Up(local::Arguments),
    /// Become a program that ends when its parent ends. For our own use.
    #[command(name = launch::SUBCOMMAND, hide = true)]
    LaunchPod {
        parent: i32,
        program: OsString,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Exit codes of the whole product (`--help` of the tiers lists them too).
const INTERNAL_FAULT: u8 = 70;

/// What container runtimes answer when a program cannot be started.
const CANNOT_EXECUTE: u8 = 126;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::LaunchPod {
            parent,
            program,
            arguments,
        } => {
            let error = launch::launch(parent, &program, &arguments);
            eprintln!("cannot start {}: {error}", program.display());
            ExitCode::from(CANNOT_EXECUTE)
        }
        Command::Up(arguments) => run(arguments),
    }
}

fn run(arguments: local::Arguments) -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(arguments.log_level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            return ExitCode::from(INTERNAL_FAULT);
        }
    };
    match runtime.block_on(local::up(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
