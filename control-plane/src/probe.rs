//! Asks one URL once, and says in one sentence when the answer is not the wanted one.
//!
//! In: a [`Probe`], as the command line tells it. Out: the status, or a [`Failure`]. For the probes of a pod whose image has no
//! shell, by the admin port's Unix socket or over the network, and for checks of an installation. It follows no redirect and tries
//! nothing twice: whoever runs it does.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tiergate_data_plane::net::Net;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

mod tls;

pub use tls::Trust;

/// What is asked, where, and which answer is good.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What is asked; a path alone when there is a socket.
    pub url: Uri,
    /// Unix socket to ask instead of the host of the URL.
    pub socket: Option<PathBuf>,
    /// Name for `Host` and SNI instead of the URL's.
    pub host: Option<String>,
    /// Which answer is good.
    pub wanted: Wanted,
    /// For the name, the connection, the handshake and the answer together.
    pub timeout: Duration,
    /// Whose certificates are good.
    pub trust: Trust,
}

/// The statuses that are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted(RangeInclusive<u16>);

/// Why the answer is not good.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no connection.
    #[error("{asked}: cannot connect to {to}: {source}")]
    Connect {
        /// What was asked.
        asked: String,
        /// The address, or that it is the socket.
        to: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The name means nothing.
    #[error("{asked}: cannot find the address of {host}: {source}")]
    Resolve {
        /// What was asked.
        asked: String,
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// TLS failed.
    #[error("{asked}: {source}")]
    Tls {
        /// What was asked.
        asked: String,
        /// Why.
        source: tls::Error,
    },
    /// No answer came.
    #[error("{asked}: no answer: {source}")]
    Http {
        /// What was asked.
        asked: String,
        /// Why.
        source: hyper::Error,
    },
    /// It took too long.
    #[error("{asked}: no answer within {timeout:?}")]
    Late {
        /// What was asked.
        asked: String,
        /// The limit.
        timeout: Duration,
    },
    /// An answer, but another one.
    #[error("{asked}: answers {status}, not {wanted}{}", quoted(text))]
    Other {
        /// What was asked.
        asked: String,
        /// What came.
        status: StatusCode,
        /// What was wanted.
        wanted: Wanted,
        /// How the body begins.
        text: String,
    },
}

/// Bytes of a wrong answer that are shown.
const SHOWN_BYTES_MAX: usize = 1000;
/// How long they may take.
const SHOWN_TIMEOUT: Duration = Duration::from_millis(500);

// === impl Probe ===

impl Probe {
    /// Asks.
    ///
    /// # Errors
    /// When no answer comes in time, or one with another status.
    pub async fn ask<N: Net>(&self, net: &N) -> Result<StatusCode, Failure> {
        let asking = self.ask_patiently(net);
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(asked) => asked,
            Err(_) => Err(Failure::Late {
                asked: self.asked(),
                timeout: self.timeout,
            }),
        }
    }

    /// The URL, and the socket if there is one.
    #[must_use]
    pub fn asked(&self) -> String {
        match &self.socket {
            Some(socket) => format!("{} at {}", self.url, socket.display()),
            None => self.url.to_string(),
        }
    }

    async fn ask_patiently<N: Net>(&self, net: &N) -> Result<StatusCode, Failure> {
        match &self.socket {
            Some(socket) => self.speak(self.connect_socket(socket).await?).await,
            None => self.speak(self.connect(net).await?).await,
        }
    }

    async fn connect_socket(&self, socket: &Path) -> Result<UnixStream, Failure> {
        UnixStream::connect(socket)
            .await
            .map_err(|source| Failure::Connect {
                asked: self.asked(),
                to: "the socket".to_owned(),
                source,
            })
    }

    /// A connection to the first address that takes one.
    async fn connect<N: Net>(&self, net: &N) -> Result<N::Stream, Failure> {
        let host = self.url.host().unwrap_or_default();
        let port = if self.is_tls() { 443 } else { 80 };
        let port = self.url.port_u16().unwrap_or(port);
        let unknown = |source| Failure::Resolve {
            asked: self.asked(),
            host: host.to_owned(),
            source,
        };
        let addresses = match bare(host).parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => net.resolve(host, port).await.map_err(unknown)?,
        };
        let mut failure = unknown(io::Error::other("it has none"));
        for address in addresses {
            match net.connect(address, None).await {
                Ok(stream) => return Ok(stream),
                Err(source) => {
                    failure = Failure::Connect {
                        asked: self.asked(),
                        to: address.to_string(),
                        source,
                    };
                }
            }
        }
        Err(failure)
    }

    async fn speak<S>(&self, stream: S) -> Result<StatusCode, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        if !self.is_tls() {
            return self.exchange(stream).await;
        }
        let name = self.host.as_deref().or(self.url.host());
        let handshake = tls::handshake(&self.trust, bare(name.unwrap_or_default()), stream);
        let stream = handshake.await.map_err(|source| Failure::Tls {
            asked: self.asked(),
            source,
        })?;
        self.exchange(stream).await
    }

    async fn exchange<S>(&self, stream: S) -> Result<StatusCode, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |source| Failure::Http {
            asked: self.asked(),
            source,
        };
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let answer = async {
            let response = sender.send_request(self.request()).await.map_err(failed)?;
            self.judge(response).await
        };
        tokio::pin!(connection, answer);
        tokio::select! {
            biased;
            judged = &mut answer => judged,
            // A connection that has ended holds what has been read.
            _ = &mut connection => answer.await,
        }
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.url.authority().map(|authority| authority.as_str());
        let host = self.host.as_deref().or(authority).unwrap_or("localhost");
        Request::get(path)
            .header(HOST, host)
            .header(USER_AGENT, "tiergate-probe")
            .header(CONNECTION, "close")
            .body(Empty::new())
            .expect("the command line takes only what can stand in a request")
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<StatusCode, Failure> {
        let status = response.status();
        if self.wanted.0.contains(&status.as_u16()) {
            return Ok(status);
        }
        let mut body = response.into_body();
        let mut begin = Vec::new();
        // What it answers matters more than the text, for which there may be no time.
        let read = async {
            while begin.len() < SHOWN_BYTES_MAX
                && let Some(Ok(frame)) = body.frame().await
            {
                begin.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            }
        };
        let _ = tokio::time::timeout(SHOWN_TIMEOUT.min(self.timeout / 2), read).await;
        begin.truncate(SHOWN_BYTES_MAX);
        Err(Failure::Other {
            asked: self.asked(),
            status,
            wanted: self.wanted.clone(),
            text: String::from_utf8_lossy(&begin).into_owned(),
        })
    }

    fn is_tls(&self) -> bool {
        self.url.scheme_str() == Some("https")
    }
}

/// An address literal without its brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The text as the end of a sentence, on one line.
fn quoted(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    if words.is_empty() {
        return String::new();
    }
    format!(": {:?}", words.join(" "))
}

// === impl Wanted ===

impl Default for Wanted {
    fn default() -> Self {
        Self(200..=299)
    }
}

impl FromStr for Wanted {
    type Err = &'static str;

    /// Takes `404` or `200-299`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write a status such as 200, or a range such as 200-399";
        let status = |text: &str| match text.parse::<u16>() {
            Ok(status @ 100..=999) => Ok(status),
            Ok(_) | Err(_) => Err(FORM),
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = status(first)?..=status(last)?;
        if range.is_empty() {
            return Err(FORM);
        }
        Ok(Self(range))
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        write!(f, "{first}")?;
        if first != last {
            write!(f, " to {last}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
