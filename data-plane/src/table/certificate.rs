//! The certificate of a name, and another one for clients that cannot check the first. Pure.
//!
//! In: chains with their keys, each of another kind of key. Out: the one that a client can check; of several the one whose signature costs
//! least. The kind of key is all that tells them apart.

use std::fmt;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

/// A certificate chain with its key, ready to sign.
#[derive(Clone)]
pub struct Certificate {
    /// `namespace/name` of its Secret.
    pub secret: Arc<str>,
    /// Changes whenever chain or key change.
    pub fingerprint: [u8; 32],
    /// What rustls signs with.
    pub key: Arc<CertifiedKey>,
    /// For clients that cannot check a signature of this one's key. Its own comes later in the order of kinds. Made by [`Self::join`].
    pub alternative: Option<Arc<Self>>,
}

/// Kinds of keys, the best first: Ed25519 is what browsers do not know, and RSA signatures cost ten times as much as the others.
const ORDER: [SignatureAlgorithm; 3] = [
    SignatureAlgorithm::ECDSA,
    SignatureAlgorithm::ED25519,
    SignatureAlgorithm::RSA,
];

// === impl Certificate ===

impl Certificate {
    /// This one, and for other clients another one, in the order of their kinds of keys, whichever was there first.
    ///
    /// # Errors
    /// The one that has a key of the same kind already.
    pub fn join(self, other: Self) -> Result<Self, Self> {
        match self.order().cmp(&other.order()) {
            std::cmp::Ordering::Equal => Err(self),
            std::cmp::Ordering::Greater => other.join(self),
            std::cmp::Ordering::Less => {
                let alternative = match &self.alternative {
                    Some(known) => (**known).clone().join(other)?,
                    None => other,
                };
                Ok(Self {
                    alternative: Some(Arc::new(alternative)),
                    ..self
                })
            }
        }
    }

    /// All of them, in their order.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |one| one.alternative.as_deref())
    }

    /// The first whose signature a client with these schemes can check; when it can check none, the first, and the handshake will tell.
    pub(crate) fn for_client(&self, schemes: &[SignatureScheme]) -> &Self {
        if self.alternative.is_none() {
            return self;
        }
        let mut usable = self.all();
        let can_check = |one: &&Self| one.key.key.choose_scheme(schemes).is_some();
        usable.find(can_check).unwrap_or(self)
    }

    fn order(&self) -> usize {
        let kind = self.key.key.algorithm();
        let known = ORDER.iter().position(|known| *known == kind);
        known.unwrap_or(ORDER.len())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        let known = |one: &Self| (Arc::clone(&one.secret), one.fingerprint);
        self.all().map(known).eq(other.all().map(known))
    }
}

/// Shows neither chain nor key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, ", self.secret)?;
        self.fingerprint[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")?;
        if let Some(alternative) = &self.alternative {
            write!(f, ", else {alternative:?}")?;
        }
        f.write_str(")")
    }
}
