//! Numbers that a test measured, shown by `tests/run` beside its counts.
//!
//! In: a sentence with the number in it. Out: a line of the file that `tests/run` gives, and of standard error. It judges
//! nothing: the test that measured asserts.

use std::io::Write;

/// Shows a measured number: what was measured, the value with its unit, and the limit when there is one.
///
/// # Panics
/// When the line cannot be written.
pub fn show(sentence: &str) {
    if let Some(path) = std::env::var_os("TIERGATE_TESTS_NUMBERS") {
        let file = std::fs::OpenOptions::new().append(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{sentence}"));
        written.expect("the list of measured numbers can be written");
    }
    eprintln!("number: {sentence}");
}
