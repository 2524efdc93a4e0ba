//! What the proof of least privilege finds in a log: nothing in a good one, and each thing that must not be in one that has it.

use super::*;

/// A request as words: verb, kind, namespace or `-`, name or `-`.
fn request(user: &str, words: &str) -> Request {
    let words: Vec<&str> = words.split(' ').collect();
    let word = |index: usize| words[index].trim_matches('-').to_owned();
    Request {
        user: user.to_owned(),
        verb: word(0),
        group: String::new(),
        resource: word(1),
        namespace: word(2),
        name: word(3),
        is_denied: false,
        code: 200,
        received_ms: 0,
        is_begin: word(0) == "watch",
        pod: String::new(),
    }
}

fn right(verb: &str, resource: &str, namespace: &str) -> Right {
    Right {
        namespace: namespace.to_owned(),
        group: String::new(),
        resource: resource.to_owned(),
        verb: verb.to_owned(),
        names: Vec::new(),
    }
}

fn cluster_tier() -> Account {
    Account {
        title: "cluster tier".to_owned(),
        user: "front".to_owned(),
        task: Task::ClusterTier {
            secret_namespaces: ["certificates".to_owned()].into(),
        },
        rights: [
            right("list", "services", ""),
            right("watch", "services", ""),
            right("get", "secrets", "certificates"),
        ]
        .into(),
        handed_on: BTreeSet::new(),
        is_exact: true,
    }
}

fn namespace_tier() -> Account {
    Account {
        title: "tier of ceph".to_owned(),
        user: "ceph".to_owned(),
        task: Task::NamespaceTier {
            namespace: "ceph".to_owned(),
        },
        rights: [right("list", "services", "ceph")].into(),
        handed_on: BTreeSet::new(),
        is_exact: true,
    }
}

/// A log in which all is well.
fn good_log() -> Vec<Request> {
    vec![
        request("front", "list services - -"),
        request("front", "watch services - -"),
        request("front", "get secrets certificates tls"),
        request("front", "get /version - -"),
        request("ceph", "list services ceph -"),
        request("somebody", "list secrets - -"),
    ]
}

#[test]
fn a_good_log_has_no_findings() {
    let found = findings(&[cluster_tier(), namespace_tier()], &good_log());
    assert_eq!(found, BTreeSet::new());
}

#[test]
fn one_request_too_many_is_found() {
    for (user, words, finding) in [
        (
            "front",
            "list secrets - -",
            "reads Secrets other than by name",
        ),
        (
            "front",
            "watch secrets certificates -",
            "reads Secrets other than by name",
        ),
        (
            "front",
            "list secrets certificates -",
            "reads Secrets other than by name",
        ),
        (
            "front",
            "get secrets ceph tls",
            "reads a Secret where it was not allowed to",
        ),
        (
            "front",
            "delete services ceph a",
            "has no right to: delete services a in ceph",
        ),
        (
            "ceph",
            "list services - -",
            "looks beyond its namespace: list services the cluster",
        ),
        (
            "ceph",
            "get namespaces - ceph",
            "looks beyond its namespace",
        ),
        (
            "ceph",
            "list services openstack -",
            "looks beyond its namespace",
        ),
        (
            "ceph",
            "list pods ceph -",
            "has no right to: list pods in ceph",
        ),
    ] {
        let mut log = good_log();
        log.push(request(user, words));
        let found = findings(&[cluster_tier(), namespace_tier()], &log);
        let is_found = found.iter().any(|one| one.contains(finding));
        assert!(is_found, "{user} {words}: {found:?}");
    }
}

#[test]
fn a_denied_request_is_found_even_when_a_rule_gives_it() {
    let mut log = good_log();
    log[0].is_denied = true;
    let found = findings(&[cluster_tier(), namespace_tier()], &log);
    let expected = "cluster tier was denied: list services the cluster".to_owned();
    assert_eq!(found, [expected].into());
}

#[test]
fn a_right_that_nobody_used_is_found() {
    let mut account = namespace_tier();
    account.rights.insert(right("delete", "services", "ceph"));
    let found = findings(&[account.clone()], &good_log());
    let expected = "tier of ceph never used: delete services in ceph".to_owned();
    assert_eq!(found, [expected].into());
    account.is_exact = false;
    assert_eq!(findings(&[account], &good_log()), BTreeSet::new());
}

#[test]
fn what_is_held_to_be_handed_on_need_not_be_asked_for() {
    let mut account = namespace_tier();
    account.rights.insert(right("watch", "secrets", "ceph"));
    account.rights.insert(right("bind", "clusterroles", "ceph"));
    account.handed_on.insert(right("watch", "secrets", ""));
    assert_eq!(findings(&[account], &good_log()), BTreeSet::new());
}

#[test]
fn a_right_for_one_name_does_not_give_another() {
    let mut account = cluster_tier();
    account.rights.retain(|right| right.resource != "secrets");
    account.rights.insert(Right {
        names: vec!["other".to_owned()],
        ..right("get", "secrets", "certificates")
    });
    let found = findings(&[account], &good_log());
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn an_account_that_asked_for_nothing_is_found() {
    let mut account = namespace_tier();
    account.user = "nobody".to_owned();
    let found = findings(&[account], &good_log());
    assert!(
        found.iter().any(|one| one.contains("asked for nothing")),
        "{found:?}"
    );
}

#[test]
fn an_apply_that_creates_uses_both_rights() {
    let mut account = namespace_tier();
    account.rights = [
        right("patch", "services", "ceph"),
        right("create", "services", "ceph"),
    ]
    .into();
    let mut applied = request("ceph", "patch services ceph a");
    let one_unused = findings(&[account.clone()], std::slice::from_ref(&applied));
    assert_eq!(one_unused.len(), 1, "{one_unused:?}");
    applied.code = 201;
    assert_eq!(findings(&[account], &[applied]), BTreeSet::new());
}

#[test]
fn a_watch_is_counted_once() {
    let begin = request("ceph", "watch services ceph -");
    let end = Request {
        is_begin: false,
        ..begin.clone()
    };
    let refused = Request {
        code: 403,
        ..end.clone()
    };
    let log = [begin, end, refused];
    assert_eq!(namespace_tier().requests(&log).count(), 2);
    assert!(table(&namespace_tier(), &log).contains("| watch | 2 |"));
}

#[test]
fn a_pod_at_rest_reads_little_and_writes_only_leases() {
    let of = |asked: &[(&str, usize)]| {
        let repeated = asked
            .iter()
            .flat_map(|(words, times)| std::iter::repeat_n(request("ceph", words), *times));
        let requests: Vec<Request> = repeated.collect();
        let pods = requests_by_pod(&namespace_tier(), &requests, 0..i64::MAX);
        pods.into_values().next().expect("one pod asked")
    };
    let calm = of(&[("list services ceph -", 3), ("update leases ceph a", 24)]);
    assert_eq!((calm.requests, calm.leases), (27, 24));
    assert!(calm.too_much_at_rest().is_empty());
    let wild = of(&[
        ("list services ceph -", 4),
        ("update leases ceph a", 25),
        ("patch ingresses/status ceph web", 1),
    ]);
    assert_eq!(
        wild.too_much_at_rest(),
        [
            "list services in ceph: 4 times, at most 3",
            "25 for Leases, at most 24",
            "1 other writes"
        ]
    );
}
