//! The licences of what the image is made of, by the policy of `deny.toml`.
//!
//! In: the crates that cargo would compile into the two tiers, and what each says of its licence. `cargo deny` judges the same and
//! more (texts of licences, advisories), but takes minutes to get; this runs with every test.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};
use tiergate_tests::kubectl::skip;
use tiergate_tests::{numbers, repository};

/// The programs of the image.
const PROGRAMS: [&str; 2] = ["tiergate-cluster", "tiergate-namespace"];

/// The one source of crates.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A crate that is compiled into a program, or runs while it is.
struct Crate {
    name: String,
    licence: Option<String>,
    /// Who publishes it. None: it is ours.
    source: Option<String>,
}

struct Policy {
    targets: Vec<String>,
    allowed: Vec<Licensee>,
    banned: Vec<String>,
}

fn policy() -> Policy {
    let path = repository::root().join("deny.toml");
    let text = std::fs::read_to_string(path).expect("deny.toml can be read");
    let table: toml::Table = text.parse().expect("deny.toml is TOML");
    let texts = |list: &toml::Value| -> Vec<String> {
        let list = list.as_array().expect("a list");
        let texts = list
            .iter()
            .map(|one| one.as_str().expect("a text").to_owned());
        texts.collect()
    };
    let deny = table["bans"]["deny"].as_array().expect("a list");
    Policy {
        targets: texts(&table["graph"]["targets"]),
        allowed: texts(&table["licenses"]["allow"])
            .iter()
            .map(|text| Licensee::parse(text).expect("deny.toml names licences of SPDX"))
            .collect(),
        banned: deny
            .iter()
            .map(|one| one["name"].as_str().expect("a name").to_owned())
            .collect(),
    }
}

/// What `cargo metadata` says for one target, or why it cannot without the network.
fn metadata(target: &str) -> Result<Value, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", target])
        .current_dir(repository::root())
        .output()
        .expect("cargo runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON"))
}

/// The crates that the programs need for a target, without those that only tests need.
fn crates(metadata: &Value) -> Vec<Crate> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let packages: BTreeMap<String, Value> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]).expect("an id"), package))
        .collect();
    let needs: BTreeMap<String, Vec<Value>> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (text(&node["id"]).expect("an id"), list(&node["deps"])))
        .collect();
    let is_program = |package: &Value| PROGRAMS.iter().any(|name| package["name"] == *name);
    let programs = packages.iter().filter(|(_, package)| is_program(package));
    let mut open: Vec<String> = programs.map(|(id, _)| id.clone()).collect();
    assert_eq!(open.len(), PROGRAMS.len(), "a program is no package");
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !reached.insert(id.clone()) {
            continue;
        }
        for need in &needs[&id] {
            let mut kinds = list(&need["dep_kinds"]).into_iter();
            if kinds.any(|kind| kind["kind"] != "dev") {
                open.push(text(&need["pkg"]).expect("an id"));
            }
        }
    }
    let described = reached.iter().map(|id| {
        let package = &packages[id];
        Crate {
            name: text(&package["name"]).expect("a name"),
            licence: text(&package["license"]),
            source: text(&package["source"]),
        }
    });
    described.collect()
}

/// What is wrong with a crate, if anything.
fn fault(one: &Crate, policy: &Policy, used: &mut BTreeSet<usize>) -> Option<String> {
    let name = &one.name;
    match one.source.as_deref() {
        None | Some(REGISTRY) => {}
        Some(source) => return Some(format!("{name} comes from {source}, not from crates.io")),
    }
    if policy.banned.contains(name) {
        return Some(format!("{name} is banned; deny.toml says why"));
    }
    let Some(licence) = &one.licence else {
        return Some(format!("{name} names no licence"));
    };
    // Crates of before 2018 write `MIT/Apache-2.0`.
    let expression = match Expression::parse_mode(licence, ParseMode::LAX) {
        Ok(expression) => expression,
        Err(error) => {
            return Some(format!(
                "{name}: {licence:?} is no licence: {}",
                error.reason
            ));
        }
    };
    let is_allowed = expression.evaluate(|wanted| {
        let found = policy
            .allowed
            .iter()
            .position(|licensee| licensee.satisfies(wanted));
        used.extend(found);
        found.is_some()
    });
    (!is_allowed)
        .then(|| format!("{name} is licensed as {licence}, which deny.toml does not allow"))
}

/// Judges all crates for a target; gives the licences that were needed, or why the crates are not known.
fn judge(target: &str, policy: &Policy) -> Result<BTreeSet<usize>, String> {
    let crates = crates(&metadata(target)?);
    numbers::show(&format!("{} crates judged for {target}", crates.len()));
    assert!(crates.len() > 100, "the graph was not read");
    let mut used = BTreeSet::new();
    let faults = crates
        .iter()
        .filter_map(|one| fault(one, policy, &mut used));
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(used)
}

#[test]
fn every_crate_of_the_image_has_an_allowed_licence_and_comes_from_crates_io() {
    const NAME: &str = "every_crate_of_the_image_has_an_allowed_licence_and_comes_from_crates_io";
    let policy = policy();
    let mut used = BTreeSet::new();
    for target in &policy.targets {
        match judge(target, &policy) {
            Ok(licences) => used.extend(licences),
            // What only another architecture needs may never have been fetched here.
            Err(error) if !target.starts_with(std::env::consts::ARCH) => {
                skip(NAME, &format!("{target} is not judged: {error}"));
                return;
            }
            Err(error) => panic!("{target}: {error}"),
        }
    }
    let unused = (0..policy.allowed.len()).filter(|index| !used.contains(index));
    let unused: Vec<_> = unused
        .map(|index| policy.allowed[index].to_string())
        .collect();
    assert!(unused.is_empty(), "no crate has the licence: {unused:?}");
}

#[test]
fn what_the_policy_does_not_allow_is_found() {
    let policy = policy();
    let case = |licence: Option<&str>, source: Option<&str>, name: &str| {
        let one = Crate {
            name: name.to_owned(),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        fault(&one, &policy, &mut BTreeSet::new())
    };
    let registry = Some(REGISTRY);
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0-only OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
    ] {
        assert_eq!(case(Some(good), registry, "a"), None);
    }
    for bad in [
        "GPL-3.0-only",
        "MIT AND LGPL-2.1-or-later",
        "MPL-2.0",
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "my own",
    ] {
        assert!(case(Some(bad), registry, "a").is_some(), "{bad}");
    }
    assert!(case(None, registry, "a").is_some());
    assert!(case(Some("MIT"), Some("git+https://example.test/a"), "a").is_some());
    assert!(case(Some("MIT"), registry, "openssl-sys").is_some());
    assert_eq!(case(Some("Apache-2.0"), None, "tiergate-cluster"), None);
}
