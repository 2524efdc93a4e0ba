//! What a case is.
//!
//! In: what is measured, as a function. Out: the same for `instructions.rs`, which counts it, and for `wall_clock.rs`, which
//! times it.

use std::fmt;
use std::hint::black_box;

/// One thing that is measured.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// Its name, in the table too.
    pub(crate) name: &'static str,
    /// How often it is done for one count: fewer for what is long.
    #[allow(dead_code, reason = "wall_clock decides that itself")]
    pub(crate) operations: u32,
    /// Makes everything that it needs.
    pub(crate) prepare: fn() -> Operation,
}

/// Does the thing that many times.
pub(crate) type Operation = Box<dyn FnMut(u32)>;

/// Does what belongs to the surroundings of a case and not to what is measured: callgrind knows this function by its name.
#[inline(never)]
pub(crate) fn uncounted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

// === impl Case ===

impl Case {
    pub(crate) const fn new(
        name: &'static str,
        operations: u32,
        prepare: fn() -> Operation,
    ) -> Self {
        Self {
            name,
            operations,
            prepare,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
