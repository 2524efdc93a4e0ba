//! The task of an HTTP/2 connection: reads and writes its frames, and asks a silent endpoint whether it lives.
//!
//! While requests run, and until something has come for the last of them, the connection is looked at every [`TICK`]. When nothing has come since the last look, a PING goes
//! out; when nothing has come at the next one either, the endpoint is gone. So a dead one is found within three ticks, 15
//! seconds. After [`PINGS_MAX`] answered PINGs of one silence there are no more: servers count them as an attack (gRPC's
//! end the connection at the fourth), and the waits for responses are limited anyway.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Load;
use super::heads::HeadsReader;
use super::interim::{Frames, Instead, Room};
use crate::alarm::Alarm;

/// How often a connection that carries requests is looked at.
const TICK: Duration = Duration::from_secs(5);
/// PINGs without any other frame in between.
const PINGS_MAX: u32 = 3;
/// A PING, which is also what answers one.
const PING_BYTES: u64 = 17;

/// A connection with what drives it.
pub(super) struct Driver<S> {
    connection: Connection<CountedIo<S>, Bytes>,
    heart: Heart,
    load: Rc<Load>,
}

/// Whether the endpoint lives.
struct Heart {
    pings: Option<PingPong>,
    read: Rc<Read>,
    /// What had been read at the last look.
    bytes_seen: u64,
    is_waiting: bool,
    pings_in_row: u32,
    /// When to look again; nothing while no request runs.
    look_at: Option<Instant>,
    /// Stays set when the requests end, and is moved when it goes off for nothing: busy connections become idle often.
    alarm: Alarm,
}

/// The endpoint did not answer.
struct Gone;

/// What has been read.
#[derive(Default)]
pub(super) struct Read {
    bytes: Cell<u64>,
    pub(super) first_byte: Cell<Option<u8>>,
    /// The size of the heads that the endpoint takes, when it has said that.
    pub(super) heads_bytes_max: Cell<Option<usize>>,
}

/// A stream that counts what is read, reads which heads the endpoint takes, and is not read without end.
pub(super) struct CountedIo<S> {
    stream: S,
    read: Rc<Read>,
    /// Until the first SETTINGS have come.
    heads: Option<HeadsReader>,
    frames: Frames,
}

// === impl Driver ===

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(super) fn new(
        mut connection: Connection<CountedIo<S>, Bytes>,
        read: Rc<Read>,
        load: Rc<Load>,
    ) -> Self {
        let heart = Heart {
            pings: connection.ping_pong(),
            read,
            bytes_seen: 0,
            is_waiting: false,
            pings_in_row: 0,
            look_at: None,
            alarm: Alarm::default(),
        };
        Self {
            connection,
            heart,
            load,
        }
    }

    /// Waits until the endpoint has said how many requests it takes.
    pub(super) async fn settings(&mut self, sender: &SendRequest<Bytes>) -> Result<(), h2::Error> {
        std::future::poll_fn(|cx| match Pin::new(&mut self.connection).poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => Poll::Ready(Err(h2::Reason::NO_ERROR.into())),
            Poll::Pending if sender.current_max_send_streams() > 0 => {
                self.load.allow(&self.connection);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Runs until the connection has ended or the endpoint is gone.
    pub(super) async fn run(self, endpoint: SocketAddr) {
        let Self {
            mut connection,
            mut heart,
            load,
        } = self;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%endpoint, %error, "an upstream connection ended");
                }
                return Poll::Ready(());
            }
            load.allow(&connection);
            heart.poll(cx, &load).map(|Gone| {
                tracing::warn!(%endpoint, reason = "endpoint_silent", "an endpoint does not answer any more; its connection is closed");
            })
        })
        .await;
    }
}

// === impl Heart ===

impl Heart {
    fn poll(&mut self, cx: &mut Context<'_>, load: &Load) -> Poll<Gone> {
        // A request that gave up waiting says nothing of the endpoint: only what it sends does.
        let has_answered = self.look_at.is_none() || self.read.bytes.get() > self.bytes_seen;
        if load.streams.get() == 0 && has_answered {
            self.look_at = None;
            self.is_waiting = false;
            return Poll::Pending;
        }
        let look_at = *self.look_at.get_or_insert_with(|| {
            self.bytes_seen = self.read.bytes.get();
            Instant::now() + TICK
        });
        if self.alarm.poll(look_at, cx).is_pending() {
            return Poll::Pending;
        }
        let look_at = Instant::now() + TICK;
        self.look_at = Some(look_at);
        // Registers the new time.
        let _ = self.alarm.poll(look_at, cx);
        self.look(cx)
    }

