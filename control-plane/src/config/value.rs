//! Parses single values: addresses, networks, names, numbers and times with their units. Pure.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::key::{About, Range, Unfit};

/// How many worker threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// As many as the process may use cores.
    Auto,
    /// This many.
    Exactly(NonZeroUsize),
}

/// Everything that the standard library or a crate parses in full.
pub(super) fn from_text<T: FromStr>(_: &About, text: &str) -> Result<T, Unfit> {
    text.parse().map_err(|_| Unfit::Form)
}

/// Any text but the empty one, and one that could not be passed on as a path.
pub(super) fn path(_: &About, text: &str) -> Result<PathBuf, Unfit> {
    if text.is_empty() || text.contains('\0') {
        return Err(Unfit::Form);
    }
    Ok(PathBuf::from(text))
}

/// `10.0.0.0/8`, or a single address. Bits behind the prefix make no difference.
pub(super) fn network(_: &About, text: &str) -> Result<IpNet, Unfit> {
    text.parse::<IpNet>()
        .map(|network| network.trunc())
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| Unfit::Form)
}

/// A DNS label as Kubernetes names namespaces (RFC 1123): lower-case letters, digits and inner dashes, at most 63 bytes.
pub(super) fn label(_: &About, text: &str) -> Result<String, Unfit> {
    if is_label(text) {
        Ok(text.to_owned())
    } else {
        Err(Unfit::Form)
    }
}

/// DNS labels with dots between them, as Kubernetes names most objects: at most 253 bytes.
pub(super) fn subdomain(_: &About, text: &str) -> Result<String, Unfit> {
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err(Unfit::Form)
    }
}

/// Such a name that is a value of a label as well.
pub(super) fn short_subdomain(about: &About, text: &str) -> Result<String, Unfit> {
    subdomain(about, text).and_then(|name| {
        if name.len() <= 63 {
            Ok(name)
        } else {
            Err(Unfit::Form)
        }
    })
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 63
        && text.bytes().all(|byte| inner(byte) || byte == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

/// A plain number.
pub(super) fn count(about: &About, text: &str) -> Result<u64, Unfit> {
    let number = digits(text)?;
    match about.range {
        Some(Range::Count(min, max)) if !(min..=max).contains(&number) => Err(Unfit::Range),
        _ => Ok(number),
    }
}

/// A number of bytes, with the binary suffixes of Kubernetes: `32Ki`, `10Mi`, `1Gi`.
pub(super) fn bytes(about: &About, text: &str) -> Result<u64, Unfit> {
    let (number, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        None => (text, 1),
        Some(at) => match &text[at..] {
            "Ki" => (&text[..at], 1 << 10),
            "Mi" => (&text[..at], 1 << 20),
            "Gi" => (&text[..at], 1 << 30),
            _ => return Err(Unfit::Form),
        },
    };
    let number = digits(number)?.checked_mul(unit).ok_or(Unfit::Range)?;
    match about.range {
        Some(Range::Bytes(min, max)) if !(min..=max).contains(&number) => Err(Unfit::Range),
        _ => Ok(number),
    }
}

/// A time within the range of its setting.
pub(super) fn time(about: &About, text: &str) -> Result<Duration, Unfit> {
    let duration = duration(text)?;
    match about.range {
        Some(Range::Time(min, max)) if !(min..=max).contains(&duration) => Err(Unfit::Range),
        _ => Ok(duration),
    }
}

/// A time with units: `500ms`, `10s`, `1m30s`, `1h`. A number without a unit is no time.
pub(super) fn duration(text: &str) -> Result<Duration, Unfit> {
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let unit_at = rest
            .find(|character: char| !character.is_ascii_digit())
            .ok_or(Unfit::Form)?;
        let (number, behind) = rest.split_at(unit_at);
        let unit_end = behind
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let unit_millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(Unfit::Form),
        };
        millis = digits(number)?
            .checked_mul(unit_millis)
            .and_then(|part| millis.checked_add(part))
            .ok_or(Unfit::Range)?;
        rest = behind;
    }
    if text.is_empty() {
        return Err(Unfit::Form);
    }
    Ok(Duration::from_millis(millis))
}

/// `auto` or a number of threads.
pub(super) fn threads(about: &About, text: &str) -> Result<Threads, Unfit> {
    if text == "auto" {
        return Ok(Threads::Auto);
    }
    let number = count(about, text)?;
    usize::try_from(number)
        .ok()
        .and_then(NonZeroUsize::new)
        .map(Threads::Exactly)
        .ok_or(Unfit::Range)
}

/// Digits only: neither sign nor blanks, which `u64::from_str` takes in part.
fn digits(text: &str) -> Result<u64, Unfit> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unfit::Form);
    }
    text.parse().map_err(|_| Unfit::Range)
}
