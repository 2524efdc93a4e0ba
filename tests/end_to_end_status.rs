//! What a tier tells of Ingresses: who writes it, when it is taken back, what losers of a conflict are told, and what two tiers do that
//! both believe an Ingress is theirs.
//!
//! All tests share one cluster with the story; each works in namespaces of its own.

use std::net::IpAddr;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tiergate_tests::client::{Request, fetch};
use tiergate_tests::cluster::{Cluster, InTest, binary};
use tiergate_tests::objects::{application, ingress, namespace_tier};
use tiergate_tests::told::{Hung, address_of, reasons_of};
use tiergate_tests::{numbers, wait};

/// What the tiers of these tests publish.
const ADDRESS: &str = "192.0.2.7";

/// The name that a namespace tier of the class `tiergate` has by itself.
const ELECTION: &str = "tiergate-namespace-tiergate";

const CLASS: Option<&str> = Some("tiergate");

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("status", &[]))
        .in_test()
}

/// A namespace with an application `web` and a tier of so many replicas that publishes [`ADDRESS`].
fn tenant(cluster: &Cluster, namespace: &str, replicas: u32) {
    let kubectl = cluster.kubectl();
    kubectl.create_namespace(namespace);
    kubectl.apply(namespace, &application("web", 1));
    let flags = [
        "--ingress-class=tiergate",
        &format!("--publish-address={ADDRESS}"),
    ];
    let tier = namespace_tier("ingress", namespace, replicas, &flags);
    kubectl.apply(namespace, &tier);
    kubectl.rolled_out(namespace, "web");
    kubectl.rolled_out(namespace, "ingress");
}

fn scale(cluster: &Cluster, namespace: &str, replicas: u32) {
    let kubectl = cluster.kubectl();
    kubectl.ok(&format!(
        "--namespace {namespace} scale deployment ingress --replicas {replicas}"
    ));
    if replicas > 0 {
        kubectl.rolled_out(namespace, "ingress");
    }
    wait::until("the pods of the tier", wait::CHANGE_SECONDS, || {
        let pods = kubectl.ok(&format!(
            "--namespace {namespace} get pods --selector=app=ingress -o name"
        ));
        let count = pods.lines().count();
        wait::seen(Ok(count) == usize::try_from(replicas), pods)
    });
}

fn written(cluster: &Cluster, replica: IpAddr) -> f64 {
    let counter = "tiergate_status_writes_total";
    let written = cluster.metric(replica, counter, "result=\"written\"");
    written.expect("a replica that is ready counts its writes")
}

#[test]
fn one_replica_writes_another_takes_over_and_a_restart_takes_nothing_back() {
    const NAMESPACE: &str = "leading";
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    tenant(&cluster, NAMESPACE, 2);
    let route = |name: &str| {
        let host = format!("{name}.leading.example.test");
        kubectl.apply(NAMESPACE, &ingress(name, CLASS, &host, "web"));
        cluster.until_told((NAMESPACE, name), Some(ADDRESS), &[])
    };
    route("one");
    let leader = cluster.until_one_leads(NAMESPACE, "app=ingress");
    for (name, ip) in cluster.replicas(NAMESPACE, "app=ingress") {
        assert_eq!(written(&cluster, ip) > 0.0, name == leader, "{name}");
    }

    // It lets go of nothing, and when it goes on it must see that it lost everything.
    let hung = Hung::stop(&leader);
    let stopwatch = wait::Stopwatch::start();
    route("two");
    numbers::show(&format!(
        "status: a new route has its address {:.0} s after the replica that wrote hangs",
        stopwatch.elapsed().as_secs_f64()
    ));
    let second = cluster.until_one_leads(NAMESPACE, "app=ingress");
    assert_ne!(second, leader);
    drop(hung);
    kubectl.rolled_out(NAMESPACE, "ingress");
    assert_eq!(cluster.until_one_leads(NAMESPACE, "app=ingress"), second);
    route("after-it-hung");
    let delete = format!("--namespace {NAMESPACE} delete pod {second} --grace-period=0 --force");
    kubectl.ok(&delete);
    route("after-a-deletion");
    assert_ne!(cluster.until_one_leads(NAMESPACE, "app=ingress"), second);

    let versions = || {
        ["one", "two"].map(|name| {
            let object = cluster.ingress(NAMESPACE, name);
            assert_eq!(address_of(&object), Some(ADDRESS), "{name}");
            object["metadata"]["resourceVersion"].to_string()
        })
    };
    let before = versions();
    kubectl.ok(&format!(
        "--namespace {NAMESPACE} rollout restart deployment ingress"
    ));
    scale(&cluster, NAMESPACE, 2);
    cluster.until_one_leads(NAMESPACE, "app=ingress");
    assert_eq!(versions(), before, "after a restart");
    scale(&cluster, NAMESPACE, 0);
    assert_eq!(versions(), before, "without replicas");
    scale(&cluster, NAMESPACE, 2);
    cluster.until_one_leads(NAMESPACE, "app=ingress");
    // Who has written this has looked at all of them.
    route("three");
    assert_eq!(versions(), before, "with new replicas");
    kubectl.ok(&format!("delete namespace {NAMESPACE} --wait=false"));
}

