//! ServiceAccount tokens of a pod: asked for when they are needed, and again after 80 % of their life.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest as Request, TokenRequestSpec,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use tokio::time::Instant;

use super::Cause;
use super::payload::TokenRequest;
use crate::clock::wall_now;
use crate::kubelet::context::Context;

/// The tokens that a pod has.
#[derive(Debug, Default)]
pub(super) struct Tokens(BTreeMap<TokenRequest, Token>);

#[derive(Debug)]
struct Token {
    text: String,
    renew_at: Instant,
}

// === impl Tokens ===

impl Tokens {
    /// A token that lives for some time still.
    pub(super) async fn get<N>(
        &mut self,
        context: &Context<N>,
        request: &TokenRequest,
        now: Instant,
    ) -> Result<String, Cause> {
        if let Some(token) = self.0.get(request).filter(|token| now < token.renew_at) {
            return Ok(token.text.clone());
        }
        let asked = Request {
            spec: Some(TokenRequestSpec {
                audiences: request.audience.clone().map(|audience| vec![audience]),
                expiration_seconds: Some(request.lifetime_seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(context.name().to_owned()),
                    uid: Some(context.uid().to_owned()),
                }),
                ..TokenRequestSpec::default()
            }),
            ..Request::default()
        };
        let spec = context.pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.as_deref());
        let account = account.filter(|name| !name.is_empty()).unwrap_or("default");
        let accounts: Api<ServiceAccount> =
            Api::namespaced(context.client.clone(), context.namespace());
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &asked)
            .await
            .map_err(|error| Cause::Token(error.to_string()))?;
        let given = answer.status.and_then(|status| {
            let expires = status.expiration_timestamp?.0;
            Some((status.token?, expires))
        });
        let Some((text, expires)) = given else {
            return Err(Cause::Token("the API server gave none".to_owned()));
        };
        let token = Token {
            text: text.clone(),
            renew_at: now + renewal_delay(expires, wall_now()),
        };
        self.0.insert(request.clone(), token);
        Ok(text)
    }
}

fn renewal_delay(expires: Timestamp, now: Timestamp) -> Duration {
    let left = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    left.mul_f64(0.8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_well_before_it_ends() {
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        for (left_s, delay_s) in [(3600, 2880), (600, 480), (-5, 0)] {
            let expires = Timestamp::from_second(1_767_225_600 + left_s).unwrap();
            let delay = Duration::from_secs(delay_s);
            assert_eq!(renewal_delay(expires, now), delay, "{left_s}");
        }
    }
}
