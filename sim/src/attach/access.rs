//! The way to the API server: from a kubeconfig to clients for us and access for pods.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tiergate_control_plane::platform;
use tiergate_data_plane::net::TokioNet;

use super::error::{AttachError, with_causes};
use super::settings::Settings;
use crate::kubelet::ApiAccess;

/// Where every cluster publishes who signed its API server's certificate.
const ROOT_CERTIFICATE: &str = "kube-root-ca.crt";

/// An API server, as the kubeconfig describes it.
pub(super) struct Access {
    config: kube::Config,
    file: PathBuf,
    /// A client of ours.
    pub(super) client: kube::Client,
}

// === impl Access ===

impl Access {
    /// Reads the kubeconfig. Nothing is asked yet.
    pub(super) async fn read(settings: &Settings) -> Result<Self, AttachError> {
        let path = &settings.kubeconfig;
        let wrong = |reason: String| AttachError::Kubeconfig {
            path: path.clone(),
            reason,
        };
        let file = Kubeconfig::read_from(path).map_err(|error| wrong(with_causes(&error)))?;
        let options = KubeConfigOptions {
            context: settings.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = kube::Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(|error| wrong(with_causes(&error)))?;
        let client = client_of(&config, "tiergate-sim").map_err(&wrong)?;
        Ok(Self {
            config,
            file: path.clone(),
            client,
        })
    }

    /// The URL of the API server.
    pub(super) fn server(&self) -> String {
        let url = self.config.cluster_url.to_string();
        url.trim_end_matches('/').to_owned()
    }

    /// A client that names itself in the API server's audit log.
    pub(super) fn client_of(&self, name: &str) -> Result<kube::Client, AttachError> {
        client_of(&self.config, name).map_err(|reason| AttachError::Kubeconfig {
            path: self.file.clone(),
            reason,
        })
    }

    /// What pods are told about the API server.
    pub(super) async fn of_pods(&self) -> Result<ApiAccess, AttachError> {
        let is_plain = self.config.cluster_url.scheme_str() == Some("http");
        let ca_pem = match &self.config.root_cert {
            Some(certificates) => certificates.iter().map(|der| pem(der)).collect(),
            None if is_plain => String::new(),
            // The kubeconfig trusts whom the machine trusts, or nobody at all: pods are told what every cluster tells its pods.
            None => self.published_authority().await?,
        };
        Ok(ApiAccess {
            server: self.server(),
            ca_pem,
        })
    }

    async fn published_authority(&self) -> Result<String, AttachError> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "kube-system");
        let published = config_maps.get_opt(ROOT_CERTIFICATE).await?;
        let text = published.and_then(|map| map.data?.remove("ca.crt"));
        text.ok_or_else(|| AttachError::Kubeconfig {
            path: self.file.clone(),
            reason: format!(
                "it names no certificate authority, and the cluster publishes none in kube-system/{ROOT_CERTIFICATE}"
            ),
        })
    }
}

fn client_of(config: &kube::Config, name: &str) -> Result<kube::Client, String> {
    let mut config = config.clone();
    let agent = HeaderValue::from_str(name).map_err(|error| error.to_string())?;
    config.headers.push((header::USER_AGENT, agent));
    platform::kube_client(TokioNet, config).map_err(|error| format!("{error:#}"))
}

/// A certificate as text.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn a_certificate_stays_the_same_as_text() {
        let der: Vec<u8> = (0..=255).collect();
        let text = pem(&der);
        assert!(text.lines().all(|line| line.len() <= 64), "{text}");
        let read = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
        assert_eq!(read.as_ref(), der);
    }
}
