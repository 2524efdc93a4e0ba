//! Every `testdata/CASE.in.yaml` gives `testdata/CASE.out.yaml`. `UPDATE_EXPECT=1 cargo golden` writes the latter anew.
//!
//! A case begins with comments: `# scope: {…}` holds the scope, and each `# request: URL` is asked for.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tiergate_data_plane::net::Families;

use super::*;
use crate::model::external::ExternalName;
use crate::objects::resolution::Resolution;
use crate::scope::{ExternalNames, ObjectName, Secrets};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ScopeInComment {
    namespace: Option<String>,
    classes: Vec<String>,
    without_class: bool,
    reads_cluster_objects: bool,
    default_backend: Option<String>,
    default_certificate: Option<String>,
    secret_namespaces: Option<BTreeSet<String>>,
    families: Option<String>,
    ssl_redirect: bool,
    external_name_networks: Option<Vec<ipnet::IpNet>>,
}

/// As tiers are set when nobody says otherwise.
impl Default for ScopeInComment {
    fn default() -> Self {
        Self {
            namespace: None,
            classes: Vec::new(),
            without_class: false,
            reads_cluster_objects: false,
            default_backend: None,
            default_certificate: None,
            secret_namespaces: None,
            families: None,
            ssl_redirect: true,
            external_name_networks: None,
        }
    }
}

fn scope_of(text: &str) -> Scope {
    let comment = text
        .lines()
        .find_map(|line| line.strip_prefix("# scope:"))
        .expect("a case has a comment with its scope");
    let scope: ScopeInComment = serde_norway::from_str(comment).unwrap();
    let name = |text: Option<String>| text.map(|text| text.parse::<ObjectName>().unwrap());
    Scope {
        namespace: scope.namespace,
        classes: scope.classes,
        without_class: scope.without_class,
        reads_cluster_objects: scope.reads_cluster_objects,
        default_backend: name(scope.default_backend),
        default_certificate: name(scope.default_certificate),
        secrets: match scope.secret_namespaces {
            Some(namespaces) => Secrets::ByName {
                namespaces,
                refresh: Duration::from_secs(30),
            },
            None => Secrets::Watched,
        },
        families: match scope.families.as_deref() {
            None => Families::Both,
            Some("ipv4") => Families::Ipv4,
            Some("ipv6") => Families::Ipv6,
            Some(other) => panic!("no families: {other}"),
        },
        ssl_redirect: scope.ssl_redirect,
        external_names: scope
            .external_name_networks
            .map(|networks| ExternalNames { networks }),
    }
}

/// `# resolved: NAME ADDRESS… [as ALIAS…]`: what DNS says of a name.
fn resolutions(text: &str) -> Vec<(ExternalName, Resolution)> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("# resolved: "));
    let parse = |line: &str| {
        let (found, aliases) = line.split_once(" as ").unwrap_or((line, ""));
        let mut words = found.split_whitespace();
        let name = ExternalName::parse(words.next().unwrap(), "shop").unwrap();
        let resolution = Resolution {
            addresses: words.map(|word| word.parse().unwrap()).collect(),
            aliases: aliases.split_whitespace().map(str::to_owned).collect(),
            trouble: None,
        };
        (name, resolution)
    };
    lines.map(parse).collect()
}

#[test]
fn every_case_gives_its_model_table_and_conditions() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut inputs: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".in.yaml"))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 25, "cases are missing: {}", inputs.len());
    for input in inputs {
        let text = std::fs::read_to_string(&input).unwrap();
        let scope = scope_of(&text);
        let namespace = scope.namespace.as_deref().unwrap_or("default");
        let output = input.to_string_lossy().replace(".in.yaml", ".out.yaml");
        let requests: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# request: "))
            .collect();
        let explained = match Documents::parse(&text, namespace) {
            Ok(mut documents) => {
                documents.resolutions = resolutions(&text);
                explain(&documents, &scope, &requests)
            }
            Err(error) => format!("error: {error}\n"),
        };
        expect_test::expect_file![output].assert_eq(&explained);
    }
}
