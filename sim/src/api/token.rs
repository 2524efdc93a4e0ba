//! Tokens: the administrator's, those of the parts of the control plane, and those of service accounts.
//!
//! In: a bearer token. Out: a [`User`]. All but the administrator's are JWTs signed by HMAC-SHA-256 with a key that
//! is derived from the administrator's token. A service account's is good until it expires or its account is gone; one of the
//! control plane says by itself who its user is, as a client certificate does, and stays good.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::call::{Answer, Call, User};
use super::state::{Shared, State, text};
use super::status::Failure;
use super::{body, metadata};
use crate::account::Account;

/// Life of a token whose client named none.
const LIFE_SECONDS: i64 = 3600;

/// The shortest life that the real server grants.
const LIFE_SECONDS_MIN: i64 = 600;

/// The longest life.
const LIFE_SECONDS_MAX: i64 = 1 << 32;

/// Who speaks for the cluster's own name.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The claim that only tokens of the control plane have.
const GROUPS: &str = "groups";

/// Who sends a bearer token; `None` when we did not issue it or it is no longer good.
pub(crate) fn user_of(shared: &Shared, token: &str) -> Option<User> {
    if is_equal(token.as_bytes(), shared.options.admin_token.as_bytes()) {
        return Some(User {
            name: "admin".to_owned(),
            uid: String::new(),
            groups: vec![
                "system:masters".to_owned(),
                "system:authenticated".to_owned(),
            ],
        });
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    if !is_equal(&signature, &sign(shared, signed)) {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    if let Some(groups) = claims[GROUPS].as_array() {
        let groups = groups.iter().filter_map(Value::as_str).map(str::to_owned);
        return Some(User {
            name: claims["sub"].as_str()?.to_owned(),
            uid: String::new(),
            groups: groups.collect(),
        });
    }
    if claims["exp"].as_i64()? <= shared.clock.now().as_second() {
        return None;
    }
    let about = &claims["kubernetes.io"];
    let (namespace, name) = (
        about["namespace"].as_str()?,
        about["serviceaccount"]["name"].as_str()?,
    );
    let uid = about["serviceaccount"]["uid"].as_str()?;
    let account = shared
        .state()
        .object("serviceaccounts", Some(namespace), name)?;
    (text(&account.value, "/metadata/uid") == uid).then(|| account_user(namespace, name, uid))
}

fn account_user(namespace: &str, name: &str, uid: &str) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ],
    }
}

/// The token of a part of the control plane.
pub(crate) fn of_account(shared: &Shared, account: &Account) -> String {
    let mut groups = account.groups().to_vec();
    groups.push("system:authenticated");
    signed(
        shared,
        &json!({"iss": ISSUER, "sub": account.user(), GROUPS: groups}),
    )
}

fn signed(shared: &Shared, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = json!({"alg": "HS256", "typ": "JWT"});
    let signed = format!("{}.{}", encode(&head), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(shared, &signed));
    format!("{signed}.{signature}")
}

/// POST on `serviceaccounts/NAME/token`.
pub(crate) fn issue(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let mut request = if call.body.is_empty() {
        json!({})
    } else {
        body::value(call)?
    };
    let state = shared.state();
    let account = state.find(call)?;
    let seconds = request["spec"]["expirationSeconds"]
        .as_i64()
        .unwrap_or(LIFE_SECONDS);
    check_bound_object(&state, call, &request)?;
    drop(state);
    check_life(seconds)?;
    let audiences = match request["spec"]["audiences"].as_array() {
        Some(list) if !list.is_empty() => json!(list),
        _ => json!([ISSUER]),
    };
    let now = shared.clock.now();
    let expires = now.as_second() + seconds;
    let namespace = call.namespace().unwrap_or_default();
    let mut about = json!({
        "namespace": namespace,
        "serviceaccount": {"name": call.name(), "uid": account.value["metadata"]["uid"]},
    });
    let bound = &request["spec"]["boundObjectRef"];
    if let Some(kind) = bound["kind"].as_str() {
        about[kind.to_lowercase()] = json!({"name": bound["name"], "uid": bound["uid"]});
    }
    let claims = json!({
        "iss": ISSUER, "aud": audiences, "iat": now.as_second(), "nbf": now.as_second(), "exp": expires,
        "sub": format!("system:serviceaccount:{namespace}:{}", call.name()), "kubernetes.io": about,
    });
    let token = signed(shared, &claims);
    let expiry = jiff::Timestamp::from_second(expires).unwrap_or(now);
    request["kind"] = json!("TokenRequest");
    request["apiVersion"] = json!("authentication.k8s.io/v1");
    request["metadata"] = json!({
        "name": metadata::name_of(&account.value), "namespace": namespace,
        "creationTimestamp": shared.clock.seconds(),
    });
    request["spec"]["audiences"] = audiences;
    request["spec"]["expirationSeconds"] = json!(seconds);
    if request["spec"].get("boundObjectRef").is_none() {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    request["status"] =
        json!({"token": token, "expirationTimestamp": super::clock::written(expiry)});
    Ok(Answer::value(201, request))
}

fn check_life(seconds: i64) -> Result<(), Failure> {
    if !(LIFE_SECONDS_MIN..=LIFE_SECONDS_MAX).contains(&seconds) {
        let why = if seconds < LIFE_SECONDS_MIN {
            "may not specify a duration less than 10 minutes"
        } else {
            "may not specify a duration larger than 2^32 seconds"
        };
        let cause = super::validate::Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {seconds}: {why}"),
            field: "spec.expirationSeconds".to_owned(),
        };
        return Err(Failure::invalid_kind(
            "authentication.k8s.io",
            "TokenRequest",
            "",
            &[cause],
        ));
    }
    Ok(())
}

fn check_bound_object(state: &State, call: &Call, request: &Value) -> Result<(), Failure> {
    let bound = &request["spec"]["boundObjectRef"];
    let storage = match bound["kind"].as_str() {
        Some("Pod") => "pods",
        Some("Secret") => "secrets",
        _ => return Ok(()),
    };
    let name = bound["name"].as_str().unwrap_or_default();
    let resource = state
        .registry
        .get("", "v1", storage)
        .ok_or_else(Failure::no_resource)?;
    let found = state
        .object(storage, call.namespace(), name)
        .ok_or_else(|| Failure::not_found(&resource, name))?;
    let known = text(&found.value, "/metadata/uid");
    match bound["uid"].as_str() {
        Some(uid) if !uid.is_empty() && uid != known => {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. \
                The object might have been deleted and then recreated"
            );
            Err(Failure::conflict(&resource, name, &why))
        }
        _ => Ok(()),
    }
}

/// HMAC-SHA-256 (RFC 2104) with a key derived from the administrator's token.
fn sign(shared: &Shared, text: &str) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut key = [0u8; BLOCK];
    key[..32].copy_from_slice(&Sha256::digest(shared.options.admin_token.as_bytes()));
    let pad = |byte: u8| key.map(|one| one ^ byte);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

/// Compares without telling by its duration how far two texts agree.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
