//! Definitions of custom resources, and their objects.

use expect_test::expect;
use serde_json::json;

use super::*;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A kind as an ingress product would define it: two versions, lists of all types, conditions, scale and columns.
fn gateways() -> Value {
    let conditions = json!({"type": "array", "maxItems": 8, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "items": {"type": "object", "required": ["type", "status"], "properties": {
            "type": {"type": "string", "minLength": 1, "maxLength": 316,
                "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            "lastTransitionTime": {"type": "string", "format": "date-time"}}}});
    let listener = json!({"type": "object", "required": ["name", "port"], "properties": {
        "name": {"type": "string", "minLength": 1},
        "port": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
        "protocol": {"type": "string", "default": "HTTP"},
        "target": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[a-z0-9]+$"},
        "hosts": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}});
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
        "spec": {"type": "object", "required": ["listeners"], "properties": {
            "replicas": {"type": "integer", "format": "int32", "default": 1},
            "listeners": {"type": "array", "minItems": 1, "maxItems": 64, "items": listener,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            "extra": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "limits": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 4},
            "by": {"type": "object", "properties": {"name": {"type": "string"}, "label": {"type": "string"}},
                "oneOf": [{"required": ["name"]}, {"required": ["label"]}]}}},
        "status": {"type": "object", "properties": {"ready": {"type": "integer"}, "conditions": conditions}}}});
    let version = |name: &str, is_stored: bool| {
        json!({
        "name": name, "served": true, "storage": is_stored, "deprecated": !is_stored, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.ready"}},
        "additionalPrinterColumns": [{"name": "Ports", "type": "string", "jsonPath": ".spec.listeners[*].port"}],
        "selectableFields": [{"jsonPath": ".spec.replicas"}]})
    };
    json!({"metadata": {"name": "gateways.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "gateways", "kind": "Gateway", "shortNames": ["gtw"]},
        "versions": [version("v1", true), version("v1beta1", false)]}})
}

fn gateway(version: &str, listeners: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Gateway", "metadata": {"name": "one"},
        "spec": {"listeners": listeners}})
}

fn place(version: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/gateways")
}

async fn with_gateways() -> Server {
    let server = server();
    post(&server, DEFINITIONS, gateways()).await.ok();
    server
}

