//! Objects as tables: what `kubectl get` prints.
//!
//! In: objects of one kind and the time of day. Out: columns and one row of cells per object. Pure. Kinds without
//! columns of their own show name and creation.

mod age;
mod cluster;
mod custom;
mod network;
mod pod;
mod workload;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

pub use age::{human_duration, since};
pub use custom::render_custom;

/// Shown where there is nothing.
const NONE: &str = "<none>";
/// More addresses, ports or hosts than this are only counted.
const LIST_MAX: usize = 3;

/// A table without its envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What the cells mean.
    pub columns: Vec<Column>,
    /// One row of cells per object, in the order of the objects.
    pub rows: Vec<Vec<Value>>,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Title.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    #[serde(rename = "type")]
    pub cell_type: String,
    /// `name` for the column that holds the object's name.
    pub format: String,
    /// What the column tells.
    pub description: String,
    /// 0 is always shown, more only by `-o wide`.
    pub priority: i64,
}

/// Renders objects of one kind.
pub fn render(kind: &str, objects: &[&Value], now: Timestamp) -> Table {
    let (titles, row): (&[&str], Row) = printer(kind);
    Table {
        columns: titles.iter().map(|title| Column::titled(title)).collect(),
        rows: objects.iter().map(|object| row(object, now)).collect(),
    }
}

/// Makes the cells of one object.
type Row = fn(&Value, Timestamp) -> Vec<Value>;

/// The titles of a kind (`*` marks wide ones, `:type` those that hold no text) and what fills its rows.
fn printer(kind: &str) -> (&'static [&'static str], Row) {
    match kind {
        "Pod" => (pod::COLUMNS, pod::row),
        "Deployment" => (workload::DEPLOYMENT, workload::deployment),
        "ReplicaSet" => (workload::REPLICA_SET, workload::replica_set),
        "ReplicationController" => (workload::REPLICA_SET, workload::replication_controller),
        "DaemonSet" => (workload::DAEMON_SET, workload::daemon_set),
        "StatefulSet" => (workload::STATEFUL_SET, workload::stateful_set),
        "Job" => (workload::JOB, workload::job),
        "CronJob" => (workload::CRON_JOB, workload::cron_job),
        "HorizontalPodAutoscaler" => (workload::AUTOSCALER, workload::autoscaler),
        "PodDisruptionBudget" => (workload::BUDGET, workload::budget),
        "Service" => (network::SERVICE, network::service),
        "Endpoints" => (network::ENDPOINTS, network::endpoints),
        "EndpointSlice" => (network::ENDPOINT_SLICE, network::endpoint_slice),
        "Ingress" => (network::INGRESS, network::ingress),
        "IngressClass" => (network::INGRESS_CLASS, network::ingress_class),
        "NetworkPolicy" => (network::POLICY, network::policy),
        "Namespace" => (cluster::NAMESPACE, cluster::namespace),
        "Node" => (cluster::NODE, cluster::node),
        "Secret" => (cluster::SECRET, cluster::secret),
        "ConfigMap" => (cluster::CONFIG_MAP, cluster::config_map),
        "ServiceAccount" => (cluster::SERVICE_ACCOUNT, cluster::service_account),
        "Lease" => (cluster::LEASE, cluster::lease),
        "Event" => (cluster::EVENT, cluster::event),
        "RoleBinding" | "ClusterRoleBinding" => (cluster::BINDING, cluster::binding),
        "PriorityClass" => (cluster::PRIORITY_CLASS, cluster::priority_class),
        _ => (&["Name", "Created At:date"], |object, _| {
            vec![
                name(object),
                object["metadata"]["creationTimestamp"].clone(),
            ]
        }),
    }
}

// === impl Column ===

impl Column {
    fn titled(title: &str) -> Self {
        let (title, cell_type) = title.split_once(':').unwrap_or((title, "string"));
        let shown = title.trim_end_matches('*');
        Self {
            name: shown.to_owned(),
            cell_type: cell_type.to_owned(),
            format: if shown == "Name" { "name" } else { "" }.to_owned(),
            description: String::new(),
            priority: i64::from(shown != title),
        }
    }
}

/// The name; empty for a bookmark, which has none.
fn name(object: &Value) -> Value {
    Value::from(object["metadata"]["name"].as_str().unwrap_or_default())
}

/// The time since an object was made.
fn age(object: &Value, now: Timestamp) -> Value {
    Value::from(since(&object["metadata"]["creationTimestamp"], now))
}

/// A text, or `<none>` for an absent or empty one.
fn or_none(value: &Value) -> Value {
    Value::from(
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .unwrap_or(NONE),
    )
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The items of a list, none for anything else.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The text of a value without quotes, as in a cell.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// `a,b,c + 2 more...`
fn with_more(shown: impl IntoIterator<Item = String>) -> String {
    let all: Vec<String> = shown.into_iter().collect();
    let first = all[..all.len().min(LIST_MAX)].join(",");
    if all.len() > LIST_MAX {
        format!("{first} + {} more...", all.len() - LIST_MAX)
    } else {
        first
    }
}

/// Labels as `a=b,c=d`.
fn labels(value: &Value) -> Value {
    let pairs = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", plain(value)));
    Value::from(
        Some(pairs.collect::<Vec<_>>().join(","))
            .filter(|text| !text.is_empty())
            .unwrap_or(NONE.to_owned()),
    )
}

/// A label selector as text: `a=b,c in (d,e)`.
fn selector(value: &Value) -> Value {
    let labels = value["matchLabels"].as_object().into_iter().flatten();
    let mut terms: Vec<String> = labels
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    for expression in items(&value["matchExpressions"]) {
        let key = plain(&expression["key"]);
        let mut values: Vec<String> = items(&expression["values"]).iter().map(plain).collect();
        values.sort();
        terms.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key,
        });
    }
    terms.sort();
    Value::from(if terms.is_empty() {
        NONE.to_owned()
    } else {
        terms.join(",")
    })
}

#[cfg(test)]
mod tests;
