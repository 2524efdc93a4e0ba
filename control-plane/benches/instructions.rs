//! Instructions and allocations of the control plane, for `tests/bench/instructions`.

#[path = "../../data-plane/benches/case.rs"]
mod case;
mod changes;
#[path = "../../data-plane/benches/runner.rs"]
mod runner;

fn main() -> std::process::ExitCode {
    runner::run(changes::CASES)
}
