//! Ends TLS: from the name in the ClientHello to a certificate. Never asks anyone but the snapshot.
//!
//! In: the cell, read once per handshake, so a published certificate serves the next handshake and running connections
//! keep theirs. Out: settings that all workers of a process share, so a session begun at one can be resumed at another.
//! Precedence: the exact name, the wildcard of one label, the default certificate. None: the handshake fails with the
//! alert `access_denied` and is counted. Where a name has several, of different kinds of keys, the client gets the first that it can check.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;

use crate::host::HostName;
use crate::snapshot::SnapshotCell;
use crate::table::{Certificate, Certificates, Table};

/// TLS 1.2 sessions kept for resumption; TLS 1.3 keeps them with the client, in tickets.
const SESSIONS_MAX: usize = 4096;

struct Resolver(Arc<SnapshotCell>);

/// Settings with which every connection is accepted.
pub(crate) fn server_config(cell: Arc<SnapshotCell>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver(cell)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    // A client gets a new one with every handshake that it resumes, and each costs a fifteenth of a handshake.
    config.send_tls13_tickets = 1;
    // Without a ticketer sessions live only in the memory above; that is slower, not wrong.
    if let Ok(ticketer) = ring::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Arc::new(config)
}

/// Whether a handshake failed because there is no certificate to show.
pub(crate) fn is_no_certificate(error: &io::Error) -> bool {
    let error = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::General(text)) if text == "no server certificate chain resolved")
}

/// The certificate for a name; none: for clients that send no name.
pub(crate) fn choose<'c>(
    certificates: &'c Certificates,
    name: Option<&HostName>,
) -> Option<&'c Certificate> {
    let named = name.and_then(|name| {
        let exact = certificates.exact.get(name.as_str());
        exact.or_else(|| certificates.wildcard.get(name.parent()?))
    });
    named.or(certificates.default.as_ref())
}

/// Whether a client that asks for this name by TLS is answered.
pub(crate) fn serves(table: &Table, name: Option<&str>) -> bool {
    let name = name.and_then(|name| HostName::try_from(name).ok());
    choose(table.certificates(), name.as_ref()).is_some()
}

// === impl Resolver ===

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let snapshot = self.0.load_full();
        let name = hello
            .server_name()
            .and_then(|name| HostName::try_from(name).ok());
        let certificates = snapshot.table.certificates();
        let certificate = choose(certificates, name.as_ref())?;
        Some(
            certificate
                .for_client(hello.signature_schemes())
                .key
                .clone(),
        )
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
