//! Every setting of both tiers, in the order in which help and reference page show them. Pure.

use super::key::{About, Arity, Default, Place, Tiers, Unfit};

mod addresses;
mod objects;
mod process;
mod request_path;

pub use addresses::*;
pub use objects::*;
pub use process::*;
pub use request_path::{LOAD_BALANCE, ejection, hsts, limits, retries, timeouts};

/// What most settings are; each names what differs.
const ABOUT: About = About {
    name: "",
    tiers: Tiers::Both,
    place: Place::FlagAndFile { explain: false },
    arity: Arity::One,
    placeholder: "",
    form: "",
    example: "",
    default: Default::Nothing(""),
    range: None,
    meaning: "",
};

const EXPLAINED: Place = Place::FlagAndFile { explain: true };
const NOT_YET: Unfit = Unfit::Refused("is not available in this version; leave the setting out");

/// All of them.
pub const ALL: &[&About] = &[
    &CONFIG.about,
    &WATCH_NAMESPACE.about,
    &INGRESS_CLASS.about,
    &WATCH_INGRESS_WITHOUT_CLASS.about,
    &DEFAULT_BACKEND_SERVICE.about,
    &DEFAULT_SSL_CERTIFICATE.about,
    &SSL_REDIRECT.about,
    &SECRET_NAMESPACES.about,
    &SECRET_REFRESH.about,
    &EXTERNAL_NAMES.about,
    &EXTERNAL_NAME_NETWORKS.about,
    &EXTERNAL_NAME_SERVERS.about,
    &HTTP_ADDRESS.about,
    &HTTPS_ADDRESS.about,
    &FREE_BIND.about,
    &ADMIN_ADDRESS.about,
    &ADMIN_SOCKET.about,
    &TRUSTED_PROXIES.about,
    &UPSTREAM_SOURCE_ADDRESS.about,
    &UPSTREAM_FAMILIES.about,
    &VIP_MODE.about,
    &VIP_ADDRESS.about,
    &VIP_INTERFACE.about,
    &PUBLISH_ADDRESS.about,
    &PUBLISH_SERVICE.about,
    &ELECTION_ID.about,
    &STORE.about,
    &KUBECONFIG.about,
    &WORKER_THREADS.about,
    &DRAIN_DELAY.about,
    &DRAIN_TIMEOUT.about,
    &LOG_FORMAT.about,
    &LOG_LEVEL.about,
    &ACCESS_LOG.about,
    &VIA.about,
    &LOAD_BALANCE.about,
    &limits::HEAD_BYTES_MAX.about,
    &limits::HEADERS_MAX.about,
    &limits::BODY_BYTES_MAX.about,
    &limits::CONNECTIONS_MAX.about,
    &limits::STREAMS_MAX.about,
    &limits::UPSTREAM_IDLE_MAX.about,
    &limits::TRIES_MAX.about,
    &timeouts::TLS_HANDSHAKE.about,
    &timeouts::HEAD_READ.about,
    &timeouts::BODY_READ.about,
    &timeouts::DOWNSTREAM_IDLE.about,
    &timeouts::CONNECT.about,
    &timeouts::RESPONSE_HEAD.about,
    &timeouts::RESPONSE_BODY.about,
    &timeouts::UPSTREAM_IDLE.about,
    &hsts::MAX_AGE.about,
    &hsts::INCLUDE_SUBDOMAINS.about,
    &hsts::PRELOAD.about,
    &retries::PERCENT_MAX.about,
    &retries::FLOOR.about,
    &retries::WINDOW.about,
    &ejection::ENABLED.about,
    &ejection::FAILURES.about,
    &ejection::TIME.about,
    &ejection::TIME_MAX.about,
];
