//! The proof of least privilege: a full run of both releases by installers with exactly the rights of `deploy/rbac`, judged by the
//! audit log of the real API server. Its report is `docs/least-privilege.md`.
//!
//! With helm 3 and with helm 4: install, traffic, changes, certificates, upgrade, `helm test`, rollback, uninstall. And once more an
//! install with helm 4 as it works with an API server that cannot stream lists.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::OnceLock;

use regex::Regex;
use tiergate_tests::audit::{self, Account, ByPod, OfPod, Task};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::helm::{self, CLUSTER_NAMESPACE, CLUSTER_RELEASE, Helm, RELEASE};
use tiergate_tests::installers::Installer;
use tiergate_tests::objects::{application, ingress, tls_secret};
use tiergate_tests::rights::Right;
use tiergate_tests::service::until_answered;
use tiergate_tests::world::{self, Request};
use tiergate_tests::{kubectl, numbers, repository, tls, wait};

/// Of `rbac.secretNamespaces`.
const CERTIFICATES: &str = "certificates";

const LOCAL: &str = "the local cluster does not enforce RBAC";
/// Where the report is kept.
const REPORT: &str = "docs/least-privilege.md";
/// How long the tiers are watched at rest.
const REST_MS: i64 = 60_000;

/// Everything that the chart can make for both modes without kinds of others, so that every right is used.
const EVERYTHING: &str = "
config: {log_level: info}
autoscaling: {enabled: true}
networkPolicy: {enabled: true}
dashboards: {enabled: true}
metrics: {service: {enabled: true}}
service: {internal: {enabled: true}}
";

/// What changes every object of a release.
const CHANGED: &str = "--set commonLabels.revised=yes --set config.log_level=debug";

/// A second release beside the first, as a DaemonSet. Two tiers of one class would not agree on its addresses.
const DAEMON_SET: &str = "--set ingressClass.namespace.name=second-of-tenant --set deployment.kind=DaemonSet --set autoscaling.enabled=false --set podDisruptionBudget.enabled=false \
    --set delegation.enabled=false --set service.type=ClusterIP";

/// Further values of a second cluster release: its own class, and what the first one made.
const SECOND_OF_CLUSTER: &str = "--set deployment.mode=cluster --set ingressClass.cluster.name=second \
    --set ingressClass.cluster.create=false --set ingressClass.namespace.create=false --set rbac.namespaceRole.create=false";

/// What came of the run.
struct Run {
    cluster: Cluster,
    accounts: Vec<Account>,
    requests: Vec<Request>,
    /// When the tiers were left alone, by the clock of the API server.
    rest_ms: std::ops::Range<i64>,
}

/// The one who installs, by release.
struct Installers {
    cluster: Installer,
    openstack: Installer,
    ceph: Installer,
}

fn run() -> Option<(&'static Run, InTest<'static>)> {
    if !world::is_real() {
        return None;
    }
    // Tried once: a run that fails does so in the test that came first.
    static RUN: OnceLock<Option<Run>> = OnceLock::new();
    let run = RUN.get_or_init(|| catch_unwind(full_run).ok()).as_ref();
    let run = run.expect("the run came to its end; another test says why not");
    Some((run, run.cluster.in_test()))
}

