//! The shape of the repository: what the compiler and clippy cannot see.
//!
//! Each test names what is wrong and what to do about it. A limit that today's code breaks stands in a list with today's
//! number, and that number may only shrink.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use tiergate_tests::repository::{self, File, files, rust_files};

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 400;

/// Longer files of today, with their length.
const LONGER_FILES: [(&str, usize); 0] = [];

/// Who may use whom, of our own crates.
const ARROWS: [(&str, &[&str]); 6] = [
    ("tiergate-data-plane", &[]),
    ("tiergate-control-plane", &["tiergate-data-plane"]),
    (
        "tiergate-namespace",
        &["tiergate-control-plane", "tiergate-data-plane"],
    ),
    (
        "tiergate-cluster",
        &["tiergate-control-plane", "tiergate-data-plane"],
    ),
    (
        "tiergate-sim",
        &[
            "tiergate-control-plane",
            "tiergate-data-plane",
            "tiergate-namespace",
            "tiergate-cluster",
        ],
    ),
    (
        "tiergate-tests",
        &[
            "tiergate-control-plane",
            "tiergate-data-plane",
            "tiergate-namespace",
            "tiergate-cluster",
            "tiergate-sim",
        ],
    ),
];

/// What a crate may not know, of the crates of others.
const WALLS: [(&str, &[&str]); 4] = [
    (
        "tiergate-data-plane",
        &[
            "kube",
            "k8s-openapi",
            "sqlx",
            "figment",
            "clap",
            "serde",
            "serde_json",
            "turmoil",
            "tracing-subscriber",
        ],
    ),
    ("tiergate-control-plane", &["turmoil"]),
    ("tiergate-namespace", &["turmoil"]),
    ("tiergate-cluster", &["turmoil"]),
];

/// Files of the data plane that may ask for the snapshot, and how often they say so: the handshake, the request, and the
/// pool that is tended between requests. `snapshot.rs` defines the call.
const SNAPSHOT_READERS: [(&str, usize); 3] = [
    ("data-plane/src/tls.rs", 1),
    ("data-plane/src/proxy.rs", 2),
    ("data-plane/src/snapshot.rs", usize::MAX),
];

fn none(problems: Vec<String>, cure: &str) {
    assert!(
        problems.is_empty(),
        "{}\n{cure}\n(cargo tidy repeats this)",
        problems.join("\n")
    );
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(repository::root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// What each package of the workspace depends on: for the product alone, and for its tests as well.
fn dependencies() -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let of_package = |package: &Value| {
        let listed = package["dependencies"].as_array().expect("a list");
        let product = listed.iter().filter(|one| one["kind"].is_null());
        (
            product.map(|one| text(&one["name"])).collect(),
            listed.iter().map(|one| text(&one["name"])).collect(),
        )
    };
    packages
        .iter()
        .map(|package| (text(&package["name"]), of_package(package)))
        .collect()
}

#[test]
fn crates_use_only_the_crates_that_the_architecture_lets_them_use() {
    let mut problems = Vec::new();
    let dependencies = dependencies();
    for (name, (_, all)) in &dependencies {
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| crate_name == name) else {
            problems.push(format!("{name}: no row in ARROWS"));
            continue;
        };
        let ours = all.iter().filter(|one| dependencies.contains_key(*one));
        let wrong = ours.filter(|one| !allowed.contains(&one.as_str()));
        problems.extend(wrong.map(|one| format!("{name} uses {one}")));
    }
    none(problems, "A new arrow is a decision: write an ADR first.");
}

#[test]
fn the_data_plane_knows_neither_kubernetes_nor_a_database_nor_configuration_files() {
    let mut problems = Vec::new();
    let dependencies = dependencies();
    for (name, walls) in WALLS {
        let (product, _) = &dependencies[name];
        let broken = walls.iter().filter(|one| product.contains(**one));
        problems.extend(broken.map(|one| format!("{name} uses {one}")));
    }
    none(problems, "Move the code to the crate that may know it.");
}

#[test]
fn versions_stand_once_in_the_root_manifest() {
    let mut problems = Vec::new();
    for file in repository::files_ending("/Cargo.toml") {
        let mut in_dependencies = false;
        for line in file.text.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
                problems.push(format!("{}: {line}", file.path));
            }
        }
        if !file.text.contains("[lints]\nworkspace = true") {
            problems.push(format!("{}: no [lints] workspace = true", file.path));
        }
    }
    none(problems, "Name the version in [workspace.dependencies].");
}

#[test]
fn files_that_say_pure_are_pure() {
    const IMPURE: [&str; 13] = [
        "async ",
        ".await",
        "::now()",
        "tokio::",
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "std::io::",
        "std::net::Tcp",
        "std::net::Udp",
        "println!",
        "kube::Api",
    ];
    let is_pure = |file: &File| {
        let doc = file.module_doc();
        let mut words = doc.split(|c: char| !c.is_alphanumeric() && c != '-');
        words.any(|word| word == "Pure")
    };
    let mut problems = Vec::new();
    let mut seen = 0;
    for file in rust_files().into_iter().filter(is_pure) {
        seen += 1;
        for (number, line) in file.code_lines() {
            let line = line
                .replace("tokio::time::Instant", "")
                .replace("tokio::time::Duration", "");
            let found = IMPURE.iter().find(|word| line.contains(**word));
            problems.extend(found.map(|word| format!("{}:{number}: {word}", file.path)));
        }
    }
    assert!(
        seen >= 2,
        "the table and the host names are pure: the search is broken"
    );
    none(
        problems,
        "Take what the world says as an argument, or drop the word from the module's doc.",
    );
}

