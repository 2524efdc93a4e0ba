//! The cases: what is measured, each with everything that it needs.

mod codec;
mod head;
mod request;
mod table;

use crate::case::Case;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let groups = [request::CASES, codec::CASES, head::CASES, table::CASES];
    groups.concat()
}
