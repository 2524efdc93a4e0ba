//! The connections of one listener: a task for each, what all of them are told, and when the last has ended.
//!
//! In: the futures that serve connections, and how far the drain is. Out: a connection that is polled sees the [`Stage`], and
//! a new stage polls every connection once. Everything here belongs to one worker: a connection that comes and goes touches
//! nothing that workers share, and takes no lock.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How far the end of the process is. It only goes forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Not begun.
    #[default]
    Serving,
    /// Connections end after what they do.
    Draining,
    /// The time to drain is over: connections cut what they do.
    Deadline,
    /// Connections that are still there are dropped.
    Over,
}

/// The connections of one listener.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    stage: Cell<Stage>,
    /// How many there are.
    count: Cell<usize>,
    places: RefCell<Places>,
    /// Who waits for the last one.
    waits_for_last: RefCell<Option<Waker>>,
}

/// How to wake each connection.
#[derive(Debug, Default)]
struct Places {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// The task of one connection.
struct Task<F> {
    /// Boxed: a task is copied whole several times when it begins and when it ends.
    serving: Pin<Box<F>>,
    /// Its place among the wakers, from its first poll on.
    place: Option<usize>,
    connections: Rc<Connections>,
}

// === impl Connections ===

impl Connections {
    /// Serves one more.
    pub(crate) fn spawn(self: &Rc<Self>, serving: impl Future<Output = ()> + 'static) {
        self.count.set(self.count.get() + 1);
        let task = Task {
            serving: Box::pin(serving),
            place: None,
            connections: self.clone(),
        };
        // Nobody waits for its end: it tells us itself.
        drop(tokio::task::spawn_local(task));
    }

    /// How far the end is. Whoever acts on it is polled again when it changes, if it is within a connection's own task.
    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Tells all.
    pub(crate) fn advance(&self, stage: Stage) {
        if self.stage.get() >= stage {
            return;
        }
        self.stage.set(stage);
        // Places stay as they are while tasks only get woken.
        for waker in self.places.borrow().wakers.iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Waits, within the task of a connection, until it is so far.
    pub(crate) async fn reached(&self, stage: Stage) {
        poll_fn(|_| match self.stage.get() >= stage {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    /// Waits until there is none.
    pub(crate) async fn ended(&self) {
        poll_fn(|cx| {
            if self.count.get() == 0 {
                return Poll::Ready(());
            }
            self.waits_for_last.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn leave(&self, place: Option<usize>) {
        let waker = place.and_then(|place| self.places.borrow_mut().give_back(place));
        drop(waker);
        self.count.set(self.count.get() - 1);
        if self.count.get() == 0
            && let Some(waiting) = self.waits_for_last.take()
        {
            waiting.wake();
        }
    }
}

// === impl Places ===

impl Places {
    fn take(&mut self, waker: Waker) -> usize {
        let Some(place) = self.free.pop() else {
            self.wakers.push(Some(waker));
            return self.wakers.len() - 1;
        };
        self.wakers[place] = Some(waker);
        place
    }

    fn give_back(&mut self, place: usize) -> Option<Waker> {
        self.free.push(place);
        self.wakers[place].take()
    }
}

// === impl Task ===

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.connections.stage() == Stage::Over {
            return Poll::Ready(());
        }
        if self.place.is_none() {
            // A task has one waker as long as it lives.
            let place = self
                .connections
                .places
                .borrow_mut()
                .take(cx.waker().clone());
            self.place = Some(place);
        }
        self.serving.as_mut().poll(cx)
    }
}

/// However it ends: by itself, by a panic, or with its worker.
impl<F> Drop for Task<F> {
    fn drop(&mut self) {
        self.connections.leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    async fn settle() {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn every_connection_learns_of_each_stage_and_the_last_one_ends_the_wait() {
        let told = Rc::new(RefCell::new(Vec::new()));
        let connections = Rc::new(Connections::default());
        let serve = |name: &'static str, ends_at: Stage| {
            let (told, connections) = (told.clone(), connections.clone());
            async move {
                for stage in [Stage::Draining, Stage::Deadline, Stage::Over] {
                    connections.reached(stage).await;
                    told.borrow_mut().push((name, stage));
                    if stage == ends_at {
                        return;
                    }
                }
            }
        };
        let tasks = async {
            connections.spawn(serve("a", Stage::Draining));
            connections.spawn(serve("b", Stage::Deadline));
            connections.spawn(serve("c", Stage::Over));
            settle().await;
            assert_eq!(told.take(), []);
            connections.advance(Stage::Draining);
            settle().await;
            assert_eq!(
                told.take(),
                ["a", "b", "c"].map(|name| (name, Stage::Draining))
            );
            connections.spawn(serve("d", Stage::Draining));
            settle().await;
            assert_eq!(told.take(), [("d", Stage::Draining)]);
            connections.advance(Stage::Deadline);
            connections.advance(Stage::Draining);
            settle().await;
            assert_eq!(told.take(), ["b", "c"].map(|name| (name, Stage::Deadline)));
            assert_eq!(connections.count.get(), 1);
            connections.advance(Stage::Over);
            connections.ended().await;
            assert_eq!(told.take(), [], "what is left is dropped, not asked");
        };
        LocalSet::new().run_until(tasks).await;
        assert_eq!(connections.places.borrow().wakers.len(), 3);
        assert!(
            connections
                .places
                .borrow()
                .wakers
                .iter()
                .all(Option::is_none)
        );
    }

    #[tokio::test]
    async fn a_connection_that_panics_is_counted_out() {
        let connections = Rc::new(Connections::default());
        let tasks = async {
            connections.spawn(async { panic!("meant") });
            connections.ended().await;
        };
        LocalSet::new().run_until(tasks).await;
    }
}
