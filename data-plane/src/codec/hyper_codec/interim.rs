//! How much an endpoint may send before the head of its answer. Pure.
//!
//! In: the sizes of what is read while that head is awaited. Out: whether to read on, to let others have a turn, or to give
//! up. hyper throws interim heads (1xx) away while it looks for the answer, and looks as long as there is something to
//! read: without this an endpoint that sends nothing else would hold the worker, and the request's time would not end it.

use std::cell::Cell;

/// What interim heads may take besides the room of one answer's head. They hold a few links at the most.
const INTERIM_BYTES_MAX: usize = 64 * 1024;
/// What is read in a row before others have their turn.
const TURN_BYTES: usize = 64 * 1024;

/// The answer that a connection waits for.
pub(super) struct Awaited {
    bytes_max: usize,
    is_awaited: Cell<bool>,
    /// What was read before the last read: of that one nobody has looked at yet whether it has the head.
    earlier: Cell<usize>,
    last: Cell<usize>,
    turn: Cell<usize>,
    is_too_much: Cell<bool>,
}

/// What to do instead of the next read.
pub(super) enum Instead {
    /// Others have their turn.
    Yield,
    /// The endpoint sends no answer.
    GiveUp,
}

// === impl Awaited ===

impl Awaited {
    /// For answers whose heads have so many bytes at the most.
    pub(super) fn new(head_bytes_max: usize) -> Self {
        Self {
            bytes_max: head_bytes_max + INTERIM_BYTES_MAX,
            is_awaited: Cell::new(false),
            earlier: Cell::new(0),
            last: Cell::new(0),
            turn: Cell::new(0),
            is_too_much: Cell::new(false),
        }
    }

    /// A request is to be sent.
    pub(super) fn begin(&self) {
        self.is_awaited.set(true);
        self.earlier.set(0);
        self.last.set(0);
        self.turn.set(0);
        self.is_too_much.set(false);
    }

    /// The head of its answer is there, or an error.
    pub(super) fn end(&self) {
        self.is_awaited.set(false);
    }

    /// Whether the endpoint sent too much before its answer.
    pub(super) fn is_too_much(&self) -> bool {
        self.is_too_much.get()
    }

    /// Asked before each read.
    pub(super) fn instead(&self) -> Option<Instead> {
        if !self.is_awaited.get() {
            return None;
        }
        if self.earlier.get() > self.bytes_max {
            self.is_too_much.set(true);
            return Some(Instead::GiveUp);
        }
        if self.turn.get() >= TURN_BYTES {
            self.turn.set(0);
            return Some(Instead::Yield);
        }
        None
    }

    /// So much was read.
    pub(super) fn read(&self, bytes: usize) {
        self.earlier.set(self.earlier.get() + self.last.get());
        self.last.set(bytes);
        self.turn.set(self.turn.get() + bytes);
    }

    /// There was nothing to read.
    pub(super) fn waits(&self) {
        self.turn.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    /// Reads of these sizes until it gives up: how many were made, and before which of them others had a turn.
    fn reads(awaited: &Awaited, sizes: impl IntoIterator<Item = usize>) -> (usize, Vec<usize>) {
        let (mut made, mut turns) = (0, Vec::new());
        for size in sizes {
            match awaited.instead() {
                Some(Instead::GiveUp) => break,
                Some(Instead::Yield) => {
                    turns.push(made);
                    assert!(awaited.instead().is_none(), "one turn");
                }
                None => {}
            }
            awaited.read(size);
            made += 1;
        }
        (made, turns)
    }

    #[test]
    fn an_answer_that_does_not_come_is_given_up_after_some_turns() {
        let awaited = Awaited::new(64 * KIB);
        awaited.begin();
        assert_eq!(
            reads(&awaited, [16 * KIB; 100]),
            (10, vec![4, 8]),
            "small reads"
        );
        assert!(awaited.is_too_much());
        awaited.begin();
        assert!(!awaited.is_too_much());
        assert_eq!(
            reads(&awaited, [408 * KIB; 100]),
            (2, vec![1]),
            "large reads"
        );
    }

    #[test]
    fn one_read_may_bring_any_size_and_the_body_does_not_count() {
        let awaited = Awaited::new(64 * KIB);
        awaited.begin();
        assert_eq!(reads(&awaited, [8 * KIB, 408 * KIB]), (2, vec![]));
        assert!(!matches!(awaited.instead(), Some(Instead::GiveUp)));
        awaited.end();
        assert_eq!(reads(&awaited, [408 * KIB; 100]), (100, vec![]));
    }
}
