//! Writes what an Ingress tells of itself, by server-side apply.
//!
//! In: what it shall say. Out: one request to its `status`, which owns nothing but these fields: what is left out of it is taken
//! away where it was ours, and left alone where it is another's. The annotation goes with it: API servers take metadata there
//! as well, so no right to change Ingresses themselves is needed.

use std::time::Duration;

use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::metrics::WriteResult;
use crate::failure::with_causes;
use crate::objects::ingress::{Address, CONDITIONS_ANNOTATION, Told};
use crate::scope::ObjectName;

/// One request.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What an Ingress shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) name: ObjectName,
    pub(super) told: Told,
    pub(super) addresses: Vec<Address>,
    pub(super) conditions: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: ObjectName,
    pub(super) result: WriteResult,
    pub(super) detail: String,
}

// === impl Write ===

impl Write {
    pub(super) async fn run(self, client: kube::Client, manager: String) -> Written {
        let api: Api<Ingress> = Api::namespaced(client, &self.name.namespace);
        let parameters = PatchParams::apply(&manager).force();
        let document = Patch::Apply(self.document());
        let written = api.patch_status(&self.name.name, &parameters, &document);
        let (result, detail) = outcome(timeout(WRITE_TIMEOUT, written).await);
        Written {
            name: self.name,
            result,
            detail,
        }
    }

    fn document(&self) -> Value {
        let mut metadata = json!({"name": self.name.name, "namespace": self.name.namespace});
        if let Some(uid) = self.told.uid {
            // Not another one that was made in its place meanwhile.
            metadata["uid"] = json!(uid.to_string());
        }
        if let Some(conditions) = &self.conditions {
            metadata["annotations"] = json!({CONDITIONS_ANNOTATION: conditions});
        }
        let mut document = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": metadata,
        });
        if !self.addresses.is_empty() {
            let ingress: Vec<_> = self.addresses.iter().map(address).collect();
            document["status"] = json!({"loadBalancer": {"ingress": ingress}});
        }
        document
    }
}

fn address(address: &Address) -> Value {
    match address {
        Address::Ip(ip) => json!({"ip": ip.to_string()}),
        Address::Name(name) => json!({"hostname": name}),
    }
}

/// What a request that writes came to.
pub(super) fn outcome<T>(
    answer: Result<kube::Result<T>, tokio::time::error::Elapsed>,
) -> (WriteResult, String) {
    match answer {
        Ok(Ok(_)) => (WriteResult::Written, String::new()),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
            (WriteResult::Gone, status.message)
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            (WriteResult::Forbidden, status.message)
        }
        Ok(Err(error)) => (WriteResult::Failed, with_causes(&error)),
        Err(_) => (WriteResult::Failed, "no answer in time".to_owned()),
    }
}
