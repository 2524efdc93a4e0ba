//! The paths that a rule may name. Pure.
//!
//! In: `path` and `pathType` of a rule. Out: a [`PathPattern`], in which two texts that match the same requests are equal:
//! a path is brought into the form in which the data plane compares it.

use std::fmt;
use std::sync::Arc;

use tiergate_data_plane::lookup::comparable_path;
use tiergate_data_plane::table::{Expression, PathMatch};

/// A path with the way it is compared. A prefix has no trailing slash: `/foo` and `/foo/` match the same requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPattern {
    path: Arc<str>,
    kind: PathKind,
}

/// The way a path is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathKind {
    /// As it stands.
    Literal(PathMatch),
    /// As a regular expression.
    Expression(Arc<Expression>),
}

/// Why there is no such pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// A path type that does not exist.
    #[error("the path type {0:?} is not Exact, Prefix or ImplementationSpecific")]
    Type(String),
    /// Not from the root.
    #[error("the path {0:?} does not begin with /")]
    Relative(String),
    /// Something that no path of a request has (RFC 3986 §3.3), so that the rule could not match.
    #[error("the path {path:?} contains {found:?}, which no path of a request can match")]
    Unmatchable {
        /// The path.
        path: String,
        /// What is wrong in it.
        found: String,
    },
    /// Requests with this path are refused.
    #[error("requests with the path {path:?} are refused: {reason}")]
    Refused {
        /// The path.
        path: String,
        /// What the data plane says.
        reason: String,
    },
    /// A regular expression that is not served.
    #[error("the path {path:?} {reason}")]
    Expression {
        /// The path.
        path: String,
        /// What is wrong with it, behind the path.
        reason: String,
    },
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("the path is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
}

/// Bytes of a path.
pub const PATH_BYTES_MAX: usize = 4096;

/// Characters of an expression in a message.
const PATH_SHOWN: usize = 64;

/// What only an expression has.
const SIGNS: [char; 12] = ['(', ')', '[', ']', '{', '}', '*', '+', '?', '|', '^', '$'];

/// What the API server refuses in paths of the types Exact and Prefix.
const FORBIDDEN: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];

// === impl PathPattern ===

impl PathPattern {
    /// The path; of a prefix, without its trailing slash: the root is empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How it is compared.
    #[must_use]
    pub fn kind(&self) -> &PathKind {
        &self.kind
    }

    /// What stands where an expression begins.
    #[must_use]
    pub(crate) fn beginning_of(expression: &Expression) -> Self {
        Self {
            path: expression.beginning().into(),
            kind: PathKind::Literal(PathMatch::Prefix),
        }
    }

    /// A path of an Ingress whose paths are expressions, as ingress-nginx has it with `use-regex` and `rewrite-target`: one of the type
    /// `ImplementationSpecific`, and one of the other types that could be nothing else. Exact and Prefix keep what Kubernetes says
    /// of them.
    ///
    /// # Errors
    /// When it is none that is served.
    pub fn expression(path_type: &str, path: &str) -> Result<Self, InvalidPath> {
        let is_literal = match path_type {
            // Everything begins so.
            "ImplementationSpecific" => matches!(path, "" | "/"),
            _ => !path.contains(SIGNS),
        };
        if is_literal || !matches!(path_type, "Exact" | "Prefix" | "ImplementationSpecific") {
            return Self::try_from((path_type, path));
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(InvalidPath::TooLong);
        }
        if !path.starts_with('/') {
            return Err(InvalidPath::Relative(path.to_owned()));
        }
        let refused = |reason: String| InvalidPath::Expression {
            path: path.chars().take(PATH_SHOWN).collect(),
            reason,
        };
        if let Some(found) = path.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            let reason = format!(
                "contains {:?}, which no path of a request can match",
                found.to_string()
            );
            return Err(refused(reason));
        }
        let beginning = Self::try_from(("Prefix", beginning(path)));
        let beginning = beginning.map_or_else(|_| "".into(), |beginning| beginning.path);
        let expression = Expression::new(path, &beginning);
        let expression = expression.map_err(|error| {
            let error = error.to_string();
            refused(error.strip_prefix("it ").unwrap_or(&error).to_owned())
        })?;
        Ok(Self {
            path: path.into(),
            kind: PathKind::Expression(Arc::new(expression)),
        })
    }
}

