use expect_test::expect;
use serde_json::json;

use super::*;

fn custom(spec: &Value) -> Custom {
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    let definition = json!({
        "spec": {"group": "example.com", "names": {"kind": "Thing"}, "versions": [{"name": "v1", "storage": true}]},
    });
    Custom::of(
        &definition,
        &json!({"name": "v1", "schema": {"openAPIV3Schema": schema}}),
    )
}

fn faults(spec: &Value, old: Option<Value>, value: Value) -> String {
    let object = |spec: Value| json!({"metadata": {"name": "a"}, "spec": spec});
    let causes = validate(&custom(spec), old.map(object).as_ref(), &object(value));
    let lines = causes
        .iter()
        .map(|cause| format!("{}: {}", cause.field, cause.message));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn unknown_fields_are_dropped_and_defaults_filled_in() {
    let custom = custom(&json!({"type": "object", "properties": {
        "size": {"type": "integer"},
        "mode": {"type": "string", "default": "auto"},
        "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"in": {"type": "object"}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}},
    }}));
    let mut object = json!({"kind": "Thing", "metadata": {"name": "a", "colour": 1}, "spec": {
        "size": 1, "extra": {}, "raw": {"free": 1, "in": {"gone": 1}}, "labels": {"any": "x"},
        "template": {"kind": "X", "apiVersion": "v1", "metadata": {"name": "n", "bad": 1}, "spec": {}}, "list": [{"b": 1}],
    }});
    let dropped = prune(&custom, &mut object).join(" ");
    expect![
        "metadata.colour spec.extra spec.list[0].b spec.raw.in.gone spec.template.metadata.bad"
    ]
    .assert_eq(&dropped);
    default(&custom, &mut object);
    assert_eq!(object["spec"]["mode"], "auto");
    assert_eq!(object["spec"]["list"], json!([{"a": 1}]));
    assert_eq!(object["spec"]["raw"], json!({"free": 1, "in": {}}));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn values_are_refused_in_the_words_of_the_real_server() {
    let text = |more: Value| {
        let mut schema = json!({"type": "string"});
        schema
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        schema
    };
    let cases = [
        (json!({"type": "integer", "minimum": 1}), json!(0)),
        (
            json!({"type": "integer", "maximum": 3, "exclusiveMaximum": true}),
            json!(3),
        ),
        (json!({"type": "integer", "multipleOf": 5}), json!(7)),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000_u64),
        ),
        (json!({"type": "integer"}), json!("a")),
        (json!({"type": "integer"}), json!(1.5)),
        (json!({"type": "string"}), Value::Null),
        (text(json!({"enum": ["auto", "manual"]})), json!("x")),
        (json!({"type": "integer", "enum": [1, 2]}), json!(3)),
        (text(json!({"maxLength": 2})), json!("abc")),
        (text(json!({"minLength": 2})), json!("a")),
        (text(json!({"pattern": "^[a-z]+$"})), json!("A1")),
        (text(json!({"format": "ipv4"})), json!("nowhere")),
        (
            json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
            json!([]),
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", "b"]),
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}}),
            json!([1, "b"]),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1}),
            json!({"a": 1, "b": "c"}),
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}),
            json!({}),
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!(true),
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"a": 1, "b": 2}),
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer"}}, "not": {"required": ["a"]}}),
            json!({"a": 1}),
        ),
        (
            json!({"type": "string", "allOf": [{"minLength": 2}, {"pattern": "^b"}]}),
            json!("a"),
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            json!(["a", "b", "a", "a"]),
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
                "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}),
            json!([{"name": "a"}, {"name": "a"}]),
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            json!({"kind": "Pod"}),
        ),
    ];
    let mut found = String::new();
    for (schema, value) in cases {
        found.push_str(&format!(
            "{value} -> {}\n",
            faults(&schema, None, value.clone())
        ));
    }
    expect![[r#"
        0 -> spec: Invalid value: 0: spec in body should be greater than or equal to 1
        3 -> spec: Invalid value: 3: spec in body should be less than 3
        7 -> spec: Invalid value: 7: spec in body should be a multiple of 5
        3000000000 -> <nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec
        "a" -> spec: Invalid value: "string": spec in body must be of type integer: "string"
        1.5 -> spec: Invalid value: "number": spec in body must be of type integer: "number"
        <nil>: Invalid value: "": Checked value must be of type integer (default format) in spec
        null -> spec: Invalid value: "null": spec in body must be of type string: "null"
        "x" -> spec: Unsupported value: "x": supported values: "auto", "manual"
        3 -> spec: Unsupported value: 3: supported values: "1", "2"
        "abc" -> spec: Too long: may not be more than 2 bytes
        "a" -> spec: Invalid value: "a": spec in body should be at least 2 chars long
        "A1" -> spec: Invalid value: "A1": spec in body should match '^[a-z]+$'
        "nowhere" -> spec: Invalid value: "nowhere": spec in body must be of type ipv4: "nowhere"
        [] -> spec: Invalid value: 0: spec in body should have at least 1 items
        ["a","b"] -> spec: Too many: 2: must have at most 1 items
        [1,"b"] -> spec[1]: Invalid value: "string": spec[1] in body must be of type integer: "string"
        {"a":1,"b":"c"} -> spec: Too many: 2: must have at most 1 items
        spec.b: Invalid value: "string": spec.b in body must be of type integer: "string"
        {} -> spec.a: Required value
        true -> spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean"
        <nil>: Invalid value: "": "spec" must validate at least one schema (anyOf)
        spec: Invalid value: "boolean": spec in body must be of type integer: "boolean"
        {"a":1,"b":2} -> <nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives
        {"a":1} -> <nil>: Invalid value: "": "spec" must not validate the schema (not)
        "a" -> spec: Invalid value: "a": spec in body should be at least 2 chars long
        spec: Invalid value: "a": spec in body should match '^b'
        <nil>: Invalid value: "": "spec" must validate all the schemas (allOf). None validated
        ["a","b","a","a"] -> spec[2]: Duplicate value: "a"
        [{"name":"a"},{"name":"a"}] -> spec[1]: Duplicate value: {"name":"a"}
        {"kind":"Pod"} -> spec.apiVersion: Required value: must not be empty
    "#]].assert_eq(&found);
}

#[test]
fn a_part_that_is_as_it_was_is_not_judged_again() {
    let schema = json!({"type": "object", "properties": {"old": {"type": "integer", "minimum": 5}, "new": {"type": "integer"}}});
    let before = json!({"old": 1, "new": 1});
    assert_eq!(
        faults(&schema, Some(before.clone()), json!({"old": 1, "new": 2})),
        ""
    );
    assert_ne!(
        faults(&schema, Some(before), json!({"old": 2, "new": 1})),
        ""
    );
}

#[test]
fn an_object_has_only_names_and_labels_that_every_object_may_have() {
    let object = json!({"metadata": {"name": "A b", "labels": {"-": "x"}}});
    let causes = validate(&custom(&json!({"type": "object"})), None, &object);
    let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
    assert_eq!(fields, ["metadata.name", "metadata.labels"]);
}
