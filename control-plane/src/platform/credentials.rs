//! Shows the API server who we are, and says in a sentence when one side does not accept the other.
//!
//! In: requests on their way to the network. Out: their answers. A token that stands in a file is read again every
//! [`REREAD_INTERVAL`], and at once after a 401, because kubelets replace it long before it ends and an operator may at any
//! time. A file that has gone leaves the last token in use. It does not log and does not try again.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use rustls::CertificateError;
use serde_json::json;
use tokio::time::Instant;
use tower::{BoxError, Service};

/// A token is read again this long after it was read.
const REREAD_INTERVAL: Duration = Duration::from_secs(10);

/// Puts the token into requests, and words into refusals.
#[derive(Clone, Debug)]
pub(super) struct Credentials<S> {
    inner: S,
    server: String,
    authority: Authority,
    token: Option<TokenFile>,
}

/// Who vouches for the certificate of the API server.
#[derive(Clone, Debug)]
enum Authority {
    File(PathBuf),
    Kubeconfig,
    Machine,
}

/// A file with a token, and what was read from it. All clones share what was read.
#[derive(Clone)]
struct TokenFile {
    path: PathBuf,
    read: Arc<Mutex<(HeaderValue, Option<Instant>)>>,
}

/// A certificate of the API server that is not accepted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadCertificate(String);

// === impl Credentials ===

impl<S> Credentials<S> {
    /// Takes the token file out of the configuration, when it is what the requests shall show.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn new(inner: S, config: &mut kube::Config) -> io::Result<Self> {
        let auth = &mut config.auth_info;
        // What kube's own rules prefer to a file stays theirs.
        let is_ours =
            auth.token.is_none() && auth.username.is_none() && auth.auth_provider.is_none();
        let path = auth.token_file.take_if(|_| is_ours);
        let token = path
            .map(|path| TokenFile::open(Path::new(&path)))
            .transpose()?;
        let authority = match (&config.root_cert_file, &config.root_cert) {
            (Some(path), _) => Authority::File(path.clone()),
            (None, Some(_)) => Authority::Kubeconfig,
            (None, None) => Authority::Machine,
        };
        let server = config.cluster_url.to_string();
        Ok(Self {
            inner,
            server: server.trim_end_matches('/').to_owned(),
            authority,
            token,
        })
    }

    fn unauthorized(&self) -> String {
        let server = &self.server;
        match &self.token {
            Some(token) => format!(
                "the API server {server} does not accept the token in {} (401 Unauthorized): it has expired, or it was made for \
                 another cluster; put a new one there, it is read again every {} s",
                token.path.display(),
                REREAD_INTERVAL.as_secs(),
            ),
            None => format!(
                "the API server {server} does not accept the token or the client certificate of the kubeconfig (401 \
                 Unauthorized): it has expired, or it was made for another cluster; replace it and start the tier anew"
            ),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls adds kinds of errors, and each has words of its own"
    )]
    fn certificate(&self, error: &CertificateError) -> String {
        let server = &self.server;
        let authority = &self.authority;
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "the certificate of the API server {server} was not issued by {authority}: put the authority of this cluster \
                 there{}",
                authority.when(),
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
                "the certificate of the API server {server} has expired, or the clock of this machine is wrong: renew it on the \
                 control plane"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "the certificate of the API server does not name the host of {server}: use an address that it names, or \
                     renew it with this one"
                )
            }
            other => format!("the certificate of the API server {server} is not accepted: {other}"),
        }
    }

    /// The answer in place of a 401.
    fn refusal<B>(&self) -> Response<Either<B, Full<Bytes>>> {
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Unauthorized", "code": 401,
            "message": self.unauthorized(),
        });
        let mut response = Response::new(Either::Right(Full::from(status.to_string())));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

impl<S, Q, B> Service<Request<Q>> for Credentials<S>
where
    S: Service<Request<Q>, Response = Response<B>, Error = BoxError> + Clone,
    S::Future: Send + 'static,
    Self: Send + 'static,
    B: 'static,
{
    type Response = Response<Either<B, Full<Bytes>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        if let Some(token) = &self.token {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, token.header(Instant::now()));
        }
        let answer = self.inner.call(request);
        let this = self.clone();
        Box::pin(async move {
            match answer.await {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    if let Some(token) = &this.token {
                        token.expire();
                    }
                    Ok(this.refusal())
                }
                Ok(response) => Ok(response.map(Either::Left)),
                Err(error) => Err(match certificate_error(error.as_ref()) {
                    Some(trouble) => BadCertificate(this.certificate(trouble)).into(),
                    None => error,
                }),
            }
        })
    }
}

/// What TLS has against the certificate, somewhere among the causes of an error.
fn certificate_error<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(found)) = error.downcast_ref() {
            return Some(found);
        }
        // An error of I/O passes over the one that it wraps.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

// === impl Authority ===

impl Authority {
    fn when(&self) -> &'static str {
        match self {
            Self::File(_) => "; the file is read again every minute",
            Self::Kubeconfig | Self::Machine => " and start the tier anew",
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "an authority in {}", path.display()),
            Self::Kubeconfig => f.write_str("the certificate-authority of the kubeconfig"),
            Self::Machine => {
                f.write_str("an authority that this machine knows, and the kubeconfig names none")
            }
        }
    }
}

// === impl TokenFile ===

impl TokenFile {
    fn open(path: &Path) -> io::Result<Self> {
        let header = read(path).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the token file {}: {error}", path.display()),
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            read: Arc::new(Mutex::new((header, None))),
        })
    }

    fn header(&self, now: Instant) -> HeaderValue {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = read.1.is_none_or(|at| now - at >= REREAD_INTERVAL);
        if is_old {
            if let Ok(header) = self::read(&self.path) {
                read.0 = header;
            }
            read.1 = Some(now);
        }
        read.0.clone()
    }

    fn expire(&self) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
    }
}

/// Shows no token.
impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenFile").field(&self.path).finish()
    }
}

fn read(path: &Path) -> io::Result<HeaderValue> {
    let token = std::fs::read_to_string(path)?;
    let token = token.trim();
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    if token.is_empty() {
        return Err(invalid("it is empty"));
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| invalid("it holds no token"))?;
    header.set_sensitive(true);
    Ok(header)
}
