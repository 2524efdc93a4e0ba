//! What the tests of this package share.
//!
//! In reading order: [`repository`] finds the files of the repository, for the tests that read it. The rest serves the
//! end-to-end tests: [`cluster`] is the cluster that they run in, which [`world`] starts as the local one or the real one, each a
//! child process or two; [`tiers`] finds what runs in it, [`kubectl`] changes its [`objects`], [`helm`] installs [`releases`] of our chart in a bare one, [`client`] and [`tls`] ask the tiers as
//! any client would, [`load`] asks without a pause while something changes, and [`wait`] waits for conditions. [`service`] asks the addresses of Services. A [`transcript`] is a file of
//! commands with what they say, in [`normal`] form. [`numbers`] shows what a test measured. [`rights`] and [`audit`] hold what was asked
//! for against what may be asked for, for [`installers`] too, [`api_server`] takes the API server away, a [`lone_tier`] is no pod, [`dns`] says what a test says of names, and [`bad_objects`] are wrong.
//! [`endpoints`] are played by a test, on a [`stage`]. [`replicas`] are the pods of a tier, asked one by one; [`told`] is what Ingresses say of themselves. [`conformance`] has the rows of the Kubernetes suite.
//!
//! Everything here is blocking code on `std`: a client that shares nothing with the code it tests.

pub mod repository;

pub mod wait;

mod process;

pub mod world;

pub mod cluster;

pub mod tiers;

pub mod kubectl;

pub mod helm;

pub mod releases;

pub mod installers;

pub mod objects;

pub mod normal;

pub mod transcript;

pub mod client;

pub mod tls;

pub mod load;

pub mod service;

pub mod numbers;

pub mod rights;

pub mod audit;

pub mod api_server;

pub mod conformance;

pub mod lone_tier;

pub mod dns;

pub mod bad_objects;

pub mod endpoints;

pub mod stage;

pub mod replicas;

pub mod told;
