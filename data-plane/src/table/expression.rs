//! Paths that are regular expressions. Pure.
//!
//! In: the text of a rule. Out: a program that reads a path once, from its first byte, in time that grows with the product of its size
//! and the length of the path. Neither looks like much, and a hundred programs of tens of thousands of bytes over a path of as many
//! stopped a worker for eight seconds: so both are bounded, the sizes of all expressions of a tenant for a host together
//! ([`Expression::bytes`]), and the path ([`PATH_BYTES_MAX`]).
//!
//! As in ingress-nginx an expression is a beginning: `/a.` matches `/abc/d`; and it does not tell capitals from small letters.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use regex::bytes::{Captures, Regex, RegexBuilder};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;

use super::RouteId;

/// Bytes of a path that is read with expressions. A longer one meets no rule where an expression begins.
pub const PATH_BYTES_MAX: usize = 2 << 10;

/// Bytes of a compiled expression.
const PROGRAM_BYTES_MAX: usize = 64 << 10;
/// Bytes of what one worker keeps of an expression while it reads paths with it.
const CACHE_BYTES_MAX: usize = 64 << 10;
/// Groups within each other.
const DEPTH_MAX: u32 = 32;
/// Bytes of what is said about a broken expression.
const COMPLAINT_BYTES_MAX: usize = 120;

/// An expression.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    beginning: Arc<str>,
    regex: Regex,
    bytes: usize,
}

/// Why there is no such expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExpression {
    /// It is not written as expressions are.
    #[error("it is no regular expression of the kind that is served: {0}")]
    Syntax(String),
    /// It would need too much room.
    #[error("it needs more than {PROGRAM_BYTES_MAX} bytes when it is compiled")]
    TooLarge,
}

/// An expression, and where its requests go.
type Routed = (Arc<Expression>, RouteId);

/// The expressions of a host, those of each tenant for itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Expressions {
    of_tenants: Vec<(Arc<str>, Vec<Routed>)>,
}

// === impl Expression ===

impl Expression {
    /// Compiles a text. `beginning` is the path, without a slash at its end, below which every path lies that it matches: there it stands
    /// among the prefixes of its host.
    ///
    /// # Errors
    /// When it is broken, needs what cannot be had in linear time (looking around, references to groups), or is too large.
    pub fn new(text: &str, beginning: &str) -> Result<Self, InvalidExpression> {
        // By itself, so that no bracket of it closes ours.
        compile(text)?;
        // In a group, so that all of `/a|/b` begins where the path does.
        let whole = format!("^(?:{text})");
        let regex = compile(&whole)?;
        Ok(Self {
            text: text.into(),
            beginning: beginning.into(),
            regex,
            bytes: program_bytes(&whole),
        })
    }

    /// Bytes of its program, 64 KiB at most. In the worst case all of it is looked at for each byte of a path.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The text, as the rule has it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The path below which it lies.
    #[must_use]
    pub fn beginning(&self) -> &str {
        &self.beginning
    }

    /// Whether it matches a path in the form in which rules are compared with it.
    #[must_use]
    pub fn is_match(&self, path: &str) -> bool {
        self.regex.is_match(path.as_bytes())
    }

    /// How far down a path it begins, in bytes, and whether that is where it says it does: of a path that has capitals in
    /// another place it is only what both have, up to a slash, so that nobody gets into another's path by writing it otherwise.
    fn rank(&self, path: &str) -> (usize, bool) {
        let pairs = self.beginning.bytes().zip(path.bytes());
        let common = pairs.take_while(|(one, another)| one == another).count();
        if common == self.beginning.len() {
            return (common, true);
        }
        let slash = self.beginning[..common].rfind('/');
        (slash.unwrap_or(0), false)
    }

    /// What its groups match.
    pub(crate) fn captures<'p>(&self, path: &'p str) -> Option<Captures<'p>> {
        self.regex.captures(path.as_bytes())
    }

    /// As ingress-nginx asks one after another: the longest text first, then the last by its bytes.
    fn order(&self, other: &Self) -> Ordering {
        let (one, another) = (&self.text, &other.text);
        another.len().cmp(&one.len()).then_with(|| another.cmp(one))
    }
}

fn compile(text: &str) -> Result<Regex, InvalidExpression> {
    let built = RegexBuilder::new(text)
        .unicode(false)
        .case_insensitive(true)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .nest_limit(DEPTH_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => InvalidExpression::TooLarge,
        other @ (regex::Error::Syntax(_) | _) => {
            InvalidExpression::Syntax(complaint(&other.to_string()))
        }
    })
}

