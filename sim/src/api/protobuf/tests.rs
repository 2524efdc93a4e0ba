//! Bodies encoded by the generated messages of k8s-pb, and broken ones.

use k8s_pb::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_pb::api::authentication::v1::{SelfSubjectReview, SelfSubjectReviewStatus, UserInfo};
use k8s_pb::api::core::v1::{
    Container, ContainerPort, PodSpec, PodTemplateSpec, Probe, ProbeHandler, Secret,
};
use k8s_pb::api::core::v1::{HttpGetAction, ResourceRequirements};
use k8s_pb::api::networking::v1 as networking;
use k8s_pb::apimachinery::pkg::api::resource::Quantity;
use k8s_pb::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Time};
use k8s_pb::apimachinery::pkg::runtime::{TypeMeta, Unknown};
use k8s_pb::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use prost::Message;
use serde_json::json;

use super::*;

/// A message in the envelope.
fn enveloped(api_version: &str, kind: &str, message: &impl Message) -> Vec<u8> {
    let unknown = Unknown {
        type_meta: Some(TypeMeta {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
        }),
        raw: Some(message.encode_to_vec()),
        ..Unknown::default()
    };
    [MAGIC, &unknown.encode_to_vec()].concat()
}

fn named(name: &str) -> Option<ObjectMeta> {
    Some(ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "one large message")]
fn a_deployment_keeps_what_pointers_say_and_loses_empty_values() {
    let container = Container {
        name: Some("app".to_owned()),
        image: Some("app:1".to_owned()),
        working_dir: Some(String::new()),
        ports: vec![ContainerPort {
            container_port: Some(80),
            host_port: Some(0),
            ..ContainerPort::default()
        }],
        resources: Some(ResourceRequirements {
            limits: [(
                "cpu".to_owned(),
                Quantity {
                    string: Some("0.5".to_owned()),
                },
            )]
            .into(),
            ..ResourceRequirements::default()
        }),
        readiness_probe: Some(Probe {
            handler: Some(ProbeHandler {
                http_get: Some(HttpGetAction {
                    port: Some(IntOrString {
                        r#type: Some(1),
                        int_val: Some(0),
                        str_val: Some("http".to_owned()),
                    }),
                    ..HttpGetAction::default()
                }),
                ..ProbeHandler::default()
            }),
            ..Probe::default()
        }),
        ..Container::default()
    };
    let template = PodTemplateSpec {
        spec: Some(PodSpec {
            containers: vec![container],
            ..PodSpec::default()
        }),
        ..PodTemplateSpec::default()
    };
    let deployment = Deployment {
        metadata: Some(ObjectMeta {
            name: Some("one".to_owned()),
            namespace: Some(String::new()),
            creation_timestamp: Some(Time::default()),
            labels: [
                ("app".to_owned(), "one".to_owned()),
                ("empty".to_owned(), String::new()),
            ]
            .into(),
            ..ObjectMeta::default()
        }),
        spec: Some(DeploymentSpec {
            replicas: Some(0),
            min_ready_seconds: Some(0),
            paused: Some(false),
            template: Some(template),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    };
    assert_eq!(
        decode(&enveloped("apps/v1", "Deployment", &deployment)).unwrap(),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one", "labels": {"app": "one", "empty": ""}},
            "spec": {"replicas": 0, "selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": [{
                "name": "app", "image": "app:1", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "500m"}},
                "readinessProbe": {"httpGet": {"port": "http"}}}]}}},
            "status": {}})
    );
}

#[test]
fn secrets_come_as_base64_and_times_as_text() {
    let secret = Secret {
        metadata: Some(ObjectMeta {
            creation_timestamp: Some(Time {
                seconds: Some(978_307_200),
                nanos: Some(5),
            }),
            ..named("s").unwrap()
        }),
        data: [("key".to_owned(), b"value".to_vec())].into(),
        ..Secret::default()
    };
    assert_eq!(
        decode(&enveloped("v1", "Secret", &secret)).unwrap(),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "creationTimestamp": "2001-01-01T00:00:00Z"}, "data": {"key": "dmFsdWU="}})
    );
}

#[test]
fn an_ingress_is_decoded_through_embedded_structs() {
    let backend = networking::IngressBackend {
        service: Some(networking::IngressServiceBackend {
            name: Some("web".to_owned()),
            port: Some(networking::ServiceBackendPort {
                number: Some(80),
                name: Some(String::new()),
            }),
        }),
        resource: None,
    };
    let path = networking::HttpIngressPath {
        path: Some("/".to_owned()),
        path_type: Some("Prefix".to_owned()),
        backend: Some(backend),
    };
    let value = networking::IngressRuleValue {
        http: Some(networking::HttpIngressRuleValue { paths: vec![path] }),
    };
    let rule = networking::IngressRule {
        host: Some("a.example".to_owned()),
        ingress_rule_value: Some(value),
    };
    let ingress = networking::Ingress {
        metadata: named("one"),
        spec: Some(networking::IngressSpec {
            rules: vec![rule],
            ..networking::IngressSpec::default()
        }),
        status: None,
    };
    assert_eq!(
        decode(&enveloped("networking.k8s.io/v1", "Ingress", &ingress)).unwrap(),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "one"}, "spec": {"rules": [{"host": "a.example", "http": {
            "paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}, "status": {"loadBalancer": {}}})
    );
}

#[test]
fn reviews_and_delete_options_are_decoded() {
    let review = SelfSubjectReview {
        status: Some(SelfSubjectReviewStatus {
            user_info: Some(UserInfo {
                username: Some("u".to_owned()),
                ..UserInfo::default()
            }),
        }),
        ..SelfSubjectReview::default()
    };
    let decoded = decode(&enveloped(
        "authentication.k8s.io/v1",
        "SelfSubjectReview",
        &review,
    ))
    .unwrap();
    assert_eq!(decoded["status"]["userInfo"]["username"], "u");
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        propagation_policy: Some("Background".to_owned()),
        ..DeleteOptions::default()
    };
    assert_eq!(
        decode(&enveloped("policy/v1", "DeleteOptions", &options)).unwrap(),
        json!({"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    );
}

#[test]
fn broken_bodies_are_refused() {
    assert_eq!(decode(b"{}"), Err(Error::Magic));
    assert_eq!(
        decode(b"k8s\0\x12\x7f"),
        Err(Error::Malformed("unexpected end of message"))
    );
    let unknown = enveloped("v9", "Nope", &Secret::default());
    assert_eq!(
        decode(&unknown),
        Err(Error::Kind {
            api_version: "v9".to_owned(),
            kind: "Nope".to_owned()
        })
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(kind in prop_oneof![Just("Pod"), Just("Deployment"), Just("Ingress")], raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let group_version = match kind { "Pod" => "v1", "Deployment" => "apps/v1", _ => "networking.k8s.io/v1" };
        let unknown = Unknown {
            type_meta: Some(TypeMeta { api_version: Some(group_version.to_owned()), kind: Some(kind.to_owned()) }),
            raw: Some(raw.clone()),
            ..Unknown::default()
        };
        let _ = decode(&[MAGIC, &unknown.encode_to_vec()].concat());
        let _ = decode(&[MAGIC, &raw].concat());
    }
}
