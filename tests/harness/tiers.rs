//! The tiers of a local cluster as its objects name them: their pods, admin ports, Deployments and certificates.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::{Request, fetch};
use crate::cluster::{Cluster, is_ready, text};
use crate::wait;

// === impl Cluster ===

impl Cluster {
    /// Addresses of the ready pods that run one of our tiers.
    ///
    /// # Panics
    /// When one has no address.
    #[must_use]
    pub fn tier_pods(&self, namespace: &str) -> Vec<IpAddr> {
        let pods = self.tiers("pods", namespace, "/spec");
        let ready = pods.iter().filter(|pod| is_ready(pod));
        ready.map(address_of).collect()
    }

    /// Admin ports of the ready pods that run one of our tiers.
    ///
    /// # Panics
    /// When one does not name its port `admin`.
    #[must_use]
    pub fn admin_addresses(&self, namespace: &str) -> Vec<SocketAddr> {
        let pods = self.tiers("pods", namespace, "/spec");
        let admin = |pod: &Value| {
            let ports = pod.pointer("/spec/containers/0/ports");
            let ports = ports.and_then(Value::as_array).cloned();
            let named = ports.unwrap_or_default().into_iter();
            let port = named
                .filter(|port| port["name"] == "admin")
                .find_map(|port| port["containerPort"].as_u64());
            let port = port.expect("a tier names its admin port");
            let port = u16::try_from(port).expect("the API server checks ports");
            SocketAddr::new(address_of(pod), port)
        };
        pods.iter().filter(|pod| is_ready(pod)).map(admin).collect()
    }

    /// What the ready tiers of a namespace call themselves: versions, as their metrics tell them.
    ///
    /// # Panics
    /// When one does not say.
    #[must_use]
    pub fn tier_versions(&self, namespace: &str) -> BTreeSet<String> {
        let versions = self.admin_addresses(namespace).into_iter().map(|admin| {
            let metrics = fetch(admin, &Request::get("admin", "/metrics"));
            let metrics = metrics.expect("a ready tier shows its metrics").text();
            let info = metrics
                .lines()
                .find(|line| line.starts_with("tiergate_build_info{"));
            let info = info.expect("a tier says which build it is");
            let version = info.split("version=\"").nth(1);
            let version = version.and_then(|rest| rest.split('"').next());
            version.expect("the build has a version").to_owned()
        });
        versions.collect()
    }

    /// The address that a load balancer gave to a Service.
    ///
    /// # Panics
    /// When it gets none in time.
    #[must_use]
    pub fn load_balancer(&self, namespace: &str, service: &str) -> Ipv4Addr {
        let what = format!("an address for {namespace}/{service}");
        wait::until(&what, wait::CHANGE_SECONDS, || {
            let service = self
                .kubectl()
                .json(&format!("--namespace {namespace} get service {service}"));
            let address = &service["status"]["loadBalancer"]["ingress"][0]["ip"];
            text(address)
                .parse()
                .map_err(|_| service["status"].to_string())
        })
    }

