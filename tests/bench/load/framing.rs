//! Finds the end of an answer (RFC 9112 §6). Pure: in, the bytes as they came; out, how many of them belong to the answer.
//!
//! It knows lengths, chunks and the end of the connection, and looks at no other field of the head than those that frame it.

/// Fields of the head of an answer, at most.
const HEADERS_MAX: usize = 64;
/// Bytes of the head of an answer, at most.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) bytes: usize,
    pub(crate) status: u16,
    pub(crate) body: Body,
    /// The connection is not to be used again.
    pub(crate) is_last: bool,
}

/// The body of an answer, as far as it has not been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes are missing.
    Length(u64),
    Chunked(Chunk),
    /// It ends with the connection.
    UntilClose,
}

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// Behind them, before the end of the line.
    Extension { size: u64 },
    /// So many bytes of data and of the line end behind them are missing.
    Data(u64),
    /// In the trailers, in a line with so many characters so far.
    Trailer(u64),
    /// At its end.
    End,
}

/// It is not HTTP/1.1 as this reader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

// === impl Head ===

impl Head {
    /// The head that these bytes begin with; nothing when it is not whole yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(bytes).map_err(|_| Malformed)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial if bytes.len() >= HEAD_BYTES_MAX => return Err(Malformed),
            httparse::Status::Partial => return Ok(None),
        };
        let status = response.code.ok_or(Malformed)?;
        let mut body = Body::UntilClose;
        let mut is_last = response.version == Some(0);
        for field in response.headers {
            if field.name.eq_ignore_ascii_case("content-length") {
                if body == Body::UntilClose {
                    body = Body::Length(decimal(field.value)?);
                }
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                body = Body::Chunked(Chunk::START);
            } else if field.name.eq_ignore_ascii_case("connection") {
                is_last |= field.value.eq_ignore_ascii_case(b"close");
            }
        }
        if matches!(status, 100..200 | 204 | 304) {
            body = Body::Length(0);
        }
        Ok(Some(Self {
            bytes: length,
            status,
            body,
            is_last: is_last || body == Body::UntilClose,
        }))
    }
}

// === impl Body ===

impl Body {
    /// Passes over what belongs to the body; how many bytes that is.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => Ok(pass(left, bytes.len())),
            Self::Chunked(chunk) => chunk.take(bytes),
            Self::UntilClose => Ok(bytes.len()),
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End))
    }
}

// === impl Chunk ===

impl Chunk {
    const START: Self = Self::Size { size: 0, digits: 0 };

    fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::End {
            if let Self::Data(left) = self {
                at += pass(left, bytes.len() - at);
                if *left == 0 {
                    *self = Self::START;
                }
            } else {
                *self = self.after(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// Behind this byte of a line.
    fn after(self, byte: u8) -> Result<Self, Malformed> {
        match self {
            Self::Size { size, digits } => match (byte as char).to_digit(16) {
                Some(_) if digits == 15 => Err(Malformed),
                Some(digit) => Ok(Self::Size {
                    size: size * 16 + u64::from(digit),
                    digits: digits + 1,
                }),
                None if digits == 0 => Err(Malformed),
                None => Self::Extension { size }.after(byte),
            },
            Self::Extension { size: 0 } if byte == b'\n' => Ok(Self::Trailer(0)),
            // The line end behind the data belongs to it.
            Self::Extension { size } if byte == b'\n' => Ok(Self::Data(size + 2)),
            Self::Extension { .. } => Ok(self),
            Self::Trailer(0) if byte == b'\n' => Ok(Self::End),
            Self::Trailer(_) if byte == b'\n' => Ok(Self::Trailer(0)),
            Self::Trailer(length) if byte == b'\r' => Ok(Self::Trailer(length)),
            Self::Trailer(length) => Ok(Self::Trailer(length + 1)),
            Self::Data(_) | Self::End => Ok(self),
        }
    }
}

/// Takes as many of `there` off `left` as it has.
fn pass(left: &mut u64, there: usize) -> usize {
    let passed = there.min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= passed as u64;
    passed
}

fn decimal(digits: &[u8]) -> Result<u64, Malformed> {
    let digits = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    digits.trim().parse().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The status, whether the connection ends, and how much is left behind the answer, read in pieces of this size.
    fn read(bytes: &[u8], piece: usize) -> Option<(u16, bool, usize)> {
        let head = Head::parse(bytes).unwrap()?;
        let (mut body, mut rest) = (head.body, &bytes[head.bytes..]);
        while !rest.is_empty() && !body.is_complete() {
            let taken = body.take(&rest[..piece.min(rest.len())]).unwrap();
            rest = &rest[taken..];
        }
        (body.is_complete() || body == Body::UntilClose).then_some((
            head.status,
            head.is_last,
            rest.len(),
        ))
    }

    #[test]
    fn every_framing_finds_its_end_and_no_more() {
        for (answer, found) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiX",
                (200, false, 1),
            ),
            (
                "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                (503, true, 0),
            ),
            ("HTTP/1.1 204 None\r\n\r\nXX", (204, false, 2)),
            ("HTTP/1.1 100 Continue\r\n\r\nX", (100, false, 1)),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nh",
                (200, true, 0),
            ),
            ("HTTP/1.1 200 OK\r\n\r\nall of it", (200, true, 0)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0b\r\nhello world\r\n0\r\n\r\nX",
                (200, false, 1),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: b\r\nc: d\r\n\r\nXX",
                (200, false, 2),
            ),
        ] {
            for piece in [1, 2, 3, 7, 1000] {
                assert_eq!(read(answer.as_bytes(), piece), Some(found), "{answer}");
            }
        }
    }

    #[test]
    fn what_is_cut_short_has_no_end() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-le",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r",
        ] {
            assert_eq!(read(answer.as_bytes(), 5), None, "{answer}");
        }
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        assert_eq!(Head::parse(b"SSH-2.0-x\r\n"), Err(Malformed));
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES_MAX));
        assert_eq!(Head::parse(long.as_bytes()), Err(Malformed));
        let length = b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n";
        assert_eq!(Head::parse(length), Err(Malformed));
        for chunks in ["x\r\n", "\r\n", "1234567890abcdef0\r\n"] {
            let mut body = Body::Chunked(Chunk::START);
            assert_eq!(body.take(chunks.as_bytes()), Err(Malformed), "{chunks}");
        }
    }

    proptest! {
        #[test]
        fn chunks_of_any_size_in_pieces_of_any_size_are_passed_over(
            sizes in prop::collection::vec(1_usize..5000, 0..8),
            piece in 1_usize..300,
        ) {
            let mut answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
            for size in sizes {
                answer += &format!("{size:X}\r\n{}\r\n", "x".repeat(size));
            }
            answer += "0\r\n\r\nrest";
            prop_assert_eq!(read(answer.as_bytes(), piece), Some((200, false, 4)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Head::parse(&bytes);
            let mut body = Body::Chunked(Chunk::START);
            let _ = body.take(&bytes);
        }
    }
}
