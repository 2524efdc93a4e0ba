//! The local cluster: `tiergate-sim up`.
