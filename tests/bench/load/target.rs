//! What is asked: an address, a host, a path, and whether by TLS.
//!
//! In: flags or a URL. Out: the bytes of a request, and how to connect.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// Where requests go and what they say.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: String,
    /// How to speak TLS, and the name to ask for.
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Source addresses that [`Target::source`] spreads connections over: each has its own 28,000 ports to one destination.
const SOURCES: usize = 100;

// === impl Target ===

impl Target {
    /// A path of a host that is served at an address, with TLS when `alpn` is given.
    pub(crate) fn new(
        address: SocketAddr,
        host: &str,
        path: &str,
        alpn: Option<&[u8]>,
    ) -> anyhow::Result<Self> {
        if !path.starts_with('/') || path.contains(char::is_whitespace) {
            bail!("the path {path:?} is none: write one that starts with / and has no spaces");
        }
        if host.is_empty() || host.contains(char::is_whitespace) {
            bail!("the host {host:?} is none: write a name without spaces");
        }
        let tls = match alpn {
            Some(protocol) => {
                let name = host.split(':').next().unwrap_or_default().to_owned();
                let name = ServerName::try_from(name)
                    .with_context(|| format!("{host:?} is no name to ask for by TLS"))?;
                Some((client_config(protocol)?, name))
            }
            None => None,
        };
        Ok(Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
            tls,
        })
    }

    /// What a URL names. `host` stands in Host and is the name asked for by TLS, when it is not to be the one of the URL.
    pub(crate) fn of_url(url: &str, host: Option<&str>) -> anyhow::Result<Self> {
        let uri: http::Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            other => bail!("the URL begins with {other:?}: write http:// or https://"),
        };
        let authority = uri.authority().context("the URL names no host")?;
        let behind = authority.as_str().strip_prefix(authority.host());
        let port = match behind.map(|rest| rest.trim_start_matches(':')) {
            Some("") if is_tls => 443,
            Some("") => 80,
            port => port
                .unwrap_or_default()
                .parse()
                .with_context(|| format!("{authority} is no host and port, and nothing else"))?,
        };
        let address = (authority.host().trim_matches(['[', ']']), port)
            .to_socket_addrs()
            .with_context(|| format!("{} has no address", authority.host()))?
            .next()
            .with_context(|| format!("{} has no address", authority.host()))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = host.unwrap_or(authority.as_str());
        Self::new(address, host, path, is_tls.then_some(b"http/1.1"))
    }

    /// The bytes of a GET.
    pub(crate) fn request(&self) -> Vec<u8> {
        let Self { host, path, .. } = self;
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
    }

    /// The address that the connection with this number comes from: the ports of one are too few for ten thousands of
    /// connections. On other networks than loopback the kernel chooses.
    pub(crate) fn source(&self, number: usize) -> Option<IpAddr> {
        let last = u8::try_from(number % SOURCES).unwrap_or_default();
        let is_loopback = self.address.is_ipv4() && self.address.ip().is_loopback();
        is_loopback.then(|| Ipv4Addr::new(127, 0, 0, 1 + last).into())
    }
}

/// TLS 1.3 without resumption: each connection costs the server a full handshake.
fn client_config(protocol: &[u8]) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

/// Takes any certificate and any signature. The load is on the server: what the client checks would only slow it down, and the
/// certificates of the tests are nobody's. That the right ones are shown is for other tests.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

// === impl AnyCertificate ===

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to_go_and_what_to_ask() {
        for (url, host, address, named, path, is_tls) in [
            (
                "http://127.0.0.1:8080",
                None,
                "127.0.0.1:8080",
                "127.0.0.1:8080",
                "/",
                false,
            ),
            (
                "https://127.0.0.1/a?b=c",
                Some("h0.example.test"),
                "127.0.0.1:443",
                "h0.example.test",
                "/a?b=c",
                true,
            ),
            (
                "http://[::1]:81/x",
                Some("a.example"),
                "[::1]:81",
                "a.example",
                "/x",
                false,
            ),
        ] {
            let target = Target::of_url(url, host).unwrap();
            assert_eq!(target.address.to_string(), address, "{url}");
            assert_eq!((&*target.host, &*target.path), (named, path), "{url}");
            assert_eq!(target.tls.is_some(), is_tls, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_or_no_host_is_refused_with_a_sentence() {
        for (url, host, words) in [
            ("127.0.0.1:80", None, "http://"),
            ("ftp://127.0.0.1/", None, "http://"),
            ("http://127.0.0.1/", Some("a b"), "without spaces"),
            ("http://127.0.0.1:99999/", None, "no host and port"),
            ("http://somebody@127.0.0.1/", None, "nothing else"),
            ("https://127.0.0.1/", Some("-"), "no name"),
        ] {
            let Err(error) = Target::of_url(url, host) else {
                panic!("{url} was taken");
            };
            assert!(format!("{error:#}").contains(words), "{url}: {error:#}");
        }
    }

    #[test]
    fn connections_come_from_many_addresses_on_loopback_only() {
        let target = |address: &str| Target::new(address.parse().unwrap(), "a", "/", None).unwrap();
        let loopback = target("127.0.0.1:80");
        let sources: std::collections::BTreeSet<_> =
            (0..1000).map(|number| loopback.source(number)).collect();
        assert_eq!(sources.len(), SOURCES);
        assert!(
            sources
                .iter()
                .all(|source| source.is_some_and(|ip| ip.is_loopback()))
        );
        assert_eq!(target("192.0.2.1:80").source(7), None);
        assert_eq!(target("[::1]:80").source(7), None);
    }
}
