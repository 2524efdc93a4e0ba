//! Files of commands with what they say, as a user sees them in a terminal.
//!
//! A line at the margin is prose. A line behind `  $ ` is a command of the shell; what it says follows, two blanks in: its standard
//! output, its standard error behind `! `, and its exit status in brackets when it is not 0. What it says stands there in the normal
//! form of [`crate::normal`]. The file is written by the real control plane (`UPDATE_EXPECT=1`) and checked in both worlds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::normal::Normal;
use crate::{kubectl, repository, world};

/// A command may take so many seconds.
const COMMAND_SECONDS: &str = "150";

/// What stands in front of a command.
const PROMPT: &str = "  $ ";

/// A file of commands.
pub struct Transcript {
    path: PathBuf,
    parts: Vec<Part>,
}

enum Part {
    Prose(String),
    Command { line: String, said: Vec<String> },
}

/// What of the answers is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// All that was said, and the exit status.
    Everything,
    /// The exit status alone.
    Status,
}

/// The shell in which the commands run: a folder, and kubectl in front of the path.
pub struct Shell {
    home: PathBuf,
    folder: PathBuf,
}

// === impl Shell ===

impl Shell {
    /// A shell with this kubectl and a copy of a kubeconfig, in a folder of `tests`. Its home is the folder of the kubeconfig.
    ///
    /// # Panics
    /// When its home cannot be written.
    #[must_use]
    pub fn new(version: &str, kubeconfig: &Path, folder: &str) -> Self {
        let home = kubeconfig.with_extension(format!("home-{version}"));
        let programs = home.join("bin");
        fs::create_dir_all(&programs).expect("the home can be written");
        fs::copy(kubeconfig, home.join("kubeconfig")).expect("the home can be written");
        let program = kubectl::program(version);
        std::os::unix::fs::symlink(program, programs.join("kubectl"))
            .expect("the home can be written");
        Self {
            home,
            folder: repository::root().join("tests").join(folder),
        }
    }

    /// Runs a command and returns what it said, in normal form, with its exit status when it is not 0.
    fn run(&self, line: &str, normal: &mut Normal) -> Vec<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("timeout")
            .args(["--kill-after=5", COMMAND_SECONDS, "sh", "-c", line])
            .current_dir(&self.folder)
            .env("PATH", format!("{}/bin:{path}", self.home.display()))
            .env("HOME", &self.home)
            .env("KUBECONFIG", self.home.join("kubeconfig"))
            .envs([("LC_ALL", "C"), ("TZ", "UTC")])
            .stdin(Stdio::null())
            .output()
            .expect("sh can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut said = normal.of(&text(&output.stdout));
        let complaint = normal.of(&text(&output.stderr));
        said.extend(complaint.iter().map(|line| format!("! {line}")));
        match output.status.code() {
            Some(0) => {}
            Some(code) => said.push(format!("[{code}]")),
            None => said.push("[killed]".to_owned()),
        }
        said
    }
}

// === impl Transcript ===

impl Transcript {
    /// Reads a file.
    ///
    /// # Panics
    /// When it cannot be read, or says something in front of its first command.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("the transcript can be read");
        let mut parts = Vec::new();
        for line in text.lines() {
            if let Some(line) = line.strip_prefix(PROMPT) {
                parts.push(Part::Command {
                    line: line.to_owned(),
                    said: Vec::new(),
                });
            } else if let Some(said) = line.strip_prefix("  ") {
                let last = parts.last_mut();
                let Some(Part::Command { said: lines, .. }) = last else {
                    panic!("{}: no command in front of: {line}", path.display());
                };
                lines.push(said.to_owned());
            } else if !line.is_empty() {
                match parts.last_mut() {
                    Some(Part::Prose(text)) => *text += &format!("\n{line}"),
                    _ => parts.push(Part::Prose(line.to_owned())),
                }
            } else if let Some(Part::Command { said, .. }) = parts.last_mut() {
                said.push(String::new());
            }
        }
        for part in &mut parts {
            if let Part::Command { said, .. } = part {
                while said.last().is_some_and(String::is_empty) {
                    said.pop();
                }
            }
        }
        Self {
            path: path.to_path_buf(),
            parts,
        }
    }

    /// Number of its commands.
    #[must_use]
    pub fn len(&self) -> usize {
        let is_command = |part: &&Part| matches!(part, Part::Command { .. });
        self.parts.iter().filter(is_command).count()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs its commands in order and returns those that said something else, with the difference. When everything is compared, the
    /// real world may rewrite the file instead.
    ///
    /// # Panics
    /// When it is to be rewritten and cannot be.
    #[must_use]
    pub fn differences(&self, shell: &Shell, compared: Compared) -> Vec<(String, String)> {
        let is_asked = world::is_real() && std::env::var_os("UPDATE_EXPECT").is_some();
        let is_recording = is_asked && compared == Compared::Everything;
        let mut normal = Normal::new(words_of_this_machine());
        let mut differences = Vec::new();
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Prose(line) => text += &format!("{line}\n\n"),
                Part::Command { line, said } => {
                    let now = shell.run(line, &mut normal);
                    let is_equal = match compared {
                        Compared::Everything => now == *said,
                        Compared::Status => status(&now) == status(said),
                    };
                    if !is_equal {
                        differences.push((line.clone(), difference(line, said, &now)));
                    }
                    text += &rendered(line, &now);
                }
            }
        }
        if is_recording {
            fs::write(&self.path, text.trim_end().to_owned() + "\n")
                .expect("the transcript can be written");
            return Vec::new();
        }
        differences
    }
}

fn words_of_this_machine() -> Vec<(String, &'static str)> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux names its kernel");
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let runtime = format!("tiergate-sim://{}", env!("CARGO_PKG_VERSION"));
    vec![
        (kernel.trim().to_owned(), "<kernel>"),
        (architecture.to_owned(), "<architecture>"),
        (runtime, "<runtime>"),
    ]
}

/// The exit status at the end of what was said; nothing when it was 0.
fn status(said: &[String]) -> Option<&String> {
    let is_status = |line: &&String| line.starts_with('[') && line.ends_with(']');
    said.last().filter(is_status)
}

/// A command with what it said, and an empty line.
fn rendered(line: &str, said: &[String]) -> String {
    let mut text = format!("{PROMPT}{line}\n");
    for line in said {
        text += format!("  {line}").trim_end();
        text += "\n";
    }
    text + "\n"
}

/// Both sides, with a mark in front of the lines that only one has.
fn difference(line: &str, expected: &[String], now: &[String]) -> String {
    let mut text = format!("$ {line}\n");
    let (mut left, mut right) = (expected, now);
    while let ([one, ..], [two, ..]) = (left, right) {
        if one == two {
            text += &format!("    {one}\n");
            (left, right) = (&left[1..], &right[1..]);
        } else if let Some(at) = right.iter().position(|line| line == one) {
            right[..at]
                .iter()
                .for_each(|line| text += &format!("  + {line}\n"));
            right = &right[at..];
        } else {
            text += &format!("  - {one}\n");
            left = &left[1..];
        }
    }
    left.iter()
        .for_each(|line| text += &format!("  - {line}\n"));
    right
        .iter()
        .for_each(|line| text += &format!("  + {line}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_marks_what_only_one_side_has() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            difference("c", &lines("a b d"), &lines("a c d e")),
            "$ c\n    a\n  - b\n  + c\n    d\n  + e\n"
        );
    }
}
