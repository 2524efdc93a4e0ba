//! Tier.
