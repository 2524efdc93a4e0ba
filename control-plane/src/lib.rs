//! Turns the cluster's objects into tables.
//!
//! # Life of a change
//!
//! `watch` hears of an object from the API server; `objects` keeps what we read of it and tells whether that differs;
//! `translate` makes the model of everything that `scope` covers, and a condition for every object that is wrong;
//! `compile` makes the data plane's table of the model; `publish` swaps it in and tells `admin` what it did.
//!
//! The modules stand in the order in which a change meets them.

pub mod config;
pub mod platform;
pub mod publish;
pub mod scope;
pub mod telemetry;
