//! An API server that goes away, refuses, lies about itself or has much to tell, and what the tiers do about it.
//!
//! One cluster, one test at a time: what one takes away, the others need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::{Value, json};
use tiergate_tests::api_server::as_version;
use tiergate_tests::client::{Request, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::lone_tier::LoneTier;
use tiergate_tests::objects::{application, ingress, namespace_tier};
use tiergate_tests::wait::Stopwatch;
use tiergate_tests::{kubectl, load, numbers, tls, wait, world};

/// Ingresses of the big namespace.
const INGRESSES: usize = 1000;

/// Starts that are measured.
const STARTS: usize = 3;

/// The best of them, at most.
const START_MS_MAX: u128 = 1000;

/// From the first answer of an API server that came back to the last watch that began again, at most.
const WATCHES_BACK_MS_MAX: i64 = 5000;

/// How long it is away, in pauses of the harness: five seconds.
const PAUSES_AWAY: usize = 100;

const HOST: &str = "keystone.openstack.svc.cluster.local";

fn cluster() -> (InTest<'static>, MutexGuard<'static, ()>) {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = CLUSTER.get_or_init(|| {
        let cluster = Cluster::start("api-server", &[]);
        cluster.kubectl().create_namespace("many");
        cluster
            .kubectl()
            .apply("many", &namespace_tier("ingress", "many", 0, &[]));
        cluster
    });
    (cluster.in_test(), alone)
}

/// A GET straight at a tier.
fn status(at: SocketAddr, host: &str) -> Result<(), String> {
    let answer = fetch(at, &Request::get(host, "/")).map_err(|error| error.to_string())?;
    wait::seen(answer.status == 200, answer.status.to_string())
}

/// The kubeconfig of the account of the tier of `many`, changed.
fn kubeconfig(cluster: &Cluster, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let path = cluster.kubeconfig_of("many", "ingress");
    let text = fs::read_to_string(path).expect("it was written");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    change(&mut config);
    let path = cluster.folder().join(format!("{name}.kubeconfig"));
    fs::write(&path, config.to_string()).expect("target can be written");
    path
}

fn lone_tier(cluster: &Cluster, name: &str, kubeconfig: &Path) -> LoneTier {
    LoneTier::start(name, cluster.folder(), kubeconfig, "many")
}

#[test]
fn a_tier_with_a_thousand_ingresses_starts_in_a_second() {
    let (cluster, _alone) = cluster();
    let kubectl = cluster.kubectl();
    kubectl.create_namespace("crowd");
    kubectl.apply("crowd", &namespace_tier("ingress", "crowd", 0, &[]));
    kubectl.apply("crowd", &application("app", 1));
    kubectl.rolled_out("crowd", "app");
    let host = |number: usize| format!("host-{number}.crowd.svc.cluster.local");
    let mut yaml = String::new();
    for number in 0..INGRESSES {
        let name = format!("host-{number}");
        yaml += &ingress(&name, Some("tiergate"), &host(number), "app");
        yaml += "---";
    }
    let said = kubectl.run_with("--namespace crowd create --filename -", &yaml);
    assert!(said.is_good, "{}", said.err);
    let kubeconfig = cluster.kubeconfig_of("crowd", "ingress");
    let mut times_ms = Vec::new();
    for start in 0..STARTS {
        let name = format!("crowd-{start}");
        let watch = Stopwatch::start();
        let tier = LoneTier::start(&name, cluster.folder(), &kubeconfig, "crowd");
        let mut looks = 0;
        while let Err(problem) = tier.ready() {
            looks += 1;
            assert!(
                looks < 3000 && tier.is_running(),
                "{problem}: {}",
                tier.log()
            );
            wait::breathe();
        }
        times_ms.push(watch.elapsed().as_millis());
        for number in [0, INGRESSES / 2, INGRESSES - 1] {
            status(tier.http, &host(number)).expect("ready means that every host is served");
        }
    }
    let best = times_ms.iter().min().expect("some were measured");
    let world = if world::is_real() { "real" } else { "local" };
    numbers::show(&format!(
        "start of a namespace tier to ready with {INGRESSES} Ingresses, {world} API server: {times_ms:?} ms (limit {START_MS_MAX} ms for the best)"
    ));
    kubectl.ok("delete namespace crowd --wait=false");
    assert!(*best <= START_MS_MAX, "{times_ms:?}");
}

/// Watches by pod and kind, with the time of the first one.
fn watches(requests: &[world::Request]) -> BTreeMap<(String, String), i64> {
    let mut first = BTreeMap::new();
    for one in requests {
        if one.verb == "watch" && one.is_begin && is_of_tier(one) {
            let key = (one.pod.clone(), one.resource.clone());
            first.entry(key).or_insert(one.received_ms);
        }
    }
    first
}

fn is_of_tier(request: &world::Request) -> bool {
    [
        "system:serviceaccount:kube-system:tiergate-cluster",
        "system:serviceaccount:openstack:ingress",
        "system:serviceaccount:ceph:ingress",
    ]
    .contains(&request.user.as_str())
}

#[test]
fn an_api_server_that_comes_back_is_watched_again_at_once_and_nobody_notices() {
    const TEST: &str = "an_api_server_that_comes_back_is_watched_again_at_once_and_nobody_notices";
    let (cluster, _alone) = cluster();
    if !world::is_real() {
        return kubectl::skip(
            TEST,
            "the API server of the local cluster is no process of its own",
        );
    }
    cluster.until_status(HOST, "/", 200);
    let (load, (before, after)) = load::during(&cluster.target(HOST), || {
        let away = cluster.take_api_server_away();
        let before = cluster.requests();
        for _ in 0..PAUSES_AWAY {
            wait::pause();
        }
        drop(away);
        let pods: BTreeSet<_> = present_pods(&before);
        let after = wait::until("every watch is back", wait::CHANGE_SECONDS, || {
            let after = cluster.requests().split_off(before.len());
            let back = watches(&after);
            let missing: Vec<_> = pods.iter().filter(|one| !back.contains_key(*one)).collect();
            wait::seen(missing.is_empty(), format!("{missing:?}")).map(|()| after)
        });
        (before, after)
    });
    load.assert_nothing_failed();
    let answers = after.iter().filter(|one| (200..300).contains(&one.code));
    let first_ms = answers.map(|one| one.received_ms).min();
    let first_ms = first_ms.expect("it answers");
    let last_ms = watches(&after).values().max().copied();
    let back_ms = last_ms.expect("all are back") - first_ms;
    let mut lists: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for one in after
        .iter()
        .filter(|one| one.verb == "list" && is_of_tier(one))
    {
        *lists.entry((&one.pod, &one.resource)).or_default() += 1;
    }
    let asked = after.iter().filter(|one| is_of_tier(one)).count();
    let refused = after
        .iter()
        .filter(|one| is_of_tier(one) && one.code >= 400);
    numbers::show(&format!(
        "API server killed and restarted under load: {} requests, {} failed; {} watches back {back_ms} ms after its first answer (limit {WATCHES_BACK_MS_MAX} ms); tiers asked {asked} times, {} refused, {} lists",
        load.kept + load.fresh,
        load.failed,
        present_pods(&before).len(),
        refused.count(),
        lists.values().sum::<u64>(),
    ));
    assert!(back_ms <= WATCHES_BACK_MS_MAX, "{back_ms} ms");
    // What a pod knows it watches on from there: at most one list for each kind, where its version is gone.
    assert!(lists.values().all(|count| *count <= 1), "{lists:?}");
    // And the news come again.
    let kubectl = cluster.kubectl();
    let host = "returned.openstack.svc.cluster.local";
    kubectl.apply(
        "openstack",
        &ingress("returned", Some("tiergate"), host, "keystone-api"),
    );
    cluster.until_status(host, "/v3", 200);
}

/// Pods and kinds that were watched in the minute before the end of a log.
fn present_pods(before: &[world::Request]) -> BTreeSet<(String, String)> {
    const WINDOW_MS: i64 = 35_000;
    let end = before.iter().map(|one| one.received_ms).max();
    let begin = end.unwrap_or_default() - WINDOW_MS;
    let recent: Vec<_> = before
        .iter()
        .filter(|one| one.received_ms >= begin)
        .cloned()
        .collect();
    watches(&recent).into_keys().collect()
}

#[test]
fn a_tier_without_rights_says_what_grants_them_and_serves_what_it_knows() {
    const TEST: &str = "a_tier_without_rights_says_what_grants_them_and_serves_what_it_knows";
    let (cluster, _alone) = cluster();
    if !world::is_real() {
        return kubectl::skip(TEST, "the local cluster does not enforce RBAC");
    }
    let kubectl = cluster.kubectl();
    cluster.until_status(HOST, "/", 200);
    let logs = || cluster.container_logs("tiergate-namespace");
    let (load, commands) = load::during(&cluster.target(HOST), || {
        kubectl.ok("--namespace openstack delete rolebinding ingress");
        let commands = wait::until("all four kinds are named", wait::CHANGE_SECONDS, || {
            let commands = commands_in(&logs());
            wait::seen(commands.len() == 4, format!("{commands:?}")).map(|()| commands)
        });
        // A pod that starts without rights waits, and says why.
        kubectl.ok("--namespace openstack rollout restart deployment ingress");
        wait::until("a new pod waits", wait::CHANGE_SECONDS, || {
            let pods = kubectl
                .json("--namespace openstack get pods --selector=app.kubernetes.io/name=ingress");
            let pods = pods["items"].as_array().map_or(0, Vec::len);
            wait::seen(pods == 3, format!("{pods} pods"))
        });
        commands
    });
    load.assert_nothing_failed();
    for command in &commands {
        for part in command.split(" && ") {
            kubectl.ok(part.strip_prefix("kubectl ").expect("it is kubectl's"));
        }
    }
    kubectl.rolled_out("openstack", "ingress");
    let host = "granted.openstack.svc.cluster.local";
    kubectl.apply(
        "openstack",
        &ingress("granted", Some("tiergate"), host, "keystone-api"),
    );
    cluster.until_status(host, "/v3", 200);
    let pods =
        kubectl.json("--namespace openstack get pods --selector=app.kubernetes.io/name=ingress");
    for pod in pods["items"].as_array().expect("a list") {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        assert_eq!(*restarts, 0, "no crash loop: {pod}");
    }
}

/// The commands that grant what the tiers of openstack lack, as their logs name them.
fn commands_in(logs: &str) -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for line in logs
        .lines()
        .filter(|line| line.contains("ServiceAccount openstack/ingress may not"))
    {
        let command = line.split("grant it with: ").nth(1).unwrap_or_default();
        let end = command.find(['"', '(', '\\']).unwrap_or(command.len());
        commands.insert(command[..end].trim().to_owned());
    }
    commands
}

