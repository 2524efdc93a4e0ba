use expect_test::{Expect, expect};

use super::*;

fn daemon_set(image: &str) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": { "name": "agent", "namespace": "a", "uid": "set", "annotations": { "kubernetes.io/change-cause": image } },
        "spec": {
            "revisionHistoryLimit": 2,
            "selector": { "matchLabels": { "app": "agent" } },
            "template": {
                "metadata": { "labels": { "app": "agent" } },
                "spec": { "containers": [{ "name": "app", "image": image }] },
            },
        },
    }))
    .unwrap()
}

/// The revision that a DaemonSet of `image` made as its number `revision`.
fn revision(image: &str, revision: i64) -> Arc<ControllerRevision> {
    let set = daemon_set(image);
    Arc::new(new(&set, data(&set), revision))
}

fn pod(hash: &str) -> Arc<Pod> {
    let pod = json!({ "metadata": {
        "name": "p", "uid": "p", "labels": { "app": "agent", HASH_LABEL: hash },
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "set", "controller": true }],
    } });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn show(actions: &[Action]) -> String {
    let image = |revision: &ControllerRevision| {
        let image = &revision.data.0["spec"]["template"]["spec"]["containers"][0]["image"];
        format!("{} as {}", image.as_str().unwrap(), number(revision))
    };
    let words = actions.iter().map(|action| match action {
        Action::CreateRevision(revision) => format!("create {}", image(revision)),
        Action::ReplaceRevision(revision) => format!("replace {}", image(revision)),
        Action::DeleteRevision(revision) => format!("delete {}", image(revision)),
        Action::Relabel(pod, _) => format!("relabel {}", pod.metadata.name.as_deref().unwrap()),
        Action::AdoptPod(_)
        | Action::ReleasePod(_)
        | Action::AdoptRevision(_)
        | Action::ReleaseRevision(_)
        | Action::Create(_)
        | Action::Delete(_)
        | Action::Report(_)
        | Action::LookAgain(_) => format!("{action:?}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(present: &str, revisions: &[Arc<ControllerRevision>], expected: Expect) {
    let set = daemon_set(present);
    let selector = owner::parse_selector(&set.spec.selector).unwrap();
    let pods = [pod(&hash_of(&revision(present, 1)))];
    let history = history(&set, &selector, revisions, &pods);
    let mut actions = history.actions;
    actions.extend(trim(&set, history.old, &pods));
    expected.assert_eq(&show(&actions));
}

#[test]
fn a_template_becomes_a_revision_once() {
    check("agent:1", &[], expect!["create agent:1 as 1"]);
    check("agent:1", &[revision("agent:1", 1)], expect![""]);
    check(
        "agent:2",
        &[revision("agent:1", 1)],
        expect!["create agent:2 as 2"],
    );
}

#[test]
fn a_template_that_comes_back_gets_the_next_number() {
    check(
        "agent:1",
        &[revision("agent:1", 1), revision("agent:2", 2)],
        expect!["replace agent:1 as 3"],
    );
}

#[test]
fn two_revisions_of_one_template_become_one() {
    let mut double = ControllerRevision::clone(&revision("agent:1", 2));
    let labels = double.metadata.labels.as_mut().unwrap();
    labels.insert(HASH_LABEL.into(), "double".into());
    check(
        "agent:1",
        &[revision("agent:1", 1), Arc::new(double)],
        expect!["relabel p, delete agent:1 as 1"],
    );
}

#[test]
fn the_oldest_revisions_above_the_limit_go() {
    let revisions = [1, 2, 3, 4].map(|number| revision(&format!("agent:{number}"), number));
    check("agent:4", &revisions, expect!["delete agent:1 as 1"]);
}

/// What `kubectl rollout undo` applies.
#[test]
fn a_revision_is_a_patch_that_replaces_the_template() {
    let revision = revision("agent:1", 1);
    expect![[r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"agent"}},"spec":{"containers":[{"image":"agent:1","name":"app"}]}}}}"#]]
        .assert_eq(&revision.data.0.to_string());
    expect![[r#"{"kubernetes.io/change-cause":"agent:1"}"#]]
        .assert_eq(&serde_json::to_string(&revision.metadata.annotations).unwrap());
}
