//! The path that an endpoint gets in place of the one that was asked for. Pure.
//!
//! In: the target of a rule, with `$1` to `$9` for the groups of its expression, as ingress-nginx has it. Out: a path with the query of the
//! request. What was matched is the path in the form in which it is compared, and that is what the groups hold: still
//! encoded as the client wrote it, so nothing is decoded twice.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::HeaderValue;

use super::Expression;

/// Groups that a target may name, as often as it names them.
const REFERENCES_MAX: usize = 32;
/// Bytes of a target.
const TARGET_BYTES_MAX: usize = 4096;
/// Bytes of what is made of it: as many as a whole head may have.
const REWRITTEN_BYTES_MAX: usize = 32 << 10;

/// How the requests of a path are rewritten.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rewrite {
    /// Whose groups the target names. None: it has none, and so every group is empty.
    pub expression: Option<Arc<Expression>>,
    /// What the path becomes.
    pub target: Target,
    /// `X-Forwarded-Prefix` for the endpoint.
    pub prefix: Option<Prefix>,
}

/// What a path becomes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    text: Arc<str>,
    pieces: Box<[Piece]>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Text(Box<str>),
    Group(u8),
}

/// A value of `X-Forwarded-Prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(HeaderValue);

/// Why a text is no target, or no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no path with $1 to $9 for the groups of an expression")]
pub struct InvalidTarget;

// === impl Rewrite ===

/// By the texts, in which two that differ nearly always do.
impl Hash for Rewrite {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.target.text.hash(state);
        let expression = self.expression.as_ref();
        expression.map(|expression| expression.text()).hash(state);
    }
}

impl Rewrite {
    /// What a path and a query become. None: more bytes than a head may have.
    pub(crate) fn apply(&self, path: &str, query: Option<&str>) -> Option<String> {
        let expression = self.expression.as_ref();
        let captures = expression.and_then(|expression| expression.captures(path));
        let mut rewritten = String::with_capacity(path.len() + self.target.text.len());
        for piece in &self.target.pieces {
            match piece {
                Piece::Text(text) => rewritten.push_str(text),
                Piece::Group(number) => {
                    let group = captures.as_ref();
                    let group = group.and_then(|groups| groups.get(usize::from(*number)));
                    // Parts of the path by its own bytes: a character may have been cut in two.
                    let text = group.map_or(&[][..], |group| group.as_bytes());
                    rewritten.push_str(&String::from_utf8_lossy(text));
                }
            }
            if rewritten.len() > REWRITTEN_BYTES_MAX {
                return None;
            }
        }
        if !rewritten.starts_with('/') {
            rewritten.insert(0, '/');
        }
        // As nginx reads it: the target's own query comes first, and a `?` at its end leaves out the client's.
        if rewritten.ends_with('?') {
            rewritten.pop();
        } else if let Some(query) = query {
            rewritten.push(if rewritten.contains('?') { '&' } else { '?' });
            rewritten.push_str(query);
        }
        Some(rewritten)
    }
}

// === impl Target ===

impl Target {
    /// As the rule has it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl TryFrom<&str> for Target {
    type Error = InvalidTarget;

    fn try_from(text: &str) -> Result<Self, InvalidTarget> {
        let is_printable = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !text.starts_with(['/', '$']) || !is_printable || text.len() > TARGET_BYTES_MAX {
            return Err(InvalidTarget);
        }
        let mut parts = text.split('$');
        let first = parts.next().unwrap_or_default();
        let mut pieces = vec![Piece::Text(first.into())];
        for part in parts {
            let (digit, rest) = part.split_at_checked(1).ok_or(InvalidTarget)?;
            match digit.parse() {
                Ok(number @ 1..=9) => pieces.push(Piece::Group(number)),
                _ => return Err(InvalidTarget),
            }
            pieces.push(Piece::Text(rest.into()));
        }
        if pieces.len() > 2 * REFERENCES_MAX + 1 {
            return Err(InvalidTarget);
        }
        pieces.retain(|piece| *piece != Piece::Text("".into()));
        Ok(Self {
            text: text.into(),
            pieces: pieces.into(),
        })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({:?})", self.text)
    }
}

