use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use tiergate_data_plane::host::HostName;

use super::*;

pub(crate) fn pem(host: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let parameters = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A certificate for one host.
pub(crate) fn certificate(host: &str) -> Certificate {
    let (chain, key) = pem(host, &PKCS_ECDSA_P256_SHA256);
    Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
}

#[test]
fn a_chain_is_known_by_its_fingerprint() {
    let (leaf, key) = pem("a.example", &PKCS_ED25519);
    let (other, _) = pem("a.example", &PKCS_ED25519);
    let read = |chain: &str| Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(read(&leaf), read(&format!("text before\n{leaf}")));
    assert_ne!(
        read(&leaf),
        read(&format!("{leaf}{other}")),
        "the chain counts"
    );
}

#[test]
fn a_certificate_covers_the_hosts_that_it_names() {
    let exact = |name: &str| HostPattern::Exact(HostName::try_from(name).unwrap());
    let wildcard = |name: &str| HostPattern::Wildcard(HostName::try_from(name).unwrap());
    let wild = certificate("*.example.com");
    for (host, covered) in [
        (exact("a.example.com"), true),
        (exact("example.com"), false),
        (exact("a.b.example.com"), false),
        (wildcard("example.com"), true),
        (wildcard("b.example.com"), false),
        (HostPattern::Any, false),
    ] {
        assert_eq!(wild.covers(&host), covered, "{host}");
    }
    let one = certificate("a.example.com");
    assert!(one.covers(&exact("a.example.com")));
    assert!(!one.covers(&wildcard("example.com")));
}

#[test]
fn what_cannot_be_used_is_refused_with_the_entry_that_is_wrong() {
    let (chain, key) = pem("a.example", &PKCS_ECDSA_P256_SHA256);
    let (_, other_key) = pem("a.example", &PKCS_ECDSA_P256_SHA256);
    let long = chain.repeat(CHAIN_MAX + 1);
    let cut = &chain[..chain.len() / 2];
    for (chain, key, error) in [
        ("", &*key, InvalidCertificate::NoCertificate),
        (&*key, &*key, InvalidCertificate::NoCertificate),
        (cut, &*key, InvalidCertificate::CertificatePem),
        (&*long, &*key, InvalidCertificate::ChainTooLong),
        (&*chain, "", InvalidCertificate::KeyPem),
        (&*chain, &*chain, InvalidCertificate::KeyPem),
        (&*chain, &*other_key, InvalidCertificate::KeyMismatch),
    ] {
        let result = Certificate::from_pem(chain.as_bytes(), key.as_bytes());
        assert_eq!(result.unwrap_err(), error);
    }
}

#[test]
fn neither_chain_nor_key_is_shown() {
    let shown = format!("{:?}", certificate("a.example"));
    assert!(
        shown.starts_with("Certificate(") && shown.len() < 32,
        "{shown}"
    );
}

#[test]
fn authorities_are_known_by_their_certificates_and_none_is_passed_over() {
    let (one, key) = pem("a.example", &PKCS_ED25519);
    let (other, _) = pem("b.example", &PKCS_ED25519);
    let read = |text: &str| Authorities::from_pem(text.as_bytes());
    assert_eq!(
        read(&one).unwrap(),
        read(&format!("text before\n{one}")).unwrap()
    );
    let both = read(&format!("{one}{other}")).unwrap();
    assert_eq!(both.roots.len(), 2);
    assert_ne!(Ok(both), read(&one));
    let broken = one.replace("-----END", "?-----END");
    let no_certificate = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n";
    for text in [
        "",
        "text",
        &key,
        &broken,
        no_certificate,
        &format!("{one}{no_certificate}"),
        &one.repeat(AUTHORITIES_MAX + 1),
    ] {
        assert_eq!(read(text), Err(InvalidCertificate::Authorities), "{text}");
    }
    assert!(read(&one.repeat(AUTHORITIES_MAX)).is_ok());
}
