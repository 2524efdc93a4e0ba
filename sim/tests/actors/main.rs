//! The controllers against the API server of this crate, over loopback; [`cluster`] plays the kubelet.
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

mod cluster;
mod fleet;
mod histories;
mod memory;
mod nodes;
mod recorded_kubelets;
mod timeline;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

use cluster::{Cluster, deployment, eventually, service};

fn available(deployment: &Deployment) -> (i32, i32, i32) {
    let status = deployment.status.clone().unwrap_or_default();
    let number = |count: Option<i32>| count.unwrap_or(0);
    (
        number(status.replicas),
        number(status.updated_replicas),
        number(status.available_replicas),
    )
}

fn is_done(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    status.observed_generation == deployment.metadata.generation
        && conditions.iter().any(|condition| {
            condition.type_.as_deref() == Some("Progressing")
                && condition.reason.as_deref() == Some("NewReplicaSetAvailable")
        })
}

async fn wait_for(api: &Api<Deployment>, name: &str, replicas: i32) -> Deployment {
    eventually("the deployment is complete", async || {
        let deployment = api.get(name).await.unwrap();
        let is_there = available(&deployment) == (replicas, replicas, replicas);
        (is_there && is_done(&deployment)).then_some(deployment)
    })
    .await
}

/// The conditions of the endpoints of a Service, as `RS-` and so on, sorted.
async fn endpoints(slices: &Api<EndpointSlice>) -> Vec<String> {
    let list = slices.list(&ListParams::default()).await.unwrap();
    let endpoints = list
        .items
        .into_iter()
        .flat_map(|slice| slice.endpoints.unwrap_or_default());
    let mut letters: Vec<String> = endpoints
        .map(|endpoint| {
            let conditions = endpoint.conditions.unwrap();
            let letter = |letter: &str, is: Option<bool>| {
                if is == Some(true) {
                    letter.to_owned()
                } else {
                    "-".into()
                }
            };
            letter("R", conditions.ready)
                + &letter("S", conditions.serving)
                + &letter("T", conditions.terminating)
        })
        .collect();
    letters.sort();
    letters
}

/// Deletes the deployment in the foreground and the service, and waits for all that they own.
async fn delete_all(cluster: &Cluster, namespace: &str) {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), namespace);
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client(), namespace);
    let pods: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let services: Api<Service> = Api::namespaced(cluster.client(), namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), namespace);
    let foreground = DeleteParams::foreground();
    deployments.delete("web", &foreground).await.unwrap();
    eventually("the deployment is gone", async || {
        deployments
            .get_opt("web")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    assert_eq!(
        sets.list(&ListParams::default()).await.unwrap().items.len(),
        0
    );
    assert_eq!(
        pods.list(&ListParams::default()).await.unwrap().items.len(),
        0,
        "foreground: the pods went first"
    );
    services
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the slices go with the service", async || {
        slices
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
            .then_some(())
    })
    .await;
}

async fn merge(api: &Api<Deployment>, name: &str, patch: Value) {
    let params = PatchParams::default();
    api.patch(name, &params, &Patch::Strategic(patch))
        .await
        .unwrap();
}

