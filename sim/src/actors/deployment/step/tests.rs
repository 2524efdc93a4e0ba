use std::fmt::Write as _;

use expect_test::{Expect, expect};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::work::{DESIRED_REPLICAS, REVISION, REVISION_HISTORY};
use super::*;

/// A Deployment with its ReplicaSets, and a model of the ReplicaSet controller and of kubelets, one pod a number.
struct World {
    deployment: Deployment,
    sets: Vec<Replicas>,
    reports: Vec<String>,
    look_again: Option<std::time::Duration>,
    second: i64,
}

struct Replicas {
    object: Arc<ReplicaSet>,
    starting: i32,
    ready: i32,
}

impl World {
    fn new(spec: &Value) -> Self {
        let mut deployment = json!({
            "metadata": { "name": "web", "namespace": "a", "uid": "deployment", "generation": 1 },
            "spec": {
                "replicas": 10,
                "selector": { "matchLabels": { "app": "web" } },
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 10,
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
                "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
                },
            },
        });
        json_patch::merge(&mut deployment["spec"], spec);
        Self {
            deployment: serde_json::from_value(deployment).unwrap(),
            sets: Vec::new(),
            reports: Vec::new(),
            look_again: None,
            second: 0,
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut k8s_openapi::api::apps::v1::DeploymentSpec)) {
        change(&mut self.deployment.spec);
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
    }

    fn image(&mut self, image: &str) {
        let image = image.to_owned();
        self.change(|spec| spec.template.spec.as_mut().unwrap().containers[0].image = Some(image));
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.second).unwrap()
    }

    /// Runs one step and does what it says. Returns whether it wrote anything.
    fn step(&mut self) -> bool {
        let sets: Vec<_> = self
            .sets
            .iter()
            .map(|set| Arc::clone(&set.object))
            .collect();
        let actions = reconcile(&Observed {
            deployment: &self.deployment,
            replica_sets: &sets,
            pods: &[],
            now: self.now(),
        });
        self.look_again = None;
        let mut wrote = false;
        for action in actions {
            wrote |= !matches!(action, Action::LookAgain(_) | Action::Report(_));
            self.act(action);
        }
        wrote
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Create(mut set) => {
                set.metadata.uid = Some(format!("set-{}", self.second));
                set.metadata.creation_timestamp = Some(Time(self.now()));
                set.metadata.generation = Some(1);
                self.second += 1;
                self.sets.push(Replicas {
                    object: Arc::from(set),
                    starting: 0,
                    ready: 0,
                });
            }
            Action::Replace(mut set) => {
                let known = self.find(&set);
                if known.object.spec != set.spec {
                    set.metadata.generation = set.metadata.generation.map(|number| number + 1);
                }
                known.object = Arc::from(set);
            }
            Action::Delete(gone) => self
                .sets
                .retain(|set| set.object.metadata.uid != gone.metadata.uid),
            Action::ReplaceStatus(deployment) => self.deployment = *deployment,
            Action::Report(draft) => self.reports.push(draft.message),
            Action::LookAgain(delay) => self.look_again = Some(delay),
            Action::Adopt(_) | Action::Release(_) => panic!("nothing changes hands here"),
        }
    }

    fn find(&mut self, set: &ReplicaSet) -> &mut Replicas {
        let mut sets = self.sets.iter_mut();
        sets.find(|known| known.object.metadata.uid == set.metadata.uid)
            .unwrap()
    }

    /// The ReplicaSet controller makes and removes pods and counts them.
    fn sync(&mut self, index: usize) {
        let set = &mut self.sets[index];
        let wanted = set.object.spec.replicas.unwrap();
        set.starting += (wanted - set.starting - set.ready).max(0);
        let surplus = set.starting + set.ready - wanted;
        let starting = surplus.clamp(0, set.starting);
        set.starting -= starting;
        set.ready -= (surplus - starting).max(0);
        let status = json!({
            "replicas": set.starting + set.ready, "readyReplicas": set.ready, "availableReplicas": set.ready,
            "terminatingReplicas": 0, "observedGeneration": set.object.metadata.generation,
        });
        let mut object = ReplicaSet::clone(&set.object);
        object.status = Some(serde_json::from_value(status).unwrap());
        set.object = Arc::new(object);
    }

    /// Kubelets make all pods ready.
    fn start(&mut self, index: usize, count: i32) {
        let set = &mut self.sets[index];
        let count = count.min(set.starting);
        set.starting -= count;
        set.ready += count;
    }

    /// Steps until nothing changes; returns one line for each.
    fn settle(&mut self) -> String {
        let mut lines = String::new();
        for _ in 0..200 {
            let wrote = self.step();
            let before: Vec<_> = self
                .sets
                .iter()
                .map(|set| Arc::clone(&set.object))
                .collect();
            for index in 0..self.sets.len() {
                self.sync(index);
                self.start(index, i32::MAX);
                self.sync(index);
            }
            self.second += 1;
            let after = self.sets.iter().map(|set| Arc::clone(&set.object));
            if !wrote && before.into_iter().eq(after) {
                return lines;
            }
            writeln!(lines, "{}", self.line()).unwrap();
        }
        panic!("does not settle:\n{lines}");
    }

    fn wanted(&self) -> i32 {
        self.sets
            .iter()
            .map(|set| set.object.spec.replicas.unwrap())
            .sum()
    }

    /// The pods that are available by the last count and are not told to go.
    fn safe(&self) -> i32 {
        let safe = self.sets.iter().map(|set| {
            let status = set.object.status.as_ref();
            let available = status
                .and_then(|status| status.available_replicas)
                .unwrap_or(0);
            available.min(set.object.spec.replicas.unwrap())
        });
        safe.sum()
    }

    fn line(&self) -> String {
        let sets: Vec<String> = self
            .sets
            .iter()
            .map(|set| set.object.spec.replicas.unwrap().to_string())
            .collect();
        let status = self.deployment.status.as_ref().unwrap();
        let reason =
            status::progressing(&self.deployment).and_then(|condition| condition.reason.clone());
        format!(
            "sets {} | updated {} of {}, available {} | {}",
            sets.join("+"),
            status.updated_replicas.unwrap_or(0),
            status.replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0),
            reason.unwrap_or_default()
        )
    }

    fn annotation(&self, set: usize, name: &str) -> Option<String> {
        let annotations = self.sets[set].object.metadata.annotations.as_ref()?;
        annotations.get(name).cloned()
    }
}

