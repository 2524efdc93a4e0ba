//! Runs one case for `tests/bench/instructions`: `PROGRAM CASE [OPERATIONS]`; without a word it lists the cases.
//!
//! In: the cases of a bench. Out: nothing but the work itself: callgrind counts what happens within [`counted`] and outside
//! of `case::uncounted`, which it knows by their names (`--toggle-collect`).

use std::hint::black_box;
use std::process::ExitCode;

use crate::case::{Case, Operation};

/// Runs the case that the command line names.
#[expect(clippy::print_stdout, reason = "the list is for the script")]
pub(crate) fn run(cases: &[Case]) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (name, operations) = match words[..] {
        // cargo adds --bench when it runs us itself: there is nothing to count then.
        [] | ["--bench"] => {
            for case in cases {
                println!("{} {}", case.name, case.operations);
            }
            return ExitCode::SUCCESS;
        }
        [name] => (name, None),
        [name, operations, ..] => (name, operations.parse().ok()),
    };
    let Some(case) = cases.iter().find(|case| case.name == name) else {
        return ExitCode::from(2);
    };
    let operations = operations.unwrap_or(case.operations);
    let mut operation = (case.prepare)();
    // What happens once per process or per connection is not the cost of an operation.
    operation(operations.div_ceil(4));
    measured(&mut operation, operations);
    ExitCode::SUCCESS
}

/// Where the counters are set to zero: the warm-up is not counted.
#[inline(never)]
fn measured(operation: &mut Operation, operations: u32) {
    counted(operation, operations);
    black_box(operation);
}

#[inline(never)]
fn counted(operation: &mut Operation, operations: u32) {
    operation(operations);
    // Keeps the call a call: it must end within this function.
    black_box(operation);
}
