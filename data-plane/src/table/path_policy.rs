//! What is done to the requests of a path before they go to its backend. Pure.

use std::sync::Arc;

use super::Rewrite;

/// What is done to the requests of a path, beside the [`Policy`](super::Policy) of its Ingress. Nothing set: they go as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPolicy {
    /// Whether those that came by http are sent to https.
    pub redirect: Redirect,
    /// What becomes of the path. None: it stays.
    pub rewrite: Option<Arc<Rewrite>>,
}

/// Whether requests by http are answered with the same URL by https (308).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redirect {
    /// They are served.
    #[default]
    Never,
    /// Where https answers: this tier serves it and has a certificate to show, or a trusted peer says that http was spoken to it.
    WhereServed,
    /// In any case.
    Always,
}
