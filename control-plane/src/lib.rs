//! Turns the cluster's objects into tables.
//!
//! # Life of a change
//!
//! `watch` hears of an object from the API server, or `secrets` reads one by its name, or `external_names` looks a name up in DNS; `objects` keeps what we read of it and tells whether that differs;
//! `translate` makes the model of everything that `scope` covers, and a condition for every object that is wrong;
//! `compile` makes the data plane's table of the model; `publish` swaps it in and tells `admin` what it did. Around it,
//! `status` tells the owners of Ingresses what became of them, from the one replica that holds a Lease (`lease`);
//! `platform` is everything outside the process, `config` what the process is told, and `twin` what it shows. `run` holds the
//! parts together from start to end; `process` is what both programs do around it, and `probe` asks a URL for them.

pub mod admin;
pub mod compile;
pub mod config;
pub mod explain;
mod external_names;
pub mod failure;
mod lease;
pub mod model;
pub mod objects;
pub mod platform;
pub mod probe;
pub mod process;
pub mod publish;
pub mod run;
pub mod scope;
mod secrets;
pub mod status;
pub mod telemetry;
pub mod translate;
pub mod twin;
mod watch;
