//! Times and allocations of the data plane's cases, for people: `cargo bench -p tiergate-data-plane`.
//!
//! Whole requests include their client and their endpoint here. What holds a change back is not this but
//! `tests/bench/instructions`, whose counts do not depend on the machine's load.

mod case;
mod cases;
mod network;
mod peers;

use divan::{AllocProfiler, Bencher};

use case::Case;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = cases::all(), max_time = 1)]
fn of(bencher: Bencher<'_, '_>, case: &Case) {
    let mut operation = (case.prepare)();
    bencher.bench_local(|| operation(1));
}
