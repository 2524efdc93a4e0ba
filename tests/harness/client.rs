//! An HTTP/1.1 client that says exactly what it is told to say.
//!
//! In: requests as values, or as bytes. Out: responses, or the error of the socket. Written on sockets, so that it neither
//! repairs a bad request nor hides a closed connection, as a comfortable client would.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long one read or write may take.
const IO_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest response that a test may get.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a request consists of.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Fields in the order of the wire, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body, out of its framing.
    pub body: Vec<u8>,
}

/// One connection, plain or TLS. It is kept as long as both sides want it.
pub struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    is_done: bool,
}

/// Both directions of a connection.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

// === impl Request ===

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn new(method: &str, host: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: vec![("host".to_owned(), host.to_owned())],
            body: Vec::new(),
        }
    }

    /// A GET.
    #[must_use]
    pub fn get(host: &str, path: &str) -> Self {
        Self::new("GET", host, path)
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body, with its length.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header("content-length", &body.len().to_string())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        [text.as_bytes(), &self.body].concat()
    }
}

// === impl Response ===

impl Response {
    /// The first field of this name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        fields
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON: what the echo server says that it got.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|problem| panic!("{problem} in {}: {}", self.status, self.text()))
    }

    /// A text of the echo server's answer: `pod`, `namespace`, `path`…
    #[must_use]
    pub fn echo(&self, key: &str) -> String {
        self.json()[key].as_str().unwrap_or_default().to_owned()
    }

    /// The values of a header as the application got them.
    #[must_use]
    pub fn seen_by_app(&self, header: &str) -> Vec<String> {
        let json = self.json();
        let values = json["headers"][header].as_array().cloned();
        let texts = values.unwrap_or_default();
        texts
            .iter()
            .map(|value| value.as_str().unwrap_or_default().to_owned())
            .collect()
    }

    fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

// === impl Connection ===

impl Connection {
    /// Opens a plain connection.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(connect(address)?))
    }

    /// Uses a stream that is open already.
    #[must_use]
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
            is_done: false,
        }
    }

    /// Whether the last response ended the connection.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// When the connection ends early, or what comes back is no HTTP/1.1.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.send_bytes(&request.bytes())?;
        self.read_response(request.method == "HEAD")
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is closed.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads one response.
    ///
    /// # Errors
    /// When the connection ends early, or what comes back is no HTTP/1.1.
    pub fn read_response(&mut self, is_head_only: bool) -> io::Result<Response> {
        loop {
            let head = self.read_past(b"\r\n\r\n")?;
            let mut response = parse_head(&head)?;
            if response.status / 100 == 1 && response.status != 101 {
                continue;
            }
            let has_body = !is_head_only && !matches!(response.status, 101 | 204 | 304);
            if has_body {
                response.body = self.read_body(&response)?;
            }
            self.is_done |= response.closes();
            return Ok(response);
        }
    }

    /// Reads until the other side ends: nothing when it stays silent and closes.
    ///
    /// # Errors
    /// When the connection is reset, or stays open.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    fn read_body(&mut self, response: &Response) -> io::Result<Vec<u8>> {
        if let Some(length) = response.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            return self.read_exact(length);
        }
        if response.header("transfer-encoding").is_some() {
            return self.read_chunks();
        }
        self.is_done = true;
        self.read_to_end()
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_past(b"\r\n")?;
            let text = String::from_utf8_lossy(&line);
            let size = text.trim().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            if size == 0 {
                while self.read_past(b"\r\n")? != b"\r\n" {}
                return Ok(body);
            }
            body.extend(self.read_exact(size)?);
            self.read_exact(2)?;
        }
    }

    fn read_past(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let found = self.buffer.windows(end.len()).position(|part| part == end);
            if let Some(at) = found {
                return Ok(self.buffer.drain(..at + end.len()).collect());
            }
            self.need_more()?;
        }
    }

    fn read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.need_more()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn need_more(&mut self) -> io::Result<()> {
        if self.buffer.len() > RESPONSE_BYTES_MAX {
            return Err(io::Error::other("the response is too long for a test"));
        }
        if self.fill()? {
            return Ok(());
        }
        let seen = String::from_utf8_lossy(&self.buffer).into_owned();
        let text = format!("closed in the middle of a response, after {seen:?}");
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
    }

    fn fill(&mut self) -> io::Result<bool> {
        let mut part = [0; 16 * 1024];
        let length = self.stream.read(&mut part)?;
        self.buffer.extend_from_slice(&part[..length]);
        Ok(length > 0)
    }
}

/// Opens a TCP connection whose reads and writes end.
///
/// # Errors
/// When nobody answers.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, IO_TIMEOUT)?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request on a connection of its own.
///
/// # Errors
/// When nobody answers, or not with HTTP/1.1.
pub fn fetch(address: SocketAddr, request: &Request) -> io::Result<Response> {
    Connection::open(address)?.send(&request.clone().header("connection", "close"))
}

fn parse_head(head: &[u8]) -> io::Result<Response> {
    let bad = || io::Error::other(format!("no HTTP: {:?}", String::from_utf8_lossy(head)));
    let text = std::str::from_utf8(head).map_err(|_| bad())?;
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|code| code.parse().ok()).ok_or_else(bad)?;
    let field = |line: &str| {
        line.split_once(':')
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Ok(Response {
        status,
        headers: lines.filter_map(field).collect(),
        body: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that answers with prepared bytes, whatever it is asked.
    struct Prepared(io::Cursor<Vec<u8>>);

    impl Read for Prepared {
        fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
            self.0.read(part)
        }
    }

    impl Write for Prepared {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            Ok(part.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn connection(answers: &str) -> Connection {
        Connection::over(Prepared(io::Cursor::new(answers.as_bytes().to_vec())))
    }

    #[test]
    fn bodies_come_out_of_every_framing() {
        for (answer, body, is_done) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP",
                "ab",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nT: u\r\n\r\n",
                "abc",
                false,
            ),
            ("HTTP/1.1 200 OK\r\n\r\nall", "all", true),
            (
                "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nz",
                "z",
                true,
            ),
        ] {
            let mut connection = connection(answer);
            let response = connection.send(&Request::get("a", "/")).unwrap();
            assert_eq!(response.text(), body, "{answer}");
            assert_eq!(connection.is_done(), is_done, "{answer}");
        }
    }

    #[test]
    fn a_response_that_ends_early_is_an_error() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            "hello\r\n\r\n",
        ] {
            let result = connection(answer).send(&Request::get("a", "/"));
            assert!(result.is_err(), "{answer:?} gave {result:?}");
        }
    }
}
