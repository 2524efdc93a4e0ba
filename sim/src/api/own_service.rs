//! The Service `default/kubernetes`, by which pods find the API server, and its EndpointSlice.
//!
//! In: the address on which the server listens. Out: both objects, there before the first request is answered and put back
//! when somebody deletes them or changes the endpoint, as a real server does. Pods are told of it by `KUBERNETES_SERVICE_HOST`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

use super::addresses;
use super::state::{Shared, State};

const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
const KEY: &str = "default/kubernetes";
const SLICES: &str = "endpointslices.discovery.k8s.io";

/// Time between two looks, as the real server takes it.
const PERIOD: Duration = Duration::from_secs(10);

/// Makes what is missing and repairs the endpoint.
pub(super) fn publish(shared: &Shared, address: SocketAddr) {
    let created = shared.clock.seconds();
    let mut state = shared.state();
    let metadata = |labels: Value, state: &mut State| {
        let uid = state.uid();
        json!({"name": NAME, "namespace": NAMESPACE, "uid": uid, "creationTimestamp": created, "labels": labels})
    };
    if state.store.get("services", KEY).is_none() {
        let cluster_ip = addresses::first(state.service_range).to_string();
        if addresses::is_used(&state, &cluster_ip) {
            tracing::warn!(%cluster_ip, reason = "address_taken", "cannot make the Service default/kubernetes");
        } else {
            let labels = json!({"component": "apiserver", "provider": "kubernetes"});
            let metadata = metadata(labels, &mut state);
            let service = service(metadata, &cluster_ip, address);
            state.store.put("services", KEY, service);
        }
    }
    let known = state.store.get(SLICES, KEY);
    let wanted = endpoint(address);
    let is_right = |slice: &Value| {
        ["addressType", "endpoints", "ports"]
            .iter()
            .all(|field| slice[*field] == wanted[*field])
    };
    if known.as_ref().is_some_and(|slice| is_right(&slice.value)) {
        return;
    }
    let mut slice = wanted.clone();
    slice["metadata"] = match known {
        Some(known) => known.value["metadata"].clone(),
        None => metadata(json!({"kubernetes.io/service-name": NAME}), &mut state),
    };
    state.store.put(SLICES, KEY, slice);
}

/// Keeps both objects as they should be. Never ends.
pub(super) async fn keep(shared: &Shared, address: SocketAddr) {
    loop {
        tokio::time::sleep(PERIOD).await;
        publish(shared, address);
    }
}

fn service(metadata: Value, cluster_ip: &str, address: SocketAddr) -> Value {
    json!({
        "kind": "Service", "apiVersion": "v1", "metadata": metadata,
        "spec": {
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": address.port()}],
            "clusterIP": cluster_ip, "clusterIPs": [cluster_ip],
            "type": "ClusterIP", "sessionAffinity": "None",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    })
}

fn endpoint(address: SocketAddr) -> Value {
    // A server that listens everywhere is reached on loopback by the pods of this machine.
    let ip = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "addressType": if ip.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [ip.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
    })
}
