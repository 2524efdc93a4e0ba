//! The streams of one HTTP/2 connection as futures of its task.
//!
//! In: work, one piece per stream. Out: it gets done, by whichever seat is free. A seat is a future that does one piece after the
//! other and lives on between them: to make a large future costs copying it, and to give it a task of its own costs
//! another wake-up for each thing that happens. A seat is polled when it was woken, once in each round.
//!
//! A panic in a seat costs the stream that it happens in. The connection has many, of many clients when it comes from a
//! tier in front.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::wakes::{BLOCK, Block, Wakes};

/// The seats of a connection. `M` makes the future of one, which ends never.
pub(super) struct Seats<T, F, M> {
    make: M,
    seats: Vec<Seat<T, F>>,
    blocks: Vec<Arc<Block>>,
    free: Vec<usize>,
    /// Free seats that keep their memory.
    spare_max: usize,
}

struct Seat<T, F> {
    desk: Rc<Desk<T>>,
    waker: Waker,
    worker: Option<Pin<Box<F>>>,
}

/// Where a seat finds its work.
pub(super) struct Desk<T> {
    work: RefCell<Option<T>>,
    is_done: Cell<bool>,
}

// === impl Seats ===

impl<T, F: Future<Output = ()>, M: Fn(Rc<Desk<T>>) -> F> Seats<T, F, M> {
    pub(super) fn new(spare_max: usize, make: M) -> Self {
        Self {
            make,
            seats: Vec::new(),
            blocks: Vec::new(),
            free: Vec::new(),
            spare_max,
        }
    }

    /// Gives work to a seat, which begins it in the next round.
    pub(super) fn give(&mut self, work: T, wakes: &Wakes) {
        let number = self.free.pop().unwrap_or_else(|| self.add(wakes));
        let seat = &mut self.seats[number];
        *seat.desk.work.borrow_mut() = Some(work);
        if seat.worker.is_none() {
            seat.worker = Some(Box::pin((self.make)(seat.desk.clone())));
        }
        self.blocks[number / BLOCK].mark(number % BLOCK);
    }

    fn add(&mut self, wakes: &Wakes) -> usize {
        let number = self.seats.len();
        if number.is_multiple_of(BLOCK) {
            self.blocks.push(wakes.block());
        }
        let desk = Desk {
            work: RefCell::new(None),
            is_done: Cell::new(false),
        };
        self.seats.push(Seat {
            desk: Rc::new(desk),
            waker: self.blocks[number / BLOCK].waker(number % BLOCK),
            worker: None,
        });
        number
    }

    /// One round: polls each seat that was woken before it.
    pub(super) fn poll(&mut self) {
        for block in 0..self.blocks.len() {
            let mut woken = self.blocks[block].take();
            while woken != 0 {
                self.poll_seat(block * BLOCK + woken.trailing_zeros() as usize);
                woken &= woken - 1;
            }
        }
    }

    /// Whether some seat is woken.
    pub(super) fn is_woken(&self) -> bool {
        self.blocks.iter().any(|block| !block.is_empty())
    }

    fn poll_seat(&mut self, number: usize) {
        let seat = &mut self.seats[number];
        let Some(worker) = &mut seat.worker else {
            return;
        };
        let mut cx = Context::from_waker(&seat.waker);
        // Nothing that a panic leaves half done is used again: the seat is thrown away.
        let polled = catch_unwind(AssertUnwindSafe(|| worker.as_mut().poll(&mut cx)));
        let is_whole = matches!(polled, Ok(Poll::Pending));
        if is_whole && !seat.desk.is_done.replace(false) {
            return;
        }
        if !is_whole || self.free.len() >= self.spare_max {
            seat.worker = None;
            seat.desk.work.borrow_mut().take();
            seat.desk.is_done.set(false);
        }
        self.free.push(number);
    }
}

// === impl Desk ===

impl<T> Desk<T> {
    /// The next piece of work.
    pub(super) async fn next(&self) -> T {
        std::future::poll_fn(|_| match self.work.borrow_mut().take() {
            Some(work) => Poll::Ready(work),
            // Whoever gives some marks the seat.
            None => Poll::Pending,
        })
        .await
    }

    /// The last piece is done.
    pub(super) fn done(&self) {
        self.is_done.set(true);
    }
}
