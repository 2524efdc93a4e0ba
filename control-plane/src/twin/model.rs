//! The twin of a [`Translation`]. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{BackendTwin, CertificateTwin, ConditionTwin, PathPolicyTwin, PolicyTwin, VERSION};
use crate::model::{RouteKey, RouteTarget, TenantModel};
use crate::translate::Translation;

/// A model with its conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelTwin {
    version: u32,
    tenants: BTreeMap<String, TenantTwin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_backend: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_certificate: Option<CertificateTwin>,
    conditions: Vec<ConditionTwin>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TenantTwin {
    hosts: Vec<String>,
    routes: Vec<RouteTwin>,
    backends: BTreeMap<String, BackendTwin>,
    /// By Ingress.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    policies: BTreeMap<String, PolicyTwin>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    certificates: BTreeMap<String, CertificateTwin>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteTwin {
    host: String,
    path: String,
    ingress: String,
    backend: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    of_path: Option<PathPolicyTwin>,
}

// === impl ModelTwin ===

impl From<&Translation> for ModelTwin {
    fn from(translation: &Translation) -> Self {
        let model = &translation.model;
        Self {
            version: VERSION,
            tenants: model
                .tenants
                .iter()
                .map(|(tenant, of_tenant)| (tenant.to_string(), TenantTwin::from(of_tenant)))
                .collect(),
            default_backend: model
                .default_backend
                .as_ref()
                .map(|(name, _)| name.to_string()),
            default_certificate: model.default_certificate.as_ref().map(Into::into),
            conditions: super::conditions(&translation.conditions),
        }
    }
}

// === impl TenantTwin ===

impl From<&TenantModel> for TenantTwin {
    fn from(model: &TenantModel) -> Self {
        Self {
            hosts: model.hosts.iter().map(ToString::to_string).collect(),
            routes: model.routes.iter().map(RouteTwin::from).collect(),
            backends: model
                .backends
                .iter()
                .map(|(name, backend)| {
                    let endpoints = backend.endpoints.as_slice();
                    (
                        name.to_string(),
                        BackendTwin::new(backend.protocol, endpoints),
                    )
                })
                .collect(),
            policies: model
                .policies
                .iter()
                .map(|(ingress, policy)| (ingress.to_string(), PolicyTwin::from(&**policy)))
                .collect(),
            certificates: model
                .certificates
                .iter()
                .map(|(host, certificate)| (host.to_string(), certificate.into()))
                .collect(),
        }
    }
}

// === impl RouteTwin ===

impl From<(&RouteKey, &RouteTarget)> for RouteTwin {
    fn from((key, target): (&RouteKey, &RouteTarget)) -> Self {
        Self {
            host: key.host.to_string(),
            path: key
                .path
                .as_ref()
                .map_or_else(|| "default".to_owned(), ToString::to_string),
            ingress: target.ingress.to_string(),
            backend: target.backend.to_string(),
            of_path: PathPolicyTwin::of(&target.of_path),
        }
    }
}
