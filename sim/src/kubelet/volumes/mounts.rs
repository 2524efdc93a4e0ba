//! Where a container sees the volumes of its pod.
//!
//! In: the container's `volumeMounts`, with its variables for `subPathExpr`. Out: what is bound where. Folders that a `subPath` names
//! are made, as a real kubelet does; nothing else is touched.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume, VolumeMount};

use super::payload::is_of_files;
use crate::kubelet::expand::expand;
use crate::kubelet::launch::Bind;

/// Where client libraries look for the ServiceAccount.
const ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why a volume cannot be seen by a container.
#[derive(Debug, thiserror::Error)]
pub(in crate::kubelet) enum MountError {
    #[error("volumeMounts name the volume {0:?}, which the pod does not have")]
    NoVolume(String),
    #[error("failed to prepare subPath {path:?} of volume {volume:?}: {error}")]
    SubPath {
        volume: String,
        path: String,
        error: io::Error,
    },
    #[error("cannot find the volume {volume:?}: {error}")]
    Volume { volume: String, error: io::Error },
}

/// Everything that the container mounts, parents before children.
pub(in crate::kubelet) fn binds(
    container: &Container,
    spec: &PodSpec,
    volumes: &Path,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<Bind>, MountError> {
    let mut binds = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = volume_of(spec, mount)?;
        let root = source(volume, volumes);
        let root = fs::canonicalize(&root).map_err(|error| MountError::Volume {
            volume: volume.name.clone(),
            error,
        })?;
        let expression = mount.sub_path_expr.as_deref();
        let path = match expression.filter(|text| !text.is_empty()) {
            Some(expression) => expand(expression, variables),
            None => mount.sub_path.clone().unwrap_or_default(),
        };
        let source = below(&root, &path).map_err(|error| MountError::SubPath {
            volume: volume.name.clone(),
            path,
            error,
        })?;
        binds.push(Bind {
            source,
            target: PathBuf::from(&mount.mount_path),
            read_only: mount.read_only == Some(true) || is_of_files(volume),
        });
    }
    binds.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(binds)
}

/// What a container is told instead, when nothing can be mounted: where each of its volumes is.
pub(in crate::kubelet) fn variables(
    container: &Container,
    spec: &PodSpec,
    volumes: &Path,
) -> Vec<(String, PathBuf)> {
    let mounts = container.volume_mounts.iter().flatten();
    let named = mounts.filter_map(|mount| {
        let volume = volume_of(spec, mount).ok()?;
        let name = volume.name.replace('-', "_").to_uppercase();
        Some((format!("SIM_VOLUME_{name}"), source(volume, volumes)))
    });
    named.collect()
}

/// The volume with the token of the container's ServiceAccount.
pub(in crate::kubelet) fn account(
    container: &Container,
    spec: &PodSpec,
    volumes: &Path,
) -> Option<PathBuf> {
    let mut mounts = container.volume_mounts.iter().flatten();
    let mount = mounts.find(|mount| mount.mount_path.trim_end_matches('/') == ACCOUNT_FOLDER)?;
    Some(source(volume_of(spec, mount).ok()?, volumes))
}

fn volume_of<'a>(spec: &'a PodSpec, mount: &VolumeMount) -> Result<&'a Volume, MountError> {
    let mut volumes = spec.volumes.iter().flatten();
    let found = volumes.find(|volume| volume.name == mount.name);
    found.ok_or_else(|| MountError::NoVolume(mount.name.clone()))
}

fn source(volume: &Volume, volumes: &Path) -> PathBuf {
    match &volume.host_path {
        Some(host) => PathBuf::from(&host.path),
        None => volumes.join(&volume.name),
    }
}

/// `path` in the folder `root`, wherever links lead, as long as they stay in it.
fn below(root: &Path, path: &str) -> io::Result<PathBuf> {
    if path.is_empty() {
        return Ok(root.to_owned());
    }
    let wanted = root.join(path);
    if fs::symlink_metadata(&wanted).is_err() {
        // Only what is inside may be made: the part that exists decides.
        let mut existing = wanted.as_path();
        while let Some(parent) = existing
            .parent()
            .filter(|_| fs::metadata(existing).is_err())
        {
            existing = parent;
        }
        inside(root, &fs::canonicalize(existing)?)?;
        fs::create_dir_all(&wanted)?;
    }
    let found = fs::canonicalize(&wanted)?;
    inside(root, &found)?;
    Ok(found)
}

fn inside(root: &Path, found: &Path) -> io::Result<()> {
    if found.starts_with(root) {
        return Ok(());
    }
    let sentence = format!("{} is outside of the volume", found.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(volumes: Value) -> PodSpec {
        serde_json::from_value(json!({"containers": [], "volumes": volumes})).unwrap()
    }

    fn container(mounts: Value) -> Container {
        serde_json::from_value(json!({"name": "c", "volumeMounts": mounts})).unwrap()
    }

    #[test]
    fn volumes_have_their_places_and_sub_paths_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let volumes = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(volumes.join("data/in")).unwrap();
        fs::create_dir(volumes.join("settings")).unwrap();
        std::os::unix::fs::symlink("/etc", volumes.join("data/out")).unwrap();
        let spec = spec(json!([
            {"name": "data", "emptyDir": {}},
            {"name": "settings", "configMap": {"name": "s"}},
        ]));
        let variables = BTreeMap::from([("NAME".to_owned(), "web-1".to_owned())]);
        let binds = |mount: Value| {
            binds(&container(json!([mount])), &spec, &volumes, &variables)
                .map(|binds| {
                    let source = binds[0].source.strip_prefix(&volumes).unwrap().to_owned();
                    format!("{} {}", source.display(), binds[0].read_only)
                })
                .unwrap_or_else(|error| error.to_string())
        };
        for (mount, expected) in [
            (json!({"name": "data", "mountPath": "/d"}), "data false"),
            (
                json!({"name": "data", "mountPath": "/d", "readOnly": true}),
                "data true",
            ),
            (
                json!({"name": "settings", "mountPath": "/s"}),
                "settings true",
            ),
            (
                json!({"name": "data", "mountPath": "/d", "subPath": "in"}),
                "data/in false",
            ),
            (
                json!({"name": "data", "mountPath": "/d", "subPath": "new/er"}),
                "data/new/er false",
            ),
            (
                json!({"name": "data", "mountPath": "/d", "subPathExpr": "$(NAME)"}),
                "data/web-1 false",
            ),
            (
                json!({"name": "data", "mountPath": "/d", "subPath": "out"}),
                "outside of the volume",
            ),
            (
                json!({"name": "data", "mountPath": "/d", "subPath": "out/x"}),
                "outside of the volume",
            ),
            (
                json!({"name": "none", "mountPath": "/d"}),
                "which the pod does not have",
            ),
        ] {
            let found = binds(mount.clone());
            assert!(found.ends_with(expected), "{mount}: {found}");
        }
        assert!(!Path::new("/etc/x").exists());
    }
}
