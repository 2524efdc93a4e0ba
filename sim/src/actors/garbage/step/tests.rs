use std::sync::Arc;

use expect_test::{Expect, expect};
use kube::discovery::Scope;
use serde_json::json;

use super::super::super::discovery::Found;
use super::*;

fn graph(objects: &[&str]) -> Graph {
    let mut graph = Graph::default();
    for words in objects {
        graph.apply(object(words));
    }
    graph
}

/// An object from words: `name [in=NAMESPACE] [of=OWNER…] [free=OWNER…] [deleting] [foreground] [orphan]`; its uid is its
/// name. An owner after `of` blocks, one after `free` does not.
fn object(words: &str) -> Object {
    let mut words = words.split(' ');
    let name = words.next().unwrap();
    let (mut namespace, mut owners, mut finalizers, mut is_deleting) =
        ("a", Vec::new(), Vec::new(), false);
    for word in words {
        match word.split_once('=') {
            Some(("in", name)) => namespace = name,
            Some((kind, owner)) => owners.push(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner, "blockOwnerDeletion": kind == "of",
            })),
            None if word == "deleting" => is_deleting = true,
            None if word == "foreground" => finalizers.push("foregroundDeletion"),
            None => finalizers.push("orphan"),
        }
    }
    let metadata = json!({
        "name": name, "uid": name, "namespace": namespace, "resourceVersion": "1", "ownerReferences": owners,
        "finalizers": finalizers, "deletionTimestamp": is_deleting.then_some("2026-01-01T00:00:00Z"),
    });
    let found = Found::namespaced("configmaps", "ConfigMap");
    Object::new(Arc::new(found), serde_json::from_value(metadata).unwrap())
}

impl Found {
    fn namespaced(plural: &str, kind: &str) -> Self {
        let gvk = kube::core::GroupVersionKind::gvk("", "v1", kind);
        let resource = kube::discovery::ApiResource::from_gvk_with_plural(&gvk, plural);
        Self::new(resource, Scope::Namespaced, Vec::new())
    }
}

/// Decides about `name`, with all owners that the graph does not know gone, unless they are among `alive`.
#[track_caller]
fn check(graph: &Graph, name: &str, alive: &[&str], expected: Expect) {
    let mut lines = Vec::new();
    for action in decide(graph, name) {
        let action = match action {
            Action::Check {
                object,
                unknown,
                waiting,
                is_kept,
                has_dependents,
            } => {
                let (found, gone): (Vec<_>, Vec<_>) = unknown
                    .into_iter()
                    .partition(|owner| alive.contains(&&*owner.uid));
                after_check(
                    object,
                    &gone,
                    &waiting,
                    is_kept || !found.is_empty(),
                    has_dependents,
                )
            }
            Action::Delete(..) | Action::DropOwners(..) | Action::RemoveFinalizer(..) => {
                Some(action)
            }
        };
        lines.extend(action.map(|action| match action {
            Action::Delete(object, policy) => format!("delete {} {policy:?}", object.uid),
            Action::DropOwners(object, uids) => {
                format!("drop {} from {}", uids.join(" "), object.uid)
            }
            Action::RemoveFinalizer(object, finalizer) => {
                format!("take {finalizer} off {}", object.uid)
            }
            Action::Check { .. } => unreachable!("a check is answered"),
        }));
    }
    expected.assert_eq(&lines.join(", "));
}

#[test]
fn what_has_no_owner_or_a_living_one_stays() {
    let graph = graph(&["owner", "child of=owner"]);
    check(&graph, "owner", &[], expect![""]);
    check(&graph, "child", &[], expect![""]);
}

#[test]
fn what_has_only_owners_that_are_gone_goes() {
    check(
        &graph(&["child of=gone"]),
        "child",
        &[],
        expect!["delete child Background"],
    );
    check(
        &graph(&["child of=gone of=never"]),
        "child",
        &[],
        expect!["delete child Background"],
    );
}

#[test]
fn an_owner_that_was_only_not_seen_yet_keeps_its_child() {
    check(&graph(&["child of=new"]), "child", &["new"], expect![""]);
}

#[test]
fn with_one_owner_left_only_the_reference_goes() {
    check(
        &graph(&["left", "child of=gone of=left"]),
        "child",
        &[],
        expect!["drop gone from child"],
    );
}

#[test]
fn an_owner_in_another_namespace_is_none() {
    check(
        &graph(&["owner in=b", "child of=owner"]),
        "child",
        &[],
        expect!["delete child Background"],
    );
}

#[test]
fn foreground_deletion_goes_from_the_leaves_up() {
    let mut graph = graph(&["top deleting foreground", "middle of=top", "leaf of=middle"]);
    check(&graph, "top", &[], expect![""]);
    check(&graph, "middle", &[], expect!["delete middle Foreground"]);
    graph.apply(object("middle of=top deleting foreground"));
    check(&graph, "leaf", &[], expect!["delete leaf Background"]);
    assert_eq!(graph.remove("leaf"), ["middle"]);
    check(
        &graph,
        "middle",
        &[],
        expect!["take foregroundDeletion off middle"],
    );
    assert_eq!(graph.remove("middle"), ["top"]);
    check(
        &graph,
        "top",
        &[],
        expect!["take foregroundDeletion off top"],
    );
}

#[test]
fn a_dependent_that_does_not_block_is_not_waited_for() {
    let graph = graph(&["top deleting foreground", "child free=top"]);
    check(
        &graph,
        "top",
        &[],
        expect!["take foregroundDeletion off top"],
    );
}

#[test]
fn orphans_lose_the_reference_before_the_owner_goes() {
    let graph = graph(&["top deleting orphan", "one of=top", "two of=top"]);
    check(
        &graph,
        "top",
        &[],
        expect!["drop top from one, drop top from two, take orphan off top"],
    );
}

#[test]
fn the_graph_says_whom_a_change_concerns() {
    let mut graph = graph(&["top", "child of=top"]);
    assert_eq!(
        graph.apply(object("child of=top")),
        Vec::<String>::new(),
        "nothing new"
    );
    assert_eq!(
        graph.apply(object("top deleting foreground")),
        ["top", "child"]
    );
    assert_eq!(graph.remove("top"), ["child"]);
    let found = Found::namespaced("configmaps", "ConfigMap");
    assert_eq!(graph.replace(&found, Vec::new()), Vec::<String>::new());
    assert!(graph.get("child").is_none(), "not in the new list");
}
