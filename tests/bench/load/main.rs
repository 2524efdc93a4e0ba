//! A small load generator for the benchmarks and the fault runs: new TLS handshakes, a fixed rate of requests, idle connections,
//! and clients that are slow on purpose.
//!
//! In: an address and bounds, by flags. Out: one JSON object on standard output, as its last line; what went wrong is counted in
//! it by kind, and explained on standard error. The exit status is 0 when the run took place, however it went for the server.
//!
//! It shares the machine with what it measures, so it is light: it writes the bytes of its requests as they are and reads only the
//! framing of answers. It runs no longer and sends no more than it is told to. In reading order: `target` is what is asked,
//! `connection` asks it, `framing` finds the end of an answer, `tally` counts, `process` is what the program costs itself; then the
//! subcommands `handshake`, `rate`, with its `schedule`, `idle` and `slow`, with what its clients say in `script`.

mod target;

mod framing;

mod connection;

mod tally;

mod process;

mod threads;

mod handshake;

mod schedule;

mod rate;

mod idle;

mod script;

mod slow;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Makes load and says, as one JSON object, what came of it.
#[derive(Parser)]
#[command(name = "tiergate-load", max_term_width = 120)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Requests by a new TCP connection and a full TLS 1.3 handshake each
    Handshake(handshake::Options),
    /// Requests at a fixed rate by kept connections, latency counted from the moment at which each was due
    Rate(rate::Options),
    /// Connections that bring one request and then nothing
    Idle(idle::Options),
    /// Clients that are slow on purpose
    Slow(slow::Options),
}

fn main() -> ExitCode {
    let options = Options::parse();
    // The soft limit of a shell is 1,024, less than most runs need.
    let descriptors = process::raise_descriptors();
    let ran = match options.what {
        What::Handshake(options) => handshake::run(options),
        What::Rate(options) => rate::run(options),
        What::Idle(options) => idle::run(options, descriptors),
        What::Slow(options) => slow::run(options, descriptors),
    };
    let written = ran.and_then(|report| Ok(writeln!(std::io::stdout(), "{report}")?));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "tiergate-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}
