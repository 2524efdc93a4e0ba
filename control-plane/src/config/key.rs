//! What a setting is: its name, what it takes, its default and its meaning, written once. Pure.
//!
//! `--help`, the names of environment variables, the sentences of errors and `docs/configuration.md` are all made from
//! an [`About`]. A [`Key`] adds the type that its values are parsed to.

use std::fmt;
use std::time::Duration;

/// Which of the two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The front door: `tiergate-cluster`.
    Cluster,
    /// One tenant: `tiergate-namespace`.
    Namespace,
}

/// A setting whose values are of type `T`.
#[derive(Debug)]
pub struct Key<T: 'static> {
    /// What is told about it.
    pub about: About,
    /// Parses one value. An [`Unfit`] becomes a sentence in [`super::Layers`].
    pub parse: fn(&About, &str) -> Result<T, Unfit>,
}

/// What is told about a setting.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Name in the file; a dot enters a section.
    pub name: &'static str,
    /// Who has it.
    pub tiers: Tiers,
    /// Where it may be set, besides the environment.
    pub place: Place,
    /// Whether it holds one value or a list.
    pub arity: Arity,
    /// What stands for the value in `--help`; unused without a flag.
    pub placeholder: &'static str,
    /// What a value looks like, in words: `a time such as 10s`.
    pub form: &'static str,
    /// A value that is good.
    pub example: &'static str,
    /// What it is when nobody sets it.
    pub default: Default,
    /// Smallest and largest value of a number.
    pub range: Option<Range>,
    /// What it does, in one or two sentences.
    pub meaning: &'static str,
}

/// Which programs have a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiers {
    /// Both.
    Both,
    /// Only this one.
    Only(Tier),
}

/// Where a setting may be set. The environment may set all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// By a flag and in the file. `explain` has the flag, too, when it changes what objects mean.
    FlagAndFile {
        /// Whether `explain` has the flag.
        explain: bool,
    },
    /// Only by a flag: it says where the file is.
    Flag,
    /// Only in the file.
    File,
}

/// How many values a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// One.
    One,
    /// One that is `true` when the flag stands alone.
    Switch,
    /// A list: repeated flags, values with commas between them, or a list in the file. `none` is the empty list.
    List,
}

/// What a setting is when nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This value.
    Value(&'static str),
    /// This value in the cluster tier, that one in the namespace tier.
    PerTier {
        /// In `tiergate-cluster`.
        cluster: &'static str,
        /// In `tiergate-namespace`.
        namespace: &'static str,
    },
    /// Nothing; the text says what then happens.
    Nothing(&'static str),
    /// There is none: it must be set.
    Required,
}

/// Smallest and largest value of a number, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// A plain number.
    Count(u64, u64),
    /// A number of bytes.
    Bytes(u64, u64),
    /// A time.
    Time(Duration, Duration),
}

/// Why a value was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It does not look like [`About::form`].
    Form,
    /// It lies outside of [`About::range`].
    Range,
    /// It is well formed, but cannot be had; the text continues a sentence after the value.
    Refused(&'static str),
}

// === impl Tier ===

impl Tier {
    /// Name of the program, also its pseudonym in `Via`.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Cluster => "tiergate-cluster",
            Self::Namespace => "tiergate-namespace",
        }
    }

    /// The value of the label `tier` and of the log key `tier`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Namespace => "namespace",
        }
    }

    /// What the program is, for the first line of `--help`.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Cluster => {
                "The front door of a cluster: takes every connection and sends each host to its tenant."
            }
            Self::Namespace => {
                "The ingress of one namespace: takes its requests straight to its ready pods."
            }
        }
    }
}

// === impl About ===

impl About {
    /// Whether the program has this setting.
    #[must_use]
    pub fn is_for(&self, tier: Tier) -> bool {
        match self.tiers {
            Tiers::Both => true,
            Tiers::Only(only) => only == tier,
        }
    }

    /// The flag without its dashes, when there is one.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        (self.place != Place::File).then(|| self.name.replace('_', "-"))
    }

    /// Name of the environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!(
            "{}{}",
            super::VARIABLE_PREFIX,
            self.name.replace('.', "__").to_ascii_uppercase()
        )
    }

    /// The default value of a program, when there is one.
    #[must_use]
    pub fn default_of(&self, tier: Tier) -> Option<&'static str> {
        match (self.default, tier) {
            (Default::Value(value), _)
            | (Default::PerTier { cluster: value, .. }, Tier::Cluster)
            | (
                Default::PerTier {
                    namespace: value, ..
                },
                Tier::Namespace,
            ) => Some(value),
            (Default::Nothing(_) | Default::Required, _) => None,
        }
    }
}

// === impl Range ===

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Count(min, max) => write!(f, "{min} to {max}"),
            Self::Bytes(min, max) => write!(f, "{} to {}", bytes(min), bytes(max)),
            Self::Time(min, max) => write!(f, "{} to {}", time(min), time(max)),
        }
    }
}

/// The number in the largest unit that leaves no rest.
fn bytes(number: u64) -> String {
    [(1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")]
        .into_iter()
        .find(|(unit, _)| number >= *unit && number.is_multiple_of(*unit))
        .map_or_else(
            || number.to_string(),
            |(unit, suffix)| format!("{}{suffix}", number / unit),
        )
}

/// The time in the largest unit that leaves no rest.
fn time(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}
