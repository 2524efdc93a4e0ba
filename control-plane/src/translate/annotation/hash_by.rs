//! Reads the value of `upstream-hash-by`: a text with variables of nginx (its "Embedded variables"). Pure.

use http::HeaderName;
use tiergate_data_plane::table::{HashBy, HashPart};

/// Texts and variables of one value.
const PARTS_MAX: usize = 16;

/// What is hashed. None: a variable that is not supported, or none at all.
pub(super) fn parse(value: &str) -> Option<HashBy> {
    let (mut parts, mut rest) = (Vec::new(), value);
    while !rest.is_empty() {
        let (part, behind) = match rest.strip_prefix('$') {
            None => {
                let end = rest.find('$').unwrap_or(rest.len());
                (HashPart::Text(rest[..end].into()), &rest[end..])
            }
            Some(named) => {
                let (name, behind) = name_of(named)?;
                (variable(name)?, behind)
            }
        };
        parts.push(part);
        rest = behind;
    }
    let is_variable = |part: &HashPart| !matches!(part, HashPart::Text(_));
    let is_fit = parts.len() <= PARTS_MAX && parts.iter().any(is_variable);
    is_fit.then(|| HashBy(parts.into()))
}

/// The name at the start, with braces around it or without, and what is behind it.
fn name_of(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}');
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    Some(text.split_at(end))
}

fn variable(name: &str) -> Option<HashPart> {
    let part = match name {
        "request_uri" => HashPart::RequestUri,
        "uri" => HashPart::Uri,
        "args" | "query_string" => HashPart::Query,
        "host" => HashPart::Host,
        "remote_addr" | "binary_remote_addr" => HashPart::RemoteAddress,
        "request_method" => HashPart::Method,
        "scheme" => HashPart::Scheme,
        _ => {
            let (family, name) = name.split_once('_').filter(|(_, name)| !name.is_empty())?;
            match family {
                "http" => {
                    // As nginx names them: small letters, and a line for each dash.
                    let dashed = name.to_ascii_lowercase().replace('_', "-");
                    HashPart::Header(HeaderName::try_from(dashed).ok()?)
                }
                "arg" => HashPart::Argument(name.into()),
                "cookie" => HashPart::Cookie(name.into()),
                _ => return None,
            }
        }
    };
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_variables_stand_in_their_order() {
        let text = |text: &str| HashPart::Text(text.into());
        let header = |name| HashPart::Header(HeaderName::from_static(name));
        for (value, parts) in [
            ("$request_uri", vec![HashPart::RequestUri]),
            ("$binary_remote_addr", vec![HashPart::RemoteAddress]),
            (
                "$host$uri?$args",
                vec![HashPart::Host, HashPart::Uri, text("?"), HashPart::Query],
            ),
            (
                "user-${cookie_sid}x",
                vec![text("user-"), HashPart::Cookie("sid".into()), text("x")],
            ),
            ("$http_X_Tenant", vec![header("x-tenant")]),
            (
                "$arg_user.1",
                vec![HashPart::Argument("user".into()), text(".1")],
            ),
            (
                "${scheme}$request_method",
                vec![HashPart::Scheme, HashPart::Method],
            ),
        ] {
            assert_eq!(parse(value), Some(HashBy(parts.into())), "{value}");
        }
    }

    #[test]
    fn what_is_not_supported_is_not_followed_at_all() {
        let many = "$host".repeat(PARTS_MAX + 1);
        for value in [
            "",
            "text",
            "$",
            "$$",
            "${host",
            "$ssl_protocol",
            "$host$msec",
            "$http_",
            "${}",
            "$cookie_",
            "$httpx",
            &many,
        ] {
            assert_eq!(parse(value), None, "{value}");
        }
    }
}
