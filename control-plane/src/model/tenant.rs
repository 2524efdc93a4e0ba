//! Who owns a part of the model. Pure.

use std::fmt;
use std::sync::Arc;

/// A namespace as the owner of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

/// A text that is no name of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the namespace is not a DNS label: lower-case letters, digits and -, at most 63 bytes")]
pub struct InvalidTenant;

// === impl Tenant ===

impl Tenant {
    /// The name of the namespace.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the namespace, shared.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl TryFrom<&str> for Tenant {
    type Error = InvalidTenant;

    fn try_from(text: &str) -> Result<Self, InvalidTenant> {
        if super::host::is_label(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTenant)
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