// === impl Prefix ===

impl Prefix {
    /// The value.
    #[must_use]
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl TryFrom<&str> for Prefix {
    type Error = InvalidTarget;

    fn try_from(text: &str) -> Result<Self, InvalidTarget> {
        let is_path = text.starts_with('/')
            && text.len() <= TARGET_BYTES_MAX
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        let value = is_path.then(|| HeaderValue::from_str(text).ok()).flatten();
        value.map(Self).ok_or(InvalidTarget)
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_bytes().cmp(other.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str, target: &str, path: &str, query: Option<&str>) -> Option<String> {
        let expression = Arc::new(Expression::new(text, "").unwrap());
        let rewrite = Rewrite {
            expression: Some(expression),
            target: Target::try_from(target).unwrap(),
            prefix: None,
        };
        rewrite.apply(path, query)
    }

    #[test]
    fn groups_stand_where_the_target_names_them() {
        for (text, target, path, expected) in [
            ("/something(/|$)(.*)", "/$2", "/something", "/"),
            ("/something(/|$)(.*)", "/$2", "/something/", "/"),
            ("/something(/|$)(.*)", "/$2", "/something/new/x", "/new/x"),
            ("/something(/|$)(.*)", "/$2", "/SomeThing/New", "/New"),
            ("/something(/.*)", "$1", "/something/a", "/a"),
            ("/something(.*)", "$1", "/something", "/"),
            ("/a/(.*)/b/(.*)", "/x/$2/$1/$2", "/a/1/b/2", "/x/2/1/2"),
            ("/ip", "/", "/ip/a/b", "/"),
            ("/ip", "/app", "/ip", "/app"),
            ("/(a)", "/$19", "/a", "/a9"),
            ("/(a)", "/$3$1", "/a", "/a"),
            ("/(.*)", "/x/$1", "/a%2Fb%20c", "/x/a%2Fb%20c"),
        ] {
            let found = rewritten(text, target, path, None);
            assert_eq!(found.as_deref(), Some(expected), "{text} {target} {path}");
        }
    }

    #[test]
    fn the_query_is_kept_and_the_targets_own_comes_first() {
        for (target, query, expected) in [
            ("/x", None, "/x"),
            ("/x", Some(""), "/x?"),
            ("/x", Some("a=b?c"), "/x?a=b?c"),
            ("/x?y=$1", None, "/x?y=1"),
            ("/x?y=$1", Some("a=b"), "/x?y=1&a=b"),
            ("/x?", Some("a=b"), "/x"),
            ("/x?y=z?", Some("a=b"), "/x?y=z"),
        ] {
            let found = rewritten("/(.)", target, "/1", query);
            assert_eq!(found.as_deref(), Some(expected), "{target} {query:?}");
        }
    }

    #[test]
    fn what_is_made_of_a_path_is_bounded() {
        let long = format!("/{}", "a".repeat(8 << 10));
        assert!(rewritten("/(.*)", "/$1$1$1", &long, None).is_some());
        assert_eq!(rewritten("/(.*)", "/$1$1$1$1$1", &long, None), None);
    }

    #[test]
    fn a_text_that_is_no_path_is_no_target() {
        for text in [
            "",
            "a",
            "https://a.example/",
            "/a b",
            "/é",
            "/a#b",
            "/$",
            "/$0",
            "/$a",
            "/${1}",
            "/$scheme",
            "/\n",
        ] {
            assert_eq!(Target::try_from(text), Err(InvalidTarget), "{text:?}");
        }
        assert!(Target::try_from(&*"/$1".repeat(REFERENCES_MAX)).is_ok());
        assert!(Target::try_from(&*"/$1".repeat(REFERENCES_MAX + 1)).is_err());
        for (text, is_valid) in [("/a", true), ("a", false), ("", false), ("/a b", false)] {
            assert_eq!(Prefix::try_from(text).is_ok(), is_valid, "{text:?}");
        }
    }
}
