//! Definitions of custom resources.
//!
//! In: a CustomResourceDefinition with its defaults, for a change also the old one. Out: causes in the order of the
//! real server. Pure. Whether its names are free is decided later, in its status, and never refused.

use serde_json::{Value, json};

use super::{Causes, is_empty, items, names, structural, text};

const APPROVAL: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];

/// What is said about the groups of the Kubernetes community.
pub(crate) enum Approval {
    /// Nobody asks for an approval.
    NotNeeded,
    /// There is a place where it was given.
    Approved(String),
    /// The definition says that there is none.
    Bypassed(String),
    /// Missing, or no approval at all.
    Refused(String),
}

/// The approval that a definition claims to have.
pub(crate) fn approval(object: &Value) -> Approval {
    let group = text(&object["spec"]["group"]);
    let is_protected = ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group == *domain
            || group
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'))
    });
    if !is_protected {
        return Approval::NotNeeded;
    }
    let claim = text(&object["metadata"]["annotations"][APPROVAL]);
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    if claim.is_empty() {
        return Approval::Refused(format!(
            "protected groups must have approval annotation {APPROVAL:?}, {see}"
        ));
    }
    if claim.starts_with("unapproved") {
        return Approval::Bypassed(format!("not approved: {claim:?}"));
    }
    let has_host = claim
        .parse::<http::Uri>()
        .is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some());
    if has_host {
        return Approval::Approved(format!("approved in {claim}"));
    }
    Approval::Refused(format!(
        "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason starting with \"unapproved\", {see}"
    ))
}

pub(super) fn definition(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let group = text(&spec["group"]);
    let wanted = format!("{}.{group}", text(&spec["names"]["plural"]));
    if text(&object["metadata"]["name"]) != wanted {
        causes.invalid(
            "metadata.name",
            &object["metadata"]["name"],
            "must be spec.names.plural+\".\"+spec.group",
        );
    }
    if group.is_empty() {
        causes.required("spec.group", "");
    } else if !names::subdomain(group).is_empty() {
        let why = names::subdomain(group).join(",");
        causes.invalid("spec.group", &spec["group"], &why);
    } else if !group.contains('.') {
        let why = "should be a domain with at least one dot";
        causes.invalid("spec.group", &spec["group"], why);
    }
    causes.one_of(&spec["scope"], "spec.scope", &["Cluster", "Namespaced"]);
    versions(spec, causes);
    accepted_names(&spec["names"], "spec.names", causes);
    hoisted(spec, causes);
    conversion(&spec["conversion"], causes);
    if !items(&spec["versions"])
        .iter()
        .any(|version| version["storage"] == true)
    {
        causes.invalid(
            "status.storedVersions",
            &Value::Null,
            "must have at least one stored version",
        );
    }
    if spec["preserveUnknownFields"] == true {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        causes.invalid("spec.preserveUnknownFields", &json!(true), why);
    }
    if let Some(old) = old {
        changed(old, object, causes);
    }
    check_approval(old, object, causes);
}

fn check_approval(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    let Approval::Refused(why) = approval(object) else {
        return;
    };
    if old.is_some_and(|old| matches!(approval(old), Approval::Refused(_))) {
        return;
    }
    let field = format!("metadata.annotations[{APPROVAL}]");
    let claim = &object["metadata"]["annotations"][APPROVAL];
    if is_empty(claim) {
        causes.required(field, &why);
    } else {
        causes.invalid(field, claim, &why);
    }
}

/// What a change must leave alone.
fn changed(old: &Value, object: &Value, causes: &mut Causes) {
    let conditions = items(&old["status"]["conditions"]);
    let is_established = conditions
        .iter()
        .any(|one| one["type"] == "Established" && one["status"] == "True");
    let paths: &[&str] = if is_established {
        &["scope", "names.kind", "group", "names.plural"]
    } else {
        &["group", "names.plural"]
    };
    for path in paths {
        let at = |object: &Value| {
            let steps = path.split('.');
            steps.fold(object["spec"].clone(), |value, step| value[step].clone())
        };
        causes.immutable(&at(old), &at(object), &format!("spec.{path}"));
    }
    let kept = items(&object["spec"]["versions"]);
    for (index, name) in items(&old["status"]["storedVersions"]).iter().enumerate() {
        if kept.iter().any(|version| &version["name"] == name) {
            continue;
        }
        let name_text = text(name);
        let why = format!(
            "missing from spec.versions; {name_text} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name_text} and removes {name_text} from status.storedVersions"
        );
        causes.invalid(format!("status.storedVersions[{index}]"), name, &why);
    }
}

