//! What an Ingress asks for, in the room that it needs. Pure.
//!
//! In: `spec` as the API server writes it. Out: the same with what is absent and what is empty made one, as nobody here tells them apart. The
//! types of the API have room for every field that may be there: ten thousand small Ingresses take twice as much memory in them.

use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::api::networking::v1;

/// The specification of an Ingress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// `ingressClassName`. Empty is not absent: then the annotation names no class either.
    pub class: Option<Box<str>>,
    /// `defaultBackend`.
    pub default_backend: Option<Box<Backend>>,
    /// `rules`.
    pub rules: Box<[Rule]>,
    /// `tls`.
    pub tls: Box<[Tls]>,
}

/// The paths of a host.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// `host`. Empty: requests whatever their host.
    pub host: Box<str>,
    /// `http.paths`.
    pub paths: Box<[Path]>,
}

/// Where the requests for a path go.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// `path`, unchecked.
    pub path: Box<str>,
    /// `pathType`, unchecked.
    pub path_type: Box<str>,
    /// `backend`.
    pub backend: Backend,
}

/// What a rule names as its backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Backend {
    /// Nothing.
    #[default]
    None,
    /// A port of a Service.
    Service(ServicePort),
    /// Some other object, which is not served.
    Resource(Box<TypedLocalObjectReference>),
}

/// A port of a Service as a rule names it: by name or by number, and perhaps, which makes no sense, by both or neither.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// The name of the Service.
    pub service: Box<str>,
    /// `port.name`. Empty: none.
    pub name: Box<str>,
    /// `port.number`. 0: none.
    pub number: i32,
}

/// Hosts and the Secret with their certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// `hosts`.
    pub hosts: Box<[Box<str>]>,
    /// `secretName`. Empty: none.
    pub secret: Box<str>,
}

// === impl Spec ===

impl From<v1::IngressSpec> for Spec {
    fn from(spec: v1::IngressSpec) -> Self {
        Self {
            class: spec.ingress_class_name.map(String::into_boxed_str),
            default_backend: spec.default_backend.map(|named| Box::new(named.into())),
            rules: all(spec.rules),
            tls: all(spec.tls),
        }
    }
}

/// As the API server would write it.
impl From<&Spec> for v1::IngressSpec {
    fn from(spec: &Spec) -> Self {
        Self {
            ingress_class_name: spec.class.as_deref().map(str::to_owned),
            default_backend: spec.default_backend.as_deref().map(Into::into),
            rules: some_of(spec.rules.iter().map(Into::into)),
            tls: some_of(spec.tls.iter().map(Into::into)),
        }
    }
}

// === impl Rule ===

impl From<v1::IngressRule> for Rule {
    fn from(rule: v1::IngressRule) -> Self {
        Self {
            host: text(rule.host),
            paths: all(rule.http.map(|http| http.paths)),
        }
    }
}

impl From<&Rule> for v1::IngressRule {
    fn from(rule: &Rule) -> Self {
        let paths = some_of(rule.paths.iter().map(Into::into));
        Self {
            host: some(&rule.host),
            http: paths.map(|paths| v1::HTTPIngressRuleValue { paths }),
        }
    }
}

// === impl Path ===

impl From<v1::HTTPIngressPath> for Path {
    fn from(path: v1::HTTPIngressPath) -> Self {
        Self {
            path: text(path.path),
            path_type: path.path_type.into(),
            backend: path.backend.into(),
        }
    }
}

impl From<&Path> for v1::HTTPIngressPath {
    fn from(path: &Path) -> Self {
        Self {
            path: some(&path.path),
            path_type: path.path_type.to_string(),
            backend: (&path.backend).into(),
        }
    }
}

// === impl Backend ===

impl From<v1::IngressBackend> for Backend {
    fn from(named: v1::IngressBackend) -> Self {
        match (named.service, named.resource) {
            (Some(service), _) => {
                let port = service.port.unwrap_or_default();
                Self::Service(ServicePort {
                    service: service.name.into(),
                    name: text(port.name),
                    number: port.number.unwrap_or_default(),
                })
            }
            (None, Some(resource)) => Self::Resource(Box::new(resource)),
            (None, None) => Self::None,
        }
    }
}

impl From<&Backend> for v1::IngressBackend {
    fn from(named: &Backend) -> Self {
        match named {
            Backend::None => Self::default(),
            Backend::Resource(resource) => Self {
                resource: Some((**resource).clone()),
                service: None,
            },
            Backend::Service(port) => Self {
                resource: None,
                service: Some(v1::IngressServiceBackend {
                    name: port.service.to_string(),
                    port: Some(v1::ServiceBackendPort {
                        name: some(&port.name),
                        number: Some(port.number).filter(|&number| number != 0),
                    }),
                }),
            },
        }
    }
}

// === impl Tls ===

impl From<v1::IngressTLS> for Tls {
    fn from(tls: v1::IngressTLS) -> Self {
        Self {
            hosts: all(tls.hosts),
            secret: text(tls.secret_name),
        }
    }
}

impl From<&Tls> for v1::IngressTLS {
    fn from(tls: &Tls) -> Self {
        Self {
            hosts: some_of(tls.hosts.iter().map(ToString::to_string)),
            secret_name: some(&tls.secret),
        }
    }
}

fn all<T, Read: From<T>>(listed: Option<Vec<T>>) -> Box<[Read]> {
    listed.into_iter().flatten().map(Into::into).collect()
}

fn some_of<T>(all: impl ExactSizeIterator<Item = T>) -> Option<Vec<T>> {
    (all.len() > 0).then(|| all.collect())
}

fn text(text: Option<String>) -> Box<str> {
    text.unwrap_or_default().into()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_for_is_shown_as_it_was_written() {
        let written = json!({
            "ingressClassName": "",
            "defaultBackend": {"resource": {"apiGroup": "k8s.example", "kind": "Bucket", "name": "icons"}},
            "rules": [
                {"host": "a.example", "http": {"paths": [
                    {"path": "/a", "pathType": "Exact", "backend": {"service": {"name": "a", "port": {"number": 80}}}},
                    {"pathType": "Prefix", "backend": {"service": {"name": "b", "port": {"name": "http"}}}},
                    {"path": "/c", "pathType": "Prefix", "backend": {}},
                ]}},
                {},
            ],
            "tls": [{"hosts": ["a.example", "b.example"], "secretName": "a"}, {}],
        });
        let spec: v1::IngressSpec = serde_json::from_value(written.clone()).unwrap();
        let shown = v1::IngressSpec::from(&Spec::from(spec));
        assert_eq!(serde_json::to_value(shown).unwrap(), written);
    }

    #[test]
    fn absent_and_empty_are_one() {
        let read = |written| -> Spec {
            let spec: v1::IngressSpec = serde_json::from_value(written).unwrap();
            spec.into()
        };
        let backend = |port| json!({"service": {"name": "a", "port": port}});
        let path = |port| json!([{"path": "", "pathType": "Prefix", "backend": backend(port)}]);
        let with_empty = json!({
            "rules": [{"host": "", "http": {"paths": path(json!({"name": "", "number": 0}))}}],
            "tls": [{"hosts": [], "secretName": ""}],
        });
        let without = json!({
            "rules": [{"http": {"paths": [{"pathType": "Prefix", "backend": {"service": {"name": "a"}}}]}}],
            "tls": [{}],
        });
        assert_eq!(read(with_empty), read(without));
        assert_eq!(read(json!({"rules": [], "tls": []})), Spec::default());
    }
}
