//! The variables of a container, in the order and with the precedence of a real kubelet. Pure.
//!
//! In: the container, what is known of its pod, the ConfigMaps and Secrets it names. Out: the variables, or why the
//! container cannot be created. `env` wins over `envFrom`, both win over the links to Services.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};

use super::expand::expand;

/// What the downward API tells a container about its pod.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its address.
    pub pod_address: String,
    /// The address of its node.
    pub node_address: String,
    /// Variables that name the Services.
    pub service_links: BTreeMap<String, String>,
}

/// Contents of the ConfigMaps and Secrets that a container names, as far as they exist.
#[derive(Debug, Default)]
pub struct Sources {
    /// By name.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// By name.
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
}

/// Names of the ConfigMaps and Secrets that a container's variables come from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<String>,
}

/// Why the variables of a container cannot be made: the message of `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The object does not exist.
    #[error("{kind} {name:?} not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object has no such key.
    #[error("couldn't find key {key} in {kind} {name}")]
    MissingKey {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The downward API has no such field.
    #[error("the downward API has no field {0:?} here")]
    Field(String),
    /// A way to set a variable that is not modelled.
    #[error("variable {0} comes from a source that is not modelled here")]
    Source(String),
}

/// What has to be read before [`variables`] can be called.
#[must_use]
pub fn needs(container: &Container) -> Needs {
    let mut needs = Needs::default();
    for from in container.env_from.iter().flatten() {
        if let Some(source) = &from.config_map_ref {
            needs.config_maps.insert(source.name.clone());
        }
        if let Some(source) = &from.secret_ref {
            needs.secrets.insert(source.name.clone());
        }
    }
    let sources = container.env.iter().flatten();
    for source in sources.filter_map(|variable| variable.value_from.as_ref()) {
        if let Some(key) = &source.config_map_key_ref {
            needs.config_maps.insert(key.name.clone());
        }
        if let Some(key) = &source.secret_key_ref {
            needs.secrets.insert(key.name.clone());
        }
    }
    needs
}

/// The variables of a container.
///
/// # Errors
/// When something that is not optional is missing.
pub fn variables(
    container: &Container,
    facts: &Facts<'_>,
    sources: &Sources,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut variables = facts.service_links.clone();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (found, kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(source), _) => (
                sources.config_maps.get(&source.name),
                "configmap",
                &source.name,
                source.optional,
            ),
            (None, Some(source)) => (
                sources.secrets.get(&source.name),
                "secret",
                &source.name,
                source.optional,
            ),
            (None, None) => continue,
        };
        match found {
            Some(data) => variables.extend(
                data.iter()
                    .map(|(key, value)| (format!("{prefix}{key}"), value.clone())),
            ),
            None if optional == Some(true) => {}
            None => {
                let name = name.clone();
                return Err(ConfigError::Missing { kind, name });
            }
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(variable, facts, sources, &variables)? {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables)
}

/// None: an optional key that is not there leaves the variable unset.
fn value(
    variable: &EnvVar,
    facts: &Facts<'_>,
    sources: &Sources,
    earlier: &BTreeMap<String, String>,
) -> Result<Option<String>, ConfigError> {
    let Some(source) = &variable.value_from else {
        let text = variable.value.as_deref().unwrap_or_default();
        return Ok(Some(expand(text, earlier)));
    };
    let EnvVarSource {
        config_map_key_ref,
        secret_key_ref,
        field_ref,
        ..
    } = source;
    if let Some(field) = field_ref {
        return field_value(&field.field_path, facts).map(Some);
    }
    let (data, kind, name, key, optional) = match (config_map_key_ref, secret_key_ref) {
        (Some(at), _) => (
            &sources.config_maps,
            "configmap",
            &at.name,
            &at.key,
            at.optional,
        ),
        (None, Some(at)) => (&sources.secrets, "secret", &at.name, &at.key, at.optional),
        (None, None) => return Err(ConfigError::Source(variable.name.clone())),
    };
    let (name, key) = (name.clone(), key.clone());
    match data.get(&name).map(|data| data.get(&key)) {
        Some(Some(value)) => Ok(Some(value.clone())),
        _ if optional == Some(true) => Ok(None),
        Some(None) => Err(ConfigError::MissingKey { kind, name, key }),
        None => Err(ConfigError::Missing { kind, name }),
    }
}