    fn look(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        let read = self.read.bytes.get() - self.bytes_seen;
        self.bytes_seen = self.read.bytes.get();
        if self.is_waiting && read == 0 {
            return Poll::Ready(Gone);
        }
        if read > PING_BYTES {
            self.pings_in_row = 0;
        }
        let is_silent = read == 0 || (self.is_waiting && read <= PING_BYTES);
        self.is_waiting = false;
        if let Some(pings) = &mut self.pings {
            // Takes the answer to the last one, without which there is no other.
            let _ = pings.poll_pong(cx);
            if is_silent && self.pings_in_row < PINGS_MAX {
                self.is_waiting = pings.send_ping(Ping::opaque()).is_ok();
                self.pings_in_row += 1;
            }
        }
        Poll::Pending
    }
}

// === impl Load ===

impl Load {
    /// Takes note of how many requests the endpoint takes at a time.
    fn allow<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: &Connection<CountedIo<S>, Bytes>,
    ) {
        self.streams_max
            .set(connection.max_concurrent_send_streams());
    }
}

// === impl CountedIo ===

impl<S> CountedIo<S> {
    pub(super) fn new(stream: S, room: Rc<Room>) -> Self {
        Self {
            stream,
            read: Rc::default(),
            heads: Some(HeadsReader::default()),
            frames: Frames::new(room),
        }
    }

    pub(super) fn read(&self) -> Rc<Read> {
        self.read.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.frames.instead() {
            Some(Instead::Yield) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Instead::GiveUp) => {
                let why = "interim heads (1xx) without end";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
            None => {}
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_pending() {
            self.frames.waits();
            return Poll::Pending;
        }
        let came = &buffer.filled()[before..];
        let bytes = self.read.bytes.get();
        if bytes == 0 {
            self.read.first_byte.set(came.first().copied());
        }
        self.read.bytes.set(bytes + came.len() as u64);
        self.frames.read(came);
        if let Some(heads) = &mut self.heads
            && let Poll::Ready(said) = heads.feed(came)
        {
            self.read.heads_bytes_max.set(said);
            self.heads = None;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// A server that sends its SETTINGS, answers so many PINGs, and falls silent.
    async fn silent_after(mut stream: DuplexStream, pings: usize, seen: Rc<Cell<usize>>) {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.expect("a preface");
        stream
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .expect("sent");
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            stream.read_exact(&mut payload).await.expect("a payload");
            let is_ping = head[3] == 6 && head[4] == 0;
            if is_ping {
                seen.set(seen.get() + 1);
            }
            if is_ping && seen.get() <= pings {
                head[4] = 1;
                stream
                    .write_all(&[&head, &payload[..]].concat())
                    .await
                    .expect("sent");
            }
        }
    }

    /// How long a connection with a request lived, and how many PINGs were sent. The request may give up.
    async fn life(pings_answered: usize, gives_up: Option<Duration>) -> (Option<u64>, usize) {
        let (ours, theirs) = tokio::io::duplex(100_000);
        let seen = Rc::new(Cell::new(0));
        tokio::task::spawn_local(silent_after(theirs, pings_answered, seen.clone()));
        let room = Rc::<Room>::default();
        let io = CountedIo::new(ours, room.clone());
        let read = io.read();
        let handshake = h2::client::Builder::new()
            .initial_max_send_streams(0)
            .handshake(io);
        let (mut sender, connection) = handshake.await.expect("a handshake");
        let load = Rc::new(Load {
            streams: Cell::new(1),
            streams_max: Cell::new(0),
            heads_bytes_max: Cell::new(usize::MAX),
            was_used: Cell::new(true),
            used_at: Cell::new(Instant::now()),
            alarms: RefCell::default(),
            links: RefCell::default(),
            room,
        });
        let asking = load.clone();
        let mut driver = Driver::new(connection, read, load);
        driver.settings(&sender).await.expect("settings");
        let asked = http::Request::new(());
        let _response = sender.send_request(asked, true).expect("sent");
        if let Some(gives_up) = gives_up {
            tokio::task::spawn_local(async move {
                tokio::time::sleep(gives_up).await;
                asking.streams.set(0);
            });
        }
        let begin = Instant::now();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let ended = tokio::time::timeout(Duration::from_secs(60), driver.run(address)).await;
        (ended.ok().map(|()| begin.elapsed().as_secs()), seen.get())
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_falls_silent_is_found_out_and_a_slow_one_kept() {
        let local = tokio::task::LocalSet::new();
        let soon = Some(Duration::from_secs(3));
        for (pings_answered, gives_up, lived, pings) in [
            (0, None, Some(10), 1),
            (1, None, Some(15), 2),
            (2, None, Some(20), 3),
            (3, None, None, 3),
            (0, soon, Some(10), 1),
            (1, soon, None, 1),
        ] {
            let seen = local.run_until(life(pings_answered, gives_up)).await;
            let case = format!("{pings_answered} answered, gives up: {gives_up:?}");
            assert_eq!(seen, (lived, pings), "{case}");
        }
    }
}
