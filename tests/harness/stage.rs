//! A namespace with a namespace tier of its own, and a Service whose endpoints the test plays, behind the cluster tier.
//!
//! In: settings of the tier, and how the endpoints behave. Out: answers of the VIP, and what came to the endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::client::{Request, Response, fetch};
use crate::cluster::InTest;
use crate::endpoints::{Endpoint, Manner};
use crate::objects::{delegation, ingress, namespace_tier, service_by_hand};
use crate::wait;

/// A namespace with its tier, and a Service whose endpoints the test plays.
pub struct Stage<'c> {
    /// The cluster that it is in.
    pub cluster: InTest<'c>,
    /// Its namespace.
    pub namespace: &'static str,
    /// The host at the VIP that leads to the endpoints.
    pub host: String,
    /// The endpoints of the Service `web`.
    pub endpoints: Vec<Endpoint>,
}

// === impl Stage ===

impl<'c> Stage<'c> {
    /// Sets it, and waits until both tiers serve it. No request has been sent to an endpoint then.
    ///
    /// # Panics
    /// When they do not in time.
    #[must_use]
    pub fn set(
        cluster: InTest<'c>,
        namespace: &'static str,
        replicas: u32,
        settings: &[(&str, &str)],
        manners: &[Manner],
    ) -> Self {
        let kubectl = cluster.kubectl();
        kubectl.create_namespace(namespace);
        let played = manners
            .iter()
            .map(|manner| Endpoint::start(&cluster, *manner));
        let stage = Self {
            host: format!("web.{namespace}.svc.cluster.local"),
            endpoints: played.collect(),
            namespace,
            cluster,
        };
        let trusted = format!("--trusted-proxies={}", stage.cluster.pod_network());
        let flags = ["--ingress-class=tiergate", &trusted];
        let variables = settings
            .iter()
            .map(|(name, value)| format!("        - {{name: {name}, value: '{value}'}}\n"));
        let variables = format!("        env:\n{}", variables.collect::<String>());
        let tier = namespace_tier("ingress", namespace, replicas, &flags);
        kubectl.apply(namespace, &tier.replace("        env:\n", &variables));
        kubectl.apply(namespace, &service_by_hand("web", &stage.ips()));
        let rule = ingress("web", Some("tiergate"), &stage.host, "web");
        kubectl.apply(namespace, &rule);
        kubectl.apply(namespace, &delegation(namespace, "ingress"));
        kubectl.rolled_out(namespace, "ingress");
        let service = format!("{namespace}/web");
        let cluster = &stage.cluster;
        cluster.until_endpoints(namespace, &stage.host, &service, &stage.ips());
        stage.until_delegated("ingress", &stage.tiers());
        stage
    }

    /// Waits until the cluster tier sends the hosts of the namespace to exactly these endpoints of a Service.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn until_delegated(&self, service: &str, ips: &[Ipv4Addr]) {
        let hosts = format!("*.{}.svc.cluster.local", self.namespace);
        let service = format!("{}/{service}", self.namespace);
        self.cluster
            .until_endpoints("kube-system", &hosts, &service, ips);
    }

    /// Where the endpoints are.
    #[must_use]
    pub fn ips(&self) -> Vec<Ipv4Addr> {
        self.endpoints.iter().map(|endpoint| endpoint.ip).collect()
    }

    /// Where the replicas of the namespace tier are.
    ///
    /// # Panics
    /// When one has no address.
    #[must_use]
    pub fn tiers(&self) -> Vec<Ipv4Addr> {
        let pods = self.cluster.ready_pods(self.namespace, "app=ingress");
        pods.iter()
            .map(|(_, ip)| ip.parse().expect("a ready pod has an address"))
            .collect()
    }

    /// A request at the VIP without a body, on a connection of its own.
    ///
    /// # Panics
    /// When the VIP does not answer.
    #[must_use]
    pub fn send(&self, method: &str, path: &str) -> Response {
        let request = Request::new(method, &self.host, path);
        fetch(self.cluster.http(), &request).expect("the VIP answers")
    }

    /// Sends so many requests, one after another, and returns how many got which status.
    ///
    /// # Panics
    /// When the VIP does not answer.
    #[must_use]
    pub fn statuses(&self, method: &str, count: usize) -> BTreeMap<u16, usize> {
        let mut statuses = BTreeMap::new();
        for number in 0..count {
            let status = self.send(method, &format!("/{number}")).status;
            *statuses.entry(status).or_default() += 1;
        }
        statuses
    }

    /// Waits until each replica of the namespace tier has this in its table.
    ///
    /// # Panics
    /// When one has not in time.
    pub fn until_in_table(&self, text: &str) {
        for admin in self.cluster.admin_addresses(self.namespace) {
            wait::until(text, wait::CHANGE_SECONDS, || {
                let table = fetch(admin, &Request::get("admin", "/debug/table"));
                let table = table.map_err(|problem| problem.to_string())?.text();
                wait::seen(table.contains(text), table)
            });
        }
    }

    /// Requests that came to each endpoint.
    #[must_use]
    pub fn counts(&self) -> Vec<usize> {
        self.endpoints.iter().map(Endpoint::count).collect()
    }

    /// The rests that each replica of the namespace tier has given.
    #[must_use]
    pub fn ejections(&self) -> Vec<f64> {
        let of = |ip: &Ipv4Addr| {
            let name = "tiergate_endpoint_ejections_total";
            let tenant = format!("tenant=\"{}\"", self.namespace);
            self.cluster
                .metric(IpAddr::V4(*ip), name, &tenant)
                .unwrap_or_default()
        };
        self.tiers().iter().map(of).collect()
    }
}
