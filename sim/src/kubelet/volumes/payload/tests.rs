use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;

fn sources() -> Sources {
    let files = |files: &[(&str, &str)]| -> Files {
        let file = |(key, text): &(&str, &str)| ((*key).to_owned(), text.as_bytes().to_vec());
        files.iter().map(file).collect()
    };
    let mut sources = Sources::default();
    sources.objects.insert(
        (Kind::ConfigMap, "settings".to_owned()),
        files(&[("a", "1"), ("b", "2")]),
    );
    sources.objects.insert(
        (Kind::Secret, "keys".to_owned()),
        files(&[("key", "secret")]),
    );
    let request = TokenRequest {
        audience: None,
        lifetime_seconds: 3607,
    };
    sources.tokens.insert(request, "the-token".to_owned());
    sources
}

/// `path mode bytes` of each file, or the error.
fn files(volume: Value) -> String {
    let mut volume = volume;
    volume["name"] = json!("v");
    let volume: Volume = serde_json::from_value(volume).unwrap();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web", "tier": "a\"b"}},
    }))
    .unwrap();
    let facts = Facts {
        pod: &pod,
        pod_address: "10.244.0.2".to_owned(),
        node_address: "10.245.0.1".to_owned(),
        service_links: BTreeMap::new(),
    };
    let line = |(path, file): (&String, &File)| {
        let text = String::from_utf8_lossy(&file.bytes).replace('\n', "|");
        format!("{path} {:o} {text}", file.mode)
    };
    match payload(&volume, &sources(), &facts) {
        Ok(payload) => payload.iter().map(line).collect::<Vec<_>>().join(", "),
        Err(error) => error.to_string(),
    }
}

#[test]
fn files_come_from_config_maps_secrets_tokens_and_the_pod() {
    for (volume, expected) in [
        (
            json!({"configMap": {"name": "settings"}}),
            "a 644 1, b 644 2",
        ),
        (
            json!({"configMap": {"name": "settings", "defaultMode": 256,
                "items": [{"key": "b", "path": "sub/c", "mode": 384}, {"key": "a", "path": "a"}]}}),
            "a 400 1, sub/c 600 2",
        ),
        (json!({"secret": {"secretName": "keys"}}), "key 644 secret"),
        (
            json!({"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
            ]}}),
            r#"labels 644 app="web"|tier="a\"b", name 644 web-1"#,
        ),
        (
            json!({"projected": {"sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "settings", "items": [{"key": "a", "path": "ca.crt"}]}},
                {"secret": {"name": "none", "optional": true}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]}}),
            "ca.crt 644 1, namespace 644 shop, token 644 the-token",
        ),
        (json!({"configMap": {"name": "none", "optional": true}}), ""),
    ] {
        assert_eq!(files(volume.clone()), expected, "{volume}");
    }
}

#[test]
fn what_is_missing_or_would_leave_the_volume_is_named() {
    for (volume, expected) in [
        (
            json!({"configMap": {"name": "none"}}),
            "configmap \"none\" not found",
        ),
        (
            json!({"secret": {"secretName": "none"}}),
            "secret \"none\" not found",
        ),
        (
            json!({"configMap": {"name": "settings", "items": [{"key": "z", "path": "z"}]}}),
            "configmap references non-existent config key: z",
        ),
        (
            json!({"configMap": {"name": "settings", "items": [{"key": "a", "path": "../a"}]}}),
            "\"../a\" is no path inside of the volume",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "cpu", "resourceFieldRef": {"resource": "limits.cpu"}}]}}),
            "a resourceFieldRef is not modelled",
        ),
        (
            json!({"projected": {"sources": [{"clusterTrustBundle": {"path": "x"}}]}}),
            "a projection of this type is not modelled",
        ),
    ] {
        assert_eq!(files(volume.clone()), expected, "{volume}");
    }
}