    /// The Deployment of the tier of a namespace.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn tier_deployment(&self, namespace: &str) -> String {
        let deployments = self.tiers("deployments", namespace, "/spec/template/spec");
        let first = deployments.first();
        text(&first.expect("a namespace with a tier")["metadata"]["name"])
    }

    /// The certificate that the cluster tier shows for names without one of their own: its Secret, and its PEM.
    ///
    /// # Panics
    /// When the cluster tier has none.
    #[must_use]
    pub fn default_certificate(&self) -> (String, String) {
        const FLAG: &str = "--default-ssl-certificate";
        let tiers = self.tiers("deployments", "kube-system", "/spec/template/spec");
        let arguments = tiers[0].pointer("/spec/template/spec/containers/0/args");
        let arguments = arguments.and_then(Value::as_array).cloned();
        let words: Vec<String> = arguments.unwrap_or_default().iter().map(text).collect();
        let words: Vec<&str> = words.iter().flat_map(|word| word.split('=')).collect();
        let flag = words.iter().position(|word| *word == FLAG);
        let name = words[flag.expect("the cluster tier has a default certificate") + 1];
        let (namespace, secret) = name.split_once('/').expect("NS/NAME");
        let secret = format!("--namespace {namespace} get secret {secret}");
        let certificate = text(&self.kubectl().json(&secret)["data"]["tls.crt"]);
        let pem = STANDARD.decode(certificate).expect("a Secret is base64");
        (name.to_owned(), String::from_utf8_lossy(&pem).into_owned())
    }

    /// Lets the cluster tier read the Secrets of a namespace, as an operator does: a Role there, and the setting.
    ///
    /// # Panics
    /// When kubectl refuses one of the two.
    pub fn allow_secrets(&self, namespace: &str) {
        let kubectl = self.kubectl();
        let tier = self.tier_deployment("kube-system");
        let here = format!("--namespace {namespace} create");
        kubectl.ok(&format!(
            "{here} role {tier}-secrets --verb=get --resource=secrets"
        ));
        kubectl.ok(&format!(
            "{here} rolebinding {tier}-secrets --role={tier}-secrets --serviceaccount=kube-system:{tier}"
        ));
        self.tell_cluster_tier(&[
            &format!("--secret-namespaces={namespace}"),
            "--secret-refresh=1s",
        ]);
    }

    /// Gives the cluster tier further flags, and waits until it runs with them.
    fn tell_cluster_tier(&self, flags: &[&str]) {
        let kubectl = self.kubectl();
        let tier = self.tier_deployment("kube-system");
        let path = "/spec/template/spec/containers/0/args/-";
        let operations = flags
            .iter()
            .map(|flag| json!({"op": "add", "path": path, "value": flag}));
        let patch = Value::from_iter(operations);
        kubectl.ok(&format!(
            "--namespace kube-system patch deployment {tier} --type=json --patch={patch}"
        ));
        kubectl.rolled_out("kube-system", &tier);
        // One that leaves still answers at the address, and knows nothing of the flags.
        self.until_no_tier_leaves("kube-system");
    }

    /// Waits until the tiers of a namespace that were told to end are gone.
    ///
    /// # Panics
    /// When one stays.
    pub fn until_no_tier_leaves(&self, namespace: &str) {
        wait::until("no tier leaves", wait::CHANGE_SECONDS, || {
            let pods = self.tiers("pods", namespace, "/spec");
            let is_leaving = |pod: &&Value| !pod["metadata"]["deletionTimestamp"].is_null();
            let count = pods.iter().filter(is_leaving).count();
            wait::seen(count == 0, format!("{count} leave"))
        });
    }

    /// Waits until every cluster tier shows a condition with this reason about an object of this name.
    ///
    /// # Panics
    /// When one does not within [`wait::CHANGE_SECONDS`].
    pub fn until_condition(&self, namespace: &str, name: &str, reason: &str) {
        let object = format!("{namespace}/{name}");
        for admin in self.admin_addresses("kube-system") {
            wait::until(
                &format!("{reason} for {object}"),
                wait::CHANGE_SECONDS,
                || {
                    let request = Request::get("admin", "/debug/model");
                    let response = fetch(admin, &request).map_err(|problem| problem.to_string())?;
                    let conditions = response.json()["conditions"].clone();
                    let all = conditions.as_array().cloned().unwrap_or_default();
                    let is_there = all
                        .iter()
                        .any(|one| one["reason"] == reason && one.to_string().contains(&object));
                    wait::seen(is_there, conditions.to_string())
                },
            );
        }
    }

    /// Waits until every tier of a namespace serves a host, and sends to exactly these endpoints of a Service (`NAMESPACE/NAME`).
    ///
    /// # Panics
    /// When one does not within [`wait::CHANGE_SECONDS`].
    pub fn until_endpoints(&self, tiers: &str, host: &str, service: &str, ips: &[Ipv4Addr]) {
        let wanted: BTreeSet<String> = ips.iter().map(ToString::to_string).collect();
        let backend = format!("{service}:");
        let what = format!("{host} is sent to {wanted:?} of {service}");
        for admin in self.admin_addresses(tiers) {
            wait::until(&what, wait::CHANGE_SECONDS, || {
                let request = Request::get("admin", "/debug/table");
                let response = fetch(admin, &request).map_err(|problem| problem.to_string())?;
                let table = response.json();
                let backends = table["backends"].as_object().cloned().unwrap_or_default();
                let found = backends.iter().find(|(name, _)| name.starts_with(&backend));
                let found = found.and_then(|(_, backend)| backend["endpoints"].as_array());
                let found: BTreeSet<String> = found
                    .into_iter()
                    .flatten()
                    .map(|endpoint| text(&endpoint["address"]))
                    .filter_map(|address| address.parse().ok())
                    .map(|address: SocketAddr| address.ip().to_string())
                    .collect();
                let is_served = !table["hosts"][host].is_null();
                wait::seen(
                    is_served && found == wanted,
                    format!("{is_served}, {found:?}"),
                )
            });
        }
    }

    fn tiers(&self, kind: &str, namespace: &str, pod_spec: &str) -> Vec<Value> {
        let list = self
            .kubectl()
            .json(&format!("--namespace {namespace} get {kind}"));
        let mut items = list["items"].as_array().cloned().unwrap_or_default();
        items.retain(|item| {
            let image = item.pointer(&format!("{pod_spec}/containers/0/image"));
            image.is_some_and(|image| text(image).starts_with("tiergate"))
        });
        items
    }
}

fn address_of(pod: &Value) -> IpAddr {
    text(&pod["status"]["podIP"])
        .parse()
        .expect("a ready pod has an address")
}
