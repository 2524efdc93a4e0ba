//! Which heads an endpoint takes: its SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2). Pure.
//!
//! In: the first bytes that an endpoint sends. Out: the size. The `h2` crate takes no notice of it, and what is larger may cost
//! the connection with all its requests. Only the first SETTINGS count, which come before anything is sent: an endpoint that
//! later wants smaller heads than it said is not known to.

use std::task::Poll;

const FRAME_HEAD_BYTES: usize = 9;
const SETTINGS: u8 = 4;
const SETTING_BYTES: usize = 6;
const MAX_HEADER_LIST_SIZE: [u8; 2] = [0, 6];
/// No first frame is larger (RFC 9113 §4.2).
const FRAME_BYTES_MAX: usize = 16 * 1024;

/// Reads the first SETTINGS.
#[derive(Default)]
pub(super) struct HeadsReader {
    read: Vec<u8>,
}

// === impl HeadsReader ===

impl HeadsReader {
    /// Ready when there is nothing more to read.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Poll<Option<usize>> {
        let room = FRAME_HEAD_BYTES + FRAME_BYTES_MAX - self.read.len();
        self.read.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let &[a, b, c, kind, ref rest @ ..] = &self.read[..] else {
            return Poll::Pending;
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if kind != SETTINGS || length > FRAME_BYTES_MAX {
            return Poll::Ready(None);
        }
        // Behind the kind: flags and the number of the stream.
        match rest.get(5..5 + length) {
            Some(settings) => Poll::Ready(said(settings)),
            None => Poll::Pending,
        }
    }
}

/// What stands last is what counts.
fn said(settings: &[u8]) -> Option<usize> {
    let mut settings = settings.chunks_exact(SETTING_BYTES).rev();
    let setting = settings.find(|setting| setting.starts_with(&MAX_HEADER_LIST_SIZE))?;
    let bytes = u32::from_be_bytes(setting[2..].try_into().ok()?);
    usize::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: &[u8] = &[0, 3, 0, 0, 0, 128];
    const SIZE: &[u8] = &[0, 6, 0, 0, 32, 1];

    fn frame(kind: u8, settings: &[&[u8]]) -> Vec<u8> {
        let payload = settings.concat();
        let length = u8::try_from(payload.len()).expect("a small frame");
        [&[0, 0, length, kind, 0, 0, 0, 0, 0], &payload[..]].concat()
    }

    #[test]
    fn the_size_is_found_wherever_reads_end() {
        let cases = [
            (frame(4, &[]), None),
            (frame(4, &[OTHER]), None),
            (frame(4, &[SIZE]), Some(8193)),
            (frame(4, &[OTHER, SIZE, OTHER]), Some(8193)),
            (frame(0, &[SIZE]), None),
            (b"HTTP/1.1 400 Bad Request".to_vec(), None),
        ];
        for (bytes, expected) in cases {
            let whole = [&bytes[..], &frame(4, &[&[0, 6, 0, 0, 0, 1]])].concat();
            for step in [1, 5, 9, whole.len()] {
                let mut reader = HeadsReader::default();
                let said = whole
                    .chunks(step)
                    .find_map(|piece| match reader.feed(piece) {
                        Poll::Ready(said) => Some(said),
                        Poll::Pending => None,
                    });
                assert_eq!(said, Some(expected), "{bytes:?} by {step}");
            }
        }
    }
}
