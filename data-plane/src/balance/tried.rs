//! The endpoints that one request has tried. Pure.

use std::num::NonZeroUsize;

/// By position; few, so a list. Small: each request has one, and moves it.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    /// One more than its position.
    first: Option<NonZeroUsize>,
    /// Empty for nearly every request, so that it costs no allocation.
    more: Box<[usize]>,
}

// === impl Tried ===

impl Tried {
    pub(super) fn has(&self, position: usize) -> bool {
        self.first() == Some(position) || self.more.contains(&position)
    }

    pub(super) fn add(&mut self, position: usize) {
        if self.first.is_none() {
            self.first = Some(NonZeroUsize::MIN.saturating_add(position));
        } else {
            let mut more = std::mem::take(&mut self.more).into_vec();
            more.push(position);
            self.more = more.into();
        }
    }

    /// The one that was tried last.
    pub(super) fn last(&self) -> Option<usize> {
        self.more.last().copied().or_else(|| self.first())
    }

    fn first(&self) -> Option<usize> {
        self.first.map(|first| first.get() - 1)
    }
}
