//! A stream whose reads are written down beforehand, and whose writes are kept.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What comes after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closes.
    Closed,
    /// Nothing: the peer waits.
    Open,
}

/// The peer, by what arrives of it: one piece at each read, and nothing between two.
pub(super) struct Script {
    pieces: VecDeque<Vec<u8>>,
    end: End,
    /// The next read finds nothing yet.
    is_between: bool,
    /// It says nothing before it has heard something that ends so.
    heard: &'static [u8],
    reader: Option<Waker>,
    written: Rc<RefCell<Vec<u8>>>,
}

// === impl Script ===

impl Script {
    pub(super) fn whole(bytes: &[u8], end: End) -> Self {
        Self::cut_at(bytes, &[], end)
    }

    pub(super) fn bytewise(bytes: &[u8], end: End) -> Self {
        let places: Vec<usize> = (1..bytes.len()).collect();
        Self::cut_at(bytes, &places, end)
    }

    /// The bytes in pieces that end at these places.
    pub(super) fn cut_at(bytes: &[u8], places: &[usize], end: End) -> Self {
        let mut places = places.to_vec();
        places.push(bytes.len());
        places.sort_unstable();
        let mut from = 0;
        let mut pieces = VecDeque::new();
        for place in places {
            if place > from {
                pieces.push_back(bytes[from..place].to_vec());
                from = place;
            }
        }
        Self {
            pieces,
            end,
            is_between: false,
            heard: b"",
            reader: None,
            written: Rc::default(),
        }
    }

    /// The peer speaks when it has heard something that ends so.
    pub(super) fn after(mut self, heard: &'static [u8]) -> Self {
        self.heard = heard;
        self
    }

    /// What has been written to the peer, also later on.
    pub(super) fn written(&self) -> Rc<RefCell<Vec<u8>>> {
        self.written.clone()
    }

    /// What has not been read.
    pub(super) fn unread(&self) -> Vec<u8> {
        self.pieces.iter().flatten().copied().collect()
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.pieces.iter().map(|piece| piece.escape_ascii());
        let pieces: Vec<_> = pieces.map(|piece| piece.to_string()).collect();
        write!(f, "{}", pieces.join(" | "))
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.is_between) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.written.borrow().ends_with(self.heard) {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.heard = b"";
        let Some(piece) = self.pieces.front_mut() else {
            return match self.end {
                End::Closed => Poll::Ready(Ok(())),
                End::Open => Poll::Pending,
            };
        };
        let rest = piece.split_off(piece.len().min(buffer.remaining()));
        buffer.put_slice(piece);
        *piece = rest;
        if self.pieces.front().is_some_and(Vec::is_empty) {
            self.pieces.pop_front();
            self.is_between = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.borrow_mut().extend_from_slice(bytes);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