#[test]
fn files_are_short() {
    let mut problems = Vec::new();
    for file in rust_files().iter().filter(|file| !file.is_test_code()) {
        let lines = file.without_tests().lines().count();
        let known = LONGER_FILES.iter().find(|(path, _)| *path == file.path);
        let limit = known.map_or(FILE_LINES_MAX, |&(_, lines)| lines);
        if lines > limit {
            problems.push(format!("{}: {lines} lines, at most {limit}", file.path));
        } else if known.is_some() && lines < limit {
            problems.push(format!(
                "{}: {lines} lines: write so in LONGER_FILES",
                file.path
            ));
        }
    }
    none(problems, "Split by stage; see CONTRIBUTING.md, \"Size\".");
}

#[test]
fn every_module_says_what_flows_through_it() {
    let files = rust_files();
    let silent = files
        .iter()
        .filter(|file| !file.is_test_code() && file.module_doc().len() < 20);
    let problems = silent.map(|file| format!("{}: no //! doc", file.path));
    none(
        problems.collect(),
        "Say what comes in, what goes out, and what it does not do.",
    );
}

#[test]
fn every_rust_file_is_part_of_its_crate() {
    let files = rust_files();
    let mut problems = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.path.contains("/src/") || file.path.contains("/harness/"))
    {
        let name = file
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs");
        if ["lib", "main"].contains(&name) {
            continue;
        }
        let declaration = format!("mod {name};");
        let by_path = format!("{name}.rs\"]");
        let is_declared = files.iter().any(|other| {
            other.top() == file.top()
                && (other.text.contains(&declaration) || other.text.contains(&by_path))
        });
        if !is_declared {
            problems.push(format!("{}: nothing says `{declaration}`", file.path));
        }
        if name == "mod" {
            problems.push(format!("{}: foo.rs beside foo/, not foo/mod.rs", file.path));
        }
    }
    none(
        problems,
        "A file that is not compiled is not tested: declare it or delete it.",
    );
}

#[test]
fn nothing_is_left_for_later() {
    // Written in parts, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("HA", "CK:"),
    ];
    let macros = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("db", "g!("),
        concat!("#[ig", "nore"),
    ];
    let mut problems = Vec::new();
    let is_word = |line: &str, mark: &str| {
        let mut parts = line.split(|c: char| !c.is_ascii_alphanumeric() && c != ':');
        parts.any(|part| part.trim_end_matches(':') == mark.trim_end_matches(':'))
    };
    for file in files()
        .iter()
        .filter(|file| !file.path.ends_with(".jsonl") && file.path != "LICENSE")
    {
        for (index, line) in file.text.lines().enumerate() {
            let mark = marks.iter().find(|mark| is_word(line, mark));
            let call = macros.iter().find(|call| line.contains(**call));
            let found = mark.or(call);
            problems.extend(found.map(|mark| format!("{}:{}: {mark}", file.path, index + 1)));
        }
    }
    none(problems, "Do it, or open an issue and name it.");
}

#[test]
fn no_file_is_a_box_of_everything() {
    const NAMES: [&str; 7] = [
        "util", "utils", "common", "helper", "helpers", "misc", "shared",
    ];
    let files = files();
    let stem = |part: &str| part.split('.').next().unwrap_or_default().to_lowercase();
    let boxes = files.iter().filter(|file| {
        file.path
            .split('/')
            .any(|part| NAMES.contains(&stem(part).as_str()))
    });
    let problems = boxes.map(|file| file.path.clone());
    none(problems.collect(), "Name it after what it does.");
}

#[test]
fn no_path_of_somebodys_machine_is_in_the_repository() {
    let places = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    let mut problems = Vec::new();
    for file in files() {
        for (index, line) in file.text.lines().enumerate() {
            let found = places.iter().find(|place| line.contains(**place));
            problems.extend(found.map(|place| format!("{}:{}: {place}", file.path, index + 1)));
        }
    }
    none(problems, "Use a path from the root of the repository.");
}

#[test]
fn a_handshake_and_a_request_load_one_snapshot_each() {
    let mut problems = Vec::new();
    for file in rust_files()
        .iter()
        .filter(|file| file.path.starts_with("data-plane/src/"))
    {
        let calls = file
            .code_lines()
            .filter(|(_, line)| line.contains(".load_full()"))
            .count();
        let reader = SNAPSHOT_READERS.iter().find(|(path, _)| *path == file.path);
        let limit = reader.map_or(0, |&(_, calls)| calls);
        if calls > limit {
            problems.push(format!(
                "{}: {calls} calls of load_full, at most {limit}",
                file.path
            ));
        }
    }
    none(
        problems,
        "Pass the snapshot down; looking twice can see two tables.",
    );
}

#[test]
fn only_the_publisher_writes_the_snapshot_cell() {
    let mut problems = Vec::new();
    for file in rust_files() {
        let is_product =
            file.path.contains("/src/") && !file.path.starts_with("sim/") && !file.is_test_code();
        let is_publisher = file.path.starts_with("control-plane/src/publish");
        if !is_product || is_publisher || file.path.starts_with("data-plane/src/snapshot") {
            continue;
        }
        let calls = file
            .code_lines()
            .filter(|(_, line)| line.contains("cell.publish("));
        problems.extend(calls.map(|(number, _)| format!("{}:{number}", file.path)));
    }
    none(
        problems,
        "One writer: hand the change to control-plane/src/publish.rs.",
    );
}
