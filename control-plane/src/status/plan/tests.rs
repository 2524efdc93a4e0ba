use super::*;
use k8s_openapi::api::networking::v1;

use crate::objects::ingress::Told;
use crate::objects::{Content, Kind, Object};
use crate::publish::testing::programmed;
use crate::status::address;
use crate::translate::condition::{ObjectReference, Reason};

const MANAGER: &str = "shop/ingress";

fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

fn published() -> Vec<Address> {
    ["192.0.2.1", "lb.example"]
        .map(|text| address(text).unwrap())
        .into()
}

fn hash_of_published() -> u64 {
    hash_of(["192.0.2.1", "lb.example"])
}

fn standing(ingress: &str) -> Standing {
    Standing {
        name: name(ingress),
        told: Told::default(),
        is_ours: true,
        is_served: true,
        conditions: Vec::new(),
    }
}

fn condition(ingress: &str) -> Condition {
    Condition {
        object: ObjectReference {
            kind: Kind::Ingress,
            name: name(ingress),
        },
        field: "spec.rules[0]".to_owned(),
        reason: Reason::PathConflict,
        message: "an Ingress of another namespace has it".to_owned(),
    }
}

fn version(ingress: u64) -> Progress {
    programmed(&[(Kind::Ingress, ingress)]).reached
}

