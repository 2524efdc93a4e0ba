//! Tables for the precedence, and a property: the same answer as a reference that looks at every rule.

use std::sync::Arc;

use proptest::prelude::*;

use super::route;
use crate::host::{HostName, HostPattern};
use crate::table::{
    Backend, BackendName, Expression, PATH_BYTES_MAX, PathMatch, Protocol, RouteOwner, Table,
    TableBuilder,
};

#[derive(Clone, Debug)]
struct Rule {
    host: HostPattern,
    /// None: the default backend of the host.
    path: Option<(PathMatch, String)>,
}

/// A table in which every rule has the route that bears its number; the last one is the tier's default, if wanted.
fn table_of(rules: &[Rule], has_default: bool) -> Table {
    let mut builder = TableBuilder::new();
    let new_route = |builder: &mut TableBuilder, number: usize| {
        let name = BackendName {
            namespace: "n".into(),
            service: number.to_string().into(),
            port: "80".into(),
        };
        let backend = builder.backend(Backend {
            name,
            protocol: Protocol::Http1,
            endpoints: Vec::new(),
        });
        let ingress: Arc<str> = number.to_string().into();
        let tenant = "n".into();
        builder.route(RouteOwner { tenant, ingress }, backend)
    };
    for (number, rule) in rules.iter().enumerate() {
        let id = new_route(&mut builder, number);
        match &rule.path {
            Some((kind, path)) => builder.path(&rule.host, *kind, path, id),
            None => builder.default(&rule.host, id),
        };
    }
    if has_default {
        let id = new_route(&mut builder, rules.len());
        builder.default_backend(Some(id));
    }
    builder.build()
}

#[test]
fn a_path_that_is_too_long_for_expressions_meets_none_and_nothing_that_it_would_hide() {
    let host = pattern("x.y");
    let mut builder = TableBuilder::new();
    let mut routes = Vec::new();
    for number in 0..4 {
        let name = BackendName {
            namespace: "n".into(),
            service: number.to_string().into(),
            port: "80".into(),
        };
        let backend = builder.backend(Backend {
            name,
            protocol: Protocol::Http1,
            endpoints: Vec::new(),
        });
        let ingress: Arc<str> = number.to_string().into();
        let tenant = "n".into();
        routes.push(builder.route(RouteOwner { tenant, ingress }, backend));
    }
    let exact = format!("/app/{}", "e".repeat(PATH_BYTES_MAX));
    builder.path(&host, PathMatch::Prefix, "/", routes[0]);
    builder.path(&host, PathMatch::Prefix, "/app/open", routes[1]);
    builder.path(&host, PathMatch::Exact, &exact, routes[3]);
    let expression = Expression::new("/app/(.*)", "/app").unwrap();
    builder.expression(&host, Arc::new(expression), routes[2]);
    let table = builder.build();
    let longest = "a".repeat(PATH_BYTES_MAX - "/app/".len());
    for (path, expected) in [
        (format!("/app/{longest}"), Some(2)),
        (format!("/app/{longest}a"), None),
        (format!("/APP/{longest}a"), None),
        (format!("/app/open/{longest}a"), Some(1)),
        (format!("/{longest}aaaaaaaa"), Some(0)),
        (exact, Some(3)),
    ] {
        assert_eq!(
            number_of(&table, Some("x.y"), &path),
            expected,
            "{}",
            path.len()
        );
    }
}

fn pattern(text: &str) -> HostPattern {
    let name = |text: &str| HostName::try_from(text).unwrap();
    match text.strip_prefix("*.") {
        _ if text == "*" => HostPattern::Any,
        Some(parent) => HostPattern::Wildcard(name(parent)),
        None => HostPattern::Exact(name(text)),
    }
}

fn number_of(table: &Table, host: Option<&str>, path: &str) -> Option<usize> {
    route(table, host, path).map(|id| table.route(id).owner.ingress.parse().unwrap())
}

/// Rules as `host path`, `host =path` for exact ones, `host` for a default backend.
fn rules(lines: &[&str]) -> Vec<Rule> {
    let rule = |line: &&str| {
        let (host, path) = line.split_once(' ').unwrap_or((line, ""));
        let path = match path.strip_prefix('=') {
            Some(exact) => Some((PathMatch::Exact, exact.to_owned())),
            None if path.is_empty() => None,
            None => Some((PathMatch::Prefix, path.to_owned())),
        };
        Rule {
            host: pattern(host),
            path,
        }
    };
    lines.iter().map(rule).collect()
}