fn full_run() -> Run {
    let cluster = Cluster::bare("audit", &[]);
    let kubectl = cluster.kubectl();
    for namespace in [CERTIFICATES, "openstack", "ceph"] {
        kubectl.create_namespace(namespace);
    }
    let installers = Installers {
        cluster: cluster.cluster_installer(CERTIFICATES),
        openstack: cluster.namespace_installer("openstack"),
        ceph: cluster.holder_of("admin", "ceph"),
    };
    let certificate = certificates(&cluster);
    applications(&cluster);
    let mut accounts = Vec::new();
    let (mut rest_ms, mut removals_ms) = (0..0, Vec::new());
    for (major, is_streaming) in [("3", true), ("4", true), ("4", false)] {
        let [of_cluster, of_openstack, of_ceph] =
            [&installers.cluster, &installers.openstack, &installers.ceph].map(|installer| {
                let helm = Helm::new(major, &installer.kubeconfig);
                if is_streaming {
                    helm
                } else {
                    helm.without_streamed_lists()
                }
            });
        install(&cluster, &of_cluster, &of_openstack, &of_ceph);
        serve(&cluster, &certificate);
        if accounts.is_empty() {
            accounts = all_accounts(&cluster, &installers);
            rest_ms = cluster.leave_alone(REST_MS);
        }
        if is_streaming {
            upgrade(&cluster, &of_cluster, &of_openstack, &of_ceph);
            serve(&cluster, &certificate);
        }
        let removed_at_ms = cluster.last_request_ms();
        for (helm, release, namespace) in [
            (&of_ceph, RELEASE, "ceph"),
            (&of_openstack, RELEASE, "openstack"),
            (&of_openstack, "second", "openstack"),
            (&of_cluster, "second", CLUSTER_NAMESPACE),
            (&of_cluster, CLUSTER_RELEASE, CLUSTER_NAMESPACE),
        ] {
            helm.uninstall(release, namespace);
        }
        removals_ms.push(removed_at_ms..cluster.until_no_pods("app.kubernetes.io/name=tiergate"));
    }
    // Pods that drain after their binding is gone may be refused.
    let mut requests = cluster.requests();
    let removed = |ms| removals_ms.iter().any(|window| window.contains(&ms));
    requests.retain(|one| one.pod.is_empty() || !removed(one.received_ms));
    Run {
        cluster,
        accounts,
        requests,
        rest_ms,
    }
}

/// Values of the cluster release.
fn cluster_values(cluster: &Cluster) -> String {
    let rest = format!(
        "deployment: {{mode: cluster}}\nrbac: {{secretNamespaces: [{CERTIFICATES}]}}\ndefaultSslCertificate: default-certificate\n"
    );
    namespace_values(cluster) + &rest
}

fn namespace_values(cluster: &Cluster) -> String {
    helm::tenant_values(cluster) + EVERYTHING
}

fn install(cluster: &Cluster, of_cluster: &Helm, of_openstack: &Helm, of_ceph: &Helm) {
    let (front, tenant) = (cluster_values(cluster), namespace_values(cluster));
    of_cluster.install(CLUSTER_RELEASE, CLUSTER_NAMESPACE, "", &front);
    let second = format!("{DAEMON_SET} {SECOND_OF_CLUSTER}");
    of_cluster.install("second", CLUSTER_NAMESPACE, &second, &tenant);
    of_openstack.install(RELEASE, "openstack", "", &tenant);
    of_openstack.install("second", "openstack", DAEMON_SET, &tenant);
    of_ceph.install(RELEASE, "ceph", "", &tenant);
}

fn upgrade(cluster: &Cluster, of_cluster: &Helm, of_openstack: &Helm, of_ceph: &Helm) {
    let second = format!("{DAEMON_SET} {CHANGED}");
    let second_of_cluster = format!("{second} {SECOND_OF_CLUSTER}");
    let tenant = namespace_values(cluster);
    of_cluster.upgrade("second", CLUSTER_NAMESPACE, &second_of_cluster, &tenant);
    of_openstack.upgrade("second", "openstack", &second, &tenant);
    for (helm, release, namespace, values) in [
        (
            of_cluster,
            CLUSTER_RELEASE,
            CLUSTER_NAMESPACE,
            cluster_values(cluster),
        ),
        (of_openstack, RELEASE, "openstack", tenant.clone()),
        (of_ceph, RELEASE, "ceph", tenant.clone()),
    ] {
        helm.upgrade(release, namespace, CHANGED, &values);
        helm.ok(
            &format!("test {release} --namespace {namespace} --timeout 60s"),
            "",
        );
        helm.rollback(release, namespace, 1);
        for look in ["history", "status", "get all"] {
            helm.ok(&format!("{look} {release} --namespace {namespace}"), "");
        }
    }
}

