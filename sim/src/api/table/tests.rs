//! Tables against recorded ones, and the words for pods.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::defaults;
use crate::api::schema::tests::any_json;

/// One recorded table a line: the bodies that were created, the columns, the rows.
const TABLES: &str = include_str!("../../../testdata/api/tables.jsonl");

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

#[test]
fn tables_are_those_of_a_real_server() {
    for line in TABLES.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let kind = case["kind"].as_str().unwrap();
        let mut objects = case["objects"].as_array().unwrap().clone();
        for object in &mut objects {
            defaults::apply(kind, object);
            defaults::create(kind, object);
            object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
            if kind == "Service"
                && object["spec"]["clusterIP"].is_null()
                && object["spec"]["type"] != "ExternalName"
            {
                object["spec"]["clusterIP"] = json!("<cluster-ip>");
            }
        }
        let table = render(kind, &objects.iter().collect::<Vec<_>>(), now());
        let columns: Vec<Value> = table
            .columns
            .iter()
            .map(|c| json!([c.name, c.cell_type, c.format, c.priority]))
            .collect();
        assert_eq!(Value::from(columns), case["columns"], "columns of {kind}");
        let ages = |cells: &Vec<Value>| -> Value {
            let cells = cells.iter().zip(&table.columns).map(|(cell, column)| {
                let is_age = ["Age", "Last Seen", "First Seen"].contains(&column.name.as_str());
                if is_age { json!("<age>") } else { cell.clone() }
            });
            cells.collect()
        };
        let rows: Vec<Value> = table.rows.iter().map(ages).collect();
        assert_eq!(Value::from(rows), case["rows"], "rows of {kind}");
    }
}

#[test]
fn the_status_of_a_pod_is_one_word() {
    let pod = |status: Value| json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:09:55Z"}, "spec": {"containers": [{"name": "a"}]}, "status": status});
    let container = |ready: bool, restarts: u32, state: Value| {
        json!({"phase": "Running", "containerStatuses": [{"name": "a", "ready": ready, "restartCount": restarts, "state": state,
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:09:00Z"}}}]})
    };
    let mut leaving = pod(container(true, 0, json!({"running": {}})));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:09:58Z");
    for (pod, wanted) in [
        (
            pod(json!({"phase": "Pending"})),
            json!(["0/1", "Pending", "0", "5s"]),
        ),
        (
            pod(container(
                false,
                0,
                json!({"waiting": {"reason": "ContainerCreating"}}),
            )),
            json!(["0/1", "ContainerCreating", "0", "5s"]),
        ),
        (
            pod(container(true, 0, json!({"running": {}}))),
            json!(["1/1", "Running", "0", "5s"]),
        ),
        (
            pod(container(
                false,
                2,
                json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            )),
            json!(["0/1", "CrashLoopBackOff", "2 (60s ago)", "5s"]),
        ),
        (
            pod(container(false, 0, json!({"terminated": {"exitCode": 3}}))),
            json!(["0/1", "ExitCode:3", "0", "5s"]),
        ),
        (
            pod(container(
                false,
                0,
                json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
            )),
            json!(["0/1", "Completed", "0", "5s"]),
        ),
        (
            pod(json!({"phase": "Pending", "reason": "Evicted"})),
            json!(["0/1", "Evicted", "0", "5s"]),
        ),
        (leaving, json!(["1/1", "Terminating", "0", "5s"])),
    ] {
        assert_eq!(
            Value::from(render("Pod", &[&pod], now()).rows[0][1..5].to_vec()),
            wanted
        );
    }
}

#[test]
fn a_ready_node_that_is_cordoned_says_both() {
    let node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let row = &render("Node", &[&node], now()).rows[0];
    assert_eq!(
        (&row[1], &row[2]),
        (&json!("Ready,SchedulingDisabled"), &json!("control-plane"))
    );
}

#[test]
fn custom_columns_follow_their_paths() {
    let columns = json!([
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Mode", "type": "string", "jsonPath": ".spec['mode']", "priority": 1},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
        {"name": "First", "type": "string", "jsonPath": ".spec.list[0]"},
        {"name": "None", "type": "string", "jsonPath": ".spec.none"},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
    let thing = json!({"metadata": {"name": "one", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"size": 1, "mode": "auto", "list": ["x"]},
        "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
    let table = render_custom(&columns, &[&thing], now());
    assert_eq!(
        Value::from(table.rows[0].clone()),
        json!(["one", 1, "auto", "True", "x", null, "10m"])
    );
    assert_eq!(table.columns[2].priority, 1);
    let names = |table: &Table| {
        table
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&render_custom(&Value::Null, &[&thing], now())),
        ["Name", "Age"]
    );
}

proptest! {
    #[test]
    fn no_object_and_no_path_panics(object in any_json(), path in "[.\\[\\]a-z0-9?@()='\"*]{0,20}") {
        for kind in ["Pod", "Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "CronJob", "HorizontalPodAutoscaler", "PodDisruptionBudget",
            "Service", "Endpoints", "EndpointSlice", "Ingress", "IngressClass", "Namespace", "Node", "Secret", "Lease", "Event", "RoleBinding", "Nope"] {
            let table = render(kind, &[&object], now());
            prop_assert_eq!(table.columns.len(), table.rows[0].len());
        }
        render_custom(&json!([{"name": "a", "type": "string", "jsonPath": path}]), &[&object], now());
    }
}
