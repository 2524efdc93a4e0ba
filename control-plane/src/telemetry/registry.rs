//! The metrics registry of one process, with what is known of the process itself.
//!
//! In: which tier it is. Out: a registry whose every family has the label `tier`, and within it the one with the prefix
//! `tiergate` that every crate registers its families in.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::config::Tier;

/// Reads the kernel's accounts of this process on every scrape.
#[derive(Debug)]
struct Process {
    ticks_per_second: f64,
    page_bytes: f64,
    boot_seconds: f64,
}

/// What `/proc/self/stat` tells of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

/// A registry for `tier`. Families go into [`families`].
#[must_use]
pub fn registry(tier: Tier) -> Registry {
    Registry::with_labels([("tier".into(), tier.label().into())].into_iter())
}

/// The part of `registry` that has the prefix `tiergate`, with what the program calls itself in it.
pub fn families<'a>(
    registry: &'a mut Registry,
    tier: Tier,
    version: &'static str,
) -> &'a mut Registry {
    let families = registry.sub_registry_with_prefix("tiergate");
    let labels = [("version", version), ("mode", tier.label())];
    families.register(
        "build",
        "Version of the program, and as what it runs",
        Info::new(labels.to_vec()),
    );
    families
}

/// Adds the standard `process_*` families. Not for a tier in a simulation: it shares its process with others.
pub fn register_process(registry: &mut Registry) {
    let constant = |name| {
        let value = nix::unistd::sysconf(name).ok().flatten();
        value
            .and_then(|value| u32::try_from(value).ok())
            .map(f64::from)
    };
    let process = Process {
        // The kernel shows times in hundredths of a second on every platform that Rust has, and pages are 4 KiB on most.
        ticks_per_second: constant(nix::unistd::SysconfVar::CLK_TCK).unwrap_or(100.0),
        page_bytes: constant(nix::unistd::SysconfVar::PAGE_SIZE).unwrap_or(4096.0),
        boot_seconds: fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| boot_seconds(&text))
            .unwrap_or(0.0),
    };
    registry.register_collector(Box::new(process));
}

// === impl Process ===

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let Some(stat) = Stat::parse(&text) else {
            return Ok(());
        };
        let counter = ConstCounter::new(stat.cpu_ticks / self.ticks_per_second);
        let metric = encoder.encode_descriptor(
            "process_cpu",
            "CPU time that the process has used.",
            Some(&Unit::Seconds),
            prometheus_client::metrics::MetricType::Counter,
        )?;
        counter.encode(metric)?;
        let start_seconds = self.boot_seconds + stat.start_ticks / self.ticks_per_second;
        let resident_bytes = stat.resident_pages * self.page_bytes;
        let gauges = [
            (
                "process_start_time",
                "When the process started, since 1970.",
                Some(Unit::Seconds),
                Some(start_seconds),
            ),
            (
                "process_resident_memory",
                "Memory of the process that is in RAM.",
                Some(Unit::Bytes),
                Some(resident_bytes),
            ),
            (
                "process_virtual_memory",
                "Address space of the process.",
                Some(Unit::Bytes),
                Some(stat.virtual_bytes),
            ),
            (
                "process_threads",
                "Threads of the process.",
                None,
                Some(stat.threads),
            ),
            (
                "process_open_fds",
                "File descriptors that are open.",
                None,
                open_files(),
            ),
            (
                "process_max_fds",
                "File descriptors that may be open.",
                None,
                open_files_max(),
            ),
        ];
        for (name, help, unit, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let metric = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

// === impl Stat ===

impl Stat {
    /// Reads `/proc/[pid]/stat` (proc(5)). The second field is a name in parentheses that may itself hold some.
    fn parse(text: &str) -> Option<Self> {
        let (_, behind_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = behind_name.split_whitespace().collect();
        // The first field behind the name is number 3 in the manual.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// `btime` of `/proc/stat`.
fn boot_seconds(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn open_files() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // The one that lists the folder is among them.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

fn open_files_max() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_of_a_process_are_read_behind_its_name() {
        let text =
            "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 12345 1048576 256 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            stat,
            Stat {
                cpu_ticks: 300.0,
                threads: 3.0,
                start_ticks: 12345.0,
                virtual_bytes: 1_048_576.0,
                resident_pages: 256.0
            }
        );
        for broken in ["", "7 (a", "7 (a) S 1 2", &text.replace("250", "many")] {
            assert_eq!(Stat::parse(broken), None);
        }
        assert_eq!(boot_seconds("cpu 1 2\nbtime 1700000000\n"), Some(1.7e9));
    }

    #[test]
    fn this_process_has_used_memory_and_files() {
        let mut registry = registry(Tier::Cluster);
        register_process(&mut registry);
        families(&mut registry, Tier::Cluster, "1.2.3-rc.1");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_open_fds",
            "process_max_fds",
        ] {
            let start = format!("{name}{{tier=\"cluster\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            let value: f64 = line
                .unwrap_or_else(|| panic!("no {name} in {text}"))
                .parse()
                .unwrap();
            assert!(value > 0.0 || name.contains("cpu"), "{name} is {value}");
        }
        let build = r#"tiergate_build_info{tier="cluster",version="1.2.3-rc.1",mode="cluster"} 1"#;
        assert!(text.lines().any(|line| line == build), "{text}");
    }
}
