//! Releases that cannot be: who refuses them, and in which words. The words stand in `docs/install.md`.

use std::collections::BTreeSet;
use std::process::Command;

use tiergate_tests::cluster::Cluster;
use tiergate_tests::helm::{
    CLUSTER_NAMESPACE, CLUSTER_RELEASE, Helm, MAJORS, RELEASE, chart, cluster_values, tenant_values,
};
use tiergate_tests::kubectl::{self, Kubectl};
use tiergate_tests::{repository, wait, world};

/// Kinds that a namespace tier reads: Ingresses, Services, EndpointSlices, Secrets.
const KINDS_READ: usize = 4;

/// What the operator reads, without the names in it.
fn documented(sentence: &str) {
    let path = repository::root().join("docs/install.md");
    let text = std::fs::read_to_string(path).expect("the guide is there");
    assert!(
        text.contains(sentence),
        "docs/install.md does not show {sentence:?}"
    );
}

fn a_namespace_release_without_a_cluster_release(cluster: &Cluster) {
    const TENANT_READS: &str = "rbac.authorization.k8s.io \"tiergate-namespace-tier\" not found";
    let kubeconfig = cluster.tenant_admin("early");
    let line = format!("install {RELEASE} {} --namespace early --values -", chart());
    // The hook that takes back statuses has its rights from the cluster release.
    let uninstall = format!("uninstall {RELEASE} --namespace early --wait --no-hooks");
    for major in MAJORS {
        let tenant = Helm::new(major, &kubeconfig);
        let said = tenant.refused(&line, &tenant_values(cluster));
        assert!(said.contains(TENANT_READS), "{said}");
        documented(TENANT_READS);
        tenant.ok(&uninstall, "");
    }
    // Who may bind what is not there gets a tier that says what it lacks, lives, and serves once it has it.
    let administrator = Helm::of_administrator("4", cluster);
    administrator.ok(&line, &tenant_values(cluster));
    for command in commands_told(cluster) {
        let kubectl = format!("kubectl() {{ {} \"$@\"; }}", cluster.kubectl().command());
        let status = Command::new("bash")
            .args(["-c", &format!("{kubectl}; {command}")])
            .status();
        assert!(status.expect("bash runs").success(), "{command}");
    }
    let kubectl = cluster.kubectl();
    kubectl.rolled_out("early", RELEASE);
    let pods = kubectl.json("--namespace early get pods");
    for pod in pods["items"].as_array().expect("a list") {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        assert_eq!(*restarts, 0, "{}", pod["status"]);
    }
    administrator.ok(&uninstall, "");
}

/// The commands that the tier says would grant what it lacks: one for each kind that it reads.
fn commands_told(cluster: &Cluster) -> BTreeSet<String> {
    const BEFORE: &str = "grant it with: ";
    documented(BEFORE);
    wait::until("the tier says what it lacks", wait::CHANGE_SECONDS, || {
        let logs = cluster.container_logs("tiergate");
        let told = logs.split(BEFORE).skip(1);
        let commands: BTreeSet<String> = told
            .filter_map(|behind| behind.split('"').next())
            .map(str::to_owned)
            .collect();
        wait::seen(commands.len() == KINDS_READ, format!("{commands:#?}")).map(|()| commands)
    })
}

fn a_second_cluster_release_with_the_same_class(cluster: &Cluster) {
    const OPERATOR_READS: &str =
        "exists and cannot be imported into the current release: invalid ownership metadata";
    let first = Helm::of_administrator("4", cluster);
    first.install(CLUSTER_RELEASE, CLUSTER_NAMESPACE, "", &cluster_values());
    cluster.kubectl().create_namespace("second");
    for major in MAJORS {
        let helm = Helm::of_administrator(major, cluster);
        let line = format!("install another {} --namespace second --values -", chart());
        let said = helm.refused(&line, &cluster_values());
        assert!(said.contains(OPERATOR_READS), "{said}");
        documented(OPERATOR_READS);
        // Nothing of it is there, and the first one is as it was.
        let left = cluster
            .kubectl()
            .ok("--namespace second get deployments,services --output name");
        assert_eq!(left, "");
    }
    // With classes of its own, and without the ClusterRole that the first one has made, it may stand beside it.
    let values = "ingressClass: {cluster: {name: second-cluster}, namespace: {create: false}}\n\
                  rbac: {namespaceRole: {create: false}}\n";
    first.install("another", "second", "", &(cluster_values() + values));
    assert_eq!(cluster.tier_pods("second").len(), 2);
}

