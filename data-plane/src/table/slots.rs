//! Numbered values whose copies share what is equal in them. Pure.
//!
//! In: values. Out: a number for each, which stays its own until it is taken out; a copy costs one step per [`CHUNK`] values,
//! and a change copies one chunk. A number that became free is given away again, the smallest first.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Values that are copied together.
const CHUNK: usize = 64;

/// The values.
#[derive(Clone, Debug)]
pub(crate) struct Slots<T> {
    chunks: Vec<Arc<Chunk<T>>>,
}

type Chunk<T> = [Option<T>; CHUNK];

/// The numbers that are free, and how many there are at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    free: BTreeSet<usize>,
    length: usize,
}

// === impl Slots ===

impl<T: Clone> Slots<T> {
    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        self.chunks.get(number / CHUNK)?[number % CHUNK].as_ref()
    }

    /// Puts a value at a number, or takes it out.
    pub(crate) fn set(&mut self, number: usize, value: Option<T>) {
        let (chunk, place) = (number / CHUNK, number % CHUNK);
        while self.chunks.len() <= chunk {
            self.chunks.push(Arc::new(std::array::from_fn(|_| None)));
        }
        Arc::make_mut(&mut self.chunks[chunk])[place] = value;
    }

    /// All values, by their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let chunks = self.chunks.iter().enumerate();
        chunks.flat_map(|(chunk, values)| {
            let numbered = values.iter().enumerate();
            numbered
                .filter_map(move |(place, value)| Some((chunk * CHUNK + place, value.as_ref()?)))
        })
    }

    /// The numbers whose values may differ from those of `before`: all that are not shared with it.
    pub(crate) fn unshared(&self, before: &Self) -> Vec<usize> {
        let mut numbers = Vec::new();
        for chunk in 0..self.chunks.len().max(before.chunks.len()) {
            let (new, old) = (self.chunks.get(chunk), before.chunks.get(chunk));
            if let (Some(new), Some(old)) = (new, old)
                && Arc::ptr_eq(new, old)
            {
                continue;
            }
            numbers.extend(chunk * CHUNK..(chunk + 1) * CHUNK);
        }
        numbers
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

// === impl Numbers ===

impl Numbers {
    pub(crate) fn take(&mut self) -> usize {
        self.free.pop_first().unwrap_or_else(|| {
            self.length += 1;
            self.length - 1
        })
    }

    pub(crate) fn give_back(&mut self, number: usize) {
        self.free.insert(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_unshares_its_own_chunk_only() {
        let mut slots = Slots::default();
        for number in 0..3 * CHUNK {
            slots.set(number, Some(number));
        }
        let before = slots.clone();
        assert!(slots.unshared(&before).is_empty());
        slots.set(CHUNK + 1, Some(7));
        slots.set(3 * CHUNK, Some(8));
        let expected: Vec<usize> = (CHUNK..2 * CHUNK).chain(3 * CHUNK..4 * CHUNK).collect();
        assert_eq!(slots.unshared(&before), expected);
        assert_eq!(before.unshared(&slots), expected);
        assert_eq!(
            (slots.get(CHUNK + 1), before.get(CHUNK + 1)),
            (Some(&7), Some(&(CHUNK + 1)))
        );
        assert_eq!(slots.iter().count(), 3 * CHUNK + 1);
    }

    #[test]
    fn the_smallest_free_number_is_given_away_first() {
        let mut numbers = Numbers::default();
        let taken: Vec<_> = (0..4).map(|_| numbers.take()).collect();
        assert_eq!(taken, [0, 1, 2, 3]);
        numbers.give_back(2);
        numbers.give_back(0);
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [0, 2, 4]);
    }
}