pub(super) fn field_value(path: &str, facts: &Facts<'_>) -> Result<String, ConfigError> {
    let metadata = &facts.pod.metadata;
    let spec = facts.pod.spec.as_ref();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => text(metadata.name.as_ref()),
        "metadata.namespace" => text(metadata.namespace.as_ref()),
        "metadata.uid" => text(metadata.uid.as_ref()),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.podIP" | "status.podIPs" => facts.pod_address.clone(),
        "status.hostIP" | "status.hostIPs" => facts.node_address.clone(),
        _ => {
            let (map, key) = subscript(path, "metadata.labels")
                .map(|key| (&metadata.labels, key))
                .or_else(|| {
                    subscript(path, "metadata.annotations").map(|key| (&metadata.annotations, key))
                })
                .ok_or_else(|| ConfigError::Field(path.to_owned()))?;
            text(map.as_ref().and_then(|map| map.get(key)))
        }
    })
}

/// `key` of `field['key']`.
fn subscript<'a>(path: &'a str, field: &str) -> Option<&'a str> {
    path.strip_prefix(field)?
        .strip_prefix("['")?
        .strip_suffix("']")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use super::*;

    fn check(container: Value, expected: &Expect) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}},
            "spec": {"nodeName": "node-1", "serviceAccountName": "teller", "containers": []},
        }))
        .unwrap();
        let facts = Facts {
            pod: &pod,
            pod_address: "127.10.0.2".to_owned(),
            node_address: "127.10.0.1".to_owned(),
            service_links: BTreeMap::from([("DB_SERVICE_HOST".to_owned(), "10.0.0.5".to_owned())]),
        };
        let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let sources = Sources {
            config_maps: BTreeMap::from([("settings".to_owned(), map("COLOUR", "blue"))]),
            secrets: BTreeMap::from([("keys".to_owned(), map("token", "s3cret"))]),
        };
        let container: Container = serde_json::from_value(container).unwrap();
        let text = match variables(&container, &facts, &sources) {
            Ok(variables) => variables
                .iter()
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect(),
            Err(error) => format!("error: {error}\n"),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn variables_come_from_values_the_pod_config_maps_and_secrets() {
        check(
            json!({"name": "c", "env": [
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "NONE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['x']"}}},
                {"name": "LISTEN", "value": "$(IP):80 $(LATER) $(DB_SERVICE_HOST)"},
                {"name": "LATER", "value": "1"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
                {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "x", "optional": true}}},
            ], "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}]}),
            &expect![[r#"
                APP=web
                DB_SERVICE_HOST=10.0.0.5
                IP=127.10.0.2
                LATER=1
                LISTEN=127.10.0.2:80 $(LATER) 10.0.0.5
                NODE=node-1
                NONE=
                P_COLOUR=blue
                TOKEN=s3cret
            "#]],
        );
    }

    #[test]
    fn env_wins_over_env_from_and_over_service_links() {
        check(
            json!({"name": "c", "envFrom": [{"configMapRef": {"name": "settings"}}], "env": [
                {"name": "COLOUR", "value": "red"}, {"name": "DB_SERVICE_HOST", "value": "mine"},
            ]}),
            &expect![[r#"
                COLOUR=red
                DB_SERVICE_HOST=mine
            "#]],
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let env = |source: Value| json!({"name": "c", "env": [{"name": "A", "valueFrom": source}]});
        let cases = [
            (
                env(json!({"configMapKeyRef": {"name": "no", "key": "k"}})),
                expect![[r#"
                    error: configmap "no" not found
                "#]],
            ),
            (
                env(json!({"secretKeyRef": {"name": "keys", "key": "k"}})),
                expect![[r#"
                    error: couldn't find key k in secret keys
                "#]],
            ),
            (
                env(json!({"fieldRef": {"fieldPath": "spec.x"}})),
                expect![[r#"
                    error: the downward API has no field "spec.x" here
                "#]],
            ),
            (
                env(json!({"resourceFieldRef": {"resource": "limits.cpu"}})),
                expect![[r#"
                    error: variable A comes from a source that is not modelled here
                "#]],
            ),
            (
                json!({"name": "c", "envFrom": [{"secretRef": {"name": "no"}}]}),
                expect![[r#"
                    error: secret "no" not found
                "#]],
            ),
        ];
        for (container, expected) in cases {
            check(container, &expected);
        }
    }

    #[test]
    fn needs_name_every_source_once() {
        let container: Container = serde_json::from_value(json!({"name": "c",
            "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}],
            "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "k"}}},
                    {"name": "Y", "valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}}],
        }))
        .unwrap();
        let expected = Needs {
            config_maps: BTreeSet::from(["a".to_owned()]),
            secrets: BTreeSet::from(["b".to_owned(), "c".to_owned()]),
        };
        assert_eq!(needs(&container), expected);
    }
}