/// How large the program is by which [`compile`] has judged the same text: it does not tell.
fn program_bytes(text: &str) -> usize {
    let syntax = syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(true)
        .nest_limit(DEPTH_MAX);
    let built = thompson::Compiler::new()
        .syntax(syntax)
        .configure(
            thompson::Config::new()
                .utf8(false)
                .nfa_size_limit(Some(PROGRAM_BYTES_MAX)),
        )
        .build(text);
    built.map_or(PROGRAM_BYTES_MAX, |program| program.memory_usage())
}

/// The last line of what the parser says: before it there is a drawing.
fn complaint(text: &str) -> String {
    let line = text.lines().next_back().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line[..line.floor_char_boundary(COMPLAINT_BYTES_MAX)].to_owned()
}

/// Equal texts are equal programs.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Expression {}

impl PartialOrd for Expression {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Expression {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.text, &self.beginning).cmp(&(&other.text, &other.beginning))
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?} below {:?})", self.text, self.beginning)
    }
}

// === impl Expressions ===

impl Expressions {
    /// Sends what an expression matches to a route, unless the tenant has the same one already: then that route.
    pub(super) fn insert(
        &mut self,
        tenant: &Arc<str>,
        expression: Arc<Expression>,
        route: RouteId,
    ) -> Option<RouteId> {
        let of_tenants = &mut self.of_tenants;
        let place = of_tenants.binary_search_by(|(known, _)| known.cmp(tenant));
        let place = place.unwrap_or_else(|place| {
            of_tenants.insert(place, (tenant.clone(), Vec::new()));
            place
        });
        let all = &mut of_tenants[place].1;
        match all.binary_search_by(|(known, _)| known.order(&expression)) {
            Ok(known) => Some(all[known].1),
            Err(place) => {
                all.insert(place, (expression, route));
                None
            }
        }
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<Expression>, RouteId)> {
        let all = self.of_tenants.iter().flat_map(|(_, all)| all);
        all.map(|(expression, route)| (expression, *route))
    }

    /// Whether one may have a path of which the literal rule has `bytes`: it begins there or further
    /// down, and the path begins as it does.
    pub(super) fn may_have(&self, path: &str, bytes: usize) -> bool {
        self.iter().any(|(expression, _)| {
            let beginning = path.as_bytes().get(..expression.beginning.len());
            let is_below = beginning
                .is_some_and(|one| one.eq_ignore_ascii_case(expression.beginning.as_bytes()));
            is_below && expression.rank(path).0 >= bytes
        })
    }

    /// The expression for a path of which the literal rule has `bytes`: only one that begins there or further down. Each tenant says by
    /// its texts which of its own is asked first; between tenants the one that begins further down has the path, as with prefixes.
    pub(super) fn find(&self, path: &str, bytes: usize) -> Option<(&Arc<Expression>, RouteId)> {
        let (first, others) = self.of_tenants.split_first()?;
        if others.is_empty() {
            return matching(&first.1, path, bytes).next();
        }
        // Each is read once: that is what costs.
        let ranked = self.of_tenants.iter().filter_map(|(_, all)| {
            let mut matching = matching(all, path, bytes);
            let (expression, route) = matching.next()?;
            let others = matching.map(|(expression, _)| expression.rank(path));
            let rank = others.fold(expression.rank(path), Ord::max);
            Some((rank, (expression, route)))
        });
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, found)| found)
    }
}

