//! The commands of `tests/kubectl`: exit statuses, tables and complaints that the real control plane was recorded to give, and with
//! the oldest kubectl at least the exit statuses.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use tiergate_tests::cluster::Cluster;
use tiergate_tests::kubectl::{VERSIONS, is_installed, skip};
use tiergate_tests::transcript::{Compared, Shell, Transcript};
use tiergate_tests::{repository, world};

/// What the transcripts were recorded with, and what must end with the same statuses.
const NEWEST: &str = VERSIONS[0];
const OLDEST: &str = VERSIONS[1];

/// How many everyday commands there are at least.
const COMMANDS: usize = 60;

fn transcripts() -> Vec<(String, Transcript)> {
    let folder = repository::root().join("tests/kubectl");
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    paths.sort();
    let name = |path: &PathBuf| path.file_name().expect("a file").display().to_string();
    let read = |path: &PathBuf| (name(path), Transcript::read(path));
    paths.iter().map(read).collect()
}

/// Commands of which the local cluster is known to say something else: file and command in a line, under the reason.
fn known_differences() -> BTreeSet<String> {
    let path = repository::root().join("tests/kubectl/local-differences");
    let text = fs::read_to_string(path).expect("the list can be read");
    let lines = text.lines().map(str::trim);
    let entries = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.map(str::to_owned).collect()
}

#[test]
fn everyday_commands_say_what_they_say_on_the_real_control_plane() {
    let transcripts = transcripts();
    let count: usize = transcripts.iter().map(|(_, one)| one.len()).sum();
    assert!(count >= COMMANDS, "{count} commands");
    let cluster = Cluster::start("everyday", &["--empty"]);
    let cluster = cluster.in_test();
    let mut known = known_differences();
    if world::is_real() {
        known.clear();
    }
    let mut differences = Vec::new();
    let mut run = |version: &str, compared: Compared| {
        let shell = Shell::new(version, &cluster.kubeconfig(), "kubectl");
        for (name, transcript) in &transcripts {
            for (command, difference) in transcript.differences(&shell, compared) {
                if !known.remove(&format!("{name}: {command}")) {
                    differences.push(format!("kubectl {version}, {name}: {difference}"));
                }
            }
        }
    };
    run(NEWEST, Compared::Everything);
    if world::is_real() {
        // Recorded with the newest, and that is enough there.
    } else if is_installed(OLDEST) {
        run(OLDEST, Compared::Status);
    } else {
        skip("everyday_commands", &format!("no kubectl {OLDEST}"));
    }
    for command in known {
        let line =
            format!("equal again, take it out of tests/kubectl/local-differences: {command}");
        // Past the capture of a test that passes.
        writeln!(io::stderr(), "{line}").expect("standard error can be written");
    }
    assert!(
        differences.is_empty(),
        "{} of {count} commands:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
