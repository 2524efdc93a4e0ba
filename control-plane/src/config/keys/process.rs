//! How the process runs, ends and tells about itself. Pure.

use std::path::PathBuf;
use std::time::Duration;

use tiergate_data_plane::access_log;

use super::super::key::{About, Default, Key, Place, Range};
use super::super::value::{self, Threads};
use super::{ABOUT, NOT_YET};
use crate::telemetry::{Filter, Format};

const HOUR: Duration = Duration::from_secs(3600);

/// The file with settings.
pub const CONFIG: Key<PathBuf> = Key {
    about: About {
        name: "config",
        place: Place::Flag,
        placeholder: "FILE",
        form: "a path",
        example: "/etc/tiergate/tiergate.yaml",
        default: Default::Nothing("no file is read"),
        meaning: "YAML file with settings. The environment and flags go before what it says.",
        ..ABOUT
    },
    parse: value::path,
};

/// The kubeconfig.
pub const KUBECONFIG: Key<PathBuf> = Key {
    about: About {
        name: "kubeconfig",
        placeholder: "FILE",
        form: "a path",
        example: "/etc/tiergate/kubeconfig",
        default: Default::Nothing(
            "the file that KUBECONFIG names, ~/.kube/config, or the pod's ServiceAccount",
        ),
        meaning: "How to reach the API server.",
        ..ABOUT
    },
    parse: value::path,
};

/// Where the last good state is kept.
pub const STORE: Key<()> = Key {
    about: About {
        name: "store",
        placeholder: "URL",
        form: "nothing",
        example: "",
        default: Default::Nothing("nothing is kept"),
        meaning: "Where the last good state is kept for a start without the API server. Not available in this version.",
        ..ABOUT
    },
    parse: |_, _| Err(NOT_YET),
};

/// Name of the lease of status writers.
pub const ELECTION_ID: Key<String> = Key {
    about: About {
        name: "election_id",
        placeholder: "LEASE",
        form: "the name of a Lease of at most 63 characters",
        example: "tiergate-leader",
        default: Default::Nothing("the name of the program and of the first class"),
        meaning: "Lease by which the replicas of a tier agree on who writes statuses and Events, and the field manager of what \
                  is written. Every tier must have its own, and all its replicas the same.",
        ..ABOUT
    },
    parse: value::short_subdomain,
};

/// Threads of the request path.
pub const WORKER_THREADS: Key<Threads> = Key {
    about: About {
        name: "worker_threads",
        placeholder: "NUMBER",
        form: "auto or a number",
        example: "4",
        default: Default::Value("auto"),
        range: Some(Range::Count(1, 1024)),
        meaning: "Threads that serve requests. `auto`: one for each core that the process may use.",
        ..ABOUT
    },
    parse: value::threads,
};

/// How long requests go on while it still takes new ones.
pub const DRAIN_DELAY: Key<Duration> = Key {
    about: About {
        name: "drain_delay",
        place: Place::File,
        form: "a time such as 10s",
        example: "5s",
        default: Default::Value("5s"),
        range: Some(Range::Time(Duration::ZERO, HOUR)),
        meaning: "After SIGTERM: how long /readyz answers 503 while everything is served as before, so that the news can \
                  reach whoever sends requests.",
        ..ABOUT
    },
    parse: value::time,
};

/// How long open requests may take after that.
pub const DRAIN_TIMEOUT: Key<Duration> = Key {
    about: About {
        name: "drain_timeout",
        placeholder: "TIME",
        form: "a time such as 10s",
        example: "20s",
        default: Default::Value("20s"),
        range: Some(Range::Time(Duration::ZERO, HOUR)),
        meaning: "After the drain delay: how long open requests may take to finish. Keep the sum of both, and five seconds, \
                  below the pod's terminationGracePeriodSeconds.",
        ..ABOUT
    },
    parse: value::time,
};

/// How log events are written.
pub const LOG_FORMAT: Key<Format> = Key {
    about: About {
        name: "log_format",
        placeholder: "FORMAT",
        form: "text, json or auto",
        example: "json",
        default: Default::Value("auto"),
        meaning: "How log events are written to standard error. `auto`: text on a terminal, JSON otherwise.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// Which log events are written.
pub const LOG_LEVEL: Key<Filter> = Key {
    about: About {
        name: "log_level",
        placeholder: "LEVEL",
        form: "a level (off, error, warn, info, debug, trace), or levels of modules such as warn,tiergate=debug",
        example: "info",
        default: Default::Value("info"),
        meaning: "Which log events are written. PUT /log-level of the admin port changes it while running.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// Which requests are logged.
pub const ACCESS_LOG: Key<access_log::Level> = Key {
    about: About {
        name: "access_log",
        place: Place::File,
        form: "off, all or sampled:N",
        example: "sampled:100",
        default: Default::Value("off"),
        meaning: "Which requests are logged: none, all, or one in N. PUT /access-log of the admin port changes it while \
                  running.",
        ..ABOUT
    },
    parse: value::from_text,
};