fn a_host_that_the_namespace_has_not_been_given(cluster: &Cluster) {
    const TENANT_READS: &str = "ValidatingAdmissionPolicy 'tiergate-cluster-hosts'";
    const GIVEN: &str = "tiergate.dev/hosts=www.example.com";
    documented(TENANT_READS);
    documented("tiergate.dev/hosts");
    let kubeconfig = cluster.tenant_admin("thief");
    let helm = Helm::new("4", &kubeconfig);
    let tenant = Kubectl::new(kubectl::VERSIONS[0], &kubeconfig);
    let policy = repository::root().join("deploy/policy/cluster-hosts.yaml");
    let policy = policy.display();
    let administrator = cluster.kubectl();
    administrator.ok(&format!("apply --filename {policy}"));
    let delegates = |host: &str| {
        let line = format!(
            "template {RELEASE} {} --namespace thief --show-only templates/ingress-delegation.yaml --set delegation.hosts={{{host}}}",
            chart()
        );
        let ingress = helm.ok(&line, "");
        tenant.run_with("create --dry-run=server --filename -", &ingress)
    };
    for host in [
        "keystone.openstack.svc.cluster.local",
        "*.openstack.svc.cluster.local",
        "*.svc.cluster.local",
        "thief.svc.cluster.local",
        "www.example.com",
    ] {
        // A policy is in force a moment after it is there.
        wait::until(host, wait::CHANGE_SECONDS, || {
            let said = delegates(host);
            wait::seen(said.err.contains(TENANT_READS), said.err)
        });
    }
    let said = delegates("keystone.thief.svc.cluster.local");
    assert!(said.is_good, "{}", said.err);
    let said = tenant.run(&format!("annotate namespace thief {GIVEN}"));
    assert!(said.err.contains("cannot patch resource"), "{}", said.err);
    administrator.ok(&format!("annotate namespace thief {GIVEN}"));
    wait::until("the annotation counts", wait::CHANGE_SECONDS, || {
        let said = delegates("www.example.com");
        wait::seen(said.is_good, said.err)
    });
    administrator.ok(&format!("delete --filename {policy}"));
}

fn a_second_release_on_the_same_ports_of_the_nodes(cluster: &Cluster) {
    const OPERATOR_READS: &str = "didn't match pod anti-affinity rules";
    const OPERATOR_READS_TOO: &str = "didn't satisfy existing pods anti-affinity rules";
    let kubectl = cluster.kubectl();
    let helm = Helm::of_administrator("4", cluster);
    let values = tenant_values(cluster)
        + "network: {hostNetwork: true, ports: {http: 18080, https: 18443}}\n\
           metrics: {port: 18254}\ndelegation: {enabled: false}\ndeployment: {kind: DaemonSet}\n";
    kubectl.create_namespace("holder");
    kubectl.create_namespace("intruder");
    helm.install(RELEASE, "holder", "", &values);
    let chart = chart();
    helm.ok(
        &format!("install {RELEASE} {chart} --namespace intruder --values -"),
        &values,
    );
    // The kernel would give both of them a part of the requests.
    wait::until("its pods wait", wait::CHANGE_SECONDS, || {
        let pods = kubectl.ok("--namespace intruder get pods --output json");
        let waits = pods.contains(OPERATOR_READS) || pods.contains(OPERATOR_READS_TOO);
        wait::seen(waits && !pods.contains("\"phase\": \"Running\""), pods)
    });
    // A release is in nobody's way but others': it replaces its own pods one by one.
    let again = values + "podAnnotations: {revision: second}\n";
    helm.upgrade(RELEASE, "holder", "", &again);
    helm.uninstall(RELEASE, "intruder");
    helm.uninstall(RELEASE, "holder");
}

#[test]
fn what_cannot_be_is_refused_in_words_that_the_guide_explains() {
    const TEST: &str = "what_cannot_be_is_refused_in_words_that_the_guide_explains";
    if !world::is_real() {
        return kubectl::skip(TEST, "the local cluster does not enforce RBAC");
    }
    let cluster = Cluster::bare("helm-refusals", &[]);
    let cluster = cluster.in_test();
    a_namespace_release_without_a_cluster_release(&cluster);
    a_second_cluster_release_with_the_same_class(&cluster);
    a_host_that_the_namespace_has_not_been_given(&cluster);
    a_second_release_on_the_same_ports_of_the_nodes(&cluster);
}
