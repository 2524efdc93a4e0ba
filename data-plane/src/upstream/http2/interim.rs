//! How many heads an endpoint may send. Pure.
//!
//! In: what is read of a connection, and the requests that it gets. Out: whether to read on, to let others have a turn, or
//! to give the connection up. A request may have [`INTERIM_MAX`] interim heads (1xx), one that answers, and trailers.
//! `exchange` ends the request that got more; what still comes then the `h2` crate throws away, stream by stream and
//! without end: so here the heads of all streams are counted as well. Their frames are seen by their first nine bytes.

use std::cell::Cell;
use std::rc::Rc;

use super::STREAMS_MAX;

/// Interim heads of one request. They are hints, and signs of life every few seconds.
pub(super) const INTERIM_MAX: u32 = 64;
/// With the one that answers, and the trailers.
const HEADS_PER_REQUEST: u32 = INTERIM_MAX + 2;
/// All that the requests of a full connection may have: no request that keeps to its share lacks room for it.
const HEADS_MAX: u32 = HEADS_PER_REQUEST * STREAMS_MAX as u32;
/// Frames that are read in a row before others have their turn. The requests take their heads off in between.
const TURN_FRAMES: u32 = 256;
const FRAME_HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;

/// How many heads a connection may still bring.
#[derive(Debug)]
pub(super) struct Room(Cell<u32>);

/// Follows the frames of a connection.
pub(super) struct Frames {
    room: Rc<Room>,
    /// Of the frame head that is being read.
    head: [u8; FRAME_HEAD_BYTES],
    head_length: usize,
    /// What is missing of the frame behind it.
    payload_left: usize,
    /// Frames since others had their turn.
    turn: u32,
    is_too_much: bool,
}

/// What to do instead of the next read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Instead {
    /// Others have their turn.
    Yield,
    /// The endpoint sends heads that nobody asked for.
    GiveUp,
}

// === impl Room ===

impl Default for Room {
    fn default() -> Self {
        Self(Cell::new(HEADS_MAX))
    }
}

impl Room {
    /// The connection takes one more request.
    pub(super) fn grow(&self) {
        self.0
            .set((self.0.get() + HEADS_PER_REQUEST).min(HEADS_MAX));
    }
}

// === impl Frames ===

impl Frames {
    pub(super) fn new(room: Rc<Room>) -> Self {
        Self {
            room,
            head: [0; FRAME_HEAD_BYTES],
            head_length: 0,
            payload_left: 0,
            turn: 0,
            is_too_much: false,
        }
    }

    /// Asked before each read.
    pub(super) fn instead(&mut self) -> Option<Instead> {
        if self.is_too_much {
            return Some(Instead::GiveUp);
        }
        if self.turn >= TURN_FRAMES {
            self.turn = 0;
            return Some(Instead::Yield);
        }
        None
    }

    /// This was read.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = self.payload_left.min(bytes.len());
            self.payload_left -= skipped;
            bytes = &bytes[skipped..];
            let missing = FRAME_HEAD_BYTES - self.head_length;
            if let Some((head, rest)) = bytes.split_at_checked(missing) {
                self.head[self.head_length..].copy_from_slice(head);
                self.head_length = 0;
                bytes = rest;
                self.begins();
            } else {
                self.head[self.head_length..][..bytes.len()].copy_from_slice(bytes);
                self.head_length += bytes.len();
                return;
            }
        }
    }

    /// There was nothing to read.
    pub(super) fn waits(&mut self) {
        self.turn = 0;
    }

    /// A frame, by its head.
    fn begins(&mut self) {
        let [high, middle, low, kind, ..] = self.head;
        self.payload_left = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.turn += 1;
        if kind == HEADERS {
            match self.room.0.get().checked_sub(1) {
                Some(left) => self.room.0.set(left),
                None => self.is_too_much = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: u8 = 0;

    fn frame(kind: u8, length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut frame = vec![0, high, low, kind, 0, 0, 0, 0, 1];
        // A payload that looks like heads of frames.
        frame.resize(FRAME_HEAD_BYTES + usize::from(length), HEADERS);
        frame
    }

    #[test]
    fn frames_are_seen_however_the_network_splits_them() {
        let kinds = [(HEADERS, 30), (DATA, 0), (DATA, 16_384), (HEADERS, 1)];
        let bytes: Vec<u8> = kinds.iter().flat_map(|&(kind, n)| frame(kind, n)).collect();
        for size in [1, 2, 8, 9, 10, 1000, bytes.len()] {
            let room = Rc::new(Room::default());
            let mut frames = Frames::new(room.clone());
            bytes.chunks(size).for_each(|chunk| frames.read(chunk));
            assert_eq!((frames.turn, HEADS_MAX - room.0.get()), (4, 2), "{size}");
        }
    }

    #[test]
    fn others_have_their_turn_among_many_frames() {
        let mut frames = Frames::new(Rc::default());
        for _ in 0..2 {
            frames.read(&frame(DATA, 0).repeat(TURN_FRAMES as usize));
            assert_eq!(frames.instead(), Some(Instead::Yield));
            assert_eq!(frames.instead(), None);
        }
        frames.read(&frame(DATA, 0).repeat(TURN_FRAMES as usize - 1));
        frames.waits();
        frames.read(&frame(DATA, 0));
        assert_eq!(frames.instead(), None);
    }

    #[test]
    fn a_connection_is_given_up_when_its_requests_cannot_have_so_many_heads() {
        let (room, head) = (Rc::new(Room::default()), frame(HEADERS, 1));
        let mut frames = Frames::new(room.clone());
        for _ in 0..10_000 {
            room.grow();
            frames.read(&head.repeat(HEADS_PER_REQUEST as usize));
            frames.waits();
        }
        assert_eq!(frames.instead(), None, "each request has its share");
        room.grow();
        frames.read(&head.repeat(HEADS_MAX as usize));
        assert_ne!(frames.instead(), Some(Instead::GiveUp));
        frames.read(&head);
        room.grow();
        assert_eq!(frames.instead(), Some(Instead::GiveUp));
    }
}
