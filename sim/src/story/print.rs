//! The story for a cluster that somebody else runs: `tiergate-sim story | kubectl apply -f -`.
//!
//! In: what the manifests leave open. Out: the manifests, with a new certificate, on standard output. It asks no API server.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::Ipv4Net;

use super::{Certificates, DEFAULT_CERTIFICATE, Values, further_classes, manifests, text};

/// How it is used with `attach`, and how the authority of the certificate is read back, for `--help`.
pub const HINT: &str = "\
The defaults are those of `up`. For nodes of `tiergate-sim attach`, which run the programs of this build as pods of the image \
`tiergate`:
  tiergate-sim story --vip 192.0.2.10 --pod-cidr 10.244.0.0/16 | kubectl apply -f -

Who signed the certificate of the VIP stands in its Secret, in base64:
  kubectl -n kube-system get secret tiergate-default-certificate -o jsonpath='{.data.ca\\.crt}'

Exit codes: 0 printed, 2 usage, 3 arguments that do not fit together, 70 internal fault.";

/// Arguments of `tiergate-sim story`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Without the tenants: a cluster tier for the classes tiergate-cluster and nginx, and nothing else.
    #[arg(long)]
    empty: bool,
    /// The address of the cluster. It has to be local where the cluster tier's pod runs.
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::new(127, 0, 0, 254))]
    vip: Ipv4Addr,
    /// Port of plain HTTP at the VIP.
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    http_port: u16,
    /// Port of HTTPS at the VIP.
    #[arg(long, value_name = "PORT", default_value_t = 8443, value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    https_port: u16,
    /// Addresses of the pods: namespace tiers trust what the cluster tier says from here.
    #[arg(long, value_name = "CIDR", default_value_t = Ipv4Net::new_assert(Ipv4Addr::new(127, 10, 0, 0), 16))]
    pod_cidr: Ipv4Net,
}

/// Why nothing is printed.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// Arguments that do not fit.
    #[error("{0}")]
    Argument(String),
    /// The certificate.
    #[error("cannot make certificates: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Prints the manifests.
///
/// # Errors
/// When the arguments do not fit together or standard output cannot be written.
pub fn print(arguments: &Arguments) -> Result<(), PrintError> {
    let manifests = whole(arguments)?;
    let mut output = io::stdout().lock();
    output.write_all(manifests.as_bytes())?;
    Ok(output.flush()?)
}

/// All manifests as one YAML stream.
fn whole(arguments: &Arguments) -> Result<String, PrintError> {
    let Arguments {
        empty,
        vip,
        http_port,
        https_port,
        pod_cidr,
    } = *arguments;
    if http_port == https_port {
        return Err(PrintError::Argument(format!(
            "--http-port and --https-port are both {http_port}; change one of them"
        )));
    }
    if pod_cidr.contains(&vip) {
        return Err(PrintError::Argument(format!(
            "--vip {vip} lies in --pod-cidr {pod_cidr}; change one of them"
        )));
    }
    let values = Values {
        vip,
        http_port,
        https_port,
        pod_network: pod_cidr.trunc(),
    };
    let certificates = Certificates::new(vip, !empty)?;
    let mut parts = vec![secret(&certificates)];
    for manifest in manifests(!empty) {
        parts.push(text(manifest, &values, further_classes(!empty)));
    }
    let parts: Vec<&str> = parts.iter().map(|part| part.trim_end()).collect();
    Ok(parts.join("\n---\n") + "\n")
}

fn secret(certificates: &Certificates) -> String {
    let encoded = |pem: &str| STANDARD.encode(pem);
    format!(
        "# What the cluster tier shows for every name without a certificate of its own. New at every printing.\n\
         apiVersion: v1\nkind: Secret\nmetadata:\n  name: {DEFAULT_CERTIFICATE}\n  namespace: kube-system\n\
         type: kubernetes.io/tls\ndata:\n  tls.crt: {}\n  tls.key: {}\n  ca.crt: {}\n",
        encoded(&certificates.chain_pem),
        encoded(&certificates.key_pem),
        encoded(&certificates.authority_pem),
    )
}

// === impl PrintError ===

impl PrintError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Argument(_) => 3,
            Self::Certificate(_) | Self::Output(_) => 70,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn printed(line: &str) -> Result<Vec<Value>, PrintError> {
        let words = std::iter::once("story").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).unwrap();
        let text = whole(&line.arguments)?;
        let documents = serde_norway::Deserializer::from_str(&text);
        Ok(documents
            .map(|one| Value::deserialize(one).unwrap())
            .collect())
    }

    #[test]
    fn every_document_is_an_object_and_nothing_is_left_open() {
        for (line, count) in [
            ("", 35),
            ("--empty --vip 192.0.2.10 --pod-cidr 10.244.0.0/16", 9),
        ] {
            let objects = printed(line).unwrap();
            assert_eq!(objects.len(), count, "{line}");
            for object in &objects {
                assert!(object["kind"].is_string(), "{object}");
                assert!(object["metadata"]["name"].is_string(), "{object}");
                assert!(!object.to_string().contains("${"), "{object}");
            }
            let vip = if line.is_empty() {
                "127.0.0.254"
            } else {
                "192.0.2.10"
            };
            let text = Value::from(objects).to_string();
            assert!(
                text.contains(&format!("--http-address={vip}:8080")),
                "{line}"
            );
        }
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused_with_the_cure() {
        for (line, expected) in [
            ("--http-port 8443", "are both 8443; change one of them"),
            (
                "--pod-cidr 127.0.0.0/24",
                "--vip 127.0.0.254 lies in --pod-cidr 127.0.0.0/24",
            ),
        ] {
            let error = printed(line).unwrap_err();
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
