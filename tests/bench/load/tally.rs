//! Counts answers and failures, and how long answers took. Pure.
//!
//! In: one outcome after the other. Out: the fields of the report that all subcommands have.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Waits that are longer are counted as this long: a minute.
const WAIT_MICROS_MAX: u64 = 60_000_000;
/// Of each figure so many digits are right.
const DIGITS: u8 = 3;

/// Outcomes of many requests.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    failures: BTreeMap<String, u64>,
    waits: Histogram<u64>,
}

// === impl Tally ===

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            answered: 0,
            failures: BTreeMap::new(),
            waits: waits(),
        }
    }

    /// An answer that was wanted, after so long.
    pub(crate) fn answer(&mut self, wait: Duration) {
        self.answered += 1;
        note(&mut self.waits, wait);
    }

    pub(crate) fn failure(&mut self, kind: impl Into<String>) {
        self.failures(kind, 1);
    }

    pub(crate) fn failures(&mut self, kind: impl Into<String>, count: u64) {
        if count > 0 {
            *self.failures.entry(kind.into()).or_default() += count;
        }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Adds what another thread counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        for (kind, count) in &other.failures {
            self.failures(kind.clone(), *count);
        }
        join(&mut self.waits, &other.waits);
    }

    /// `requests`, `failures`, `failures_by_kind` and the percentiles.
    pub(crate) fn report(&self) -> Map<String, Value> {
        let mut report = Map::new();
        report.insert("requests".into(), json!(self.answered));
        report.insert("failures".into(), json!(self.failed()));
        report.insert("failures_by_kind".into(), json!(self.failures));
        report.extend(percentiles("", &self.waits));
        report
    }
}

/// An empty histogram of waits.
pub(crate) fn waits() -> Histogram<u64> {
    Histogram::new_with_max(WAIT_MICROS_MAX, DIGITS).expect("the bounds are valid")
}

/// Adds a wait to a histogram.
pub(crate) fn note(waits: &mut Histogram<u64>, wait: Duration) {
    waits.saturating_record(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
}

/// Adds the waits of one histogram to those of another.
pub(crate) fn join(waits: &mut Histogram<u64>, others: &Histogram<u64>) {
    waits.add(others).expect("both have the bounds of `waits`");
}

/// The percentiles of a histogram as fields of a report; none when it is empty.
pub(crate) fn percentiles(prefix: &str, waits: &Histogram<u64>) -> Map<String, Value> {
    let quantiles = [
        ("p50", 0.5),
        ("p90", 0.9),
        ("p99", 0.99),
        ("p99_9", 0.999),
        ("max", 1.0),
    ];
    let field = |(name, quantile): (&str, f64)| {
        let value = if waits.is_empty() {
            Value::Null
        } else {
            json!(waits.value_at_quantile(quantile))
        };
        (format!("{prefix}{name}_us"), value)
    };
    quantiles.into_iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_every_failure_keeps_its_kind() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        for micros in 1..=50 {
            one.answer(Duration::from_micros(micros));
            other.answer(Duration::from_micros(50 + micros));
        }
        one.failure("closed");
        other.failure("closed");
        other.failure("status_503");
        other.failures("unsent", 0);
        one.add(&other);
        let report = Value::Object(one.report());
        let expected = json!({
            "requests": 100, "failures": 3, "failures_by_kind": {"closed": 2, "status_503": 1},
            "p50_us": 50, "p90_us": 90, "p99_us": 99, "p99_9_us": 100, "max_us": 100,
        });
        assert_eq!(report, expected);
    }

    #[test]
    fn nothing_measured_is_no_zero() {
        let report = Value::Object(Tally::new().report());
        assert_eq!(report["p50_us"], Value::Null);
        assert_eq!(report["requests"], 0);
    }

    #[test]
    fn a_wait_beyond_all_bounds_is_counted_at_the_bound() {
        let mut tally = Tally::new();
        tally.answer(Duration::from_secs(3600));
        let max = tally.report()["max_us"].as_u64().unwrap();
        assert!(max.abs_diff(WAIT_MICROS_MAX) < 100_000, "{max}");
    }
}
