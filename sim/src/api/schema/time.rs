//! Points in time as the API writes them.
//!
//! In: RFC 3339 text. Out: the same instant in UTC, with whole seconds (`Time`) or six digits (`MicroTime`). Pure.

use jiff::Timestamp;

/// Go's name for the form of `Time`.
pub(crate) const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
/// Go's name for the form of `MicroTime`.
pub(crate) const MICRO_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// `2001-01-01T00:00:00Z`, from any RFC 3339 text with a zone.
pub(crate) fn seconds(text: &str) -> Option<String> {
    parse(text).map(format_seconds)
}

/// `2001-01-01T00:00:00.000000Z`; the text must have exactly six digits after the dot.
pub(crate) fn micro(text: &str) -> Option<String> {
    let (_, fraction) = text.split_once('.')?;
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    (digits == 6).then(|| parse(text).map(format_micro))?
}

/// An instant in the form of `Time`.
pub(crate) fn format_seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An instant in the form of `MicroTime`.
pub(crate) fn format_micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// RFC 3339, with `T` and a zone.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    (text.as_bytes().get(10) == Some(&b'T')).then(|| text.parse().ok())?
}

/// Where a text leaves a layout: the rest of the text, and the element that was expected there.
pub(crate) fn first_fault<'a>(text: &'a str, layout: &'static str) -> (&'a str, &'static str) {
    let elements = [
        "2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05",
    ];
    let mut rest = text;
    for element in elements {
        let is_number = element.bytes().all(|byte| byte.is_ascii_digit());
        let fits = rest.get(..element.len()).is_some_and(|part| {
            if is_number {
                part.bytes().all(|byte| byte.is_ascii_digit())
            } else {
                part == element
            }
        });
        if !fits {
            return (rest, element);
        }
        rest = &rest[element.len()..];
    }
    if layout == MICRO_LAYOUT {
        let digits = rest.strip_prefix('.').map_or(0, |digits| {
            digits.bytes().take_while(u8::is_ascii_digit).count()
        });
        if digits != 6 {
            return (rest, ".000000");
        }
        rest = &rest[7..];
    }
    (rest, "Z07:00")
}
