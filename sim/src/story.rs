//! The objects of the seed's story: one cluster tier, two tenants, four applications.
