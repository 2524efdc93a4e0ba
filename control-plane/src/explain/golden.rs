//! Every `testdata/CASE.in.yaml` gives `testdata/CASE.out.yaml`. `UPDATE_EXPECT=1 cargo golden` writes the latter anew.
//!
//! A case begins with comments: `# scope: {…}` holds the scope, and each `# request: URL` is asked for.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tiergate_data_plane::net::Families;

use super::*;
use crate::scope::{ObjectName, Secrets};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ScopeInComment {
    namespace: Option<String>,
    classes: Vec<String>,
    without_class: bool,
    reads_ingress_classes: bool,
    default_backend: Option<String>,
    default_certificate: Option<String>,
    secret_namespaces: Option<BTreeSet<String>>,
    families: Option<String>,
    ssl_redirect: bool,
}

/// As tiers are set when nobody says otherwise.
impl Default for ScopeInComment {
    fn default() -> Self {
        Self {
            namespace: None,
            classes: Vec::new(),
            without_class: false,
            reads_ingress_classes: false,
            default_backend: None,
            default_certificate: None,
            secret_namespaces: None,
            families: None,
            ssl_redirect: true,
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
        reads_ingress_classes: scope.reads_ingress_classes,
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
    }
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
            Ok(documents) => explain(&documents, &scope, &requests),
            Err(error) => format!("error: {error}\n"),
        };
        expect_test::expect_file![output].assert_eq(&explained);
    }
}
