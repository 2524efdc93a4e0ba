//! Forwards requests. Knows only its snapshot: no Kubernetes, no database, no configuration file.
//!
//! # Life of a request
//!
//! `listener` accepts the connection; `tls` ends TLS with the certificate of the name the client asked for; `http` reads
//! the request and holds the limits; `proxy` loads **one** snapshot, finds the route, rewrites the head, picks an
//! endpoint and sends the request upstream. An error knows what the client sees and what it is called in metrics and logs.
//!
//! The modules stand in the order in which a request meets them.

pub mod config;
pub mod net;
pub mod workers;

pub mod worker;

mod connections;
mod listener;

mod tls;

mod http;

mod codec;

mod client;

mod proxy;

mod head;

mod route;

pub mod lookup;

mod balance;

mod upstream;

mod body;

mod account;

mod alarm;

pub mod access_log;
pub mod clock;
pub mod drain;
pub mod error;
pub mod host;
pub mod metrics;
pub mod snapshot;
#[doc(hidden)]
pub mod steps;
pub mod table;