#[tokio::test]
async fn each_controller_writes_under_its_own_account() {
    let cluster = Cluster::start(1).await;
    let namespace = cluster.namespace("shop").await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), &namespace);
    let services: Api<Service> = Api::namespaced(cluster.client(), &namespace);
    let by = cluster.by();
    services.create(&by, &service("web")).await.unwrap();
    deployments
        .create(&by, &deployment("web", 1))
        .await
        .unwrap();
    wait_for(&deployments, "web", 1).await;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), &namespace);
    eventually("the endpoint is ready", async || {
        (endpoints(&slices).await == ["RS-"]).then_some(())
    })
    .await;

    let writes = cluster.writes();
    // As an audit log of kube-controller-manager 1.36 with --use-service-account-credentials names them.
    for (account, verb, resource) in [
        ("deployment-controller", "create", "replicasets"),
        ("deployment-controller", "update", "deployments/status"),
        ("replicaset-controller", "create", "pods"),
        ("replicaset-controller", "update", "replicasets/status"),
        ("endpointslice-controller", "create", "endpointslices"),
        ("endpointslice-controller", "update", "endpointslices"),
        ("service-account-controller", "create", "serviceaccounts"),
        ("root-ca-cert-publisher", "create", "configmaps"),
        ("node-controller", "patch", "nodes"),
    ] {
        let user = format!("system:serviceaccount:kube-system:{account}");
        let write = (user, verb.to_owned(), resource.to_owned());
        assert!(writes.contains(&write), "{write:?} is not in {writes:#?}");
    }
    let bound = |(user, verb, resource): &(String, String, String)| {
        user == "system:kube-scheduler" && verb == "create" && resource == "pods/binding"
    };
    assert!(writes.iter().any(bound), "{writes:#?}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_deployment_becomes_pods_on_nodes_and_endpoints_and_goes_with_all_of_it() {
    let cluster = Cluster::start(3).await;
    cluster.every_node_takes_pods().await;
    let namespace = cluster.namespace("shop").await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), &namespace);
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), &namespace);
    let services: Api<Service> = Api::namespaced(cluster.client(), &namespace);
    services
        .create(&cluster.by(), &service("web"))
        .await
        .unwrap();
    deployments
        .create(&cluster.by(), &deployment("web", 3))
        .await
        .unwrap();

    let complete = wait_for(&deployments, "web", 3).await;
    assert_eq!(
        complete.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"],
        "1"
    );
    let all = pods.list(&ListParams::default()).await.unwrap().items;
    let mut nodes: Vec<_> = all
        .iter()
        .map(|pod| pod.spec.clone().unwrap().node_name.unwrap())
        .collect();
    nodes.sort();
    assert_eq!(nodes, ["n1", "n2", "n3"], "one pod per node");
    eventually("every pod is an endpoint", async || {
        (endpoints(&slices).await == ["RS-", "RS-", "RS-"]).then_some(())
    })
    .await;

    merge(&deployments, "web", json!({ "spec": { "replicas": 5 } })).await;
    wait_for(&deployments, "web", 5).await;
    merge(&deployments, "web", json!({ "spec": { "replicas": 1 } })).await;
    wait_for(&deployments, "web", 1).await;
    eventually("one endpoint is left", async || {
        (endpoints(&slices).await == ["RS-"]).then_some(())
    })
    .await;

    delete_all(&cluster, &namespace).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_roll_out_keeps_enough_pods_ready_and_can_be_undone() {
    let cluster = Cluster::start(2).await;
    let namespace = cluster.namespace("shop").await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), &namespace);
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &namespace);
    deployments
        .create(&cluster.by(), &deployment("web", 4))
        .await
        .unwrap();
    wait_for(&deployments, "web", 4).await;

    let image = |image: &str| json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": image }] } } } });
    merge(&deployments, "web", image("app:2")).await;
    let (mut least, mut most) = (usize::MAX, 0);
    let complete = eventually("the new pods are there", async || {
        let all = pods.list(&ListParams::default()).await.unwrap().items;
        let is_active = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
        least = least.min(
            all.iter()
                .filter(is_active)
                .filter(|pod| cluster::is_ready(pod))
                .count(),
        );
        most = most.max(all.iter().filter(is_active).count());
        let deployment = deployments.get("web").await.unwrap();
        (available(&deployment) == (4, 4, 4) && is_done(&deployment)).then_some(deployment)
    })
    .await;
    assert!(least >= 3, "{least} of 4 ready; 25 % may be away");
    assert!(most <= 5, "{most} pods of 4; 25 % may be too many");
    assert_eq!(
        complete.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"],
        "2"
    );

    merge(&deployments, "web", image("app:1")).await;
    let complete = wait_for(&deployments, "web", 4).await;
    assert_eq!(
        complete.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"],
        "3"
    );
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client(), &namespace);
    let mut sizes: Vec<_> = sets
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .iter()
        .map(|set| set.spec.replicas)
        .collect();
    sizes.sort();
    assert_eq!(sizes, [Some(0), Some(4)], "the first set is used again");
    cluster.stop().await;
}

