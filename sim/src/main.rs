//! `tiergate-sim`: the cluster around the tiers.
//!
//! In: the command line. Out: an exit code. What a command does is in the library; here is the log, the runtime and the end.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tiergate_sim::kubelet::launch;
use tiergate_sim::story::print as story;
use tiergate_sim::{attach, local};
use tracing::level_filters::LevelFilter;

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
    /// Add nodes, and nothing else, to an API server that somebody else runs; pods are processes on this machine.
    #[command(after_help = attach::EXIT_CODES)]
    Attach(attach::Arguments),
    /// Print the manifests of the story that `up` tells, for `kubectl apply -f -`.
    #[command(after_help = story::HINT)]
    Story(story::Arguments),
    /// Become a program that ends when its parent ends. For our own use.
    #[command(name = launch::SUBCOMMAND, hide = true)]
    LaunchPod {
        /// The mount namespace to enter first.
        #[arg(long)]
        plan: Option<PathBuf>,
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
            plan,
            parent,
            program,
            arguments,
        } => {
            let error = launch::launch(parent, plan.as_deref(), &program, &arguments);
            eprintln!("cannot start {}: {error}", program.display());
            ExitCode::from(CANNOT_EXECUTE)
        }
        Command::Story(arguments) => {
            ended(story::print(&arguments).map_err(|error| (error.exit_code(), error.to_string())))
        }
        Command::Up(arguments) => run(arguments.log_level, async {
            let result = local::up(arguments).await;
            result.map_err(|error| (error.exit_code(), error.to_string()))
        }),
        Command::Attach(arguments) => run(arguments.log_level, async {
            let result = attach::attach(arguments).await;
            result.map_err(|error| (error.exit_code(), error.to_string()))
        }),
    }
}

/// Runs a command to its end. Its error is an exit code and a sentence.
fn run(
    log_level: LevelFilter,
    command: impl Future<Output = Result<(), (u8, String)>>,
) -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(log_level)
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
    ended(runtime.block_on(command))
}

fn ended(result: Result<(), (u8, String)>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((exit_code, sentence)) => {
            eprintln!("error: {sentence}");
            ExitCode::from(exit_code)
        }
    }
}
