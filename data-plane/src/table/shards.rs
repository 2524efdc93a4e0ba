//! A hash table whose copies share what is equal in them. Pure.
//!
//! In: keys and values. Out: a look-up that costs the same however many there are, and a copy that costs one step per shard:
//! a change copies the one shard that it is in. The hash is SipHash-1-3 under a [`HashKey`] that nobody outside knows, because
//! keys are chosen by tenants and by clients, who could otherwise choose them so that all fall into one place. What is in it
//! is shown in the order of the keys, never in that of the hashes.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

/// Entries per shard, on average, above which there are twice as many shards.
const SHARD_ENTRIES_MAX: usize = 32;

/// Shards of one table at most, so that a copy stays cheap.
const SHARDS_MAX: usize = 2048;

/// What hashes are made with. Secret: taken from the seed of the process.
#[derive(Clone, Copy, Default)]
pub struct HashKey {
    low: u64,
    high: u64,
}

/// The table.
#[derive(Clone)]
pub(crate) struct Shards<K, V> {
    key: HashKey,
    length: usize,
    /// A power of two of them.
    shards: Vec<Arc<HashTable<(K, V)>>>,
}

// === impl HashKey ===

impl HashKey {
    /// A key of 128 random bits.
    #[must_use]
    pub fn new(low: u64, high: u64) -> Self {
        Self { low, high }
    }

    pub(super) fn hasher(self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.low, self.high)
    }

    pub(crate) fn hash(self, value: &(impl Hash + ?Sized)) -> u64 {
        let mut hasher = self.hasher();
        value.hash(&mut hasher);
        hasher.finish()
    }
}

/// The key is secret.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

// === impl Shards ===

impl<K: Hash + Ord + Clone, V: Clone> Shards<K, V> {
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            key,
            length: 0,
            shards: vec![Arc::default()],
        }
    }

    pub(crate) fn key(&self) -> HashKey {
        self.key
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// `name` must hash like the key that `is_it` accepts.
    pub(crate) fn find(
        &self,
        name: &(impl Hash + ?Sized),
        mut is_it: impl FnMut(&K) -> bool,
    ) -> Option<&V> {
        let hash = self.key.hash(name);
        let shard = &self.shards[self.place(hash)];
        shard
            .find(hash, |(known, _)| is_it(known))
            .map(|(_, value)| value)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(key, |known| known == key)
    }

    /// The value of a key, made when there is none.
    pub(crate) fn get_or_insert_with(&mut self, key: &K, value: impl FnOnce() -> V) -> &mut V {
        if self.length >= SHARD_ENTRIES_MAX * self.shards.len() && self.shards.len() < SHARDS_MAX {
            self.grow();
        }
        let hash = self.key.hash(key);
        let (secret, place) = (self.key, self.place(hash));
        let shard = Arc::make_mut(&mut self.shards[place]);
        let entry = shard.entry(
            hash,
            |(known, _)| known == key,
            |(known, _)| secret.hash(known),
        );
        if matches!(entry, hashbrown::hash_table::Entry::Vacant(_)) {
            self.length += 1;
        }
        &mut entry.or_insert_with(|| (key.clone(), value())).into_mut().1
    }

    pub(crate) fn insert(&mut self, key: &K, value: V) -> Option<V> {
        let mut new = Some(value);
        let place = self.get_or_insert_with(key, || new.take().expect("called once"));
        // Taken already: there was no value before.
        new.map(|value| std::mem::replace(place, value))
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.get(key)?;
        let hash = self.key.hash(key);
        let place = self.place(hash);
        let shard = Arc::make_mut(&mut self.shards[place]);
        let entry = shard.find_entry(hash, |(known, _)| known == key).ok()?;
        let ((_, value), _) = entry.remove();
        self.length -= 1;
        Some(value)
    }

    /// Everything, in the order of the keys.
    pub(crate) fn in_order(&self) -> Vec<(&K, &V)> {
        let mut all: Vec<(&K, &V)> = self.unordered().collect();
        all.sort_unstable_by_key(|&(key, _)| key);
        all
    }

    /// Whether both hold the same keys, with values of which `is_same` says so. What is shared is not looked at.
    pub(crate) fn is_same(&self, other: &Self, mut is_same: impl FnMut(&V, &V) -> bool) -> bool {
        self.length == other.length
            && self
                .unordered()
                .all(|(key, value)| other.get(key).is_some_and(|found| is_same(value, found)))
    }

    fn unordered(&self) -> impl Iterator<Item = (&K, &V)> {
        let shards = self.shards.iter();
        shards.flat_map(|shard| shard.iter().map(|(key, value)| (key, value)))
    }

    /// Bits of the hash that the shards themselves do not look at first.
    fn place(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards.len() - 1)
    }

    fn grow(&mut self) {
        let before = std::mem::take(&mut self.shards);
        let mut shards: Vec<HashTable<(K, V)>> = Vec::new();
        shards.resize_with(before.len() * 2, HashTable::new);
        let (secret, mask) = (self.key, shards.len() - 1);
        for shard in before {
            for entry in Arc::unwrap_or_clone(shard) {
                let hash = secret.hash(&entry.0);
                let place = (hash >> 32) as usize & mask;
                shards[place].insert_unique(hash, entry, |(known, _)| secret.hash(known));
            }
        }
        self.shards = shards.into_iter().map(Arc::new).collect();
    }
}

impl<K: Hash + Ord + Clone, V: Clone> Default for Shards<K, V> {
    fn default() -> Self {
        Self::new(HashKey::default())
    }
}

impl<K: Hash + Ord + Clone + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for Shards<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.in_order()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn it_holds_what_an_ordered_map_holds_and_copies_stay_as_they_were(
            changes in prop::collection::vec((0..500u16, prop::option::weighted(0.8, any::<u8>())), 0..2000),
            low: u64, copied_after in 0..2000usize,
        ) {
            let mut model = BTreeMap::new();
            let mut shards = Shards::new(HashKey::new(low, 7));
            let mut copy = None;
            for (number, (key, value)) in changes.into_iter().enumerate() {
                match value {
                    Some(value) => prop_assert_eq!(shards.insert(&key, value), model.insert(key, value)),
                    None => prop_assert_eq!(shards.remove(&key), model.remove(&key)),
                }
                if number == copied_after {
                    copy = Some((shards.clone(), model.clone()));
                }
            }
            for (shards, model) in copy.into_iter().chain([(shards, model)]) {
                prop_assert_eq!(shards.len(), model.len());
                prop_assert_eq!(shards.in_order(), model.iter().collect::<Vec<_>>());
                for key in 0..500 {
                    prop_assert_eq!(shards.get(&key), model.get(&key));
                }
            }
        }
    }
}
