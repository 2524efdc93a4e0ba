//! The controllers of the cluster: scheduler, ReplicaSet, Deployment, EndpointSlice, namespace, ServiceAccount, garbage.