#[test]
fn the_most_special_rule_wins() {
    let rules = rules(&[
        "a.example /",
        "a.example /api",
        "a.example /api/v1/",
        "a.example =/api",
        "*.example /wild",
        "*.example",
        "* /any",
        "b.example /only",
    ]);
    let table = table_of(&rules, true);
    for (host, path, expected) in [
        ("a.example", "/", 0),
        ("a.example", "/apix", 0),
        ("a.example", "/api", 3),
        ("a.example", "/api/", 1),
        ("a.example", "/api/v2", 1),
        ("a.example", "/api/v1", 2),
        ("a.example", "/api/v1/", 2),
        ("a.example", "/api/v1/users/7", 2),
        ("a.example", "/api/v10", 1),
        ("c.example", "/wild/x", 4),
        ("c.example", "/other", 5),
        ("x.c.example", "/any", 6),
        ("elsewhere", "/any", 6),
        ("elsewhere", "/other", 8),
        ("b.example", "/only", 7),
        ("b.example", "/any", 8),
        ("a.example", "*", 8),
    ] {
        assert_eq!(
            number_of(&table, Some(host), path),
            Some(expected),
            "{host}{path}"
        );
    }
    assert_eq!(number_of(&table, None, "/any"), Some(6));
}

#[test]
fn without_a_default_backend_what_matches_nothing_has_no_route() {
    let table = table_of(&rules(&["a.example /api"]), false);
    assert_eq!(number_of(&table, Some("a.example"), "/"), None);
    assert_eq!(number_of(&table, Some("b.example"), "/api"), None);
    assert_eq!(number_of(&table, None, "/api"), None);
    assert_eq!(number_of(&Table::default(), Some("a.example"), "/"), None);
}

/// Looks at every rule, element by element, as the Kubernetes documentation words it.
fn reference(rules: &[Rule], host: &str, path: &str) -> Option<usize> {
    let labels = |name: &str| -> Vec<String> { name.split('.').map(str::to_owned).collect() };
    let names = |rule: &Rule| match &rule.host {
        HostPattern::Exact(name) => name.as_str() == host,
        HostPattern::Wildcard(_) | HostPattern::Any => false,
    };
    let covers = |rule: &Rule| match &rule.host {
        HostPattern::Wildcard(parent) => {
            let (host, parent) = (labels(host), labels(parent.as_str()));
            host.len() == parent.len() + 1 && host[1..] == parent[..]
        }
        HostPattern::Exact(_) | HostPattern::Any => false,
    };
    let is_any = |rule: &Rule| rule.host == HostPattern::Any;
    let numbered = || rules.iter().enumerate();
    let mut of_host: Vec<_> = numbered().filter(|(_, rule)| names(rule)).collect();
    if of_host.is_empty() {
        of_host = numbered().filter(|(_, rule)| covers(rule)).collect();
    }
    if of_host.is_empty() {
        of_host = numbered().filter(|(_, rule)| is_any(rule)).collect();
    }
    let elements = |path: &str| -> Vec<String> {
        let trimmed = path.trim_end_matches('/');
        trimmed.split('/').skip(1).map(str::to_owned).collect()
    };
    let rank = |rule: &Rule| match &rule.path {
        None => Some((0, 0)),
        Some((PathMatch::Exact, exact)) => (exact == path).then_some((2, 0)),
        Some((PathMatch::Prefix, prefix)) => {
            let prefix = elements(prefix);
            elements(path)
                .starts_with(&prefix)
                .then_some((1, prefix.len()))
        }
    };
    of_host
        .into_iter()
        .filter_map(|(number, rule)| Some((rank(rule)?, number)))
        .max_by_key(|&(rank, number)| (rank, usize::MAX - number))
        .map(|(_, number)| number)
}

fn any_path() -> impl Strategy<Value = String> {
    let element = prop_oneof![Just("a"), Just("b"), Just("ab")];
    (prop::collection::vec(element, 0..5), any::<bool>()).prop_map(|(elements, slash)| {
        let path: String = elements
            .iter()
            .map(|element| format!("/{element}"))
            .collect();
        if slash || path.is_empty() {
            path + "/"
        } else {
            path
        }
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let hosts = ["x.y", "z.y", "*.y", "*.x.y", "*"].map(pattern);
    let kind = prop_oneof![Just(PathMatch::Exact), Just(PathMatch::Prefix)];
    let path = prop::option::weighted(0.9, (kind, any_path()));
    (prop::sample::select(hosts.to_vec()), path).prop_map(|(host, path)| Rule { host, path })
}

proptest! {
    #[test]
    fn routing_agrees_with_a_reference_that_looks_at_every_rule(
        rules in prop::collection::vec(any_rule(), 0..12),
        host in prop::sample::select(vec!["x.y", "z.y", "q.y", "w.x.y", "y", "other"]),
        path in any_path(),
    ) {
        let table = table_of(&rules, false);
        prop_assert_eq!(number_of(&table, Some(host), &path), reference(&rules, host, &path));
    }
}
