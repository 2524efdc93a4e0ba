//! Log events of the process: text on a terminal, one JSON object per line otherwise.
//!
//! In: `tracing` events of every crate. Out: lines on standard error, filtered by a level that can be changed while
//! running. Traces and metrics are not made here.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::str::FromStr;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::Tier;

mod json;
/// The reference page of metrics.
pub mod page;
/// The metrics registry.
pub mod registry;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
    /// Text on a terminal, JSON otherwise.
    Auto,
}

/// Which events are written: a level, and levels of modules that differ from it.
///
/// A module is named by what the path of its crate begins with, so `tiergate` means all crates of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    text: String,
    targets: Targets,
}

/// Why a text is no [`Filter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a log level; write off, error, warn, info, debug or trace, or MODULE=LEVEL, with commas between them"
)]
pub struct InvalidFilter(String);

/// Changes the filter while running. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    reload: reload::Handle<Targets, Registry>,
    current: Arc<std::sync::Mutex<Filter>>,
}

/// Target of the events of the access log.
const ACCESS_LOG: &str = "tiergate::access";
/// Bytes of a [`Filter`]. More is no filter that somebody wrote.
const FILTER_BYTES_MAX: usize = 1024;

// === impl Format ===

/// Why a text is no [`Format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log format is text, json or auto")]
pub struct InvalidFormat;

impl FromStr for Format {
    type Err = InvalidFormat;

    fn from_str(text: &str) -> Result<Self, InvalidFormat> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "auto" => Ok(Self::Auto),
            _ => Err(InvalidFormat),
        }
    }
}

// === impl Filter ===

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let invalid = || InvalidFilter(text.chars().take(80).collect());
        if text.len() > FILTER_BYTES_MAX {
            return Err(invalid());
        }
        // Modules that nobody names stay at the level that a start without any setting has.
        let mut targets = Targets::new()
            .with_default(LevelFilter::INFO)
            // Requests are logged as the access log's own switch says, whatever the level is.
            .with_target(ACCESS_LOG, LevelFilter::INFO);
        for part in text.split(',').map(str::trim) {
            targets = match part.split_once('=') {
                None => targets.with_default(level(part).ok_or_else(invalid)?),
                Some((module, name)) if is_module(module) => {
                    targets.with_target(module, level(name).ok_or_else(invalid)?)
                }
                Some(_) => return Err(invalid()),
            };
        }
        Ok(Self {
            text: text.to_owned(),
            targets,
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn level(name: &str) -> Option<LevelFilter> {
    // Numbers parse as levels, too, and would hide a slip such as `1nfo`.
    let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_word.then(|| name.parse().ok()).flatten()
}

fn is_module(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    !name.is_empty() && name.bytes().all(is_part)
}

// === impl Handle ===

impl Handle {
    /// The filter that holds now.
    #[must_use]
    pub fn filter(&self) -> Filter {
        self.lock().clone()
    }

    /// Lets another filter hold from now on.
    pub fn set_filter(&self, filter: Filter) {
        let mut current = self.lock();
        // The subscriber lives as long as the process; when it is gone, there is nobody left to filter for.
        if self.reload.reload(filter.targets.clone()).is_ok() {
            *current = filter;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Filter> {
        self.current
            .lock()
            .expect("nothing panics while it holds the filter")
    }
}

/// Sends the events of this process to standard error. Called once, before anything is logged.
///
/// # Panics
/// When the process has a subscriber already.
#[must_use]
pub fn init(tier: Tier, format: Format, filter: Filter) -> Handle {
    let is_terminal = io::stderr().is_terminal();
    let format = match format {
        Format::Auto if is_terminal => Format::Text,
        Format::Auto => Format::Json,
        Format::Text | Format::Json => format,
    };
    let (dispatch, handle) = subscriber(tier, format, filter, is_terminal, io::stderr);
    tracing::dispatcher::set_global_default(dispatch).expect("a process starts its telemetry once");
    handle
}

/// A subscriber that writes to `writer`, for [`init`] and for tests.
pub fn subscriber<W>(
    tier: Tier,
    format: Format,
    filter: Filter,
    is_terminal: bool,
    writer: W,
) -> (tracing::Dispatch, Handle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (level, reload) = reload::Layer::new(filter.targets.clone());
    let handle = Handle {
        reload,
        current: Arc::new(std::sync::Mutex::new(filter)),
    };
    let registry = Registry::default().with(level);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let dispatch = match format {
        Format::Json => {
            tracing::Dispatch::new(registry.with(layer.event_format(json::Json::new(tier))))
        }
        Format::Text | Format::Auto => {
            let has_colour =
                is_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            tracing::Dispatch::new(registry.with(layer.with_ansi(has_colour)))
        }
    };
    (dispatch, handle)
}

#[cfg(test)]
mod tests;
