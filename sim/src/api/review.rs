//! Questions that are answered and not stored: who am I, whose token is this, may I.
//!
//! In: a review object. Out: the same with a status. RBAC is not enforced here, so whoever may ask may do everything.

use serde_json::{Value, json};

use super::call::{Answer, Call, User};
use super::state::Shared;
use super::status::Failure;
use super::validate::Cause;
use super::{body, token};

/// POST on a review.
pub(crate) fn answer(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let resource = call.resource();
    let mut review = body::object(call, &mut Vec::new())?;
    if !review["metadata"].is_object() {
        review["metadata"] = json!({});
    }
    match resource.kind.as_str() {
        "SelfSubjectReview" => {
            review["metadata"]["creationTimestamp"] = json!(shared.clock.seconds());
            review["status"] = json!({"userInfo": shown(&call.user)});
        }
        "TokenReview" => {
            let sent = review["spec"]["token"].as_str().unwrap_or_default();
            review["status"] = match token::user_of(shared, sent) {
                Some(user) => {
                    json!({"authenticated": true, "user": shown(&user), "audiences": [token::ISSUER]})
                }
                None => json!({"user": {}, "error": "[invalid bearer token, token lookup failed]"}),
            };
        }
        "SelfSubjectRulesReview" => {
            review["status"] = json!({
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                "incomplete": false,
            });
        }
        _ => {
            check_attributes(&review)?;
            review["status"] = json!({"allowed": true});
        }
    }
    Ok(Answer::value(201, review))
}

fn check_attributes(review: &Value) -> Result<(), Failure> {
    let has = |field: &str| review["spec"].get(field).is_some_and(Value::is_object);
    if has("resourceAttributes") != has("nonResourceAttributes") {
        return Ok(());
    }
    let cause = Cause {
        reason: "FieldValueInvalid",
        message: "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
            .to_owned(),
        field: "spec.resourceAttributes".to_owned(),
    };
    Err(Failure::invalid_kind(
        "authorization.k8s.io",
        "",
        "",
        &[cause],
    ))
}

fn shown(user: &User) -> Value {
    let mut shown = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        shown["uid"] = json!(user.uid);
    }
    shown
}
