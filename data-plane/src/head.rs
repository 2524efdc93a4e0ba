//! Checks and rewrites heads. Pure.
//!
//! In: a request head as hyper parsed it, and what is known of the client. Out: the head for the endpoint, or the error
//! that the client gets; and the same for responses on their way back. hyper checks the syntax and the framing; what it
//! leaves to its user is checked here.
//!
//! In the order of use: `present` (which of the fields below are there at all), `admit` (what we do not serve), `host` (the one host a request is for), `path` (what is
//! compared with rules), `secure` (http or https), `rewrite` (the path for the endpoint), `via` (loops), `hop` (fields of one connection), `forwarded` (who the client is), `response`, `trailers` (of both
//! directions); `size` measures, `fields` keeps a head for a second try.

pub(crate) mod admit;
pub(crate) mod fields;
pub(crate) mod forwarded;
pub(crate) mod hop;
pub(crate) mod host;
pub(crate) mod path;
pub(crate) mod present;
pub(crate) mod response;
pub(crate) mod rewrite;
pub(crate) mod secure;
pub(crate) mod size;
pub(crate) mod trailers;
pub(crate) mod unrouted;
pub(crate) mod via;

/// The tokens of all fields with this name, without the spaces around them.
fn tokens<'h>(
    headers: &'h http::HeaderMap,
    name: &http::HeaderName,
) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}