/// What every path begins with that an expression matches, up to the last slash, or all of an element that ends there. All paths, for one
/// with alternatives. It may be less than what they have in common, and never more.
fn beginning(expression: &str) -> &str {
    /// What may stand behind a whole element, and then whatever may follow.
    const ENDS: [&str; 2] = ["(/|$)", "(?:/|$)"];
    /// The same, and then nothing.
    const LAST: [&str; 3] = ["$", "(/.*)?$", "(/|$).*"];
    const QUANTIFIERS: [char; 4] = ['*', '?', '+', '{'];
    let is_sign = |sign: char| SIGNS.contains(&sign) || matches!(sign, '.' | '\\');
    if has_alternatives(expression) {
        return "/";
    }
    let (before, rest) = expression.split_at(expression.find(is_sign).unwrap_or(expression.len()));
    let behind = ENDS.iter().find_map(|end| rest.strip_prefix(end));
    let ends = behind.is_some_and(|behind| !behind.starts_with(QUANTIFIERS));
    if (ends || LAST.contains(&rest)) && before.len() > 1 {
        return before;
    }
    // What is before a quantifier may be missing.
    let sure = match before.char_indices().next_back() {
        Some((last, _)) if rest.starts_with(QUANTIFIERS) => &before[..last],
        _ => before,
    };
    &sure[..sure.rfind('/').map_or(0, |slash| slash + 1)]
}

/// Whether there is a `|` outside of all groups and classes. A broken expression may have any answer: it is not served.
fn has_alternatives(expression: &str) -> bool {
    let (mut groups, mut classes, mut is_first) = (0_u32, 0_u32, false);
    let mut signs = expression.chars();
    while let Some(sign) = signs.next() {
        let was_first = std::mem::take(&mut is_first);
        match sign {
            '\\' => drop(signs.next()),
            '[' => {
                classes += 1;
                is_first = true;
            }
            // `[]a]` and `[^]a]` have the bracket as one of theirs.
            '^' if classes > 0 && was_first => is_first = true,
            ']' if classes > 0 && !was_first => classes -= 1,
            '(' if classes == 0 => groups += 1,
            ')' if classes == 0 => groups = groups.saturating_sub(1),
            '|' if classes == 0 && groups == 0 => return true,
            _ => {}
        }
    }
    false
}

impl TryFrom<(&str, &str)> for PathPattern {
    type Error = InvalidPath;