/// Whether all versions have the same: the server keeps it in one place then, and complains of that place.
fn is_shared(versions: &[Value], member: &str) -> bool {
    let first = versions.first().map(|version| &version[member]);
    first.is_some_and(|first| {
        !first.is_null() && versions.iter().all(|version| &version[member] == first)
    })
}

fn versions(spec: &Value, causes: &mut Causes) {
    let versions = items(&spec["versions"]);
    for (index, version) in versions.iter().enumerate() {
        if version["schema"]["openAPIV3Schema"].is_null() {
            let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
            causes.required(field, "");
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut is_unique = true;
    for (index, version) in versions.iter().enumerate() {
        let field = format!("spec.versions[{index}]");
        let name = text(&version["name"]);
        is_unique &= !seen.contains(&name);
        seen.push(name);
        if !names::label_1035(name).is_empty() {
            let why = names::label_1035(name).join(",");
            causes.invalid(format!("{field}.name"), &json!(name), &why);
        }
        if version["deprecated"] != true && !version["deprecationWarning"].is_null() {
            causes.invalid(
                format!("{field}.deprecationWarning"),
                &version["deprecationWarning"],
                "can only be set for deprecated versions",
            );
        }
        if !is_shared(versions, "schema") {
            schema(version, &format!("{field}.schema"), causes);
        }
        if !is_shared(versions, "subresources") {
            scale(
                &version["subresources"]["scale"],
                &format!("{field}.subresources"),
                causes,
            );
        }
        if !is_shared(versions, "additionalPrinterColumns") {
            columns(version, &field, causes);
        }
    }
    if !is_unique {
        let why = "must contain unique version names";
        causes.invalid_text("spec.versions", &internal_versions(versions), why);
    }
    let stored = versions.iter().filter(|one| one["storage"] == true).count();
    if stored != 1 {
        let why = "must have exactly one version marked as storage version";
        causes.invalid_text("spec.versions", &internal_versions(versions), why);
    }
}

/// What is the same in all versions.
fn hoisted(spec: &Value, causes: &mut Causes) {
    let versions = items(&spec["versions"]);
    let Some(first) = versions.first() else {
        return;
    };
    if is_shared(versions, "schema") {
        schema(first, "spec.validation", causes);
    }
    if is_shared(versions, "subresources") {
        scale(&first["subresources"]["scale"], "spec.subresources", causes);
    }
    if is_shared(versions, "additionalPrinterColumns") {
        columns(first, "spec", causes);
    }
}

fn schema(version: &Value, field: &str, causes: &mut Causes) {
    let schema = &version["schema"]["openAPIV3Schema"];
    if schema.is_object() {
        structural::schema(schema, &format!("{field}.openAPIV3Schema"), causes);
    }
}

fn scale(scale: &Value, field: &str, causes: &mut Causes) {
    if scale.is_null() {
        return;
    }
    for (member, below, is_needed) in [
        ("specReplicasPath", &[".spec."][..], true),
        ("statusReplicasPath", &[".status."][..], true),
        ("labelSelectorPath", &[".spec.", ".status."][..], false),
    ] {
        let path = text(&scale[member]);
        let at = format!("{field}.scale.{member}");
        if path.is_empty() {
            if is_needed {
                causes.required(at, "");
            }
        } else if !path.starts_with('.') {
            causes.invalid(
                at,
                &scale[member],
                "must be a simple json path starting with .",
            );
        } else if !below.iter().any(|start| path.starts_with(start)) {
            let why = match below {
                [one] => format!("should be a json path under {}", one.trim_end_matches('.')),
                _ => "should be a json path under either .spec or .status".to_owned(),
            };
            causes.invalid(at, &scale[member], &why);
        }
    }
}

fn columns(version: &Value, field: &str, causes: &mut Causes) {
    for (index, column) in items(&version["additionalPrinterColumns"])
        .iter()
        .enumerate()
    {
        let at = format!("{field}.additionalPrinterColumns[{index}]");
        if is_empty(&column["name"]) {
            causes.required(format!("{at}.name"), "");
        }
        let one_of = format!("must be one of {}", COLUMN_TYPES.join(","));
        if is_empty(&column["type"]) {
            causes.required(format!("{at}.type"), &one_of);
        } else if !COLUMN_TYPES.contains(&text(&column["type"])) {
            causes.invalid(format!("{at}.type"), &column["type"], &one_of);
        }
        let format = text(&column["format"]);
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            causes.invalid(format!("{at}.format"), &column["format"], &why);
        }
        let path = text(&column["jsonPath"]);
        if path.is_empty() {
            causes.required(format!("{at}.JSONPath"), "");
        } else if !path.starts_with('.') {
            let why = "must be a simple json path starting with .";
            causes.invalid(format!("{at}.JSONPath"), &column["jsonPath"], why);
        }
    }
}

fn accepted_names(names: &Value, field: &str, causes: &mut Causes) {
    for member in ["plural", "singular", "kind", "listKind"] {
        if is_empty(&names[member]) {
            causes.required(format!("{field}.{member}"), "");
        }
    }
    for (member, introduction) in [
        ("plural", ""),
        ("singular", ""),
        ("kind", "may have mixed case, but should otherwise match: "),
        (
            "listKind",
            "may have mixed case, but should otherwise match: ",
        ),
    ] {
        let name = text(&names[member]);
        let lower = if introduction.is_empty() {
            name.to_owned()
        } else {
            name.to_lowercase()
        };
        let faults = names::label_1035(&lower);
        if !name.is_empty() && !faults.is_empty() {
            let why = format!("{introduction}{}", faults.join(","));
            causes.invalid(format!("{field}.{member}"), &names[member], &why);
        }
    }
    for (index, name) in items(&names["shortNames"]).iter().enumerate() {
        label(name, format!("{field}.shortNames[{index}]"), causes);
    }
    if !is_empty(&names["kind"]) && names["kind"] == names["listKind"] {
        let why = "kind and listKind may not be the same";
        causes.invalid(format!("{field}.listKind"), &names["listKind"], why);
    }
    for (index, name) in items(&names["categories"]).iter().enumerate() {
        label(name, format!("{field}.categories[{index}]"), causes);
    }
}

fn label(name: &Value, field: String, causes: &mut Causes) {
    let faults = names::label_1035(text(name));
    if !faults.is_empty() {
        causes.invalid(field, name, &faults.join(","));
    }
}

fn conversion(conversion: &Value, causes: &mut Causes) {
    if conversion.is_null() {
        return;
    }
    let field = "spec.conversion.strategy";
    causes.one_of(&conversion["strategy"], field, &["None", "Webhook"]);
    let webhook = &conversion["webhook"];
    if conversion["strategy"] == "Webhook" && webhook["clientConfig"].is_null() {
        causes.required(
            "spec.conversion.webhookClientConfig",
            "required when strategy is set to Webhook",
        );
    } else if conversion["strategy"] == "None" && !webhook.is_null() {
        causes.forbidden(
            "spec.conversion.webhookClientConfig",
            "should not be set when strategy is not set to Webhook",
        );
    }
}

/// Versions as the server's inner types show them in a message; the one schema of a single version is kept elsewhere.
fn internal_versions(versions: &[Value]) -> String {
    let shown = versions.iter().map(|version| {
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":null,\"Subresources\":null,\
             \"AdditionalPrinterColumns\":null,\"SelectableFields\":null}}",
            version["name"],
            version["served"],
            version["storage"],
            version["deprecated"] == true,
            version["deprecationWarning"],
        )
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(","))
}
