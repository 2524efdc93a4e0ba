//! One node: runs its pods as processes or echo servers, and says how they are.

pub mod addresses;
pub mod backoff;
pub mod environment;
pub mod expand;
pub mod probe;
pub mod service_links;
