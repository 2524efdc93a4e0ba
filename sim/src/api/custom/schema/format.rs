//! The formats of text that a schema can name. Pure.
//!
//! In: a schema and a text. Out: the format that the text does not have. A format that is not known is no condition,
//! as in the real server.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::api::validate::{is_label, is_subdomain};

/// The named format, when the text does not have it.
pub(super) fn unmet<'a>(schema: &'a Value, text: &str) -> Option<&'a str> {
    if !matches!(schema["type"].as_str(), None | Some("string")) {
        return None;
    }
    let name = schema["format"].as_str()?;
    let is_met = match name.replace('-', "").as_str() {
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
        "uri" => is_request_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        "byte" => STANDARD.decode(text).is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "datetime" => text.contains(['T', 't']) && text.parse::<jiff::Timestamp>().is_ok(),
        "duration" => is_duration(text),
        "hexcolor" => is_hex_color(text),
        "bsonobjectid" => text.len() == 24 && is_hex(text),
        "k8sshortname" => text.len() <= 63 && is_label(text),
        "k8slongname" => text.len() <= 253 && is_subdomain(text),
        _ => true,
    };
    (!is_met).then_some(name)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && is_hex(digits)
}

/// An absolute path, or a URI with a scheme.
fn is_request_uri(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok() && (text.starts_with('/') || text.contains(':'))
}

fn is_email(text: &str) -> bool {
    let address = match text.split_once('<') {
        Some((_, rest)) => rest.trim_end_matches('>'),
        None => text,
    };
    address
        .rsplit_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !name.contains(' ') && is_hostname(host))
}

fn is_hostname(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 255
        && text
            .strip_suffix('.')
            .unwrap_or(text)
            .split('.')
            .all(is_part)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(|part| part.len() == 2 && is_hex(part))
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    digits.len() == 32
        && is_hex(&digits)
        && matches!(text.len(), 32 | 36)
        && version.is_none_or(|version| digits.chars().nth(12) == Some(version))
}

/// `1h30m`, `-1.5s`, or a number and a unit in words: `22 ns`.
fn is_duration(text: &str) -> bool {
    const UNITS: &[&str] = &[
        "ns",
        "us",
        "µs",
        "μs",
        "ms",
        "s",
        "m",
        "h",
        "d",
        "w",
        "nanosecond",
        "microsecond",
        "millisecond",
        "second",
        "minute",
        "hour",
        "day",
        "week",
    ];
    let mut rest = text.trim().trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        if rest[..end].parse::<f64>().is_err() {
            return false;
        }
        rest = rest[end..].trim_start();
        let end = rest
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(rest.len());
        let unit = rest[..end].to_lowercase();
        if !UNITS.contains(&unit.as_str()) && !UNITS.contains(&unit.trim_end_matches('s')) {
            return false;
        }
        rest = rest[end..].trim_start();
        parts += 1;
    }
    parts > 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_take_what_they_name_and_nothing_else() {
        for (name, good, bad) in [
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("uri", "https://a.example/b", "no uri"),
            ("email", "a@b.example", "a.b.example"),
            ("hostname", "a.example", "-a.example"),
            ("mac", "01:23:45:67:89:ab", "01:23:45:67:89"),
            ("uuid", "0b6b9f5e-1d0c-4a0a-9d0c-0a0b0c0d0e0f", "0b6b9f5e"),
            (
                "uuid5",
                "0b6b9f5e-1d0c-5a0a-9d0c-0a0b0c0d0e0f",
                "0b6b9f5e-1d0c-4a0a-9d0c-0a0b0c0d0e0f",
            ),
            ("byte", "aGFsbG8=", "%"),
            ("date", "2026-01-31", "2026-02-31"),
            ("date-time", "2026-01-31T10:00:00Z", "2026-01-31"),
            ("duration", "1h30m", "1 fortnight"),
            ("duration", "-1.5s", "abc"),
            ("duration", "22 ns", ""),
            ("hexcolor", "#ffAA00", "#ff"),
            ("k8s-short-name", "a-b", "a.b"),
            ("k8s-long-name", "a.b", "A.b"),
        ] {
            let schema = json!({"type": "string", "format": name});
            assert_eq!(unmet(&schema, good), None, "{name} takes {good}");
            assert_eq!(unmet(&schema, bad), Some(name), "{name} refuses {bad:?}");
        }
    }

    #[test]
    fn an_unknown_format_is_no_condition() {
        for schema in [
            json!({"type": "string", "format": "colour"}),
            json!({"type": "integer", "format": "ipv4"}),
        ] {
            assert_eq!(unmet(&schema, "anything"), None);
        }
    }
}