#[test]
fn what_was_told_goes_with_the_class_and_by_status_clear_and_what_others_wrote_stays() {
    const NAMESPACE: &str = "cleared";
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    tenant(&cluster, NAMESPACE, 1);
    let web = ingress("web", CLASS, "web.cleared.example.test", "web");
    let missing = ingress("web", CLASS, "missing.cleared.example.test", "missing");
    let rule = missing.split_once("  rules:\n").expect("it has rules").1;
    kubectl.apply(NAMESPACE, &format!("{web}{rule}"));
    let wrong = ["ServiceNotFound"];
    cluster.until_told((NAMESPACE, "web"), Some(ADDRESS), &wrong);
    let to_class = |name: &str, class: &str| {
        let patch = format!(r#"{{"spec":{{"ingressClassName":"{class}"}}}}"#);
        kubectl.ok(&format!(
            "--namespace {NAMESPACE} patch ingress {name} --type=merge --patch={patch}"
        ));
    };
    to_class("web", "others");
    cluster.until_told((NAMESPACE, "web"), None, &[]);
    to_class("web", "tiergate");
    cluster.until_told((NAMESPACE, "web"), Some(ADDRESS), &wrong);

    // The same address, by somebody else, for an Ingress that is not ours.
    let foreign = ingress("foreign", Some("others"), "foreign.example.test", "web");
    kubectl.apply(NAMESPACE, &foreign);
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}});
    kubectl.ok(&format!(
        "--namespace {NAMESPACE} patch ingress foreign --subresource=status --type=merge --patch={status}"
    ));
    // Who has written this has looked at the other.
    let after = ingress("after", CLASS, "after.cleared.example.test", "web");
    kubectl.apply(NAMESPACE, &after);
    cluster.until_told((NAMESPACE, "after"), Some(ADDRESS), &[]);
    cluster.until_told((NAMESPACE, "foreign"), Some(ADDRESS), &[]);

    scale(&cluster, NAMESPACE, 0);
    kubectl.apply(NAMESPACE, &lease("of-a-dead-replica", ELECTION));
    kubectl.apply(NAMESPACE, &lease("of-another-tier", "another"));
    let clear = || {
        let output = Command::new(binary("tiergate-namespace"))
            .args(["status", "clear", "--ingress-class=tiergate"])
            .arg(format!("--watch-namespace={NAMESPACE}"))
            .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
            .output()
            .expect("it can be started");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{problem}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(
        clear(),
        format!("{ELECTION}: 2 Ingresses cleared, 2 Leases deleted.\n")
    );
    for (name, address) in [("web", None), ("after", None), ("foreign", Some(ADDRESS))] {
        let object = cluster.ingress(NAMESPACE, name);
        assert_eq!(address_of(&object), address, "{name}");
        assert!(reasons_of(&object).is_empty(), "{name}");
    }
    assert_eq!(
        kubectl.ok(&format!("--namespace {NAMESPACE} get leases -o name")),
        "lease.coordination.k8s.io/of-another-tier\n"
    );
    assert_eq!(
        clear(),
        format!("{ELECTION}: 0 Ingresses cleared, 0 Leases deleted.\n")
    );
    kubectl.ok(&format!("delete namespace {NAMESPACE} --wait=false"));
}

/// A Lease with the label of a tier.
fn lease(name: &str, election: &str) -> String {
    let metadata = json!({"name": name, "labels": {"tiergate.dev/election": election}});
    let lease =
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata});
    format!("{lease}\n")
}

#[test]
fn the_loser_of_a_conflict_is_told_and_not_by_whom() {
    const HOST: &str = "contested.example.test";
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    let vip = cluster.vip().to_string();
    for namespace in ["conflict-a", "conflict-b"] {
        kubectl.create_namespace(namespace);
        kubectl.apply(namespace, &application("web", 1));
        kubectl.rolled_out(namespace, "web");
    }
    let class = Some("tiergate-cluster");
    kubectl.apply("conflict-a", &ingress("confidential", class, HOST, "web"));
    cluster.until_told(("conflict-a", "confidential"), Some(&vip), &[]);
    kubectl.apply("conflict-b", &ingress("late", class, HOST, "web"));
    let late = ("conflict-b", "late");
    let object = cluster.until_told(late, None, &["PathConflict"]);
    let described = wait::until("an Event", wait::CHANGE_SECONDS, || {
        let described = kubectl.ok("--namespace conflict-b describe ingress late");
        let is_told = described.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.starts_with(&["Warning", "PathConflict"])
        });
        wait::seen(is_told, described.clone()).map(|()| described)
    });
    for text in [object.to_string(), described] {
        for name in ["conflict-a", "confidential"] {
            assert!(!text.contains(name), "{name} in {text}");
        }
    }
    let served_by = |namespace: &str| {
        wait::until("the winner answers", wait::CHANGE_SECONDS, || {
            let response = cluster.get(HOST, "/");
            let is_its = response.status == 200 && response.echo("namespace") == namespace;
            wait::seen(is_its, response.text())
        });
    };
    served_by("conflict-a");
    kubectl.ok("--namespace conflict-a delete ingress confidential");
    cluster.until_told(late, Some(&vip), &[]);
    served_by("conflict-b");
    kubectl.ok("delete namespace conflict-a conflict-b --wait=false");
}

