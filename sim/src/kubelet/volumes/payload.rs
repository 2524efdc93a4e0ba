//! What files a volume is made of. Pure.
//!
//! In: the volume, what exists of its sources, what is known of the pod. Out: bytes and mode by path, or why the volume cannot be there.
//! Later sources of a projected volume win.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use super::sources::{Files, Sources};
use crate::kubelet::environment::{ConfigError, Facts, field_value};

/// Mode of a file when nobody says another.
const MODE: i32 = 0o644;

/// Life of a token when nobody says another.
const TOKEN_SECONDS: i64 = 3600;

/// Which kind of object files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
}

/// A ServiceAccount token that a volume holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TokenRequest {
    pub(super) audience: Option<String>,
    pub(super) lifetime_seconds: i64,
}

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
}

/// The files of a volume by their path in it.
pub(super) type Payload = BTreeMap<String, File>;

/// Why a volume cannot be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PayloadError {
    #[error("{kind} {name:?} not found")]
    Missing { kind: &'static str, name: String },
    #[error("{kind} references non-existent {what} key: {key}")]
    MissingKey {
        kind: &'static str,
        what: &'static str,
        key: String,
    },
    #[error("{0:?} is no path inside of the volume")]
    Path(String),
    #[error(transparent)]
    Field(#[from] ConfigError),
    #[error("a resourceFieldRef is not modelled")]
    Resource,
    #[error("a projection of this type is not modelled")]
    Projection,
}

/// One source of a volume, in the one form that all of them have.
enum Part<'a> {
    Object {
        from: (Kind, &'a str),
        items: Option<&'a [KeyToPath]>,
        is_optional: bool,
    },
    Downward(&'a [DownwardAPIVolumeFile]),
    Token(&'a ServiceAccountTokenProjection),
    Unknown,
}

/// Whether the volume is made of files that we write.
pub(super) fn is_of_files(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// The objects that have to be read before [`payload`] can be called.
pub(super) fn needs(volume: &Volume) -> Vec<(Kind, String)> {
    let of_part = |part: Part<'_>| match part {
        Part::Object { from, .. } => Some((from.0, from.1.to_owned())),
        Part::Downward(_) | Part::Token(_) | Part::Unknown => None,
    };
    parts(volume).0.into_iter().filter_map(of_part).collect()
}

/// The tokens that it holds.
pub(super) fn tokens(volume: &Volume) -> Vec<TokenRequest> {
    let of_part = |part: Part<'_>| match part {
        Part::Token(token) => Some(request(token)),
        Part::Downward(_) | Part::Object { .. } | Part::Unknown => None,
    };
    parts(volume).0.into_iter().filter_map(of_part).collect()
}

/// Whether it shows what may change of the pod: labels and annotations.
pub(super) fn follows_pod(volume: &Volume) -> bool {
    let changes = |file: &DownwardAPIVolumeFile| {
        let path = file.field_ref.as_ref().map(|field| &field.field_path);
        path.is_some_and(|path| {
            path.starts_with("metadata.labels") || path.starts_with("metadata.annotations")
        })
    };
    let of_part =
        |part: &Part<'_>| matches!(part, Part::Downward(files) if files.iter().any(changes));
    parts(volume).0.iter().any(of_part)
}

/// The files of a volume.
pub(super) fn payload(
    volume: &Volume,
    sources: &Sources,
    facts: &Facts<'_>,
) -> Result<Payload, PayloadError> {
    let (parts, default_mode) = parts(volume);
    let mut payload = Payload::new();
    for part in parts {
        let mut add = |path: &str, mode: Option<i32>, bytes: Vec<u8>| {
            let mode = u32::try_from(mode.unwrap_or(default_mode)).unwrap_or(0o644) & 0o777;
            let path = checked(path)?;
            payload.insert(path, File { bytes, mode });
            Ok::<_, PayloadError>(())
        };
        match part {
            Part::Object {
                from,
                items,
                is_optional,
            } => {
                let found = sources.objects.get(&(from.0, from.1.to_owned()));
                for (path, mode, bytes) in chosen(from, found, items, is_optional)? {
                    add(path, mode, bytes.clone())?;
                }
            }
            Part::Downward(files) => {
                for file in files {
                    let field = file.field_ref.as_ref().ok_or(PayloadError::Resource)?;
                    let text = downward(&field.field_path, facts)?;
                    add(&file.path, file.mode, text.into_bytes())?;
                }
            }
            Part::Token(token) => {
                let text = sources.tokens.get(&request(token));
                let bytes = text.cloned().unwrap_or_default().into_bytes();
                add(&token.path, None, bytes)?;
            }
            Part::Unknown => return Err(PayloadError::Projection),
        }
    }
    Ok(payload)
}

type Chosen<'a> = Vec<(&'a str, Option<i32>, &'a Vec<u8>)>;

/// All keys of an object, or those that `items` names.
fn chosen<'a>(
    (kind, name): (Kind, &str),
    found: Option<&'a Files>,
    items: Option<&'a [KeyToPath]>,
    is_optional: bool,
) -> Result<Chosen<'a>, PayloadError> {
    let (kind, what) = match kind {
        Kind::ConfigMap => ("configmap", "config"),
        Kind::Secret => ("secret", "secret"),
    };
    let Some(files) = found else {
        if is_optional {
            return Ok(Vec::new());
        }
        let name = name.to_owned();
        return Err(PayloadError::Missing { kind, name });
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = files.iter();
        return Ok(all
            .map(|(key, bytes)| (key.as_str(), None, bytes))
            .collect());
    };
    let mut chosen = Chosen::new();
    for item in items {
        match files.get(&item.key) {
            Some(bytes) => chosen.push((&item.path, item.mode, bytes)),
            None if is_optional => {}
            None => {
                let key = item.key.clone();
                return Err(PayloadError::MissingKey { kind, what, key });
            }
        }
    }
    Ok(chosen)
}

