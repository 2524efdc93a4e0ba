//! What an installer holds in order to hand it on: the API server checks it, so no request shows it. Each such right is taken away
//! here, and the API server refuses the role or binding that hands it on.
//!
//! The rights that requests do show are `helm_audit`'s.

use serde_json::{Value, json};
use tiergate_tests::cluster::Cluster;
use tiergate_tests::helm::{self, CLUSTER_NAMESPACE, CLUSTER_RELEASE, Helm, RELEASE};
use tiergate_tests::installers::Installer;
use tiergate_tests::kubectl::{self, Kubectl};
use tiergate_tests::{wait, world};

const CERTIFICATES: &str = "certificates";

/// What the API server says when somebody hands out what he lacks.
const ESCALATION: &str = "attempting to grant RBAC permissions not currently held";

const OF_CLUSTER: &str = "tiergate-cluster-installer";
const OF_SECRETS: &str = "tiergate-cluster-installer-secrets";
const OF_TENANT: &str = "tiergate-namespace-installer";

/// Each rule that is for handing on: its role, its resource, and the template that hands it on.
const HANDED_ON: [(&str, &str, &str); 10] = [
    (OF_CLUSTER, "ingresses", "clusterrole.yaml"),
    (OF_CLUSTER, "services", "clusterrole.yaml"),
    (OF_CLUSTER, "namespaces", "clusterrole.yaml"),
    (OF_CLUSTER, "endpointslices", "clusterrole.yaml"),
    (OF_CLUSTER, "ingresses/status", "clusterrole.yaml"),
    (OF_CLUSTER, "events", "clusterrole.yaml"),
    (OF_CLUSTER, "leases", "role-leases.yaml"),
    (OF_CLUSTER, "secrets", "clusterrole-namespace-tier.yaml"),
    (OF_SECRETS, "secrets", "role-secrets.yaml"),
    (OF_TENANT, "clusterroles", "role-namespace-tier.yaml"),
];

/// The objects of a template of the chart, under a name that nobody has, made on trial by the holder of a kubeconfig.
fn try_to_make(installer: &Installer, namespace: &str, template: &str, arguments: &str) -> String {
    let helm = Helm::new("4", &installer.kubeconfig);
    let chart = helm::chart();
    let rendered = helm.ok(
        &format!(
            "template on-trial {chart} --namespace {namespace} --show-only templates/{template} {arguments}"
        ),
        "",
    );
    let kubectl = Kubectl::new("1.37", &installer.kubeconfig);
    let said = kubectl.run_with("create --dry-run=server --filename -", &rendered);
    said.err
}

/// Takes one rule with one resource out of a ClusterRole, runs `what`, and puts it back.
fn without<T>(kubectl: &Kubectl, role: &str, resource: &str, what: impl FnOnce() -> T) -> T {
    let whole = kubectl.json(&format!("get clusterrole {role}"));
    let rules = whole["rules"].as_array().expect("a role has rules");
    let is_left = |rule: &&Value| rule["resources"] != json!([resource]) || is_of_objects(rule);
    let left: Vec<&Value> = rules.iter().filter(is_left).collect();
    assert_eq!(
        left.len() + 1,
        rules.len(),
        "{role}: one rule on {resource}"
    );
    let replace = |rules: &Value| {
        let mut role = whole.clone();
        role["metadata"]["resourceVersion"] = Value::Null;
        role["rules"] = rules.clone();
        let said = kubectl.run_with("replace --filename -", &role.to_string());
        assert!(said.is_good, "{}", said.err);
    };
    replace(&json!(left));
    let value = what();
    replace(&json!(rules));
    value
}

/// Whether a rule is for making objects, and so is used by requests.
fn is_of_objects(rule: &Value) -> bool {
    // Helm 3 creates them, helm 4 applies them; a tier does not do both with anything.
    rule["verbs"]
        .as_array()
        .is_some_and(|verbs| verbs.contains(&json!("create")) && verbs.contains(&json!("patch")))
}

#[test]
fn without_any_right_that_it_hands_on_an_installer_is_refused() {
    const TEST: &str = "without_any_right_that_it_hands_on_an_installer_is_refused";
    if !world::is_real() {
        return kubectl::skip(TEST, "the local cluster does not enforce RBAC");
    }
    let cluster = Cluster::bare("audit-rights", &[]);
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    for namespace in [CERTIFICATES, "openstack"] {
        kubectl.create_namespace(namespace);
    }
    let front = cluster.cluster_installer(CERTIFICATES);
    let tenant = cluster.namespace_installer("openstack");
    let of_cluster = format!(
        "--set deployment.mode=cluster --set rbac.secretNamespaces={{{CERTIFICATES}}} --set rbac.namespaceRole.name=on-trial-tier"
    );
    // What is bound must be there: the ClusterRole for namespace tiers comes with the cluster release.
    Helm::new("4", &front.kubeconfig).ok(
        &format!(
            "install {CLUSTER_RELEASE} {} --namespace {CLUSTER_NAMESPACE} --set deployment.mode=cluster",
            helm::chart()
        ),
        "",
    );
    for (role, resource, template) in HANDED_ON {
        let (installer, namespace, arguments) = match role {
            OF_TENANT => (&tenant, "openstack", ""),
            _ => (&front, CLUSTER_NAMESPACE, of_cluster.as_str()),
        };
        let attempt = || try_to_make(installer, namespace, template, arguments);
        let with_all = attempt();
        assert!(!with_all.contains(ESCALATION), "{role}: {with_all}");
        without(&kubectl, role, resource, || {
            let what = format!("{template} is refused without {resource} of {role}");
            wait::until(&what, wait::CHANGE_SECONDS, || {
                let said = attempt();
                wait::seen(said.contains(ESCALATION), said)
            });
        });
        let what = format!("{template} is taken with all of {role}");
        wait::until(&what, wait::CHANGE_SECONDS, || {
            let said = attempt();
            wait::seen(!said.contains(ESCALATION), said)
        });
    }
    the_right_to_edit_is_not_enough(&cluster);
}

/// `admin` may install a namespace release (`helm_audit` does so), `edit` may not, and helm says why.
fn the_right_to_edit_is_not_enough(cluster: &Cluster) {
    cluster.kubectl().create_namespace("ceph");
    let editor = cluster.holder_of("edit", "ceph");
    for major in helm::MAJORS {
        let helm = Helm::new(major, &editor.kubeconfig);
        let said = helm.refused(
            &format!("install {RELEASE} {} --namespace ceph", helm::chart()),
            "",
        );
        assert!(
            said.contains("rolebindings.rbac.authorization.k8s.io") && said.contains("forbidden"),
            "helm {major}: {said}"
        );
        // What came before the refusal.
        let _ = helm.run(&format!("uninstall {RELEASE} --namespace ceph"), "");
    }
}
