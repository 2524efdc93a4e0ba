//! Gives a request the path that its rule says. Pure.

use http::header::HeaderName;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Uri, uri};

use super::path;
use crate::error::ProxyError;
use crate::table::Rewrite;

static PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

const UNUSABLE: ProxyError =
    ProxyError::BadTarget("what rewrite-target makes of its path cannot be a path");

/// Rewrites the path. What comes out is refused like a path that a client sends: groups beside each other may make `..` of dots.
pub(crate) fn apply(parts: &mut Parts, rewrite: &Rewrite) -> Result<(), ProxyError> {
    if parts.uri.path() == "*" {
        return Ok(());
    }
    let rewritten = target(&parts.uri, rewrite)?;
    let mut uri = uri::Parts::from(std::mem::take(&mut parts.uri));
    uri.path_and_query = Some(rewritten);
    parts.uri = Uri::from_parts(uri).map_err(|_| UNUSABLE)?;
    if let Some(prefix) = &rewrite.prefix {
        parts.headers.insert(PREFIX.clone(), prefix.value().clone());
    }
    Ok(())
}

/// What a path becomes, with its query.
pub(crate) fn target(uri: &Uri, rewrite: &Rewrite) -> Result<PathAndQuery, ProxyError> {
    let path = path::for_matching(uri.path())?;
    let rewritten = rewrite.apply(&path, uri.query()).ok_or(UNUSABLE)?;
    let rewritten = PathAndQuery::try_from(rewritten).map_err(|_| UNUSABLE)?;
    path::for_matching(rewritten.path())?;
    Ok(rewritten)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::table::{Expression, Target};

    fn rewritten(text: &str, to: &str, uri: &str) -> Result<String, &'static str> {
        let rewrite = Rewrite {
            expression: Some(Arc::new(Expression::new(text, "").unwrap())),
            target: Target::try_from(to).unwrap(),
            prefix: None,
        };
        let request = http::Request::get(uri).body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        let done = apply(&mut parts, &rewrite);
        done.map(|()| parts.uri.to_string())
            .map_err(|error| error.reason())
    }

    #[test]
    fn the_path_is_the_one_that_was_matched() {
        for (uri, expected) in [
            ("/a/b?c=%20d", Ok("/x/b?c=%20d")),
            // As rules are compared with it: `%61` is `a`, and `//` is `/`.
            ("/%61//b", Ok("/x/b")),
            ("/a/%c3%a4", Ok("/x/%C3%A4")),
            ("http://a.example:80/a/b?c", Ok("http://a.example:80/x/b?c")),
            ("/a/../b", Err("bad_target")),
            ("*", Ok("*")),
        ] {
            let expected = expected.map(str::to_owned);
            assert_eq!(rewritten("/a/(.*)", "/x/$1", uri), expected, "{uri}");
        }
    }

    #[test]
    fn no_path_is_made_that_a_client_could_not_send() {
        assert_eq!(rewritten("/(.)(.)x", "/$1$2/", "/..x"), Err("bad_target"));
        assert_eq!(rewritten("/(.)(.*)", "/%$1/$2", "/2/x"), Err("bad_target"));
        let long = format!("/{}", "a".repeat(20_000));
        assert_eq!(rewritten("/(.*)", "/$1$1", &long), Err("bad_target"));
    }
}
