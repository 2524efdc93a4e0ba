//! Objects that the tests apply: an application, an Ingress, a namespace tier. YAML, as a user would write it.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::repository;

/// An application: a Deployment with its Service of the same name on port 80. Any image is the echo server.
#[must_use]
pub fn application(name: &str, replicas: u32) -> String {
    format!(
        r"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      containers:
      - name: app
        image: example.test/echo:1
        ports:
        - {{name: web, containerPort: 8080}}
        readinessProbe:
          httpGet: {{path: /ready, port: web}}
          periodSeconds: 1
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {{app: {name}}}
  ports:
  - {{name: web, port: 80, targetPort: web}}
"
    )
}

/// An Ingress that sends a host to port 80 of a Service.
#[must_use]
pub fn ingress(name: &str, class: Option<&str>, host: &str, service: &str) -> String {
    let class = class.map_or_else(String::new, |class| {
        format!("\n  ingressClassName: {class}")
    });
    format!(
        r"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
spec:{class}
  rules:
  - host: {host}
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service: {{name: {service}, port: {{number: 80}}}}
"
    )
}

/// An object with these annotations.
#[must_use]
pub fn annotated(object: &str, annotations: &[(&str, &str)]) -> String {
    let lines = annotations
        .iter()
        .map(|(name, value)| format!("\n    {name}: '{value}'"));
    let annotations = format!("\n  annotations:{}\nspec:", lines.collect::<String>());
    object.replacen("\nspec:", &annotations, 1)
}

/// The Ingress by which the cluster tier sends all hosts of a namespace to port 80 of the Service of its tier.
#[must_use]
pub fn delegation(namespace: &str, service: &str) -> String {
    let host = format!("'*.{namespace}.svc.cluster.local'");
    let ingress = ingress("delegation", Some("tiergate-cluster"), &host, service);
    annotated(&ingress, &[("tiergate.dev/delegates", "true")])
}

/// A Service without a selector, and the slice `NAME-by-hand` with its endpoints: these, at port 8080.
#[must_use]
pub fn service_by_hand(name: &str, ips: &[Ipv4Addr]) -> String {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": format!("{name}-by-hand"), "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints(ips),
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"name": "web", "port": 80, "targetPort": 8080}]},
    });
    format!("{service}\n---\n{slice}\n")
}

/// Ready endpoints of a slice.
#[must_use]
pub fn endpoints(ips: &[Ipv4Addr]) -> Value {
    ips.iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true, "serving": true}}))
        .collect()
}

/// The applications of a tenant of the story, with their Services and Ingresses: all of it but the tier.
///
/// # Panics
/// When there is no such tenant.
#[must_use]
pub fn applications_of(tenant: &str) -> String {
    let folder = repository::root().join("sim/story");
    let files = std::fs::read_dir(folder).expect("the story is there");
    let mut paths = files.map(|file| file.expect("it can be read").path());
    let ending = format!("{tenant}.yaml");
    let path = paths.find(|path| path.to_string_lossy().ends_with(&ending));
    let text = std::fs::read_to_string(path.expect("a tenant of the story"));
    let text = text.expect("it can be read");
    let delegation = format!("{tenant}-ingress");
    let is_of_application = |document: &&str| {
        let field = |name: &str| document.lines().find_map(|line| line.strip_prefix(name));
        let kinds = ["Deployment", "Service", "Ingress"];
        let name = field("  name: ").unwrap_or_default();
        field("kind: ").is_some_and(|kind| kinds.contains(&kind))
            && name != "ingress"
            && name != delegation
    };
    let kept: Vec<&str> = text.split("---\n").filter(is_of_application).collect();
    kept.join("---\n")
}

/// A TLS Secret.
#[must_use]
pub fn tls_secret(name: &str, certificate: &str, key: &str) -> String {
    let indented = |pem: &str| pem.trim().replace('\n', "\n    ");
    format!(
        r"
apiVersion: v1
kind: Secret
metadata:
  name: {name}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    {}
  tls.key: |
    {}
",
        indented(certificate),
        indented(key)
    )
}

/// A tier of a namespace, with its ServiceAccount, its rights in the namespace, and its Service of the same name on port 80.
#[must_use]
pub fn namespace_tier(name: &str, namespace: &str, replicas: u32, arguments: &[&str]) -> String {
    let watch = format!("--watch-namespace={namespace}");
    let arguments = [&[watch.as_str()], arguments].concat();
    account(name, namespace, "") + &tier(name, "tiergate-namespace", replicas, &arguments)
}

/// A further cluster tier, at its pod's address, with its ServiceAccount, its rights in all namespaces, and its Service of the same
/// name on port 80.
#[must_use]
pub fn cluster_tier(name: &str, namespace: &str, arguments: &[&str]) -> String {
    let arguments = [&["--vip-mode=none"], arguments].concat();
    account(name, namespace, "Cluster") + &tier(name, "tiergate-cluster", 1, &arguments)
}

/// A ServiceAccount with the rights of a tier: those of a Role, or with the prefix `Cluster` of a ClusterRole.
fn account(name: &str, namespace: &str, prefix: &str) -> String {
    // A cluster tier reads Secrets by their names, where it is told to: it gets no right to them here.
    let (classes, further) = if prefix.is_empty() {
        ("", "secrets")
    } else {
        (", ingressclasses", "namespaces")
    };
    format!(
        r"
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {prefix}Role
metadata: {{name: {name}}}
rules:
- apiGroups: [networking.k8s.io]
  resources: [ingresses{classes}]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: ['']
  resources: [services, {further}]
  verbs: [list, watch]
- apiGroups: ['']
  resources: [services]
  verbs: [get]
- apiGroups: ['']
  resources: [events]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, create, update, delete]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {prefix}RoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {prefix}Role, name: {name}}}
subjects:
- {{kind: ServiceAccount, name: {name}, namespace: {namespace}}}
---"
    )
}

fn tier(name: &str, program: &str, replicas: u32, arguments: &[&str]) -> String {
    let arguments = arguments.join(", ");
    format!(
        r"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      serviceAccountName: {name}
      terminationGracePeriodSeconds: 30
      containers:
      - name: tier
        image: tiergate
        command: [{program}]
        args: [{arguments}, --http-address=$(POD_IP):8080, --https-address=$(POD_IP):8443, --admin-address=$(POD_IP):10254, --upstream-source-address=$(POD_IP)]
        env:
        - name: POD_IP
          valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}
        - name: POD_NAME
          valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}
        - name: POD_NAMESPACE
          valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}
        ports:
        - {{name: http, containerPort: 8080}}
        - {{name: admin, containerPort: 10254}}
        readinessProbe:
          httpGet: {{path: /readyz, port: admin}}
          periodSeconds: 1
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {{app: {name}}}
  ports:
  - {{name: http, port: 80, targetPort: http}}
"
    )
}
