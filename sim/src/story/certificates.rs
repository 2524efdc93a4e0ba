//! The certificate that the cluster tier shows for every name without one of its own, and the authority that signed it.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::HOSTS;

/// A certificate with its key, and who signed it.
pub(crate) struct Certificates {
    /// The authority.
    pub(crate) authority_pem: String,
    /// The certificate.
    pub(crate) chain_pem: String,
    /// Its key.
    pub(crate) key_pem: String,
}

// === impl Certificates ===

impl Certificates {
    /// Makes both anew: for the address, and with `story` for its hosts.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub(crate) fn new(vip: Ipv4Addr, story: bool) -> Result<Self, rcgen::Error> {
        let mut names = vec!["localhost".to_owned(), vip.to_string()];
        if story {
            names.extend(HOSTS.iter().map(|host| (*host).to_owned()));
        }
        sign(&names)
    }
}

fn sign(names: &[String]) -> Result<Certificates, rcgen::Error> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "Tiergate local cluster");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(names.to_vec())?;
    let is_address = |name: &&String| name.parse::<IpAddr>().is_ok();
    let title = names.iter().find(|name| !is_address(name));
    server
        .distinguished_name
        .push(DnType::CommonName, title.map_or("tiergate", String::as_str));
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let certificate = server.signed_by(&key, &issuer)?;
    Ok(Certificates {
        authority_pem: authority_certificate.pem(),
        chain_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}
