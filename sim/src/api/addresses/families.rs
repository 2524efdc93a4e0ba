//! Families of addresses: the local cluster has IPv4 and nothing else. Pure.
//!
//! In: a Service with its defaults. Out: why a cluster without IPv6 cannot give it what it asks for.

use serde_json::Value;

use crate::api::state::text;
use crate::api::validate::Cause;

/// What the cluster does not have.
pub(super) fn faults(service: &Value) -> Vec<Cause> {
    let spec = &service["spec"];
    let has_selector = spec["selector"]
        .as_object()
        .is_some_and(|labels| !labels.is_empty());
    // Such a Service gets no addresses from the cluster, so it may name any family.
    if text(service, "/spec/type") == "ExternalName" || spec["clusterIP"] == "None" && !has_selector
    {
        return Vec::new();
    }
    let mut causes = Vec::new();
    let mut invalid = |field: String, value: &Value, why: &str| {
        causes.push(Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {why}"),
            field,
        });
    };
    let policy = &spec["ipFamilyPolicy"];
    let count = |field: &str| spec[field].as_array().map_or(0, Vec::len);
    for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if policy == "SingleStack" && count(field) == 2 {
            let why = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            invalid("spec.ipFamilyPolicy".to_owned(), policy, &why);
        }
    }
    if policy == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        invalid("spec.ipFamilyPolicy".to_owned(), policy, why);
    }
    for (index, family) in spec["ipFamilies"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        if family != "IPv4" {
            let field = format!("spec.ipFamilies[{index}]");
            invalid(field, family, "not configured on this cluster");
        }
    }
    causes
}