#[tokio::test(start_paused = true)]
async fn an_address_waits_for_every_replica() {
    let now = Instant::now();
    let mut plan = Plan::new(MANAGER.to_owned(), Some(published()));
    plan.judge(standing("web"), version(7));
    plan.programmed(&version(6), &version(7));
    assert_eq!((plan.next(now), plan.waiting()), (None, 1));
    plan.programmed(&version(7), &version(9));
    let write = plan.next(now).unwrap();
    assert_eq!((&write.addresses, &write.conditions), (&published(), &None));
    assert_eq!((plan.next(now), plan.waiting()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_already_waits_no_longer_because_of_others() {
    let mut plan = Plan::new(MANAGER.to_owned(), Some(published()));
    plan.judge(standing("web"), version(7));
    // Another Ingress of its host has come.
    plan.judge(standing("web"), version(8));
    plan.programmed(&version(7), &version(9));
    assert_eq!(plan.waiting(), 0);
    plan.judge(standing("web"), version(9));
    let changed = Told {
        generation: 2,
        ..Told::default()
    };
    plan.judge(with(&standing("web"), changed), version(10));
    plan.programmed(&version(9), &version(10));
    assert_eq!(plan.waiting(), 1, "it asks for something else now");
}

#[tokio::test(start_paused = true)]
async fn after_a_restore_versions_begin_anew() {
    let mut plan = Plan::new(MANAGER.to_owned(), Some(published()));
    plan.judge(standing("web"), version(900));
    // The API server counts from less again, and we have all there is.
    plan.programmed(&version(3), &version(4));
    assert_eq!(plan.waiting(), 1);
    plan.programmed(&version(4), &version(4));
    assert_eq!(plan.waiting(), 0);
}

fn as_ours(told: Told) -> Told {
    Told {
        appliers: applied().appliers,
        ..told
    }
}

fn with(standing: &Standing, told: Told) -> Standing {
    Standing {
        told,
        ..standing.clone()
    }
}

/// What is written to an Ingress that stands so, when everybody has everything.
fn written(plan: &mut Plan, standing: Standing) -> Option<(bool, Option<String>)> {
    plan.judge(standing, Progress::default());
    plan.programmed(&Progress::default(), &Progress::default());
    let write = plan.next(Instant::now())?;
    Some((!write.addresses.is_empty(), write.conditions))
}

#[tokio::test(start_paused = true)]
async fn what_is_written_follows_from_how_it_stands() {
    let told = |addresses, conditions| Told {
        uid: None,
        addresses,
        conditions,
        ..Told::default()
    };
    let text = text_of(&[condition("web")]).unwrap();
    let text_hash = hash_of([text.as_str()]);
    let ours = hash_of_published();
    let new = standing("web");
    let lost = Standing {
        is_served: false,
        conditions: vec![condition("web")],
        ..standing("web")
    };
    let partly = Standing {
        is_served: true,
        ..lost.clone()
    };
    let wrong = Some(text);
    for (standing, expected, why) in [
        (with(&new, told(0, 0)), Some((true, None)), "a new one"),
        (with(&new, told(ours, 0)), None, "nothing differs"),
        (
            with(&new, told(5, 0)),
            Some((true, None)),
            "an address of before",
        ),
        (
            with(&new, told(ours, 9)),
            Some((true, None)),
            "a condition that is gone",
        ),
        (
            with(&lost, told(0, 0)),
            Some((false, wrong.clone())),
            "no rule is served",
        ),
        (with(&lost, told(0, text_hash)), None, "and it is told so"),
        (
            with(&lost, as_ours(told(ours, 0))),
            Some((true, wrong.clone())),
            "our address is kept",
        ),
        (
            with(&lost, told(5, 0)),
            Some((false, wrong.clone())),
            "another's is not taken over without a rule",
        ),
        (
            with(&partly, told(0, text_hash)),
            Some((true, wrong.clone())),
            "some rule is served",
        ),
    ] {
        let mut plan = Plan::new(MANAGER.to_owned(), Some(published()));
        assert_eq!(written(&mut plan, standing), expected, "{why}");
    }
}

/// As an Ingress tells of itself that has fields of ours.
fn applied() -> Told {
    let fields = serde_json::json!([{"manager": MANAGER, "operation": "Apply"}]);
    let ingress = serde_json::json!({"metadata": {"managedFields": fields}});
    let ingress: v1::Ingress = serde_json::from_value(ingress).unwrap();
    let Content::Ingress(ingress) = Object::from(ingress).content else {
        panic!("it is an Ingress");
    };
    ingress.told
}

#[tokio::test(start_paused = true)]
async fn of_an_ingress_that_is_not_ours_only_what_we_told_is_taken_back() {
    let foreign = Standing {
        is_ours: false,
        is_served: false,
        ..standing("web")
    };
    let ours = hash_of_published();
    let nothing = Some((false, None));
    for (told, addresses, conditions, expected, why) in [
        (Told::default(), 0, 0, None, "of another class"),
        (Told::default(), 5, 9, None, "told by another tier"),
        (
            Told::default(),
            ours,
            0,
            None,
            "by another tier at our address",
        ),
        (applied(), ours, 0, nothing.clone(), "it was ours"),
        (applied(), 0, 9, nothing, "it was told conditions"),
        (applied(), 0, 0, None, "nothing is told"),
    ] {
        let told = Told {
            addresses,
            conditions,
            ..told
        };
        let mut plan = Plan::new(MANAGER.to_owned(), Some(published()));
        assert_eq!(written(&mut plan, with(&foreign, told)), expected, "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_addresses_only_conditions_are_written() {
    let told = |standing: Standing, addresses| Standing {
        told: Told {
            addresses,
            ..Told::default()
        },
        ..standing
    };
    let lost = Standing {
        is_served: false,
        conditions: vec![condition("web")],
        ..standing("web")
    };
    let foreign = Standing {
        is_ours: false,
        ..standing("web")
    };
    let mut plan = Plan::new(MANAGER.to_owned(), None);
    for (standing, expected) in [
        (standing("web"), None),
        (told(standing("web"), 5), None),
        (told(foreign, 5), None),
        (lost, Some((false, text_of(&[condition("web")])))),
    ] {
        assert_eq!(written(&mut plan, standing), expected);
    }
}

/// Somebody replaces our address as soon as it is there.
#[tokio::test(start_paused = true)]
async fn a_quarrel_over_an_address_rests_ever_longer() {
    let mut plan = Plan::new(MANAGER.to_owned(), Some(published()));
    let replaced = with(
        &standing("web"),
        Told {
            addresses: 5,
            ..Told::default()
        },
    );
    let done = Written {
        name: name("web"),
        result: WriteResult::Written,
        detail: String::new(),
    };
    assert!(written(&mut plan, standing("web")).is_some());
    plan.done(&done, Instant::now());
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(written(&mut plan, replaced.clone()), None);
        let now = Instant::now();
        let due = plan.next_due().unwrap();
        waits.push(due.duration_since(now).as_secs());
        tokio::time::advance(due.duration_since(now)).await;
        assert_eq!(plan.due(due), [name("web")]);
        assert!(written(&mut plan, replaced.clone()).is_some());
        plan.done(&done, due);
    }
    assert_eq!(waits, [10, 40, 160, 640, 2560, 3600]);
    // Where nobody replaces it for long, it is forgotten.
    tokio::time::advance(QUARREL_MAX * 2).await;
    plan.done(&done, Instant::now());
    assert!(plan.recent.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_ingress_that_changes_all_the_time_rests() {
    let start = Instant::now();
    let mut plan = Plan::new(MANAGER.to_owned(), Some(published()));
    for _ in 0..WRITES_MAX {
        assert!(written(&mut plan, standing("web")).is_some());
    }
    assert_eq!(written(&mut plan, standing("web")), None);
    assert!(written(&mut plan, standing("other")).is_some());
    assert_eq!(plan.next_due(), Some(start + WINDOW));
    assert!(plan.due(start).is_empty());
    tokio::time::advance(WINDOW).await;
    assert_eq!(plan.due(Instant::now()), [name("web")]);
    assert!(written(&mut plan, standing("web")).is_some());
}

#[tokio::test(start_paused = true)]
async fn ingresses_that_change_all_the_time_keep_no_other_waiting() {
    let now = Instant::now();
    let mut plan = Plan::new(MANAGER.to_owned(), None);
    let changes = |plan: &mut Plan, ingress: &str| {
        let conditions = vec![condition(ingress)];
        plan.judge(
            Standing {
                conditions,
                ..standing(ingress)
            },
            version(7),
        );
    };
    let mut written = Vec::new();
    changes(&mut plan, "zebra");
    for number in 0..4 {
        // Of a tenant with many, one is always ready.
        for other in 0..3 {
            changes(&mut plan, &format!("ant-{}", 3 * number + other));
        }
        written.extend(plan.next(now).map(|write| write.name.name));
    }
    let last = "zebra".to_owned();
    assert_eq!(written.len(), 4);
    while let Some(write) = plan.next(now) {
        written.push(write.name.name);
    }
    let turn = written.iter().position(|name| *name == last);
    assert!(turn < Some(written.len() - 1), "{written:?}");
    assert_eq!(written.len(), 13);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_ever_later() {
    let mut plan = Plan::new(MANAGER.to_owned(), Some(published()));
    let failed = |result| Written {
        name: name("web"),
        result,
        detail: String::new(),
    };
    let mut waits = Vec::new();
    for _ in 0..9 {
        assert!(written(&mut plan, standing("web")).is_some());
        let now = Instant::now();
        plan.done(&failed(WriteResult::Failed), now);
        let due = plan.next_due().unwrap();
        waits.push(due.duration_since(now).as_secs());
        tokio::time::advance(due.duration_since(now).max(WINDOW)).await;
        assert_eq!(plan.due(Instant::now()), [name("web")]);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert!(written(&mut plan, standing("web")).is_some());
    plan.done(&failed(WriteResult::Gone), Instant::now());
    assert_eq!(plan.next_due(), None);
}

#[test]
fn a_hundred_conditions_are_told_as_sixteen_and_how_many_more() {
    let many: Vec<_> = std::iter::repeat_n(condition("web"), 100).collect();
    let text = text_of(&many).unwrap();
    let entries: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(entries.len(), CONDITIONS_MAX + 1);
    assert_eq!(entries[0]["reason"], "PathConflict");
    assert_eq!(
        entries[0]["message"],
        "spec.rules[0]: an Ingress of another namespace has it"
    );
    assert_eq!(entries[16]["message"], "and 84 more");
    assert_eq!(text_of(&[]), None);
}
