//! Which Services stand for names in DNS, and what DNS said of those. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::resolution::Resolution;
use crate::model::external::ExternalName;
use crate::scope::ObjectName;

/// Services that stand for names, and what is known of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Names {
    services: BTreeSet<ObjectName>,
    resolutions: BTreeMap<ExternalName, Arc<Resolution>>,
}

// === impl Names ===

impl Names {
    pub(super) fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.services.iter()
    }

    pub(super) fn note(&mut self, service: &ObjectName, is_name: bool) {
        if is_name {
            self.services.insert(service.clone());
        } else if !self.services.is_empty() {
            self.services.remove(service);
        }
    }

    pub(super) fn get(&self, name: &ExternalName) -> Option<&Resolution> {
        self.resolutions.get(name).map(|resolution| &**resolution)
    }

    /// Notes what is known of a name; none: nobody asks for it any more. Tells whether that differs.
    pub(super) fn resolve(
        &mut self,
        name: &ExternalName,
        resolution: Option<Arc<Resolution>>,
    ) -> bool {
        if self.resolutions.get(name) == resolution.as_ref() {
            return false;
        }
        match resolution {
            Some(resolution) => self.resolutions.insert(name.clone(), resolution),
            None => self.resolutions.remove(name),
        };
        true
    }
}
