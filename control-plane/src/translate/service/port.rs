//! A port as an Ingress names it, and as a backend is called by it. Pure.

use std::fmt;

use crate::objects::ingress::spec::ServicePort;

/// A port as an Ingress names it.
pub(super) enum PortName<'a> {
    Number(i32),
    Name(&'a str),
}

/// Begins the name of a port that could be taken for a number.
const NUMERIC_NAME: &str = "name:";

// === impl PortName ===

impl<'a> PortName<'a> {
    pub(super) fn of(named: &'a ServicePort) -> Option<Self> {
        let number = Some(named.number).filter(|&number| number != 0);
        let name = Some(&*named.name).filter(|name| !name.is_empty());
        match (number, name) {
            (Some(number), None) => Some(Self::Number(number)),
            (None, Some(name)) => Some(Self::Name(name)),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }

    /// The other way round: of [`fmt::Display`].
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        match text.strip_prefix(NUMERIC_NAME) {
            Some(name) => Some(Self::Name(name)),
            None if text.is_empty() => None,
            None => Some(text.parse().map_or(Self::Name(text), Self::Number)),
        }
    }
}

/// A name that reads like a number is shown as one that cannot be: Kubernetes lets no port have it, and it must not be taken
/// for the number.
impl fmt::Display for PortName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) if name.starts_with(NUMERIC_NAME) || name.parse::<i32>().is_ok() => {
                write!(f, "{NUMERIC_NAME}{name}")
            }
            Self::Name(name) => f.write_str(name),
        }
    }
}