/// The parts of a volume, and the mode of its files.
fn parts(volume: &Volume) -> (Vec<Part<'_>>, i32) {
    if let Some(map) = &volume.config_map {
        let part = Part::Object {
            from: (Kind::ConfigMap, &map.name),
            items: map.items.as_deref(),
            is_optional: map.optional == Some(true),
        };
        return (vec![part], map.default_mode.unwrap_or(MODE));
    }
    if let Some(secret) = &volume.secret {
        let part = Part::Object {
            from: (
                Kind::Secret,
                secret.secret_name.as_deref().unwrap_or_default(),
            ),
            items: secret.items.as_deref(),
            is_optional: secret.optional == Some(true),
        };
        return (vec![part], secret.default_mode.unwrap_or(MODE));
    }
    if let Some(downward) = &volume.downward_api {
        let part = Part::Downward(downward.items.as_deref().unwrap_or_default());
        return (vec![part], downward.default_mode.unwrap_or(MODE));
    }
    if let Some(projected) = &volume.projected {
        let sources = projected.sources.as_deref().unwrap_or_default();
        let parts = sources.iter().map(projection).collect();
        return (parts, projected.default_mode.unwrap_or(MODE));
    }
    (Vec::new(), MODE)
}

fn projection(source: &VolumeProjection) -> Part<'_> {
    if let Some(map) = &source.config_map {
        return Part::Object {
            from: (Kind::ConfigMap, &map.name),
            items: map.items.as_deref(),
            is_optional: map.optional == Some(true),
        };
    }
    if let Some(secret) = &source.secret {
        return Part::Object {
            from: (Kind::Secret, &secret.name),
            items: secret.items.as_deref(),
            is_optional: secret.optional == Some(true),
        };
    }
    if let Some(downward) = &source.downward_api {
        return Part::Downward(downward.items.as_deref().unwrap_or_default());
    }
    match &source.service_account_token {
        Some(token) => Part::Token(token),
        None => Part::Unknown,
    }
}

fn request(token: &ServiceAccountTokenProjection) -> TokenRequest {
    TokenRequest {
        audience: token.audience.clone().filter(|text| !text.is_empty()),
        lifetime_seconds: token.expiration_seconds.unwrap_or(TOKEN_SECONDS),
    }
}

/// A field of the pod; labels and annotations as a whole have a line each.
fn downward(path: &str, facts: &Facts<'_>) -> Result<String, PayloadError> {
    let map = match path {
        "metadata.labels" => &facts.pod.metadata.labels,
        "metadata.annotations" => &facts.pod.metadata.annotations,
        _ => return Ok(field_value(path, facts)?),
    };
    let lines = map.iter().flatten();
    let lines: Vec<String> = lines
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    Ok(lines.join("\n"))
}

/// A path that cannot leave the volume, nor meet the names that the layout itself uses.
fn checked(path: &str) -> Result<String, PayloadError> {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if path.starts_with("..") || !path.split('/').all(is_plain) {
        return Err(PayloadError::Path(path.to_owned()));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests;
