//! The files of the repository, for the tests that read it.
//!
//! In: the tree that this package was built from. Out: [`File`]s with their text and their path from the root. Leaves out
//! what is built or fetched (`target`, `.tools`, `.git`) and reads nothing outside the tree.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Debug, Clone)]
pub struct File {
    /// Path from the root, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 4] = ["target", ".tools", "__pycache__", "node_modules"];

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests package is a folder of the repository")
        .to_path_buf()
}

/// Every text file, sorted by path.
///
/// # Panics
/// When a folder of the repository cannot be read.
#[must_use]
pub fn files() -> Vec<File> {
    let mut found = Vec::new();
    collect(&root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Every Rust file, sorted by path.
#[must_use]
pub fn rust_files() -> Vec<File> {
    files_ending(".rs")
}

/// Every file with this ending, sorted by path.
#[must_use]
pub fn files_ending(ending: &str) -> Vec<File> {
    let mut all = files();
    all.retain(|file| file.path.ends_with(ending));
    all
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<File>) {
    let entries = fs::read_dir(folder).expect("a folder of the repository can be read");
    for entry in entries {
        let entry = entry.expect("a folder of the repository can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("its kind is known");
        if name == ".git" {
            continue; // a folder, or in a second worktree a file
        }
        if kind.is_dir() && !FOREIGN.contains(&name.as_str()) {
            collect(&entry.path(), &format!("{path}/"), found);
        } else if kind.is_file()
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.push(File { path, text });
        }
    }
}

// === impl File ===

impl File {
    /// The part in front of the tests: everything up to `#[cfg(test)]` in front of a module.
    #[must_use]
    pub fn without_tests(&self) -> &str {
        let start = self.text.find("#[cfg(test)]\nmod ");
        &self.text[..start.unwrap_or(self.text.len())]
    }

    /// Whether all of the file is tests of its crate: a child file `tests.rs` or `…_tests.rs`, or in a folder `tests`.
    #[must_use]
    pub fn is_test_code(&self) -> bool {
        self.top() != "tests" && (self.path.ends_with("tests.rs") || self.path.contains("/tests/"))
    }

    /// The `//!` lines at its head, without the marks.
    #[must_use]
    pub fn module_doc(&self) -> String {
        let lines = self.text.lines().map_while(|line| line.strip_prefix("//!"));
        lines.map(str::trim).collect::<Vec<_>>().join("\n")
    }

    /// Lines of code in front of the tests: number (from 1) and text, comments cut off.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.without_tests().lines().enumerate();
        numbered.map(|(index, line)| (index + 1, without_comment(line)))
    }

    /// The crate's folder: the first part of the path.
    #[must_use]
    pub fn top(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }
}

/// Cuts a line comment off. A `//` behind a colon is an address in a text, not a comment.
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//").map(|at| at + from) {
        if at == 0 || !line[..at].ends_with(':') {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_ends_a_line_and_an_address_does_not() {
        for (line, code) in [
            ("let a = 1; // why", "let a = 1; "),
            ("// all", ""),
            ("get(\"http://a\")", "get(\"http://a\")"),
            ("get(\"http://a\") // b", "get(\"http://a\") "),
        ] {
            assert_eq!(without_comment(line), code);
        }
    }
}
