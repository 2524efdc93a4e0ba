//! What a pod process needs to speak to the API server: a folder with its ServiceAccount token and a kubeconfig.
//!
//! In: a pod. Out: `serviceaccount/{token,ca.crt,namespace}` as client libraries know them, and a `kubeconfig` that names
//! them. The token is bound to the pod and is renewed after 80 % of its life.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use serde_json::json;

use super::ApiAccess;
use crate::clock::wall_now;

/// As real kubelets ask: an hour and a little, which the server may shorten.
const TOKEN_LIFETIME_SECONDS: i64 = 3607;

/// Least time between two requests for a token.
const RENEWAL_DELAY_MIN: Duration = Duration::from_secs(10);

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error("error looking up service account {namespace}/{name}: {error}")]
    ServiceAccount {
        namespace: String,
        name: String,
        error: kube::Error,
    },
    #[error("failed to fetch token: {0}")]
    Token(kube::Error),
    #[error("the API server gave no token")]
    NoToken,
    #[error("cannot write the credentials of the pod: {0}")]
    Write(#[from] io::Error),
}

/// The credentials of one pod.
#[derive(Clone)]
pub(super) struct Credentials {
    accounts: Api<ServiceAccount>,
    account: String,
    pod: (String, String),
    folder: PathBuf,
}

// === impl Credentials ===

impl Credentials {
    /// Writes the folder. None: the pod wants no token. Also says when to renew it.
    pub(super) async fn prepare(
        client: kube::Client,
        access: &ApiAccess,
        pod: &Pod,
        folder: &Path,
    ) -> Result<Option<(Self, Duration)>, CredentialsError> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let namespace = text(&pod.metadata.namespace);
        let spec = pod.spec.as_ref();
        let account = spec
            .and_then(|spec| spec.service_account_name.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned());
        let credentials = Self {
            accounts: Api::namespaced(client, &namespace),
            account,
            pod: (text(&pod.metadata.name), text(&pod.metadata.uid)),
            folder: folder.join("serviceaccount"),
        };
        let of_pod = spec.and_then(|spec| spec.automount_service_account_token);
        if !credentials.is_wanted(of_pod, &namespace).await? {
            return Ok(None);
        }
        fs::create_dir_all(&credentials.folder)?;
        fs::write(credentials.folder.join("ca.crt"), &access.ca_pem)?;
        fs::write(credentials.folder.join("namespace"), &namespace)?;
        let renewal_delay = credentials.renew().await?;
        fs::write(
            credentials.kubeconfig(),
            credentials.kubeconfig_text(access, &namespace),
        )?;
        Ok(Some((credentials, renewal_delay)))
    }

    /// Where the kubeconfig is.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.with_file_name("kubeconfig")
    }

    /// Asks for a new token and says when to do that again.
    pub(super) async fn renew(&self) -> Result<Duration, CredentialsError> {
        let (pod_name, pod_uid) = &self.pod;
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_LIFETIME_SECONDS),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(pod_name.clone()),
                    uid: Some(pod_uid.clone()),
                }),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = self
            .accounts
            .create_token_request(&self.account, &PostParams::default(), &request)
            .await
            .map_err(CredentialsError::Token)?;
        let status = answer.status.ok_or(CredentialsError::NoToken)?;
        let (Some(token), Some(expires)) = (status.token, status.expiration_timestamp) else {
            return Err(CredentialsError::NoToken);
        };
        // A reader must never see half a token.
        let next = self.folder.join(".token");
        fs::write(&next, &token)?;
        fs::rename(&next, self.folder.join("token"))?;
        Ok(renewal_delay(expires.0, wall_now()))
    }

    async fn is_wanted(
        &self,
        of_pod: Option<bool>,
        namespace: &str,
    ) -> Result<bool, CredentialsError> {
        if let Some(wanted) = of_pod {
            return Ok(wanted);
        }
        match self.accounts.get(&self.account).await {
            Ok(account) => Ok(account.automount_service_account_token.unwrap_or(true)),
            Err(error) => Err(CredentialsError::ServiceAccount {
                namespace: namespace.to_owned(),
                name: self.account.clone(),
                error,
            }),
        }
    }

    fn kubeconfig_text(&self, access: &ApiAccess, namespace: &str) -> String {
        // JSON is YAML, and needs no thought about quoting.
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": {
                "server": access.server,
                "certificate-authority": self.folder.join("ca.crt"),
            }}],
            "users": [{"name": "pod", "user": {"tokenFile": self.folder.join("token")}}],
            "contexts": [{"name": "pod", "context": {
                "cluster": "cluster", "user": "pod", "namespace": namespace,
            }}],
            "current-context": "pod",
        });
        format!("{kubeconfig:#}\n")
    }
}

fn renewal_delay(expires: Timestamp, now: Timestamp) -> Duration {
    let left = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    left.mul_f64(0.8).max(RENEWAL_DELAY_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_well_before_it_ends() {
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        for (left_s, delay_s) in [(3600, 2880), (60, 48), (5, 10), (-5, 10)] {
            let expires = Timestamp::from_second(1_767_225_600 + left_s).unwrap();
            assert_eq!(
                renewal_delay(expires, now),
                Duration::from_secs(delay_s),
                "{left_s}"
            );
        }
    }
}