#[test]
fn every_replica_has_the_same_winner_also_after_a_restart() {
    const NAMESPACE: &str = "same-winner";
    const HOST: &str = "same.example.test";
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    tenant(&cluster, NAMESPACE, 2);
    kubectl.apply(NAMESPACE, &application("other", 1));
    kubectl.rolled_out(NAMESPACE, "other");
    // The names are against the ages.
    kubectl.apply(NAMESPACE, &ingress("zebra", CLASS, HOST, "web"));
    let first = cluster.until_told((NAMESPACE, "zebra"), Some(ADDRESS), &[]);
    let created = |object: &Value| object["metadata"]["creationTimestamp"].to_string();
    // Times of creation are whole seconds.
    let probe = ingress("probe", Some("others"), "probe.example.test", "web");
    wait::until("the next second", wait::CHANGE_SECONDS, || {
        kubectl.apply(NAMESPACE, &probe);
        let now = created(&cluster.ingress(NAMESPACE, "probe"));
        kubectl.ok(&format!("--namespace {NAMESPACE} delete ingress probe"));
        wait::seen(now > created(&first), now)
    });
    kubectl.apply(NAMESPACE, &ingress("ant", CLASS, HOST, "other"));
    let judge = || {
        cluster.until_told((NAMESPACE, "ant"), None, &["PathConflict"]);
        cluster.until_told((NAMESPACE, "zebra"), Some(ADDRESS), &[]);
        let replicas = cluster.replicas(NAMESPACE, "app=ingress");
        assert_eq!(replicas.len(), 2, "{replicas:?}");
        for (name, ip) in replicas {
            let answer = fetch((ip, 8080).into(), &Request::get(HOST, "/"));
            let answer = answer.expect("a ready replica answers");
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            let pod = answer.echo("pod");
            assert!(pod.starts_with("web-"), "{name}: {pod}");
        }
    };
    judge();
    scale(&cluster, NAMESPACE, 0);
    scale(&cluster, NAMESPACE, 2);
    cluster.until_one_leads(NAMESPACE, "app=ingress");
    judge();
    kubectl.ok(&format!("delete namespace {NAMESPACE} --wait=false"));
}

#[test]
fn two_tiers_that_claim_an_ingress_write_it_at_a_bounded_rate() {
    const NAMESPACE: &str = "quarrel";
    /// Of each tier, for an Ingress: so many in so long.
    const WRITES: usize = 5;
    const WINDOW_MS: i64 = 10_000;
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    kubectl.create_namespace(NAMESPACE);
    kubectl.apply(NAMESPACE, &application("web", 1));
    for (name, address) in [("left", "192.0.2.8"), ("right", "192.0.2.9")] {
        let flags = [
            "--ingress-class=tiergate",
            &format!("--election-id={name}"),
            &format!("--publish-address={address}"),
        ];
        kubectl.apply(NAMESPACE, &namespace_tier(name, NAMESPACE, 1, &flags));
    }
    for name in ["web", "left", "right"] {
        kubectl.rolled_out(NAMESPACE, name);
    }
    let host = "quarrel.example.test";
    kubectl.apply(NAMESPACE, &ingress("web", CLASS, host, "web"));
    let writes = || {
        let mut requests = cluster.requests();
        requests.retain(|request| {
            let is_status = request.verb == "patch" && request.resource == "ingresses/status";
            is_status && request.namespace == NAMESPACE
        });
        requests
    };
    wait::until("both write", wait::CHANGE_SECONDS, || {
        let users = writes().into_iter().map(|request| request.user);
        let users: std::collections::BTreeSet<String> = users.collect();
        wait::seen(users.len() == 2, format!("{users:?}"))
    });
    let window = cluster.leave_alone(2 * WINDOW_MS);
    let writes = writes();
    let count = writes
        .iter()
        .filter(|request| window.contains(&request.received_ms))
        .count();
    numbers::show(&format!(
        "status: {count} writes in {} s by two tiers that claim the same Ingress",
        2 * WINDOW_MS / 1000
    ));
    // A window of theirs may begin before ours and end after it.
    assert!(count <= 2 * 3 * WRITES, "{count}");
    kubectl.ok(&format!("delete namespace {NAMESPACE} --wait=false"));
}
