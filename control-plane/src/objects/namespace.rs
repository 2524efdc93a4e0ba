//! What we read of a Namespace, and what is in one. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1;

use super::{Content, Object, Objects, name_of};
use crate::scope::ObjectName;

/// A Namespace: whether it is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// It is being deleted. Its pods go, and its Ingresses stay until the last of its content is gone: they claim nothing any more.
    pub is_terminating: bool,
}

impl From<v1::Namespace> for Object {
    fn from(namespace: v1::Namespace) -> Self {
        let read = Namespace {
            is_terminating: namespace.metadata.deletion_timestamp.is_some(),
        };
        Self {
            name: name_of(&namespace.metadata),
            content: Content::Namespace(Arc::new(read)),
        }
    }
}

// === impl Objects ===

impl Objects {
    /// The names of the Ingresses of a namespace.
    pub fn ingresses_of(&self, namespace: &str) -> impl Iterator<Item = &Arc<ObjectName>> {
        let first = ObjectName::new(namespace, "");
        let names = self.ingresses.range(first..).map(|(name, _)| name);
        names.take_while(move |name| name.namespace == namespace)
    }
}