fn matching<'e>(
    all: &'e [Routed],
    path: &str,
    bytes: usize,
) -> impl Iterator<Item = (&'e Arc<Expression>, RouteId)> {
    let matching = all.iter().filter(move |(expression, _)| {
        expression.rank(path).0 >= bytes && expression.is_match(path)
    });
    matching.map(|(expression, route)| (expression, *route))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(text: &str, path: &str) -> bool {
        Expression::new(text, "").unwrap().is_match(path)
    }

    #[test]
    fn an_expression_is_a_beginning_and_knows_no_capitals() {
        for (text, path, expected) in [
            ("/a", "/abc", true),
            ("/a$", "/abc", false),
            ("/A", "/abc", true),
            ("/a(/|$)(.*)", "/a", true),
            ("/a(/|$)(.*)", "/ab", false),
            ("/a", "/b/a", false),
            ("/a|/b", "/b", true),
            ("/a|/b", "/c/b", false),
            (r"/v\d+\/x", "/v12/x", true),
            (r"/a.c", "/a/c", true),
            (".*", "/é", true),
            (".", "", false),
        ] {
            assert_eq!(matches(text, path), expected, "{text} {path}");
        }
    }

    #[test]
    fn what_is_not_linear_or_too_large_is_refused_with_its_reason() {
        for (text, said) in [
            ("/a(", "unclosed group"),
            ("/a)(", "unopened group"),
            ("/a)|(.*", "unopened group"),
            ("/(?=a)", "look-around"),
            (r"/(a)\1", "backreferences are not supported"),
            ("/a**{", "repetition"),
            ("/(a{1000}){1000}", "bytes when it is compiled"),
            (r"/\pL{2000}", ""),
        ] {
            let error = Expression::new(text, "").unwrap_err().to_string();
            assert!(error.contains(said) && error.len() < 256, "{text}: {error}");
        }
        let deep = format!("/{}a{}", "(".repeat(40), ")".repeat(40));
        assert!(Expression::new(&deep, "").is_err());
    }

    #[test]
    fn a_program_says_how_large_it_is_and_what_repeats_is_large() {
        let bytes = |text: &str| Expression::new(text, "").unwrap().bytes();
        for text in ["/", "/something(/|$)(.*)", r"/api/v\d+/users/([^/]+)/(.*)"] {
            assert!(
                (1..2 << 10).contains(&bytes(text)),
                "{text}: {}",
                bytes(text)
            );
        }
        let repeated = bytes("/[ab]*a[ab]{500}c");
        assert!(
            (16 << 10..=PROGRAM_BYTES_MAX).contains(&repeated),
            "{repeated}"
        );
    }

    fn found(expressions: &[(&str, &str, &str)], path: &str, bytes: usize) -> Option<String> {
        let mut all = Expressions::default();
        for (number, (tenant, text, beginning)) in expressions.iter().enumerate() {
            let expression = Arc::new(Expression::new(text, beginning).unwrap());
            let route = RouteId::new(number);
            assert_eq!(all.insert(&(*tenant).into(), expression, route), None);
        }
        let found = all.find(path, bytes);
        found.map(|(expression, _)| expression.text().to_owned())
    }

    #[test]
    fn the_longest_text_of_a_tenant_is_asked_first() {
        let own = [
            ("t", "/foo/bar", "/foo/bar"),
            ("t", "/foo/bar/", "/foo/bar"),
            ("t", "/foo/bar/(.+)", "/foo/bar"),
            ("t", "/foo/[a-z0-9]{3}", "/foo"),
            ("t", "/foo/[b-z0-9]{3}", "/foo"),
        ];
        for (path, bytes, expected) in [
            ("/foo/bar", 0, Some("/foo/[a-z0-9]{3}")),
            ("/foo/bcd", 0, Some("/foo/[b-z0-9]{3}")),
            ("/foo/abc", 0, Some("/foo/[a-z0-9]{3}")),
            // A literal prefix of as many bytes leaves only those that begin there.
            ("/foo/bar", 8, Some("/foo/bar")),
            ("/foo/bar/", 8, Some("/foo/bar/")),
            ("/foo/bar/1", 8, Some("/foo/bar/(.+)")),
            ("/foo/bar/1", 9, None),
            ("/fo", 0, None),
            // Capitals in another place: it begins where both are still the same.
            ("/foo/BAR/1", 4, Some("/foo/[a-z0-9]{3}")),
            ("/foo/BAR/1", 8, None),
        ] {
            assert_eq!(
                found(&own, path, bytes).as_deref(),
                expected,
                "{path} {bytes}"
            );
        }
    }

    #[test]
    fn between_tenants_the_longer_beginning_has_the_path_however_long_a_text_is() {
        let both = [
            ("a", "/app/(.*)", "/app"),
            ("b", "/(.*)|/a very long text that matches everything", ""),
            ("c", "/app/x(.*)", "/app/x"),
            ("d", "/APP/y/(.*)", "/APP/y"),
        ];
        for (path, expected) in [
            ("/app/y/", "/app/(.*)"),
            ("/APP/y/", "/APP/y/(.*)"),
            ("/app/y", "/app/(.*)"),
            ("/app/x", "/app/x(.*)"),
            ("/b", "/(.*)|/a very long text that matches everything"),
        ] {
            assert_eq!(found(&both, path, 0).as_deref(), Some(expected), "{path}");
        }
    }
}
