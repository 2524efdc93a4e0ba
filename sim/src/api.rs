//! The API server: objects, lists, watches, writes, over HTTP.
//!
//! What a real kube-apiserver 1.36 answers is recorded (`tests/contract/`); this model gives the same answers to what
//! kube-rs, kubectl, the actors and the tiers ask. It is no product: RBAC is not enforced.

pub mod apply;
pub mod defaults;
pub mod patch;
pub mod protobuf;
pub mod schema;
pub mod table;
pub mod validate;
