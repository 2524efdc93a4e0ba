//! Instructions and allocations of the data plane, for `tests/bench/instructions`.

mod case;
mod cases;
mod network;
mod peers;
mod runner;

fn main() -> std::process::ExitCode {
    runner::run(&cases::all())
}
