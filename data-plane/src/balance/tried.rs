//! The endpoints that one request has tried. Pure.

/// By position; few, so a list.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    first: Option<usize>,
    /// Empty for nearly every request, so that it costs no allocation.
    more: Vec<usize>,
}

// === impl Tried ===

impl Tried {
    pub(super) fn has(&self, position: usize) -> bool {
        self.first == Some(position) || self.more.contains(&position)
    }

    pub(super) fn add(&mut self, position: usize) {
        if self.first.is_none() {
            self.first = Some(position);
        } else {
            self.more.push(position);
        }
    }

    /// The one that was tried last.
    pub(super) fn last(&self) -> Option<usize> {
        self.more.last().copied().or(self.first)
    }
}
