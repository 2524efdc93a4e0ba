//! The page about conformance shows the rows that are run.

use std::fmt::Write as _;

use expect_test::expect_file;
use tiergate_tests::conformance::{DEFAULT_BACKEND, HOST_RULES, PATH_RULES};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md");
const BEGIN: &str = "<!-- rows -->\n";
const END: &str = "<!-- end -->\n";

/// A row for each execution, as `tests/end_to_end_conformance.rs` runs it.
fn rows() -> Vec<String> {
    let answered = |service: Option<&str>| {
        service.map_or_else(|| "404".to_owned(), |service| format!("`{service}`"))
    };
    let mut rows = Vec::new();
    for (method, host, path) in DEFAULT_BACKEND {
        let host = host.unwrap_or("(the address)");
        rows.push(format!(
            "| `default_backend` | {method} http://{host}/{path} | `echo-service` |"
        ));
    }
    for (scheme, host, path, service) in HOST_RULES {
        rows.push(format!(
            "| `host_rules` | GET {scheme}://{host}{path} | {} |",
            answered(service)
        ));
    }
    rows.push(
        "| `ingress_class` | an Ingress of a class that nobody has | no status, 404 |".to_owned(),
    );
    rows.push("| `load_balancing` | 100 requests for ten pods | each of the ten |".to_owned());
    for (host, path, service) in PATH_RULES {
        rows.push(format!(
            "| `path_rules` | GET http://{host}{path} | {} |",
            answered(service)
        ));
    }
    rows
}

#[test]
fn every_row_that_is_run_stands_on_the_page() {
    let rows = rows();
    assert_eq!(rows.len(), 30);
    let mut table = "\n| | feature | asked | answered by | namespace tier alone | both tiers |\n| ---: | --- | --- | --- | --- | --- |\n".to_owned();
    for (number, row) in rows.iter().enumerate() {
        // The end-to-end test fails with the first row that does not pass.
        writeln!(table, "| {} {row} passed | passed |", number + 1)
            .expect("a String takes any text");
    }
    table.push('\n');
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("where the rows begin");
    let (_, after) = rest.split_once(END).expect("where they end");
    let expected = format!("{before}{BEGIN}{table}{END}{after}");
    expect_file![PAGE].assert_eq(&expected);
}