/// Certificates where the cluster tier may read them, and one where it may not. Returns that of `shop.example`.
fn certificates(cluster: &Cluster) -> String {
    let kubectl = cluster.kubectl();
    let pair = tls::self_signed(&["shop.example"]);
    for (namespace, name) in [
        (CLUSTER_NAMESPACE, "default-certificate"),
        (CERTIFICATES, "shop"),
        ("openstack", "shop"),
    ] {
        kubectl.apply(namespace, &tls_secret(name, &pair.certificate, &pair.key));
    }
    for (namespace, host) in [
        (CERTIFICATES, "shop.example"),
        ("openstack", "other.example"),
    ] {
        let yaml = ingress("shop", Some("tiergate-cluster"), host, "shop");
        let tls = format!("  tls:\n  - {{hosts: [{host}], secretName: shop}}\n");
        kubectl.apply(namespace, &(yaml + &tls));
    }
    kubectl.apply(CERTIFICATES, &application("shop", 1));
    pair.certificate
}

fn applications(cluster: &Cluster) {
    let kubectl = cluster.kubectl();
    for (namespace, name) in [("openstack", "keystone"), ("ceph", "rgw")] {
        kubectl.apply(namespace, &application(name, 2));
        let host = format!("{name}.{namespace}.svc.cluster.local");
        kubectl.apply(namespace, &ingress(name, Some("tiergate"), &host, name));
        kubectl.rolled_out(namespace, name);
        // Something to tell its owner.
        kubectl.apply(
            namespace,
            &ingress("lost", Some("tiergate"), "lost.example", "nowhere"),
        );
    }
    kubectl.rolled_out(CERTIFICATES, "shop");
}

/// Traffic and changes: every host is served, over TLS with the certificate of its Secret, while applications are scaled.
fn serve(cluster: &Cluster, certificate: &str) {
    let kubectl = cluster.kubectl();
    let service = kubectl.json(&format!(
        "--namespace {CLUSTER_NAMESPACE} get service {CLUSTER_RELEASE}"
    ));
    let address = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
    let address = address.expect("an address").parse().expect("of IPv4");
    for (namespace, name) in [("openstack", "keystone"), ("ceph", "rgw")] {
        let host = format!("{name}.{namespace}.svc.cluster.local");
        until_answered((address, 80), &host, "/");
        for replicas in [3, 2] {
            kubectl.ok(&format!(
                "--namespace {namespace} scale deployment {name} --replicas {replicas}"
            ));
            kubectl.rolled_out(namespace, name);
        }
        until_answered((address, 80), &host, "/");
    }
    let expected = tls::der(certificate);
    wait::until("the certificate of shop", wait::CHANGE_SECONDS, || {
        let (_, shown) =
            tls::open((address, 443).into(), "shop.example").map_err(|error| error.to_string())?;
        wait::seen(shown == expected, "another certificate")
    });
}

fn all_accounts(cluster: &Cluster, installers: &Installers) -> Vec<Account> {
    let account = |title: &str, user: &str, task: Task| Account {
        title: title.to_owned(),
        user: user.to_owned(),
        task,
        rights: cluster.rights_of(user),
        handed_on: BTreeSet::new(),
        is_exact: true,
    };
    let secret_namespaces = [CLUSTER_NAMESPACE, CERTIFICATES].map(str::to_owned);
    let mut accounts = vec![account(
        "Cluster tier",
        &format!("system:serviceaccount:{CLUSTER_NAMESPACE}:{CLUSTER_RELEASE}"),
        Task::ClusterTier {
            secret_namespaces: secret_namespaces.into(),
        },
    )];
    for namespace in ["openstack", "ceph"] {
        accounts.push(account(
            &format!("Namespace tier of {namespace}"),
            &format!("system:serviceaccount:{namespace}:{RELEASE}"),
            Task::NamespaceTier {
                namespace: namespace.to_owned(),
            },
        ));
    }
    let handed_on: BTreeSet<Right> = accounts
        .iter()
        .flat_map(|tier| tier.rights.clone())
        .collect();
    let user = &installers.cluster.user;
    accounts.push(Account {
        handed_on,
        ..account(
            "Installer of the cluster release",
            user,
            Task::ClusterInstaller,
        )
    });
    for (who, namespace, installer, is_exact) in [
        (
            "with the exact rights",
            "openstack",
            &installers.openstack,
            true,
        ),
        ("with the role admin", "ceph", &installers.ceph, false),
    ] {
        let title = format!("Installer of the release of {namespace}, {who}");
        let task = Task::NamespaceInstaller {
            namespace: namespace.to_owned(),
        };
        accounts.push(Account {
            is_exact,
            ..account(&title, &installer.user, task)
        });
    }
    accounts
}