#[track_caller]
fn check_roll_out(spec: &Value, expected: Expect) -> World {
    let mut world = World::new(spec);
    world.settle();
    world.image("app:2");
    expected.assert_eq(&world.settle());
    world
}

#[test]
fn a_new_deployment_gets_its_pods_and_is_complete() {
    let mut world = World::new(&json!({ "replicas": 2 }));
    expect![[r#"
        sets 2 | updated 0 of 0, available 0 | NewReplicaSetCreated
        sets 2 | updated 2 of 2, available 2 | NewReplicaSetAvailable
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"["Scaled up replica set web-584fcff778 from 0 to 2"]"#]]
        .assert_eq(&format!("{:?}", world.reports));
    assert_eq!(
        world.deployment.metadata.annotations.unwrap()[REVISION],
        "1"
    );
}

#[test]
fn a_rolling_update_walks_within_its_bounds() {
    check_roll_out(
        &json!({}),
        expect![[r#"
            sets 8+3 | updated 0 of 10, available 10 | NewReplicaSetCreated
            sets 8+5 | updated 3 of 11, available 11 | ReplicaSetUpdated
            sets 3+5 | updated 5 of 13, available 13 | ReplicaSetUpdated
            sets 3+10 | updated 5 of 8, available 8 | ReplicaSetUpdated
            sets 0+10 | updated 10 of 13, available 13 | ReplicaSetUpdated
            sets 0+10 | updated 10 of 10, available 10 | NewReplicaSetAvailable
        "#]],
    );
}

#[test]
fn a_rolling_update_without_unavailable_pods_grows_first() {
    check_roll_out(
        &json!({ "strategy": { "rollingUpdate": { "maxUnavailable": 0 } } }),
        expect![[r#"
            sets 10+3 | updated 0 of 10, available 10 | NewReplicaSetCreated
            sets 7+3 | updated 3 of 13, available 13 | ReplicaSetUpdated
            sets 7+6 | updated 3 of 10, available 10 | ReplicaSetUpdated
            sets 4+6 | updated 6 of 13, available 13 | ReplicaSetUpdated
            sets 4+9 | updated 6 of 10, available 10 | ReplicaSetUpdated
            sets 1+9 | updated 9 of 13, available 13 | ReplicaSetUpdated
            sets 1+10 | updated 9 of 10, available 10 | ReplicaSetUpdated
            sets 0+10 | updated 10 of 11, available 11 | ReplicaSetUpdated
            sets 0+10 | updated 10 of 10, available 10 | NewReplicaSetAvailable
        "#]],
    );
}

#[test]
fn a_rolling_update_without_surge_shrinks_first() {
    check_roll_out(
        &json!({ "replicas": 4, "strategy": { "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } } }),
        expect![[r#"
            sets 3+0 | updated 0 of 4, available 4 | NewReplicaSetCreated
            sets 3+1 | updated 0 of 3, available 3 | ReplicaSetUpdated
            sets 2+1 | updated 1 of 4, available 4 | ReplicaSetUpdated
            sets 2+2 | updated 1 of 3, available 3 | ReplicaSetUpdated
            sets 1+2 | updated 2 of 4, available 4 | ReplicaSetUpdated
            sets 1+3 | updated 2 of 3, available 3 | ReplicaSetUpdated
            sets 0+3 | updated 3 of 4, available 4 | ReplicaSetUpdated
            sets 0+4 | updated 3 of 3, available 3 | ReplicaSetUpdated
            sets 0+4 | updated 4 of 4, available 4 | NewReplicaSetAvailable
        "#]],
    );
}

#[test]
fn a_recreation_stops_everything_before_it_starts_anything() {
    check_roll_out(
        &json!({ "strategy": { "type": "Recreate", "rollingUpdate": null } }),
        expect![[r#"
            sets 0 | updated 0 of 10, available 10 | NewReplicaSetAvailable
            sets 0+10 | updated 0 of 0, available 0 | ReplicaSetUpdated
            sets 0+10 | updated 10 of 10, available 10 | NewReplicaSetAvailable
        "#]],
    );
}

#[test]
fn a_recreation_waits_for_the_last_old_pod() {
    let mut world = World::new(
        &json!({ "replicas": 1, "strategy": { "type": "Recreate", "rollingUpdate": null } }),
    );
    world.settle();
    world.image("app:2");
    world.step();
    world.sync(0);
    let pod = json!({ "metadata": { "name": "old", "deletionTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [
        { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": world.sets[0].object.metadata.uid, "controller": true }
    ] } });
    let pods = [Arc::new(serde_json::from_value(pod).unwrap())];
    let creates = |pods: &[Arc<Pod>]| {
        let actions = reconcile(&Observed {
            deployment: &world.deployment,
            replica_sets: &[Arc::clone(&world.sets[0].object)],
            pods,
            now: world.now(),
        });
        actions
            .iter()
            .any(|action| matches!(action, Action::Create(_)))
    };
    assert!(!creates(&pods));
    assert!(creates(&[]));
}

#[test]
fn a_second_change_before_the_first_is_counted_sends_no_needed_pod_away() {
    let mut world = World::new(&json!({ "replicas": 4 }));
    world.settle();
    world.image("app:2");
    world.step();
    world.image("app:3");
    world.step();
    assert_eq!(world.safe(), 3, "one of four may be unavailable");
}

#[test]
fn going_back_to_an_earlier_template_takes_its_set_again() {
    let mut world = World::new(&json!({ "replicas": 2 }));
    world.settle();
    world.image("app:2");
    world.settle();
    world.image("app:1");
    world.settle();
    assert_eq!(world.sets.len(), 2);
    assert_eq!(world.annotation(0, REVISION).as_deref(), Some("3"));
    assert_eq!(world.annotation(0, REVISION_HISTORY).as_deref(), Some("1"));
    assert_eq!(
        world.deployment.metadata.annotations.as_ref().unwrap()[REVISION],
        "3"
    );
}

#[test]
fn the_history_keeps_as_many_sets_as_it_may() {
    let mut world = World::new(&json!({ "replicas": 1, "revisionHistoryLimit": 2 }));
    for image in ["app:1", "app:2", "app:3", "app:4", "app:5"] {
        world.image(image);
        world.settle();
    }
    let revisions: Vec<_> = (0..world.sets.len())
        .map(|set| world.annotation(set, REVISION).unwrap())
        .collect();
    assert_eq!(revisions, ["3", "4", "5"]);
}

#[test]
fn a_change_of_replicas_in_the_middle_of_a_roll_out_is_shared_out() {
    let mut world = World::new(&json!({}));
    world.settle();
    world.image("app:2");
    world.step();
    world.sync(0);
    world.sync(1);
    world.step();
    assert_eq!(world.wanted(), 8 + 5, "new pods do not get ready");
    world.change(|spec| spec.replicas = Some(20));
    world.step();
    let sizes: Vec<_> = world
        .sets
        .iter()
        .map(|set| set.object.spec.replicas.unwrap())
        .collect();
    assert_eq!(sizes, [15, 10]);
    assert_eq!(world.annotation(0, DESIRED_REPLICAS).as_deref(), Some("20"));
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(&json!({ "replicas": 2 }));
    world.settle();
    world.change(|spec| spec.paused = Some(true));
    world.image("app:2");
    world.change(|spec| spec.replicas = Some(3));
    expect![[r#"
        sets 3 | updated 0 of 2, available 2 | DeploymentPaused
        sets 3 | updated 0 of 3, available 3 | DeploymentPaused
    "#]]
    .assert_eq(&world.settle());
    world.change(|spec| spec.paused = Some(false));
    world.settle();
    assert_eq!(
        world.line(),
        "sets 0+3 | updated 3 of 3, available 3 | NewReplicaSetAvailable"
    );
}

#[test]
fn a_roll_out_without_progress_is_reported_after_the_deadline() {
    let mut world = World::new(&json!({ "replicas": 1, "progressDeadlineSeconds": 60 }));
    world.step();
    world.sync(0);
    world.step();
    assert_eq!(world.look_again.map(|delay| delay.as_secs()), Some(61));
    world.second += 100;
    world.step();
    assert!(
        world.line().ends_with("ProgressDeadlineExceeded"),
        "{}",
        world.line()
    );
    assert_eq!(world.look_again, None);
    world.start(0, 1);
    world.sync(0);
    world.step();
    assert!(
        world.line().ends_with("NewReplicaSetAvailable"),
        "{}",
        world.line()
    );
}

#[test]
fn a_set_that_cannot_make_its_pods_shows_in_the_deployment() {
    let mut world = World::new(&json!({ "replicas": 1 }));
    world.step();
    let mut object = ReplicaSet::clone(&world.sets[0].object);
    let status = json!({ "replicas": 0, "conditions": [{ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota" }] });
    object.status = Some(serde_json::from_value(status).unwrap());
    world.sets[0].object = Arc::new(object);
    world.step();
    let conditions = world.deployment.status.unwrap().conditions.unwrap();
    let failure = conditions
        .iter()
        .find(|condition| condition.type_.as_deref() == Some("ReplicaFailure"));
    assert_eq!(failure.unwrap().message.as_deref(), Some("quota"));
}

/// What may happen around the controller, in any order.
#[derive(Clone, Debug)]
enum Happening {
    Step,
    Sync(usize),
    Start(usize, i32),
    Image(u8),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let happening = prop_oneof![
        3 => Just(Happening::Step),
        3 => (0..4_usize).prop_map(Happening::Sync),
        3 => (0..4_usize, 1..4).prop_map(|(set, count)| Happening::Start(set, count)),
        1 => (1..4_u8).prop_map(Happening::Image),
    ];
    proptest::collection::vec(happening, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// However late counts come and whenever the template changes: no step raises the wanted pods above the surge, none
    /// sends away a pod that is needed, and in the end all pods are new.
    #[test]
    fn a_roll_out_keeps_its_bounds_and_ends(
        replicas in 1..12_i32, surge in 0..4_i32, unavailable in 0..4_i32, happenings in happenings()
    ) {
        let mut world = World::new(&json!({
            "replicas": replicas,
            "strategy": { "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } },
        }));
        let bounds = bounds::Bounds::of(&world.deployment);
        world.settle();
        for happening in happenings {
            match happening {
                Happening::Image(number) => world.image(&format!("app:{number}")),
                Happening::Sync(set) => if set < world.sets.len() { world.sync(set) },
                Happening::Start(set, count) => if set < world.sets.len() { world.start(set, count) },
                Happening::Step => {
                    let (wanted, safe) = (world.wanted(), world.safe());
                    world.step();
                    let most = (replicas + bounds.surge_max).max(wanted);
                    prop_assert!(world.wanted() <= most, "{} wanted of {most}", world.wanted());
                    let least = (replicas - bounds.unavailable_max).min(safe);
                    prop_assert!(world.safe() >= least, "{} safe of {least}", world.safe());
                }
            }
        }
        world.settle();
        let end = format!("updated {replicas} of {replicas}, available {replicas} | NewReplicaSetAvailable");
        prop_assert!(world.line().ends_with(&end), "{}", world.line());
        prop_assert!(!world.step(), "the end is the end");
    }

    /// Any change of size, at any moment of a roll-out, ends with that many new pods.
    #[test]
    fn scaling_in_a_roll_out_ends(sizes in proptest::collection::vec((0..15_i32, 0..4_u8), 1..6)) {
        let mut world = World::new(&json!({}));
        world.settle();
        for (replicas, syncs) in &sizes {
            world.image(&format!("app:{syncs}"));
            world.step();
            world.change(|spec| spec.replicas = Some(*replicas));
            for set in 0..usize::from(*syncs).min(world.sets.len()) {
                world.step();
                world.sync(set);
                world.start(set, 2);
            }
        }
        world.settle();
        let replicas = sizes.last().expect("one at least").0;
        let end = format!("updated {replicas} of {replicas}, available {replicas} | NewReplicaSetAvailable");
        prop_assert!(world.line().ends_with(&end), "{}", world.line());
    }
}
