//! The Kubernetes ingress conformance suite as facts: the rows of its features, and what stands around a feature while its rows run.
//!
//! The suite's own program is not run; `docs/conformance.md` says why and shows what came of it.

use std::net::SocketAddr;

use crate::client::{Request, Response, fetch};
use crate::cluster::Cluster;
use crate::objects::{application, namespace_tier, tls_secret};
use crate::told::address_of;
use crate::{tls, wait};

/// The requests of `default_backend`: method, host (the address itself without one) and path.
pub const DEFAULT_BACKEND: [(&str, Option<&str>, &str); 6] = [
    ("GET", Some("my-host"), ""),
    ("GET", Some("my-host"), "sub-path"),
    ("POST", Some("some-host"), ""),
    ("PUT", None, "resource"),
    ("DELETE", Some("some-host"), "resource"),
    ("PATCH", Some("my-host"), "resource"),
];

/// The requests of `host_rules`: scheme, host, path, and the Service that answers, or nobody.
pub const HOST_RULES: [(&str, &str, &str, Option<&str>); 6] = [
    ("https", "foo.bar.com", "/", Some("foo-bar-com")),
    ("http", "foo.bar.com", "/", Some("foo-bar-com")),
    ("http", "subdomain.bar.com", "/", None),
    ("http", "bar.foo.com", "/", Some("wildcard-foo-com")),
    ("http", "baz.bar.foo.com", "/", None),
    ("http", "foo.com", "/", None),
];

/// The requests of `path_rules`: host, path, and the Service that answers, or nobody.
pub const PATH_RULES: [(&str, &str, Option<&str>); 16] = [
    ("exact-path-rules", "/foo", Some("foo-exact")),
    ("exact-path-rules", "/foo/", None),
    ("exact-path-rules", "/FOO", None),
    ("exact-path-rules", "/bar", None),
    ("prefix-path-rules", "/foo", Some("foo-prefix")),
    ("prefix-path-rules", "/foo/", Some("foo-prefix")),
    ("prefix-path-rules", "/FOO", None),
    (
        "prefix-path-rules",
        "/aaa/bbb",
        Some("aaa-slash-bbb-prefix"),
    ),
    (
        "prefix-path-rules",
        "/aaa/bbb/ccc",
        Some("aaa-slash-bbb-prefix"),
    ),
    ("prefix-path-rules", "/aaa/ccc", Some("aaa-prefix")),
    ("prefix-path-rules", "/aaaccc", None),
    ("prefix-path-rules", "/foo/", Some("foo-prefix")),
    ("mixed-path-rules", "/foo", Some("foo-exact")),
    (
        "trailing-slash-path-rules",
        "/aaa/bbb",
        Some("aaa-slash-bbb-slash-prefix"),
    ),
    (
        "trailing-slash-path-rules",
        "/aaa/bbb/",
        Some("aaa-slash-bbb-slash-prefix"),
    ),
    ("trailing-slash-path-rules", "/foo", None),
];

/// The rules of `path_rules`: host, path type, path and Service.
pub const RULES: [(&str, &str, &str, &str); 8] = [
    ("exact-path-rules", "Exact", "/foo", "foo-exact"),
    ("prefix-path-rules", "Prefix", "/foo", "foo-prefix"),
    (
        "prefix-path-rules",
        "Prefix",
        "/aaa/bbb",
        "aaa-slash-bbb-prefix",
    ),
    ("prefix-path-rules", "Prefix", "/aaa", "aaa-prefix"),
    ("mixed-path-rules", "Prefix", "/foo", "foo-prefix"),
    ("mixed-path-rules", "Exact", "/foo", "foo-exact"),
    (
        "trailing-slash-path-rules",
        "Prefix",
        "/aaa/bbb/",
        "aaa-slash-bbb-slash-prefix",
    ),
    (
        "trailing-slash-path-rules",
        "Exact",
        "/foo/",
        "foo-slash-exact",
    ),
];

