//! What the roles of a cluster give to an account, one verb on one kind at a time.
//!
//! In: the bindings and roles as the API server has them. Out: [`Right`]s, to be compared with what the account asked for.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::{Cluster, text};
use crate::world::Request;

/// One verb on one kind, as a rule gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Where it is given; empty when it is given for all namespaces.
    pub namespace: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind in the plural, with its subresource.
    pub resource: String,
    /// The verb.
    pub verb: String,
    /// The only objects that it is given for; none when it is given for all.
    pub names: Vec<String>,
}

// === impl Cluster ===

impl Cluster {
    /// What the roles that are bound to a user give it. A ServiceAccount is `system:serviceaccount:NAMESPACE:NAME`. Groups are not
    /// looked at: what everybody may do is no right of one.
    #[must_use]
    pub fn rights_of(&self, user: &str) -> BTreeSet<Right> {
        let kubectl = self.kubectl();
        let mut rights = BTreeSet::new();
        for bindings in ["rolebindings", "clusterrolebindings"] {
            let list = kubectl.json(&format!("get {bindings} --all-namespaces"));
            for binding in items(&list["items"]) {
                if !items(&binding["subjects"])
                    .iter()
                    .any(|one| is_user(one, user))
                {
                    continue;
                }
                let given_in = text(&binding["metadata"]["namespace"]);
                let role = &binding["roleRef"];
                let scope = match given_in.as_str() {
                    "" => String::new(),
                    name => format!("--namespace {name} "),
                };
                let (kind, name) = (text(&role["kind"]), text(&role["name"]));
                // Between the two looks it may have been deleted; then it gives nothing.
                let said = kubectl.run(&format!(
                    "{scope}get {kind} {name} --ignore-not-found -o json"
                ));
                let role: Value = serde_json::from_str(&said.out).unwrap_or_default();
                for rule in items(&role["rules"]) {
                    rights.extend(rights_in(&rule, &given_in));
                }
            }
        }
        rights
    }
}

fn is_user(subject: &Value, user: &str) -> bool {
    if subject["kind"] == "ServiceAccount" {
        let (namespace, name) = (text(&subject["namespace"]), text(&subject["name"]));
        return user == format!("system:serviceaccount:{namespace}:{name}");
    }
    subject["kind"] == "User" && subject["name"] == user
}

/// A rule, taken apart.
fn rights_in(rule: &Value, namespace: &str) -> Vec<Right> {
    let mut rights = Vec::new();
    for group in items(&rule["apiGroups"]) {
        for resource in items(&rule["resources"]) {
            for verb in items(&rule["verbs"]) {
                rights.push(Right {
                    namespace: namespace.to_owned(),
                    group: text(&group),
                    resource: text(&resource),
                    verb: text(&verb),
                    names: items(&rule["resourceNames"]).iter().map(text).collect(),
                });
            }
        }
    }
    rights
}

fn items(list: &Value) -> Vec<Value> {
    list.as_array().cloned().unwrap_or_default()
}

// === impl Right ===

impl Right {
    /// Whether it gives this request.
    #[must_use]
    pub fn gives(&self, request: &Request) -> bool {
        self.group == request.group
            && self.resource == request.resource
            && self.verb == request.verb
            && (self.namespace.is_empty() || self.namespace == request.namespace)
            && (self.names.is_empty() || self.names.contains(&request.name))
    }
}
