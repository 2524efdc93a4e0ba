//! The fields of a head as text, and back. Pure.
//!
//! In: fields that are kept for a second try, one by one as `name: value` and a line end, as HTTP/1.1 writes them. Out: the
//! same fields in the same order. It reads what was written by ourselves or by a codec of ours, and nothing from a peer.

use http::{HeaderMap, HeaderName, HeaderValue};

const SEPARATOR: &[u8] = b": ";
const LINE_END: &[u8] = b"\r\n";

/// The fields, and the empty line behind them.
pub(crate) fn write(headers: &HeaderMap) -> Vec<u8> {
    // Most heads are no longer.
    let mut text = Vec::with_capacity(1024);
    for (name, value) in headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(SEPARATOR);
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(LINE_END);
    }
    text.extend_from_slice(LINE_END);
    text
}

/// The fields up to the empty line; nothing when that is not there.
pub(crate) fn read(text: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut rest = text;
    loop {
        let (line, behind) = split(rest, LINE_END)?;
        if line.is_empty() {
            return Some(headers);
        }
        // No name has a colon, and no value a line end.
        let (name, value) = split(line, SEPARATOR)?;
        let name = HeaderName::from_bytes(name).ok()?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
        rest = behind;
    }
}

/// The fields of a head of HTTP/1.1.
pub(crate) fn of_head(head: &[u8]) -> Option<HeaderMap> {
    let (_start, fields) = split(head, LINE_END)?;
    read(fields)
}

fn split<'t>(text: &'t [u8], by: &[u8]) -> Option<(&'t [u8], &'t [u8])> {
    let at = text.windows(by.len()).position(|found| found == by)?;
    Some((&text[..at], &text[at + by.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_was_not_written_whole_has_no_fields() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(of_head(&head[..end]), None, "{end}");
        }
        assert_eq!(of_head(head).unwrap().len(), 2);
        assert_eq!(of_head(b"GET / HTTP/1.1\r\n\r\n").unwrap().len(), 0);
    }

    proptest::proptest! {
        #[test]
        fn fields_come_back_as_they_were(
            fields in proptest::collection::vec(("[a-z][a-z0-9_.!-]{0,6}", proptest::collection::vec(
                proptest::sample::select((0x20..=0x7e).chain(0x80..=0xff).chain([b'\t']).collect::<Vec<u8>>()), 0..9)), 0..9),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_bytes(value).unwrap());
            }
            let again = read(&write(&headers)).unwrap();
            let list = |headers: &HeaderMap| -> Vec<_> {
                headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
            };
            proptest::prop_assert_eq!(list(&again), list(&headers));
        }
    }
}
