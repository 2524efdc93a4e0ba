//! The paths that a rule may name. Pure.
//!
//! In: `path` and `pathType` of a rule. Out: a [`PathPattern`], in which two texts that match the same requests are equal:
//! a path is brought into the form in which the data plane compares it.

use std::fmt;
use std::sync::Arc;

use tiergate_data_plane::lookup::comparable_path;
use tiergate_data_plane::table::PathMatch;

/// A path with the way it is compared. A prefix has no trailing slash: `/foo` and `/foo/` match the same requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPattern {
    path: Arc<str>,
    kind: PathMatch,
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
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("the path is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
}

/// Bytes of a path.
pub const PATH_BYTES_MAX: usize = 4096;

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
    pub fn kind(&self) -> PathMatch {
        self.kind
    }
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
            kind,
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
        match self.kind {
            PathMatch::Exact => write!(f, "Exact {}", self.path),
            PathMatch::Prefix if self.path.is_empty() => f.write_str("Prefix /"),
            PathMatch::Prefix => write!(f, "Prefix {}", self.path),
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
        assert_eq!(
            PathPattern::try_from(("Exact", &*long)),
            Err(InvalidPath::TooLong)
        );
    }
}
