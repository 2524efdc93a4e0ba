//! The cluster around the tiers: modelled once, run in real time on loopback (`tiergate-sim up`), and in simulated time by tests
//! ([`world`]).
//!
//! The API server ([`api`]) keeps the objects. The [`actors`] and the [`kubelet`] speak to it through an ordinary kube
//! client over the network, as they do in a real cluster; nothing here reaches into the store behind its back.
//! [`local`] puts them together; [`attach`] takes the nodes alone to another API server.

pub mod account;
pub mod actors;
pub mod api;
pub mod attach;
mod bounded_file;
mod clock;
pub mod echo;
pub mod images;
pub mod kubelet;
pub mod local;
pub mod service_proxy;
pub mod stop;
pub mod story;
pub mod world;