/// What a request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A namespace tier alone.
    One,
    /// The cluster tier, and then a namespace tier.
    Two,
}

/// A feature of the suite that is up: its namespace, and where requests go.
pub struct Feature<'c> {
    cluster: &'c Cluster,
    /// Its namespace.
    pub namespace: String,
    way: Way,
    /// Where HTTP is asked.
    pub http: SocketAddr,
    /// Where HTTPS is asked.
    pub https: SocketAddr,
}

/// A Service, as the suite has it: port 8080, called `http`.
fn service(name: &str) -> String {
    application(name, 1).replace(
        "{name: web, port: 80, targetPort: web}",
        "{name: http, port: 8080, targetPort: web}",
    )
}

/// A rule, with its paths: type, path, Service and how its port is named.
#[must_use]
pub fn rule(host: &str, paths: &[(&str, &str, &str, &str)]) -> String {
    let paths = paths.iter().map(|(kind, path, service, port)| {
        format!("      - {{path: {path}, pathType: {kind}, backend: {{service: {{name: {service}, port: {{{port}}}}}}}}}\n")
    });
    format!(
        "  - host: \"{host}\"\n    http:\n      paths:\n{}",
        paths.collect::<String>()
    )
}

/// An Ingress of a class, with a specification without the class.
#[must_use]
pub fn ingress(name: &str, class: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  ingressClassName: {class}\n{spec}"
    )
}

/// The suite compares the name of the Service, which is that of its Deployment here: a pod has two more parts in its name.
#[must_use]
pub fn is_served_by(response: &Response, service: &str) -> bool {
    let pod = response.echo("pod");
    let mut parts = pod.rsplitn(3, '-');
    parts.nth(2) == Some(service)
}

// === impl Feature ===

impl<'c> Feature<'c> {
    /// A namespace with these Services, a tier and an Ingress with this specification; on two ways also what sends the hosts of
    /// the Ingress from the cluster tier to the one of the namespace. It is up when the Ingress has its status: nothing is asked before,
    /// and everything may be asked from then on.
    pub fn start(
        cluster: &'c Cluster,
        way: Way,
        name: &str,
        services: &[&str],
        spec: &str,
        certificate: Option<&tls::Pair>,
    ) -> Self {
        let kubectl = cluster.kubectl();
        let number = match way {
            Way::One => "one",
            Way::Two => "two",
        };
        let namespace = format!("{name}-{number}");
        kubectl.create_namespace(&namespace);
        let all = services
            .iter()
            .map(|name| service(name))
            .collect::<Vec<_>>()
            .join("---");
        kubectl.apply(&namespace, &all);
        if let Some(pair) = certificate {
            kubectl.apply(
                &namespace,
                &tls_secret("conformance-tls", &pair.certificate, &pair.key),
            );
        }
        let trusted = format!("--trusted-proxies={}", cluster.pod_network());
        let published = format!("--publish-service={namespace}/ingress");
        let arguments = ["--ingress-class=tiergate", &trusted, &published];
        let tier = namespace_tier("ingress", &namespace, 1, &arguments);
        let port = "{name: http, port: 80, targetPort: http";
        let tier = tier.replace(port, &format!("{port}, appProtocol: kubernetes.io/h2c"));
        kubectl.apply(&namespace, &tier);
        for service in services {
            kubectl.rolled_out(&namespace, service);
        }
        kubectl.rolled_out(&namespace, "ingress");
        let (http, https) = match way {
            Way::One => {
                let (_, ip) = cluster.ready_pods(&namespace, "app=ingress").remove(0);
                let at = |port: u16| {
                    format!("{ip}:{port}")
                        .parse()
                        .expect("a pod has an address")
                };
                (at(8080), at(8443))
            }
            Way::Two => {
                if certificate.is_some() {
                    cluster.allow_secrets(&namespace);
                }
                (cluster.http(), cluster.https())
            }
        };
        let feature = Self {
            cluster,
            namespace,
            way,
            http,
            https,
        };
        feature.publish("conformance", spec);
        feature
    }