#[tokio::test]
async fn objects_are_defaulted_pruned_and_judged() {
    let server = with_gateways().await;
    let listeners = json!([{"name": "a", "port": 80, "unknown": 1}]);
    let made = post(&server, &place("v1"), gateway("v1", listeners)).await;
    assert_eq!(
        made.warnings,
        [r#"unknown field "spec.listeners[0].unknown""#]
    );
    let made = made.ok();
    assert_eq!(
        made["spec"],
        json!({"replicas": 1, "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]})
    );
    let bad = json!([{"name": "a", "port": 0}, {"name": "a", "port": 80, "target": "A"}]);
    let mut bad = gateway("v1", bad);
    bad["metadata"]["name"] = json!("two");
    bad["spec"]["by"] = json!({"name": "a", "label": "b"});
    bad["spec"]["limits"] = json!({"a": 1});
    let refused = post(&server, &place("v1"), bad).await;
    assert_eq!(refused.code, 422);
    expect![[r#"Gateway.example.com "two" is invalid: [<nil>: Invalid value: "": "spec.by" must validate one and only one schema (oneOf). Found 2 valid alternatives, spec.limits.a: Invalid value: "integer": spec.limits.a in body must be of type string: "integer", spec.listeners[0].port: Invalid value: 0: spec.listeners[0].port in body should be greater than or equal to 1, spec.listeners[1].target: Invalid value: "A": spec.listeners[1].target in body should match '^[a-z0-9]+$', spec.listeners[1]: Duplicate value: {"name":"a"}]"#]]
    .assert_eq(refused.message());
}

#[tokio::test]
async fn every_served_version_shows_the_same_objects() {
    let server = with_gateways().await;
    let made = post(
        &server,
        &place("v1beta1"),
        gateway("v1beta1", json!([{"name": "a", "port": 80}])),
    )
    .await
    .ok();
    assert_eq!(made["apiVersion"], "example.com/v1beta1");
    let shown = get(&server, &format!("{}/one", place("v1"))).await.ok();
    assert_eq!(shown["apiVersion"], "example.com/v1");
    let list = get(&server, &place("v1beta1")).await.ok();
    assert_eq!(list["items"][0]["apiVersion"], "example.com/v1beta1");
    let same = ask(
        &server,
        "PATCH",
        &format!("{}/one", place("v1beta1")),
        MERGE,
        json!({"spec": {"replicas": 1}}),
    )
    .await
    .ok();
    assert_eq!(
        same["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    assert_eq!(same["metadata"]["generation"], 1);
    let changed = ask(
        &server,
        "PATCH",
        &format!("{}/one", place("v1beta1")),
        MERGE,
        json!({"spec": {"replicas": 2}}),
    )
    .await
    .ok();
    assert_eq!(
        (&changed["apiVersion"], &changed["metadata"]["generation"]),
        (&json!("example.com/v1beta1"), &json!(2))
    );
    let found = get(
        &server,
        &format!("{}?fieldSelector=spec.replicas%3D2", place("v1")),
    )
    .await
    .ok();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn status_and_scale_are_apart_from_the_rest() {
    let server = with_gateways().await;
    let mut object = gateway("v1", json!([{"name": "a", "port": 80}]));
    object["status"] = json!({"ready": 5});
    let made = post(&server, &place("v1"), object).await.ok();
    assert!(made["status"].is_null());
    let status = json!({"spec": {"replicas": 9}, "status": {"ready": 1, "conditions": [{"type": "Ready", "status": "True"}]}});
    let at = format!("{}/one", place("v1"));
    let written = ask(&server, "PATCH", &format!("{at}/status"), MERGE, status)
        .await
        .ok();
    assert_eq!(
        (&written["spec"]["replicas"], &written["status"]["ready"]),
        (&json!(1), &json!(1))
    );
    let scale = ask(
        &server,
        "PATCH",
        &format!("{at}/scale"),
        MERGE,
        json!({"spec": {"replicas": 3}}),
    )
    .await
    .ok();
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["replicas"]),
        (&json!(3), &json!(1))
    );
    let bad = json!({"status": {"conditions": [{"type": "Ready", "status": "Maybe"}]}});
    let refused = ask(&server, "PATCH", &format!("{at}/status"), MERGE, bad).await;
    assert_eq!(refused.code, 422, "{}", refused.body);
}

#[tokio::test]
async fn apply_merges_lists_as_the_schema_says() {
    let server = with_gateways().await;
    let at = |manager: &str| format!("{}/one?fieldManager={manager}", place("v1"));
    let apply = |manager: &str, listeners: Value| {
        let (server, path) = (server.clone(), at(manager));
        async move { ask(&server, "PATCH", &path, APPLY, gateway("v1", listeners)).await }
    };
    apply("one", json!([{"name": "a", "port": 80, "hosts": ["x"]}]))
        .await
        .ok();
    let both = apply(
        "two",
        json!([{"name": "b", "port": 81}, {"name": "a", "port": 80, "hosts": ["y"]}]),
    )
    .await
    .ok();
    let names: Vec<&Value> = both["spec"]["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let first = both["spec"]["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "a")
        .unwrap();
    assert_eq!(first["hosts"], json!(["x", "y"]));
    let refused = apply(
        "two",
        json!([{"name": "b", "port": 81}, {"name": "a", "port": 90}]),
    )
    .await;
    assert_eq!(refused.code, 409);
    expect![[
        r#"Apply failed with 1 conflict: conflict with "one": .spec.listeners[name="a"].port"#
    ]]
    .assert_eq(refused.message());
    let left = apply("two", json!([{"name": "b", "port": 81}])).await.ok();
    let first = left["spec"]["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "a")
        .unwrap();
    assert_eq!(first["hosts"], json!(["x"]));
}

#[tokio::test]
async fn a_schema_that_is_not_structural_is_refused() {
    let server = server();
    let with = |schema: Value| {
        let mut definition = gateways();
        definition["spec"]["versions"] = json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]);
        definition
    };
    let field = |field: Value| json!({"type": "object", "properties": {"spec": field}});
    let cases = [
        json!({"properties": {}}),
        json!({"type": "string"}),
        field(json!({})),
        field(json!({"type": "array"})),
        field(json!({"type": "array", "items": {}})),
        field(json!({"type": "null"})),
        field(
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
        ),
        field(json!({"type": "string", "anyOf": [{"type": "string"}]})),
        json!({"type": "object", "properties": {"spec": {"type": "object"}}, "anyOf": [{"properties": {"other": {"minimum": 1}}}]}),
        field(json!({"type": "string", "pattern": "("})),
        field(json!({"type": "integer", "minimum": 5, "default": 1})),
        field(
            json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}),
        ),
        field(
            json!({"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
        ),
        field(
            json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"}),
        ),
        field(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false})),
        field(json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})),
        json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
    ];
    let mut found = String::new();
    for schema in cases {
        let refused = post(&server, DEFINITIONS, with(schema)).await;
        assert_eq!(refused.code, 422, "{}", refused.body);
        let (_, why) = refused.message().split_once("is invalid: ").unwrap();
        found.push_str(&format!("{why}\n"));
    }
    expect![[r#"
        spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root
        spec.validation.openAPIV3Schema.type: Invalid value: "string": must be object at the root
        spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields
        spec.validation.openAPIV3Schema.properties[spec].items: Required value: must be specified
        spec.validation.openAPIV3Schema.properties[spec].items.type: Required value: must not be empty for specified array items
        spec.validation.openAPIV3Schema.properties[spec].type: Unsupported value: "null": supported values: "array", "boolean", "integer", "number", "object", "string"
        spec.validation.openAPIV3Schema.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive
        spec.validation.openAPIV3Schema.properties[spec].anyOf[0].type: Forbidden: must be empty to be structural
        spec.validation.openAPIV3Schema.properties[other]: Required value: because it is defined in spec.validation.openAPIV3Schema.anyOf[0].properties[other]
        spec.validation.openAPIV3Schema.properties[spec].pattern: Invalid value: "(": must be a valid regular expression, but isn't: unclosed group
        spec.validation.openAPIV3Schema.properties[spec].default: Invalid value: 1: spec.validation.openAPIV3Schema.properties[spec].default in body should be greater than or equal to 5
        spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map
        spec.validation.openAPIV3Schema.properties[spec].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property
        spec.validation.openAPIV3Schema.properties[spec].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set
        spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined
        spec.validation.openAPIV3Schema.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic
        spec.validation.openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified
    "#]].assert_eq(&found);
}

#[tokio::test]
async fn rules_in_cel_are_accepted_with_a_warning() {
    let server = server();
    let mut definition = gateways();
    let spec =
        &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["x-kubernetes-validations"] =
        json!([{"rule": "self.replicas > 0", "message": "must be positive"}]);
    let made = post(&server, DEFINITIONS, definition).await;
    assert_eq!(made.warnings.len(), 1, "{:?}", made.warnings);
    made.ok();
}

#[tokio::test]
async fn names_that_are_taken_are_not_accepted_until_they_are_free() {
    let server = with_gateways().await;
    let mut other = gateways();
    other["metadata"]["name"] = json!("gates.example.com");
    other["spec"]["names"] = json!({"plural": "gates", "kind": "Gateway", "shortNames": ["gtw"]});
    post(&server, DEFINITIONS, other).await.ok();
    let at = format!("{DEFINITIONS}/gates.example.com");
    let conditions = |object: &Value| {
        let all = object["status"]["conditions"].as_array().unwrap();
        let lines = all.iter().map(|one| {
            format!(
                "{}={} {}: {}",
                one["type"], one["status"], one["reason"], one["message"]
            )
            .replace('"', "")
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    expect![[r#"
        NamesAccepted=False ListKindConflict: GatewayList is already in use
        Established=False NotAccepted: not all names are accepted"#]]
    .assert_eq(&conditions(&get(&server, &at).await.ok()).replace('\\', ""));
    assert_eq!(
        get(&server, "/apis/example.com/v1/namespaces/default/gates")
            .await
            .code,
        404
    );
    delete(&server, &format!("{DEFINITIONS}/gateways.example.com"))
        .await
        .ok();
    expect![[r#"
        NamesAccepted=True NoConflicts: no conflicts found
        Established=True InitialNamesAccepted: the initial names have been accepted"#]]
    .assert_eq(&conditions(&get(&server, &at).await.ok()));
    get(&server, "/apis/example.com/v1/namespaces/default/gates")
        .await
        .ok();
}

#[tokio::test]
async fn a_group_of_the_community_needs_an_approval() {
    let server = server();
    let mut definition = gateways();
    definition["metadata"]["name"] = json!("gateways.gateway.networking.k8s.io");
    definition["spec"]["group"] = json!("gateway.networking.k8s.io");
    let refused = post(&server, DEFINITIONS, definition.clone()).await;
    assert_eq!(refused.code, 422);
    definition["metadata"]["annotations"] =
        json!({"api-approved.kubernetes.io": "https://example.com/pull/1"});
    let made = post(&server, DEFINITIONS, definition).await.ok();
    let name = made["metadata"]["name"].as_str().unwrap();
    let shown = get(&server, &format!("{DEFINITIONS}/{name}")).await.ok();
    assert_eq!(
        shown["status"]["conditions"][2]["reason"],
        "ApprovedAnnotation"
    );
}

#[tokio::test]
async fn a_custom_kind_may_be_named_like_a_built_in_one() {
    let server = server();
    let mut definition = gateways();
    definition["metadata"]["name"] = json!("services.serving.example.com");
    definition["spec"]["group"] = json!("serving.example.com");
    definition["spec"]["names"] = json!({"plural": "services", "kind": "Service"});
    definition["spec"]["versions"] = json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
        {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]);
    post(&server, DEFINITIONS, definition).await.ok();
    let object = json!({"apiVersion": "serving.example.com/v1", "kind": "Service", "metadata": {"name": "a"},
        "spec": {"clusterIP": "192.0.2.9", "ports": [{"nodePort": 1}], "type": "LoadBalancer"}});
    let at = "/apis/serving.example.com/v1/namespaces/default/services";
    let made = post(&server, at, object.clone()).await.ok();
    assert_eq!(made["spec"], object["spec"]);
    let missing = put(&server, &format!("{at}/b"), {
        let mut other = object;
        other["metadata"]["name"] = json!("b");
        other
    })
    .await;
    assert_eq!(missing.code, 404, "a PUT creates no custom object");
}

#[tokio::test]
async fn explain_finds_the_fields_of_custom_and_built_in_kinds() {
    let server = with_gateways().await;
    let document = get(&server, "/openapi/v3/apis/example.com/v1").await.ok();
    let schema = &document["components"]["schemas"]["com.example.v1.Gateway"];
    assert_eq!(
        schema["properties"]["spec"]["properties"]["replicas"]["type"],
        "integer"
    );
    assert_eq!(
        schema["x-kubernetes-group-version-kind"],
        json!([{"group": "example.com", "version": "v1", "kind": "Gateway"}])
    );
    let index = get(&server, "/openapi/v3").await.ok();
    let url = |group: &str| {
        index["paths"][group]["serverRelativeURL"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(url("apis/example.com/v1").contains("?hash="));
    delete(&server, &format!("{DEFINITIONS}/gateways.example.com"))
        .await
        .ok();
    assert_eq!(
        get(&server, "/openapi/v3/apis/example.com/v1").await.code,
        404
    );
}

#[tokio::test]
async fn the_number_of_the_scale_is_a_number() {
    let server = with_gateways().await;
    for (replicas, wanted) in [
        (
            json!("y"),
            ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: y is of the type string, expected int64",
        ),
        (
            json!(-1),
            ".spec.replicas: Invalid value: -1: should be a non-negative integer",
        ),
    ] {
        let mut object = gateway("v1", json!([{"name": "a", "port": 80}]));
        object["spec"]["replicas"] = replicas;
        let refused = post(&server, &place("v1"), object).await;
        assert!(refused.message().contains(wanted), "{}", refused.message());
    }
}
