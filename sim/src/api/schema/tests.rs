//! Reports against recorded refusals.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn unknown_fields_are_named_by_their_path() {
    let deployment = json!({"metadata": {"name": "d", "nope": 1}, "spec": {"replicsa": 1, "template": {"spec": {
        "containers": [{"name": "a", "imagePullpolicy": "x", "ports": [{"containerPort": 1, "x": 1}]}]}}}});
    let report = check("Deployment", "apps/v1", &deployment);
    let wanted = [
        "metadata.nope",
        "spec.replicsa",
        "spec.template.spec.containers[0].imagePullpolicy",
        "spec.template.spec.containers[0].ports[0].x",
    ];
    assert_eq!(
        report,
        Report {
            unknown: wanted.map(str::to_owned).to_vec(),
            wrong: None
        }
    );
}

#[test]
fn an_ingress_of_v1beta1_has_unknown_fields() {
    let ingress = json!({"spec": {"rules": [{"http": {"paths": [{"backend": {"serviceName": "a", "servicePort": 80}}]}}]}});
    let unknown = check("Ingress", "networking.k8s.io/v1", &ingress).unknown;
    assert_eq!(
        unknown[0],
        "spec.rules[0].http.paths[0].backend.serviceName"
    );
    assert_eq!(
        unknown[1],
        "spec.rules[0].http.paths[0].backend.servicePort"
    );
}

#[test]
fn faults_come_in_the_order_of_the_text() {
    let text =
        r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"1"},"data":{"a":"2"},"nope":1}"#;
    let object = serde_json::from_str(text).unwrap();
    let faults = strict_faults("ConfigMap", "v1", &object, text.as_bytes());
    assert_eq!(
        faults,
        [r#"duplicate field "data""#, r#"unknown field "nope""#]
    );
    assert_eq!(duplicates(text.as_bytes()), ["data"]);
}

#[test]
fn mistyped_values_are_told_in_the_words_of_the_decoder() {
    for (kind, group_version, object, wanted) in [
        (
            "ConfigMap",
            "v1",
            json!({"data": {"a": 1}}),
            "json: cannot unmarshal number into Go struct field ConfigMap.data.a of type string",
        ),
        (
            "Service",
            "v1",
            json!({"spec": {"ports": "80"}}),
            "json: cannot unmarshal string into Go struct field Service.spec.ports of type []core/v1.ServicePort",
        ),
        (
            "Pod",
            "v1",
            json!({"spec": {"containers": {"a": "b"}}}),
            "json: cannot unmarshal object into Go struct field Pod.spec.containers of type []core/v1.Container",
        ),
        (
            "Pod",
            "v1",
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "much"}}}]}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        assert_eq!(
            check(kind, group_version, &object).wrong.as_deref(),
            Some(wanted)
        );
    }
    let layout = "2006-01-02T15:04:05.000000Z07:00";
    for (given, rest, element) in [
        ("2001-01-01T00:00:06Z", "Z", ".000000"),
        ("yesterday", "yesterday", "2006"),
    ] {
        let lease = json!({"spec": {"renewTime": given}});
        let wanted =
            format!("parsing time {given:?} as {layout:?}: cannot parse {rest:?} as {element:?}");
        assert_eq!(
            check("Lease", "coordination.k8s.io/v1", &lease).wrong,
            Some(wanted)
        );
    }
}

#[test]
fn canonical_objects_have_what_go_writes_and_no_more() {
    let mut slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a", "labels": {}},
        "addressType": "IPv4", "endpoints": [], "nope": 1});
    canonical::canonicalise("EndpointSlice", &mut slice);
    assert_eq!(
        slice,
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"},
        "addressType": "IPv4", "endpoints": null, "ports": null})
    );
}

/// Any JSON of modest size.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        "[a-z$]{0,4}",
        Just("spec".to_owned()),
        Just("metadata".to_owned()),
        Just("containers".to_owned()),
        Just("ports".to_owned()),
        Just("rules".to_owned()),
        Just("name".to_owned()),
        Just("$patch".to_owned())
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9.]{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_makes_check_or_canonical_form_panic(value in any_json()) {
        for (group_version, kind) in types().kinds() {
            let _ = check(kind, group_version, &value);
            let mut once = value.clone();
            canonical::canonicalise(kind, &mut once);
            let mut twice = once.clone();
            canonical::canonicalise(kind, &mut twice);
            prop_assert_eq!(once, twice);
        }
    }

    #[test]
    fn no_text_makes_duplicates_panic(text in "[{}\\[\\]\",:a1 ]{0,40}") {
        let _ = duplicates(text.as_bytes());
    }
}