    /// Takes the type and the path. `ImplementationSpecific` is `Prefix`; without a path, it is the root.
    fn try_from((path_type, path): (&str, &str)) -> Result<Self, InvalidPath> {
        let kind = match path_type {
            "Exact" => PathMatch::Exact,
            "Prefix" | "ImplementationSpecific" => PathMatch::Prefix,
            other => return Err(InvalidPath::Type(other.to_owned())),
        };
        let path = if path.is_empty() && path_type == "ImplementationSpecific" {
            "/"
        } else {
            path
        };
        if path.len() > PATH_BYTES_MAX {
            return Err(InvalidPath::TooLong);
        }
        if !path.starts_with('/') {
            return Err(InvalidPath::Relative(path.to_owned()));
        }
        if let Some(found) = unmatchable(path) {
            return Err(InvalidPath::Unmatchable {
                path: path.to_owned(),
                found,
            });
        }
        let path = comparable_path(path).map_err(|error| InvalidPath::Refused {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let path = match kind {
            PathMatch::Exact => &path,
            PathMatch::Prefix => path.trim_end_matches('/'),
        };
        Ok(Self {
            path: path.into(),
            kind: PathKind::Literal(kind),
        })
    }
}

fn unmatchable(path: &str) -> Option<String> {
    let bad = path
        .chars()
        .find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#'));
    if let Some(bad) = bad {
        return Some(bad.to_string());
    }
    let inner = FORBIDDEN.into_iter().find(|part| path.contains(part));
    inner
        .or_else(|| ["/.", "/.."].into_iter().find(|end| path.ends_with(end)))
        .map(str::to_owned)
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            PathKind::Literal(PathMatch::Exact) => write!(f, "Exact {}", self.path),
            PathKind::Literal(PathMatch::Prefix) if self.path.is_empty() => f.write_str("Prefix /"),
            PathKind::Literal(PathMatch::Prefix) => write!(f, "Prefix {}", self.path),
            PathKind::Expression(_) => write!(f, "Expression {}", self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_texts_that_match_the_same_requests_are_one_pattern() {
        for (path_type, path, shown) in [
            ("Exact", "/foo", "Exact /foo"),
            ("Exact", "/foo/", "Exact /foo/"),
            ("Prefix", "/", "Prefix /"),
            ("Prefix", "/foo/", "Prefix /foo"),
            ("Prefix", "/foo", "Prefix /foo"),
            ("ImplementationSpecific", "/a%20b", "Prefix /a%20b"),
            ("ImplementationSpecific", "", "Prefix /"),
            ("Exact", "/%61%2d%c3%a4", "Exact /a-%C3%A4"),
        ] {
            let pattern = PathPattern::try_from((path_type, path)).unwrap();
            assert_eq!(pattern.to_string(), shown, "{path_type} {path:?}");
        }
    }

    #[test]
    fn what_cannot_match_is_refused_with_its_reason() {
        for (path_type, path, message) in [
            ("Prefix", "", "the path \"\" does not begin with /"),
            ("Exact", "foo", "the path \"foo\" does not begin with /"),
            (
                "prefix",
                "/",
                "the path type \"prefix\" is not Exact, Prefix or ImplementationSpecific",
            ),
            (
                "Prefix",
                "/a b",
                "the path \"/a b\" contains \" \", which no path of a request can match",
            ),
            (
                "Prefix",
                "/a?b",
                "the path \"/a?b\" contains \"?\", which no path of a request can match",
            ),
            (
                "Prefix",
                "/ä",
                "the path \"/ä\" contains \"ä\", which no path of a request can match",
            ),
            (
                "Exact",
                "/a//b",
                "the path \"/a//b\" contains \"//\", which no path of a request can match",
            ),
            (
                "Exact",
                "/a/..",
                "the path \"/a/..\" contains \"/..\", which no path of a request can match",
            ),
            (
                "Exact",
                "/a%2Fb",
                "the path \"/a%2Fb\" contains \"%2F\", which no path of a request can match",
            ),
        ] {
            let error = PathPattern::try_from((path_type, path)).unwrap_err();
            assert_eq!(error.to_string(), message, "{path_type} {path:?}");
        }
        let refused = PathPattern::try_from(("Exact", "/a%2e%2E/%zz")).unwrap_err();
        assert!(
            refused.to_string().starts_with("requests with the path"),
            "{refused}"
        );
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        assert!(PathPattern::expression("ImplementationSpecific", &long).is_err());
        assert_eq!(
            PathPattern::try_from(("Exact", &*long)),
            Err(InvalidPath::TooLong)
        );
    }

    #[test]
    fn exact_and_prefix_keep_their_meaning_beside_expressions() {
        for (path_type, path, shown) in [
            ("ImplementationSpecific", "/ip", "Expression /ip"),
            (
                "ImplementationSpecific",
                "/a(/|$)(.*)",
                "Expression /a(/|$)(.*)",
            ),
            ("ImplementationSpecific", "/", "Prefix /"),
            ("ImplementationSpecific", "", "Prefix /"),
            ("Prefix", "/ip/", "Prefix /ip"),
            ("Prefix", "/a.b", "Prefix /a.b"),
            ("Exact", "/ip", "Exact /ip"),
            ("Prefix", "/a(/|$)(.*)", "Expression /a(/|$)(.*)"),
            ("Exact", "/a/[0-9]+$", "Expression /a/[0-9]+$"),
        ] {
            let pattern = PathPattern::expression(path_type, path).unwrap();
            assert_eq!(pattern.to_string(), shown, "{path_type} {path:?}");
        }
        for (path_type, path, message) in [
            (
                "Nobody",
                "/a",
                "the path type \"Nobody\" is not Exact, Prefix or ImplementationSpecific",
            ),
            (
                "ImplementationSpecific",
                "(.*)",
                "the path \"(.*)\" does not begin with /",
            ),
            (
                "ImplementationSpecific",
                "/a b(.*)",
                "the path \"/a b(.*)\" contains \" \", which no path of a request can match",
            ),
            (
                "Prefix",
                "/a(",
                "the path \"/a(\" is no regular expression of the kind that is served: unclosed group",
            ),
            (
                "ImplementationSpecific",
                "/(a{1000}){1000}",
                "the path \"/(a{1000}){1000}\" needs more than 65536 bytes when it is compiled",
            ),
        ] {
            let error = PathPattern::expression(path_type, path).unwrap_err();
            assert_eq!(error.to_string(), message, "{path_type} {path:?}");
        }
    }

    #[test]
    fn an_expression_lies_below_what_all_of_its_paths_begin_with() {
        for (expression, expected) in [
            ("/admin(/|$)(.*)", "/admin"),
            ("/admin(/|$)?(.*)", "/"),
            ("/admin(/.*)?$", "/admin"),
            ("/admin$", "/admin"),
            ("/a/admin/?(.*)", "/a/"),
            ("/a/b/*(.*)", "/a/"),
            ("/a/b/(.*)", "/a/b/"),
            ("/a/b/", "/a/b/"),
            ("/a/b", "/a/"),
            ("/int(.*)", "/"),
            ("/a/v[0-9]+/b", "/a/"),
            ("/v1.0/(.*)", "/"),
            (r"/a/v1\.0/(.*)", "/a/"),
            ("/(.*)", "/"),
            ("/a/b/(x|y)", "/a/b/"),
            ("/a/b/(.*)|/c", "/"),
            ("/a/b[|]c/(.*)", "/a/"),
            ("/a/b[]|](x)|/c", "/"),
            ("/a/b[^]|]/x", "/a/"),
            (r"/a/b\|c/(.*)", "/a/"),
            (r"/a/b\(|/c", "/"),
        ] {
            assert_eq!(beginning(expression), expected, "{expression}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_an_expression_matches_lies_below_its_beginning(
            expression in "/(a|b|/|\\(/\\|\\$\\)|\\(\\.\\*\\)|\\(/\\.\\*\\)\\?\\$|\\(|\\)|\\||\\[|\\]|\\?|\\*|\\+|\\^|\\$|\\.|\\\\){0,6}",
            path in "/(a|b|/|\\||\\]){0,6}",
        ) {
            let Ok(pattern) = PathPattern::expression("ImplementationSpecific", &expression) else {
                return Ok(());
            };
            let PathKind::Expression(expression) = pattern.kind() else {
                return Ok(());
            };
            let (text, beginning) = (expression.text(), expression.beginning());
            let is_below = path == beginning || path.starts_with(&format!("{beginning}/"));
            let matcher = Expression::new(text, "").unwrap();
            proptest::prop_assert!(is_below || !matcher.is_match(&path), "{} {} below {}", text, path, beginning);
        }
    }
}