    /// Applies an Ingress with this specification, on two ways also what sends its hosts here, and waits until they have their status.
    ///
    /// # Panics
    /// When kubectl refuses, or one has no status in time.
    pub fn publish(&self, name: &str, spec: &str) {
        let kubectl = self.cluster.kubectl();
        kubectl.apply(&self.namespace, &ingress(name, "tiergate", spec));
        self.until_published(name);
        if self.way == Way::Two {
            let to_here = format!("{name}-delegation");
            kubectl.apply(&self.namespace, &delegation(&to_here, spec));
            self.until_published(&to_here);
        }
    }

    /// Waits until an Ingress has its status.
    ///
    /// # Panics
    /// When it has none in time.
    pub fn until_published(&self, name: &str) {
        let what = format!("{:?}: the status of {name}", self.way);
        wait::until(&what, wait::CHANGE_SECONDS, || {
            let object = self.cluster.ingress(&self.namespace, name);
            let is_there = address_of(&object).is_some();
            wait::seen(is_there, object["status"].to_string())
        });
    }

    /// A GET on a connection of its own. As the suite's client does, it goes on where it is sent by https: once, so that a second
    /// redirect is what the caller gets.
    ///
    /// # Panics
    /// When the tier does not answer at all.
    #[must_use]
    pub fn get(&self, host: &str, path: &str) -> Response {
        let response = fetch(self.http, &Request::get(host, path)).expect("the tier answers");
        let location = response.header("location");
        if location != Some(&format!("https://{host}{path}")) {
            return response;
        }
        self.get_by_https(host, path)
    }

    /// The same by https.
    ///
    /// # Panics
    /// When the handshake fails.
    #[must_use]
    pub fn get_by_https(&self, host: &str, path: &str) -> Response {
        let (mut connection, _) = tls::open(self.https, host).expect("a handshake");
        let response = connection.send(&Request::get(host, path));
        response.expect("the tier answers")
    }

    /// Sends a further host from the cluster tier to the namespace's, where there are two, and waits until that has its status.
    ///
    /// # Panics
    /// When kubectl refuses, or it has none in time.
    pub fn delegate(&self, host: &str) {
        if self.way == Way::Two {
            let rules = format!("  rules:\n  - host: \"{host}\"\n");
            let name = format!("delegation-{host}");
            let yaml = delegation(&name, &rules);
            self.cluster.kubectl().apply(&self.namespace, &yaml);
            self.until_published(&name);
        }
    }

    /// As the suite ends a feature: nobody waits for the namespace. Until it is gone it claims hosts that the next one wants.
    ///
    /// # Panics
    /// When kubectl refuses.
    pub fn end(self) {
        let kubectl = self.cluster.kubectl();
        let namespace = &self.namespace;
        kubectl.ok(&format!("delete namespace {namespace} --wait=false"));
    }
}

/// What the cluster tier is told: the hosts of the Ingress go to the tier of the namespace, and TLS ends before it.
fn delegation(name: &str, spec: &str) -> String {
    let tier = "service: {name: ingress, port: {number: 80}}";
    let tls: String = spec
        .lines()
        .take_while(|line| *line != "  rules:")
        .map(|line| format!("{line}\n"))
        .collect();
    let hosts = spec
        .lines()
        .filter_map(|line| line.strip_prefix("  - host: "));
    let rules: String = hosts
        .map(|host| {
            format!("  - host: {host}\n    http:\n      paths:\n      - {{path: /, pathType: Prefix, backend: {{{tier}}}}}\n")
        })
        .collect();
    let spec = if rules.is_empty() {
        format!("  defaultBackend:\n    {tier}\n")
    } else {
        format!("{tls}  rules:\n{rules}")
    };
    ingress(name, "tiergate-cluster", &spec)
}
