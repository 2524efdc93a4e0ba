//! Where a request goes, by the code that serves, and why no other rule has it. Pure.

use http::Uri;
use serde::Serialize;
use tiergate_data_plane::error::ProxyError;
use tiergate_data_plane::lookup;
use tiergate_data_plane::table::{Met, Policy, Table};

use super::others::{Other, Others};

/// What becomes of a request.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    url: String,
    /// The Secret of the certificate that the client sees, for `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress: Option<String>,
    /// Path and host of the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// The regular expression that the path of the rule is.
    #[serde(skip_serializing_if = "Option::is_none")]
    expression: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<String>,
    /// What the endpoint is asked for in place of the URL's path and query.
    #[serde(skip_serializing_if = "Option::is_none")]
    rewritten: Option<String>,
    /// Our own answer, when the request goes nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    /// The rules that could have had it as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<Other>,
}

/// What becomes of a request to this URL.
pub(super) fn answer(table: &Table, others: &Others<'_>, url: &str) -> Answer {
    let mut answer = Answer {
        url: url.to_owned(),
        ..Answer::default()
    };
    let uri = match url.parse::<Uri>() {
        Ok(uri) if uri.authority().is_some() && is_served(&uri) => uri,
        Ok(uri) if uri.authority().is_some() => {
            answer.answer = Some("no request: the URL is neither http nor https".to_owned());
            return answer;
        }
        Ok(_) => {
            answer.answer =
                Some("no request: the URL has no host, as in http://HOST/PATH".to_owned());
            return answer;
        }
        Err(error) => {
            answer.answer = Some(format!("no request: {error}"));
            return answer;
        }
    };
    if uri.scheme_str() == Some("https") {
        let certificate = lookup::certificate(table, &uri);
        answer.certificate = Some(certificate.map_or_else(
            || "none: the handshake fails".to_owned(),
            |certificate| certificate.secret.to_string(),
        ));
        if certificate.is_none() {
            return answer;
        }
    }
    let met = lookup::met(table, &uri);
    if let Ok((host, met)) = &met {
        answer.others = others.of(&uri, host, *met);
    }
    match lookup::route(table, &uri) {
        Ok(Some(id)) => {
            let route = table.route(id);
            let backend = table.backend(route.backend);
            answer.ingress = Some(format!("{}/{}", route.owner.tenant, route.owner.ingress))
                .filter(|_| !route.owner.ingress.is_empty());
            if answer.ingress.is_some()
                && let Ok((host, met)) = met
            {
                answer.rule = others.rule(&uri, &host, met);
                if let Met::Expression(expression) = met {
                    answer.expression = Some(expression.text().to_owned());
                }
            }
            answer.backend = Some(backend.name.to_string());
            let endpoints = backend.endpoints.iter();
            answer.endpoints = endpoints.map(|one| one.address.to_string()).collect();
            let policy = route.policy.as_deref().unwrap_or(Policy::NONE);
            if policy.refuses(backend.protocol) {
                answer.answer = Some(own_answer(&ProxyError::RouteClosed));
            } else if let Some(location) = lookup::redirect(table, id, &uri) {
                answer.answer = Some(format!("308 https_redirect: {location}"));
            } else {
                let is_empty = answer.endpoints.is_empty();
                match lookup::rewritten(table, id, &uri) {
                    Err(error) => answer.answer = Some(own_answer(&error)),
                    Ok(_) if is_empty => answer.answer = Some(own_answer(&ProxyError::NoEndpoints)),
                    Ok(rewritten) => answer.rewritten = rewritten,
                }
            }
        }
        Ok(None) => answer.answer = Some(own_answer(&ProxyError::NoRoute)),
        Err(error) => answer.answer = Some(own_answer(&error)),
    }
    answer
}

/// Whether a client can ask a tier for it.
fn is_served(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https"))
}

fn own_answer(error: &ProxyError) -> String {
    format!("{} {}: {error}", error.status().as_u16(), error.reason())
}