/// The report, with the numbers of this run.
fn report(run: &Run) -> String {
    let last_ms = run.requests.iter().map(|one| one.received_ms).max();
    let date = jiff::Timestamp::from_millisecond(last_ms.unwrap_or_default());
    let date = date.expect("a time of the log").strftime("%F").to_string();
    let versions = run.cluster.kubectl().json("version");
    let version = versions["serverVersion"]["gitVersion"].as_str();
    let mut text = include_str!("harness/audit/report.md")
        .replace("{DATE}", &date)
        .replace("{VERSION}", version.expect("the API server has a version"));
    for account in &run.accounts {
        text += &audit::summary(account, &run.requests);
    }
    text += &audit::rest_table(&at_rest(run));
    for account in &run.accounts {
        text += &format!("\n## {}\n\n", account.title);
        text += &format!("`{}`\n\n", account.user);
        text += &audit::table(account, &run.requests);
    }
    text
}

/// Requests of each tier's pods in the minute at rest: the tiers are the first three accounts.
fn at_rest(run: &Run) -> Vec<(String, ByPod)> {
    let of = |account: &Account| {
        let pods = audit::requests_by_pod(account, &run.requests, run.rest_ms.clone());
        (account.title.clone(), pods)
    };
    run.accounts.iter().take(3).map(of).collect()
}

#[test]
fn everybody_asks_for_what_he_may_and_may_what_he_asks_for() {
    const TEST: &str = "everybody_asks_for_what_he_may_and_may_what_he_asks_for";
    let Some((run, _in_test)) = run() else {
        return kubectl::skip(TEST, LOCAL);
    };
    let findings = audit::findings(&run.accounts, &run.requests);
    assert!(findings.is_empty(), "{findings:#?}");
    numbers::show(&format!(
        "audit: {} accounts, {} requests, 0 denied, 0 without a right, 0 rights unused",
        run.accounts.len(),
        run.requests.len()
    ));
}

#[test]
fn a_tier_at_rest_asks_for_little() {
    let Some((run, _in_test)) = run() else {
        return kubectl::skip("a_tier_at_rest_asks_for_little", LOCAL);
    };
    for (title, pods) in at_rest(run) {
        assert!(!pods.is_empty(), "{title}: nobody watches");
        for (pod, asked) in pods {
            let OfPod {
                requests, leases, ..
            } = asked;
            numbers::show(&format!(
                "audit: {title}: {requests} requests in a minute at rest, {leases} of them for Leases"
            ));
            let too_much = asked.too_much_at_rest();
            assert!(too_much.is_empty(), "{title}: {pod}: {too_much:?}");
        }
    }
}

#[test]
fn the_committed_report_is_this_run_but_for_numbers() {
    const TEST: &str = "the_committed_report_is_this_run_but_for_numbers";
    let Some((run, _in_test)) = run() else {
        return kubectl::skip(TEST, LOCAL);
    };
    let path = repository::root().join(REPORT);
    let report = report(run);
    eprintln!("{report}");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &report).expect("the report can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("it is there");
    let number = Regex::new("[0-9]+").expect("a regular expression");
    let without_numbers = |text: &str| number.replace_all(text, "N").into_owned();
    assert_eq!(
        without_numbers(&committed),
        without_numbers(&report),
        "{REPORT}: UPDATE_EXPECT=1 writes it anew; the difference is the review"
    );
}
