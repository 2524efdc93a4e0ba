//! What DNS said of the name that a Service stands for. Pure.

use std::fmt;
use std::net::IpAddr;

/// What is known of a name in DNS. Nothing of it has been judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Its addresses, sorted, each once; with a trouble, those of the last good answer that may still be used.
    pub addresses: Vec<IpAddr>,
    /// The names that it stands for in turn (CNAME).
    pub aliases: Vec<String>,
    /// What is wrong. None: DNS has answered.
    pub trouble: Option<Trouble>,
}

/// Why nothing new is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// DNS says that there is no such name.
    NoSuchName,
    /// There is one, and it has no address.
    NoAddress,
    /// DNS gives no answer, or a useless one.
    Unanswered,
    /// More names are wanted than are looked up.
    TooMany,
}

// === impl Trouble ===

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName => "DNS knows no such name",
            Self::NoAddress => "it has no address in DNS",
            Self::Unanswered => "DNS does not answer",
            Self::TooMany => "it is not looked up: too many names are wanted",
        })
    }
}
