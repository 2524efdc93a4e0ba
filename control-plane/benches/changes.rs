//! The cases: what a change costs from the objects to the table.

use std::hint::black_box;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tiergate_control_plane::compile::compile;
use tiergate_control_plane::objects::{Change, Object, Objects};
use tiergate_control_plane::scope::Scope;
use tiergate_control_plane::translate::translate;
use tiergate_data_plane::table::Table;

use crate::case::{Case, Operation, uncounted};

const INGRESSES: usize = 1000;

pub(crate) const CASES: &[Case] = &[
    Case::new("change/take-1000-ingresses", 2, take),
    Case::new("change/translate-1000-ingresses", 2, translate_all),
    Case::new("change/compile-1000-ingresses", 2, compile_all),
];

/// Ingresses of one host each, with Services and EndpointSlices of their own.
fn objects() -> Vec<Object> {
    let mut objects = Vec::new();
    for number in 0..INGRESSES {
        let metadata = json!({"namespace": "team", "name": format!("s{number}"), "uid": format!("uid-{number}"),
            "creationTimestamp": "2026-01-01T00:00:00Z"});
        let backend = json!({"service": {"name": format!("s{number}"), "port": {"number": 80}}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        let rule = json!({"host": format!("h{number}.example.test"), "http": {"paths": paths}});
        let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata,
            "spec": {"ingressClassName": "ours", "rules": [rule]}});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"ports": [{"name": "web", "port": 80, "targetPort": 8080}]}});
        let endpoint = |last: usize| {
            json!({"addresses": [format!("192.0.2.{last}")], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "uid": format!("pod-{number}-{last}")}})
        };
        let mut metadata = metadata.clone();
        metadata["labels"] = json!({"kubernetes.io/service-name": format!("s{number}")});
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": "IPv4", "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
            "endpoints": [endpoint(1), endpoint(2)]});
        objects.push(read::<k8s_openapi::api::networking::v1::Ingress>(ingress).into());
        objects.push(read::<k8s_openapi::api::core::v1::Service>(service).into());
        objects.push(read::<k8s_openapi::api::discovery::v1::EndpointSlice>(slice).into());
    }
    objects
}

fn read<K: DeserializeOwned>(document: Value) -> K {
    serde_json::from_value(document).expect("these are objects as the API server gives them")
}

fn seen(objects: Vec<Object>) -> Objects {
    let mut seen = Objects::default();
    for object in objects {
        seen.apply(Change::Apply(object));
    }
    seen
}

fn scope() -> Scope {
    Scope {
        namespace: Some("team".to_owned()),
        classes: vec!["ours".to_owned()],
        ..Scope::default()
    }
}

fn take() -> Operation {
    let objects = objects();
    Box::new(move |operations| {
        for _ in 0..operations {
            let objects = uncounted(|| objects.clone());
            let seen = seen(black_box(objects));
            uncounted(|| drop(seen));
        }
    })
}

fn translate_all() -> Operation {
    let (seen, scope) = (seen(objects()), scope());
    Box::new(move |operations| {
        for _ in 0..operations {
            let translation = translate(black_box(&seen), &scope);
            uncounted(|| {
                assert!(translation.conditions.is_empty());
                drop(translation);
            });
        }
    })
}

fn compile_all() -> Operation {
    let translation = translate(&seen(objects()), &scope());
    Box::new(move |operations| {
        for _ in 0..operations {
            let table: Table = compile(black_box(&translation.model));
            uncounted(|| {
                assert_eq!(table.routes().len(), INGRESSES);
                drop(table);
            });
        }
    })
}
