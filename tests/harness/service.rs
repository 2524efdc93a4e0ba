//! The addresses of a Service as its clients see them: who answers there, and who shares the load.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::client::{Request, Response, fetch};
use crate::wait;

/// Requests that show whether a load is shared by as many pods as these tests have.
const REQUESTS_SHARED: usize = 60;

/// Waits until an address answers with 200, and returns the answer.
///
/// # Panics
/// When it does not in time.
pub fn until_answered(at: (Ipv4Addr, u16), host: &str, path: &str) -> Response {
    let what = format!("{}:{} answers {host}{path}", at.0, at.1);
    wait::until(&what, wait::CHANGE_SECONDS, || {
        let request = Request::get(host, path);
        let response = fetch(at.into(), &request).map_err(|error| error.to_string())?;
        let seen = format!("{} {}", response.status, response.text());
        wait::seen(response.status == 200, seen).map(|()| response)
    })
}

/// Waits until nobody takes connections there.
///
/// # Panics
/// When somebody goes on.
pub fn until_refused(at: (Ipv4Addr, u16)) {
    let what = format!("{}:{} refuses", at.0, at.1);
    wait::until(&what, wait::CHANGE_SECONDS, || {
        match fetch(at.into(), &Request::get("a", "/")) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// The pods that share the requests to an address.
///
/// # Panics
/// When it does not answer in time.
#[must_use]
pub fn sharing(at: (Ipv4Addr, u16), path: &str) -> BTreeSet<String> {
    (0..REQUESTS_SHARED)
        .map(|_| until_answered(at, "any.example", path).echo("pod"))
        .collect()
}

/// Waits until this many pods share them.
///
/// # Panics
/// When they do not in time.
pub fn until_shared_by(at: (Ipv4Addr, u16), path: &str, pods: usize) {
    wait::until("the load is shared", wait::CHANGE_SECONDS, || {
        let pods_seen = sharing(at, path);
        wait::seen(pods_seen.len() == pods, format!("{pods_seen:?}"))
    });
}
