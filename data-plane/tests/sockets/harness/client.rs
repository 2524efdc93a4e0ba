//! A client that sends bytes as they are and reads responses as RFC 9112 frames them.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

/// One response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
    /// The connection ended before the body did.
    pub(crate) is_broken: bool,
}

/// Sends one request by a connection of its own.
pub(crate) async fn get(to: SocketAddr, bytes: &str) -> Response {
    let mut client = Client::connect(to).await;
    client.send(bytes).await;
    client.response().await
}

// === impl Client ===

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::of(TcpStream::connect(to).await.expect("connected"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn of(stream: S) -> Self {
        let read = Vec::new();
        Self { stream, read }
    }

    /// Sends; what the peer no longer takes is no failure.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Reads a response. Panics when the connection ends before its head does.
    pub(crate) async fn response(&mut self) -> Response {
        self.try_response().await.expect("a response")
    }

    /// Reads a response, or nothing when the connection ends instead.
    pub(crate) async fn try_response(&mut self) -> Option<Response> {
        let mut response = self.head().await?;
        let lower = response.head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| {
            let value = line.strip_prefix("content-length:")?;
            value.trim().parse::<usize>().ok()
        });
        if lower.contains("transfer-encoding: chunked") {
            while self.chunk(&mut response).await {}
        } else if let Some(length) = length {
            response.body = self.take(length).await;
            response.is_broken = response.body.len() < length;
        } else if !matches!(response.status, 101 | 204 | 304) {
            response.body = self.rest().await;
        }
        Some(response)
    }

    /// Reads the head of a response; its body is left to be read by [`Self::chunk`].
    pub(crate) async fn head(&mut self) -> Option<Response> {
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let head: Vec<u8> = self.read.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Some(Response {
            status: status.expect("a status"),
            head,
            body: Vec::new(),
            trailers: String::new(),
            is_broken: false,
        })
    }

    /// Reads one chunk; false at the end of the body.
    pub(crate) async fn chunk(&mut self, response: &mut Response) -> bool {
        let Some(line) = self.line().await else {
            response.is_broken = true;
            return false;
        };
        let size = usize::from_str_radix(line.trim(), 16).expect("a chunk size");
        if size == 0 {
            while let Some(line) = self.line().await.filter(|line| line != "\r\n") {
                response.trailers += &line;
            }
            return false;
        }
        let data = self.take(size + 2).await;
        response.is_broken = data.len() < size + 2;
        response
            .body
            .extend_from_slice(&data[..size.min(data.len())]);
        !response.is_broken
    }

    /// So many bytes, or fewer when the connection ends.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count && self.more().await {}
        let count = count.min(self.read.len());
        self.read.drain(..count).collect()
    }

    /// What has been read and not been taken.
    pub(crate) fn buffered(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read)
    }

    /// Everything until the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.read, b"\r\n") {
                let line = self.read.drain(..at + 2).collect();
                return Some(String::from_utf8(line).expect("text"));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        // A reset is an end, too.
        let count = self.stream.read(&mut piece).await.unwrap_or(0);
        self.read.extend_from_slice(&piece[..count]);
        count > 0
    }
}

// === impl Response ===

impl Response {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// Values of a field of the head.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        values(&self.head, name)
    }
}

/// Values of a field in the text of a head.
pub(crate) fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
