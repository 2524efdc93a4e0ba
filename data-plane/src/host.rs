//! Host names as they are compared: in `Host`, in `:authority`, in SNI and in the rules of an Ingress. Pure.
//!
//! A [`HostName`] is lower case and has neither port nor trailing dot, so two names are equal exactly when they name
//! the same host. A [`HostPattern`] is what a rule may name.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

/// A host name or an IP address literal in comparable form: lower case, no port, no trailing dot, 1 to 253 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

/// Why a text is no host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHostName {
    /// Nothing is left once port and trailing dot are gone.
    #[error("the host name is empty")]
    Empty,
    /// Longer than the 253 bytes of RFC 1035 §2.3.4.
    #[error("the host name is longer than 253 bytes")]
    TooLong,
    /// A byte that neither a name nor an address literal has.
    #[error("the host name contains {0:?}")]
    Character(char),
    /// Text behind the colon that is no port number.
    #[error("the port is not a number from 0 to 65535")]
    Port,
}

impl HostName {
    /// Parses `name`, `name.`, `name:80` or `[v6]:80` as it stands in a `Host` field (RFC 9110 §7.2).
    ///
    /// # Errors
    /// When the text is not a host with an optional port.
    pub fn from_authority(text: &str) -> Result<Self, InvalidHostName> {
        Self::try_from(without_port(text)?)
    }

    /// The same comparable text as [`Self::from_authority`], without making a name of it: what a request is looked up by.
    pub(crate) fn comparable(text: &str) -> Result<Cow<'_, str>, InvalidHostName> {
        canonical(without_port(text)?)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name behind the first label, which a wildcard rule is looked up by: `b.c` of `a.b.c`.
    ///
    /// Nothing for a name of one label, and for an address literal.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        parent_of(&self.0)
    }
}

/// [`HostName::parent`] of a comparable text.
pub(crate) fn parent_of(name: &str) -> Option<&str> {
    if name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok() {
        return None;
    }
    name.split_once('.')
        .map(|(_, parent)| parent)
        .filter(|parent| !parent.is_empty())
}

impl TryFrom<&str> for HostName {
    type Error = InvalidHostName;

    /// Takes a name without a port.
    fn try_from(text: &str) -> Result<Self, InvalidHostName> {
        canonical(text).map(|name| Self(name.into()))
    }
}

fn canonical(text: &str) -> Result<Cow<'_, str>, InvalidHostName> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(InvalidHostName::Empty);
    }
    if name.len() > 253 {
        return Err(InvalidHostName::TooLong);
    }
    let is_literal = name.starts_with('[') && name.ends_with(']');
    let is_legal = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '-' | '_' | '.')
            || (is_literal && matches!(c, '[' | ']' | ':' | '%'))
    };
    // Most names are of these alone, and of most each byte is looked at once.
    let is_plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    if name.bytes().all(is_plain) {
        return Ok(Cow::Borrowed(name));
    }
    if let Some(bad) = name.chars().find(|&c| !is_legal(c)) {
        return Err(InvalidHostName::Character(bad));
    }
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Ok(Cow::Owned(name.to_ascii_lowercase()))
    } else {
        Ok(Cow::Borrowed(name))
    }
}

fn without_port(text: &str) -> Result<&str, InvalidHostName> {
    let behind_name = if text.starts_with('[') {
        text.find(']').map_or(0, |end| end + 1)
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (name, port) = text.split_at(behind_name);
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(name),
        None => Err(InvalidHostName::Port),
        Some("") => Ok(name),
        Some(digits)
            if digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok() =>
        {
            Ok(name)
        }
        Some(_) => Err(InvalidHostName::Port),
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// What the host of a rule may name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// One host.
    Exact(HostName),
    /// `*.name`: every host with exactly one more label (Kubernetes, "Ingress", hostname wildcards).
    Wildcard(HostName),
    /// A rule without a host: every host that no other rule names.
    Any,
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
            Self::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_case_and_trailing_dot_do_not_tell_hosts_apart() {
        for text in [
            "a.example",
            "A.Example",
            "a.example.",
            "a.example:80",
            "A.EXAMPLE.:8443",
            "a.example:",
        ] {
            assert_eq!(
                HostName::from_authority(text).unwrap().as_str(),
                "a.example",
                "{text}"
            );
        }
        assert_eq!(
            HostName::from_authority("[::1]:80").unwrap().as_str(),
            "[::1]"
        );
    }

    #[test]
    fn what_is_no_host_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", InvalidHostName::Empty),
            (":80", InvalidHostName::Empty),
            (".", InvalidHostName::Empty),
            ("a b", InvalidHostName::Character(' ')),
            ("a,b", InvalidHostName::Character(',')),
            ("user@a", InvalidHostName::Character('@')),
            ("a/b", InvalidHostName::Character('/')),
            ("a:80:80", InvalidHostName::Port),
            ("a:x", InvalidHostName::Port),
            ("a:65536", InvalidHostName::Port),
            ("a:+1", InvalidHostName::Port),
            ("[::1]x", InvalidHostName::Port),
        ] {
            assert_eq!(HostName::from_authority(text), Err(reason), "{text}");
        }
        assert_eq!(
            HostName::try_from("a".repeat(254).as_str()),
            Err(InvalidHostName::TooLong)
        );
    }

    #[test]
    fn a_wildcard_is_looked_up_by_the_name_behind_the_first_label() {
        for (name, parent) in [
            ("a.b.c", Some("b.c")),
            ("a.b", Some("b")),
            ("a", None),
            ("127.0.0.1", None),
            ("[::1]", None),
        ] {
            assert_eq!(HostName::try_from(name).unwrap().parent(), parent, "{name}");
        }
    }
}