#[tokio::test]
async fn what_the_controllers_did_is_told_in_events() {
    let cluster = Cluster::start(1).await;
    let namespace = cluster.namespace("shop").await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), &namespace);
    deployments
        .create(&cluster.by(), &deployment("web", 1))
        .await
        .unwrap();
    wait_for(&deployments, "web", 1).await;
    let events: Api<Event> = Api::namespaced(cluster.client(), &namespace);
    eventually("the events are there", async || {
        let list = events.list(&ListParams::default()).await.unwrap().items;
        let mut told: Vec<String> = list
            .iter()
            .map(|event| {
                let component = event.source.clone().unwrap().component.unwrap();
                format!("{component} {}", event.reason.clone().unwrap())
            })
            .collect();
        told.sort();
        (told
            == [
                "default-scheduler Scheduled",
                "deployment-controller ScalingReplicaSet",
                "replicaset-controller SuccessfulCreate",
            ])
        .then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_waits_and_says_why_until_it_fits() {
    let cluster = Cluster::start(1).await;
    let namespace = cluster.namespace("shop").await;
    cluster.cordon("n1", true).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &namespace);
    let pod = json!({ "metadata": { "name": "web" }, "spec": { "containers": [{ "name": "app", "image": "app:1" }] } });
    pods.create(&cluster.by(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    let message = eventually("the condition is there", async || {
        let pod = pods.get("web").await.unwrap();
        let conditions = pod.status.unwrap().conditions.unwrap_or_default();
        let scheduled = conditions
            .into_iter()
            .find(|condition| condition.type_ == "PodScheduled");
        scheduled.and_then(|condition| condition.message)
    })
    .await;
    assert_eq!(
        message,
        "0/1 nodes are available: 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
    cluster.cordon("n1", false).await;
    eventually("the pod is bound", async || {
        pods.get("web").await.unwrap().spec.unwrap().node_name
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_deleted_pod_is_terminating_in_the_slice_while_it_still_runs() {
    let cluster = Cluster::start(1).await;
    let namespace = cluster.namespace("shop").await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), &namespace);
    let services: Api<Service> = Api::namespaced(cluster.client(), &namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), &namespace);
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &namespace);
    services
        .create(&cluster.by(), &service("web"))
        .await
        .unwrap();
    deployments
        .create(&cluster.by(), &deployment("web", 1))
        .await
        .unwrap();
    eventually("the endpoint is ready", async || {
        (endpoints(&slices).await == ["RS-"]).then_some(())
    })
    .await;

    cluster.hold_pods(true);
    let name = pods.list(&ListParams::default()).await.unwrap().items[0]
        .metadata
        .name
        .clone()
        .unwrap();
    pods.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the endpoint is terminating", async || {
        endpoints(&slices)
            .await
            .contains(&"-ST".to_owned())
            .then_some(())
    })
    .await;
    cluster.hold_pods(false);
    eventually("only the replacement is left", async || {
        (endpoints(&slices).await == ["RS-"]).then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_is_furnished_and_goes_when_nothing_holds_its_content() {
    let cluster = Cluster::start(1).await;
    let namespace = cluster.namespace("shop").await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), &namespace);
    let root = eventually("the certificates are there", async || {
        maps.get_opt("kube-root-ca.crt").await.unwrap()
    })
    .await;
    assert_eq!(root.data.unwrap()["ca.crt"], cluster::CERTIFICATES);
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client(), &namespace);
    eventually("the account is there", async || {
        accounts.get_opt("default").await.unwrap()
    })
    .await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), &namespace);
    deployments
        .create(&cluster.by(), &deployment("web", 2))
        .await
        .unwrap();
    wait_for(&deployments, "web", 2).await;
    let held = json!({ "metadata": { "name": "held", "finalizers": ["example.com/hold"] } });
    maps.create(&cluster.by(), &serde_json::from_value(held).unwrap())
        .await
        .unwrap();

    let namespaces: Api<Namespace> = Api::all(cluster.client());
    namespaces
        .delete(&namespace, &DeleteParams::default())
        .await
        .unwrap();
    let message = eventually("the condition names what holds", async || {
        let namespace = namespaces.get(&namespace).await.unwrap();
        let conditions = namespace.status.unwrap().conditions.unwrap_or_default();
        let held = conditions.into_iter().find(|condition| {
            condition.type_ == "NamespaceFinalizersRemaining" && condition.status == "True"
        });
        held.and_then(|condition| condition.message)
    })
    .await;
    assert_eq!(
        message,
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    );
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    maps.patch("held", &PatchParams::default(), &free)
        .await
        .unwrap();
    eventually("the namespace is gone", async || {
        namespaces
            .get_opt(&namespace)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn dependents_follow_their_owner_or_are_orphaned() {
    let cluster = Cluster::start(0).await;
    let namespace = cluster.namespace("shop").await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), &namespace);
    let create = async |name: &str, owner: Option<(&str, &str)>| {
        let owners: Vec<Value> = owner
            .iter()
            .map(|(name, uid)| json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid }))
            .collect();
        let map = json!({ "metadata": { "name": name, "ownerReferences": owners } });
        let map = maps
            .create(&cluster.by(), &serde_json::from_value(map).unwrap())
            .await
            .unwrap();
        map.metadata.uid.unwrap()
    };
    let gone = async |name: &str| {
        eventually("it is collected", async || {
            maps.get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    };
    create(
        "stray",
        Some(("never", "11111111-2222-3333-4444-555555555555")),
    )
    .await;
    gone("stray").await;

    let owner = create("owner", None).await;
    create("child", Some(("owner", &owner))).await;
    maps.delete("owner", &DeleteParams::background())
        .await
        .unwrap();
    gone("child").await;

    let owner = create("owner", None).await;
    create("orphan", Some(("owner", &owner))).await;
    // The collector must have seen the dependent before it may let the owner go; a real one has the same need.
    cluster.settle().await;
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    maps.delete("owner", &orphan).await.unwrap();
    gone("owner").await;
    let left = maps.get("orphan").await.unwrap();
    assert_eq!(left.metadata.owner_references, None);
    cluster.stop().await;
}
