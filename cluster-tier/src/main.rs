//! Tier.
fn main() {}