#[test]
fn a_wrong_certificate_is_named_and_the_tier_waits() {
    let (cluster, _alone) = cluster();
    let other = tls::self_signed(&["kubernetes.default.svc"]);
    let file = cluster.folder().join("other-authority.pem");
    fs::write(&file, other.certificate).expect("target can be written");
    let config = kubeconfig(&cluster, "wrong-certificate", |config| {
        config["clusters"][0]["cluster"] = json!({
            "server": config["clusters"][0]["cluster"]["server"],
            "certificate-authority": file,
        });
    });
    let tier = lone_tier(&cluster, "wrong-certificate", &config);
    let said = tier.until_said(&["\"level\":\"warn\"", "certificate"]);
    eprintln!("{said}");
    assert!(tier.ready().is_err(), "it knows nothing");
    assert!(tier.is_running(), "{}", tier.log());
}

#[test]
fn a_token_that_is_no_more_accepted_is_read_again_from_its_file() {
    const TEST: &str = "a_token_that_is_no_more_accepted_is_read_again_from_its_file";
    let (cluster, _alone) = cluster();
    if !world::is_real() {
        return kubectl::skip(TEST, "the local cluster takes every token");
    }
    let kubectl = cluster.kubectl();
    kubectl.apply("many", &application("renewed", 1));
    kubectl.rolled_out("many", "renewed");
    let file = cluster.folder().join("renewed.token");
    let token = || kubectl.ok("--namespace many create token ingress");
    fs::write(&file, token()).expect("target can be written");
    let config = kubeconfig(&cluster, "renewed", |config| {
        config["users"][0]["user"] = json!({"tokenFile": file});
    });
    let tier = lone_tier(&cluster, "renewed", &config);
    wait::until("it is ready", wait::CHANGE_SECONDS, || tier.ready());
    let add = |name: &str| {
        let host = format!("{name}.many.svc.cluster.local");
        kubectl.apply("many", &ingress(name, Some("tiergate"), &host, "renewed"));
        host
    };
    let known = add("known");
    wait::until("known", wait::CHANGE_SECONDS, || status(tier.http, &known));
    fs::write(&file, "no.such.token").expect("target can be written");
    let said = tier.until_said(&["unauthorized"]);
    eprintln!("{said}");
    status(tier.http, &known).expect("what it knows it serves");
    fs::write(&file, token()).expect("target can be written");
    let new = add("new");
    wait::until("new", wait::CHANGE_SECONDS, || status(tier.http, &new));
    assert!(tier.is_running(), "{}", tier.log());
}

#[test]
fn an_api_server_of_another_version_is_named_and_used() {
    let (cluster, _alone) = cluster();
    let proxy = cluster.plain_api_server(&kubeconfig(&cluster, "version", |_| ()));
    for (minor, word) in [(19, "too old"), (25, "older"), (99, "newer")] {
        as_version(proxy.address, minor, |address| {
            let name = format!("version-{minor}");
            let config = kubeconfig(&cluster, &name, |config| {
                config["clusters"][0]["cluster"] = json!({"server": format!("http://{address}")});
            });
            let tier = lone_tier(&cluster, &name, &config);
            let said = tier.until_said(&["version_unsupported", word]);
            eprintln!("{said}");
            wait::until("it is ready", wait::CHANGE_SECONDS, || tier.ready());
        });
    }
}
