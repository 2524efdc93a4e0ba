//! Values by host name. Pure.
//!
//! In: names and values. Out: a look-up by one hash, however many names there are, and copies that share what is in them.
//! What is shown or compared is in the order of the names.

use std::fmt;

use super::shards::{HashKey, Shards};
use crate::host::HostName;

/// Values by host name.
#[derive(Clone)]
pub struct Hosts<T: Clone>(Shards<HostName, T>);

// === impl Hosts ===

impl<T: Clone> Hosts<T> {
    /// Nothing yet.
    #[must_use]
    pub fn new(key: HashKey) -> Self {
        Self(Shards::new(key))
    }

    /// The value of a name in comparable form.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.find(name, |known| known.as_str() == name)
    }

    /// Sets the value of a name, and gives the one before.
    pub fn insert(&mut self, name: &HostName, value: T) -> Option<T> {
        self.0.insert(name, value)
    }

    /// Takes a name out.
    pub fn remove(&mut self, name: &HostName) -> Option<T> {
        self.0.remove(name)
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything, in the order of the names.
    #[must_use]
    pub fn in_order(&self) -> Vec<(&HostName, &T)> {
        self.0.in_order()
    }

    pub(super) fn key(&self) -> HashKey {
        self.0.key()
    }

    pub(super) fn get_or_insert_with(
        &mut self,
        name: &HostName,
        value: impl FnOnce() -> T,
    ) -> &mut T {
        self.0.get_or_insert_with(name, value)
    }

    pub(super) fn is_same(&self, other: &Self, is_same: impl FnMut(&T, &T) -> bool) -> bool {
        self.0.is_same(&other.0, is_same)
    }
}

impl<T: Clone> Default for Hosts<T> {
    fn default() -> Self {
        Self::new(HashKey::default())
    }
}

impl<T: Clone, const N: usize> From<[(HostName, T); N]> for Hosts<T> {
    fn from(entries: [(HostName, T); N]) -> Self {
        let mut hosts = Self::default();
        for (name, value) in entries {
            hosts.insert(&name, value);
        }
        hosts
    }
}

impl<T: Clone + PartialEq> PartialEq for Hosts<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other, T::eq)
    }
}

impl<T: Clone + fmt::Debug> fmt::Debug for Hosts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.in_order()).finish()
    }
}
