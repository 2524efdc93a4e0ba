//! Objects that are wrong, each in its own way, for the test that applies them one by one.

use crate::objects::{ingress, tls_secret};
use crate::tls;

const CLUSTER_CLASS: Option<&str> = Some("tiergate-cluster");

/// Name of the Ingress, what to apply, the status at its host, and the reason that its owner is told.
pub type BadObject = (&'static str, String, u16, &'static str);

fn plain(name: &str, service: &str) -> String {
    ingress(
        name,
        CLUSTER_CLASS,
        &format!("{name}.example.test"),
        service,
    )
}

/// Rules whose backend is not there.
#[must_use]
pub fn bad_backends() -> Vec<BadObject> {
    let port = |name: &str, port: &str| plain(name, "web").replace("number: 80", port);
    let portless = "apiVersion: v1\nkind: Service\nmetadata: {name: portless}\nspec: {clusterIP: None, selector: {app: web}}\n---";
    let resource = plain("resource", "web").replace(
        "service: {name: web, port: {number: 80}}",
        "resource: {apiGroup: example.test, kind: Bucket, name: b}",
    );
    [
        (
            "no-service",
            plain("no-service", "nobody"),
            "ServiceNotFound",
        ),
        (
            "no-port",
            port("no-port", "number: 81"),
            "ServicePortNotFound",
        ),
        (
            "no-name",
            port("no-name", "name: nope"),
            "ServicePortNotFound",
        ),
        (
            "portless",
            portless.to_owned() + &plain("portless", "portless"),
            "ServicePortNotFound",
        ),
        ("resource", resource, "BackendResourceUnsupported"),
    ]
    .map(|(name, yaml, reason)| (name, yaml, 503, reason))
    .into()
}

/// Hosts whose certificate is not to be had: they are served by https, with the default one.
#[must_use]
pub fn bad_secrets() -> Vec<BadObject> {
    let with_tls = |name: &str, secret: &str| {
        let tls = format!("  tls:\n  - {{hosts: [{name}.example.test], secretName: {secret}}}\n");
        plain(name, "web") + &tls
    };
    let (one, two) = (tls::self_signed(&["a"]), tls::self_signed(&["b"]));
    let broken = tls_secret("broken", "no certificate", "no key");
    let mixed = tls_secret("mixed", &one.certificate, &two.key);
    let opaque = tls_secret("opaque", &one.certificate, &one.key);
    let opaque = opaque.replace("type: kubernetes.io/tls", "type: Opaque");
    [
        ("no-secret", String::new(), "nobody", "SecretNotFound"),
        ("wrong-type", opaque + "---", "opaque", "SecretNotFound"),
        ("bad-secret", broken + "---", "broken", "CertificateInvalid"),
        ("bad-key", mixed + "---", "mixed", "CertificateInvalid"),
    ]
    .map(|(name, secret, named, reason)| (name, secret + &with_tls(name, named), 308, reason))
    .into()
}

/// Annotations that make no sense, or that nobody follows.
#[must_use]
pub fn bad_annotations() -> Vec<BadObject> {
    let annotated = |name: &str, annotation: &str, value: &str| {
        let prefix = match annotation.contains('/') {
            true => "",
            false => "nginx.ingress.kubernetes.io/",
        };
        let annotation = format!("{prefix}{annotation}: \"{value}\"");
        let named = format!("  name: {name}\n");
        let with = format!("{named}  annotations:\n    {annotation}\n");
        let plain = ingress(name, CLUSTER_CLASS, &format!("{name}.example.test"), "web");
        plain.replacen(&named, &with, 1)
    };
    let long = "9".repeat(100 * 1024);
    let login = "https://login.example.test/";
    [
        ("guarded", "auth-url", login, 503, "GuardUnsupported"),
        (
            "sealed",
            "backend-protocol",
            "AUTO_HTTP",
            503,
            "GuardUnsupported",
        ),
        (
            "misspelt",
            "proxy-bodysize",
            "8m",
            200,
            "AnnotationUnsupported",
        ),
        (
            "unheard-of",
            "tiergate.dev/unheard-of",
            "please",
            200,
            "AnnotationUnsupported",
        ),
        (
            "sizeless",
            "proxy-body-size",
            "much",
            200,
            "AnnotationInvalid",
        ),
        (
            "endless",
            "proxy-read-timeout",
            &long,
            200,
            "AnnotationInvalid",
        ),
    ]
    .map(|(name, annotation, value, status, reason)| {
        (name, annotated(name, annotation, value), status, reason)
    })
    .into()
}
