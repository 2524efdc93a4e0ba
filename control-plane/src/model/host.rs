//! The hosts that a rule may name. Pure.
//!
//! In: `spec.rules[].host` or `spec.tls[].hosts[]`. Out: a [`HostPattern`]. Stricter than [`HostName`], which must take what
//! clients send: a rule names a DNS name (RFC 1123) or a wildcard in place of its first label, and no address.

use std::net::IpAddr;

use tiergate_data_plane::host::{HostName, HostPattern, InvalidHostName};

/// Why a text is no host of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Not what a host is made of.
    #[error(transparent)]
    Name(#[from] InvalidHostName),
    /// A label that DNS does not know.
    #[error("the label {0:?} is not 1 to 63 letters, digits and inner hyphens")]
    Label(String),
    /// A `*` that is not the whole first label.
    #[error("a wildcard may only stand for the whole first label, as in *.example.com")]
    Wildcard,
    /// An address: rules are for names, and a rule without a host serves addresses.
    #[error("an IP address is not allowed; leave the host out to serve requests to an address")]
    Address,
}

/// Parses the host of a rule; an empty one is [`HostPattern::Any`].
///
/// # Errors
/// When it is neither a DNS name nor a wildcard for the first label of one.
pub fn pattern(text: &str) -> Result<HostPattern, InvalidHost> {
    if text.is_empty() {
        return Ok(HostPattern::Any);
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(InvalidHost::Address);
    }
    match text.strip_prefix("*.") {
        Some(parent) => Ok(HostPattern::Wildcard(name(parent)?)),
        None => Ok(HostPattern::Exact(name(text)?)),
    }
}

fn name(text: &str) -> Result<HostName, InvalidHost> {
    if text.contains('*') {
        return Err(InvalidHost::Wildcard);
    }
    let name = HostName::try_from(text)?;
    match name.as_str().split('.').find(|label| !is_label(label)) {
        Some(label) => Err(InvalidHost::Label(label.to_owned())),
        None => Ok(name),
    }
}

/// Whether this is a DNS label in lower case (RFC 1123 §2.1).
pub(super) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_host_a_wildcard_or_nothing() {
        for (text, shown) in [
            ("", "*"),
            ("keystone", "keystone"),
            ("Keystone.OpenStack.", "keystone.openstack"),
            (
                "*.openstack.svc.cluster.local",
                "*.openstack.svc.cluster.local",
            ),
            ("*.com", "*.com"),
            ("1.2.3.4.example", "1.2.3.4.example"),
        ] {
            assert_eq!(pattern(text).unwrap().to_string(), shown, "{text:?}");
        }
    }

    #[test]
    fn what_no_client_can_ask_for_is_refused_with_its_reason() {
        for (text, message) in [
            (
                "*",
                "a wildcard may only stand for the whole first label, as in *.example.com",
            ),
            (
                "a.*.com",
                "a wildcard may only stand for the whole first label, as in *.example.com",
            ),
            (
                "*a.com",
                "a wildcard may only stand for the whole first label, as in *.example.com",
            ),
            ("*.", "the host name is empty"),
            (
                "10.0.0.1",
                "an IP address is not allowed; leave the host out to serve requests to an address",
            ),
            (
                "::1",
                "an IP address is not allowed; leave the host out to serve requests to an address",
            ),
            ("a.example:80", "the host name contains ':'"),
            ("a b", "the host name contains ' '"),
            (
                "a..b",
                "the label \"\" is not 1 to 63 letters, digits and inner hyphens",
            ),
            (
                "-a.b",
                "the label \"-a\" is not 1 to 63 letters, digits and inner hyphens",
            ),
            (
                "a_b.c",
                "the label \"a_b\" is not 1 to 63 letters, digits and inner hyphens",
            ),
        ] {
            assert_eq!(pattern(text).unwrap_err().to_string(), message, "{text:?}");
        }
        assert!(pattern(&format!("{}.a", "x".repeat(64))).is_err());
        assert!(pattern(&format!("{}a", "x.".repeat(130))).is_err());
    }
}
