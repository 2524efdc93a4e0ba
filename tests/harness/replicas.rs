//! The replicas of a tier, each asked by itself: which of them are ready, as the API server tells it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use crate::api_server::Watch;
use crate::client::{Connection, Request, fetch};
use crate::cluster::{Cluster, is_ready, text};

/// Where the tiers of [`crate::objects`] serve HTTP.
const HTTP_PORT: u16 = 8080;

/// Where they tell of themselves.
const ADMIN_PORT: u16 = 10254;

/// The ready replicas of a tier, as a watch of its pods tells them.
#[derive(Debug, Default)]
pub struct Ready {
    now: Mutex<BTreeMap<String, IpAddr>>,
}

/// Connections to replicas, which are kept.
#[derive(Default)]
pub struct Connections {
    open: BTreeMap<String, Connection>,
}

// === impl Ready ===

impl Ready {
    /// Follows a watch of pods until it ends.
    pub fn follow(&self, watch: Watch) {
        for event in watch {
            let pod = &event["object"];
            let name = text(&pod["metadata"]["name"]);
            let ip = text(&pod["status"]["podIP"]).parse();
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            match ip {
                Ok(ip) if event["type"] != "DELETED" && is_ready(pod) => {
                    now.insert(name, ip);
                }
                _ => {
                    now.remove(&name);
                }
            }
        }
    }

    /// Those that are ready now, by the names of their pods.
    #[must_use]
    pub fn now(&self) -> BTreeMap<String, IpAddr> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }
}

// === impl Connections ===

impl Connections {
    /// A GET at one replica, by its name and address. A connection that it has closed meanwhile is opened anew once.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&mut self, name: &str, ip: IpAddr, host: &str) -> io::Result<u16> {
        let request = Request::get(host, "/");
        if let Some(mut connection) = self.open.remove(name)
            && let Ok(response) = connection.send(&request)
        {
            if !connection.is_done() {
                self.open.insert(name.to_owned(), connection);
            }
            return Ok(response.status);
        }
        let mut connection = Connection::open(SocketAddr::new(ip, HTTP_PORT))?;
        let response = connection.send(&request)?;
        if !connection.is_done() {
            self.open.insert(name.to_owned(), connection);
        }
        Ok(response.status)
    }
}

// === impl Cluster ===

impl Cluster {
    /// The value of a metric of a replica: of the first series that has this label, or of the first at all when it is empty. None when the
    /// replica does not answer or has no such series.
    #[must_use]
    pub fn metric(&self, replica: IpAddr, name: &str, label: &str) -> Option<f64> {
        let admin = SocketAddr::new(replica, ADMIN_PORT);
        let page = fetch(admin, &Request::get("admin", "/metrics")).ok()?;
        let page = page.text();
        let mut values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix('{')?;
            let (labels, value) = rest.rsplit_once("} ")?;
            labels.contains(label).then_some(value)
        });
        values.next()?.parse().ok()
    }
}
