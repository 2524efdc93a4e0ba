//! A property: a table that was changed step by step is the table that is made at once of what is left.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::host::HostName;
use crate::table::Protocol;

const HOSTS: [&str; 4] = ["a.x", "b.x", "*.x", "*"];
const PATHS: [&str; 4] = ["/", "/a", "/a/b/", "/c"];

/// Per host: paths, each with Ingress and Service; the last kind of path is the default of the host.
type Content = BTreeMap<usize, BTreeMap<(usize, usize), (u8, u8)>>;

fn pattern(host: usize) -> HostPattern {
    let name = |text: &str| HostName::try_from(text).unwrap();
    match HOSTS[host].strip_prefix("*.") {
        _ if HOSTS[host] == "*" => HostPattern::Any,
        Some(parent) => HostPattern::Wildcard(name(parent)),
        None => HostPattern::Exact(name(HOSTS[host])),
    }
}

fn backend(service: u8, port: u16) -> Backend {
    Backend {
        name: BackendName {
            namespace: "n".into(),
            service: service.to_string().into(),
            port: "80".into(),
        },
        protocol: Protocol::Http1,
        endpoints: vec![crate::table::Endpoint {
            address: ([10, 0, 0, service], port).into(),
            identity: "pod".into(),
        }],
    }
}

fn add(
    builder: &mut TableBuilder,
    ports: &[u16],
    host: usize,
    paths: &BTreeMap<(usize, usize), (u8, u8)>,
) {
    let host = pattern(host);
    builder.host(&host);
    for (&(kind, path), &(ingress, service)) in paths {
        let id = builder.backend(backend(service, ports[usize::from(service)]));
        let owner = RouteOwner {
            tenant: "n".into(),
            ingress: ingress.to_string().into(),
        };
        let route = builder.route(owner, id);
        let holder = match kind {
            0 => builder.path(&host, PathMatch::Exact, PATHS[path], route),
            1 => builder.path(&host, PathMatch::Prefix, PATHS[path], route),
            2 => builder.default(&host, route),
            _ => {
                let expression = crate::table::Expression::new(PATHS[path], "").unwrap();
                builder.expression(&host, Arc::new(expression), route)
            }
        };
        assert!(holder.is_none() || kind == 2);
    }
}

fn at_once(ports: &[u16], content: &Content) -> Table {
    let mut builder = TableBuilder::new();
    for (&host, paths) in content {
        add(&mut builder, ports, host, paths);
    }
    builder.sweep();
    builder.build()
}

#[derive(Clone, Debug)]
enum Step {
    Host(usize, Option<BTreeMap<(usize, usize), (u8, u8)>>),
    Port(u8, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let path = (0..4usize, 0..PATHS.len());
    let paths = prop::collection::btree_map(path, (0..3u8, 0..4u8), 0..4);
    prop_oneof![
        4 => (0..HOSTS.len(), prop::option::weighted(0.8, paths)).prop_map(|(host, paths)| Step::Host(host, paths)),
        1 => (0..4u8, 80..83u16).prop_map(|(service, port)| Step::Port(service, port)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_table_that_was_changed_is_the_one_that_is_made_at_once(
        steps in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..12), low: u64,
    ) {
        let mut builder = TableBuilder::keyed(HashKey::new(low, 1));
        let mut content = Content::new();
        let mut ports = vec![80; 4];
        let mut served = Table::default();
        for batch in steps {
            let before = served.clone();
            for step in batch {
                match step {
                    Step::Host(host, paths) => {
                        builder.clear_host(&pattern(host));
                        content.remove(&host);
                        if let Some(paths) = paths {
                            add(&mut builder, &ports, host, &paths);
                            content.insert(host, paths);
                        }
                    }
                    Step::Port(service, port) => {
                        ports[usize::from(service)] = port;
                        builder.replace_backend(backend(service, port));
                    }
                }
            }
            builder.sweep();
            let expected = at_once(&ports, &content);
            match builder.next_table() {
                Some(table) => served = table,
                None => prop_assert!(served == expected, "a change was overlooked"),
            }
            prop_assert_eq!(&served, &expected);
            prop_assert!(before == served || before != expected);
        }
        let mut without = builder;
        for host in 0..HOSTS.len() {
            without.clear_host(&pattern(host));
        }
        without.sweep();
        prop_assert_eq!(without.build(), Table::default(), "nothing is left behind");
    }
}

#[test]
fn what_is_put_back_as_it_was_is_no_change_and_stays_shared() {
    let mut builder = TableBuilder::new();
    let paths = BTreeMap::from([((1, 0), (0, 0))]);
    add(&mut builder, &[80], 0, &paths);
    let first = builder.next_table().unwrap();
    builder.clear_host(&pattern(0));
    add(&mut builder, &[80], 0, &paths);
    builder.sweep();
    assert!(builder.next_table().is_none());
    builder.replace_backend(backend(0, 81));
    let second = builder.next_table().unwrap();
    let [one, another] = [&first, &second].map(|table| table.hosts().get("a.x").unwrap());
    assert!(Arc::ptr_eq(one, another));
    assert_ne!(first, second);
}
