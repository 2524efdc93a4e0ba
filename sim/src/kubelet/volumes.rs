//! The volumes of one pod: laid out in its folder before the containers begin, and kept as the API has them.
//!
//! In: the pod's spec, ConfigMaps, Secrets, tokens. Out: `volumes/NAME` in the pod's folder, as a real kubelet lays them out. Who sees
//! them where is decided in `mounts`; the child process puts them there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{HostPathVolumeSource, Volume};
use tokio::time::Instant;

use super::context::Context;
use super::environment::Facts;

pub(super) mod mounts;
mod payload;
mod sources;
mod token;
mod write;

use payload::{Payload, PayloadError};
use sources::Sources;
use token::Tokens;

/// How often a kubelet looks at the sources of volumes again.
const REFRESH_PERIOD: Duration = Duration::from_secs(60);

/// Why a volume is not there: the message of the event `FailedMount`.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {cause}")]
pub(super) struct VolumeError {
    volume: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("failed to fetch token: {0}")]
    Token(String),
    #[error("hostPath type check failed: {path} is not a {wanted}")]
    HostPath { path: String, wanted: &'static str },
    #[error(
        "a volume of this type is not modelled; use configMap, secret, projected, downwardAPI, emptyDir or hostPath"
    )]
    NotModelled,
    #[error("cannot write the volume: {0}")]
    Write(#[from] io::Error),
}

/// The volumes of a pod.
pub(super) struct Volumes<N> {
    context: Arc<Context<N>>,
    tokens: Tokens,
    /// What lies in the folder of each volume that is made of files.
    written: BTreeMap<String, Payload>,
}

/// Where the volumes of a pod are.
pub(super) fn folder(of_pod: &Path) -> PathBuf {
    of_pod.join("volumes")
}

// === impl Volumes ===

impl<N> Volumes<N> {
    pub(super) fn new(context: Arc<Context<N>>) -> Self {
        Self {
            tokens: Tokens::default(),
            context,
            written: BTreeMap::new(),
        }
    }

    /// Lays out every volume; what is there already is brought up to date.
    pub(super) async fn set_up(&mut self) -> Result<(), VolumeError> {
        let context = Arc::clone(&self.context);
        let spec = context.pod.spec.as_ref();
        let volumes = spec.and_then(|spec| spec.volumes.as_deref());
        for volume in volumes.unwrap_or_default() {
            self.set_up_one(volume).await.map_err(|cause| VolumeError {
                volume: volume.name.clone(),
                cause,
            })?;
        }
        Ok(())
    }

    /// Renews tokens and follows ConfigMaps and Secrets, without end. A source that is gone leaves the files as they are.
    pub(super) async fn keep(mut self) {
        loop {
            tokio::time::sleep(REFRESH_PERIOD).await;
            if let Err(error) = self.set_up().await {
                tracing::warn!(pod = self.context.title(), %error, reason = "volume_refresh", "a volume of a pod stays as it is");
            }
        }
    }

    async fn set_up_one(&mut self, volume: &Volume) -> Result<(), Cause> {
        let folder = folder(&self.context.folder).join(&volume.name);
        if let Some(path) = &volume.host_path {
            return check_host_path(path);
        }
        if volume.empty_dir.is_some() {
            if !folder.is_dir() {
                fs::create_dir_all(&folder)?;
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
            }
            return Ok(());
        }
        if !payload::is_of_files(volume) {
            return Err(Cause::NotModelled);
        }
        let payload = self.payload(volume).await?;
        if self.written.get(&volume.name) != Some(&payload) {
            write::replace(&folder, &payload)?;
            self.written.insert(volume.name.clone(), payload);
        }
        Ok(())
    }

    async fn payload(&mut self, volume: &Volume) -> Result<Payload, Cause> {
        let context = &self.context;
        let mut sources = Sources::read(context, &payload::needs(volume)).await?;
        for request in payload::tokens(volume) {
            let now = Instant::now();
            let token = self.tokens.get(context, &request, now).await?;
            sources.tokens.insert(request, token);
        }
        // The downward API follows the labels and annotations of the pod.
        let newest = if payload::follows_pod(volume) {
            context.pods().get_opt(context.name()).await?
        } else {
            None
        };
        let facts = Facts {
            pod: newest.as_ref().unwrap_or(&context.pod),
            pod_address: context.address.to_string(),
            node_address: context.node_address.to_string(),
            service_links: BTreeMap::new(),
        };
        Ok(payload::payload(volume, &sources, &facts)?)
    }
}

/// As the type of a hostPath wants it: made when it may be, refused when it is something else.
fn check_host_path(source: &HostPathVolumeSource) -> Result<(), Cause> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    match kind {
        "DirectoryOrCreate" => fs::create_dir_all(path)?,
        // What is there is not opened: a pipe would wait for its reader.
        "FileOrCreate" if fs::symlink_metadata(path).is_err() => drop(fs::File::create_new(path)?),
        // Without a type a container runtime makes a folder of what is not there.
        "" if fs::symlink_metadata(path).is_err() => fs::create_dir_all(path)?,
        _ => {}
    }
    let found = fs::metadata(path)?.file_type();
    let (is_right, wanted) = match kind {
        "Directory" | "DirectoryOrCreate" => (found.is_dir(), "directory"),
        "File" | "FileOrCreate" => (found.is_file(), "file"),
        "Socket" => (found.is_socket(), "socket file"),
        "CharDevice" => (found.is_char_device(), "character device"),
        "BlockDevice" => (found.is_block_device(), "block device"),
        _ => (true, ""),
    };
    if is_right {
        Ok(())
    } else {
        let path = source.path.clone();
        Err(Cause::HostPath { path, wanted })
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn a_host_path_is_made_when_it_may_be_and_refused_when_it_is_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        nix::unistd::mkfifo(at("pipe").as_str(), Mode::S_IRWXU).unwrap();
        let check = |name: &str, kind: &str| {
            let type_ = Some(kind.to_owned());
            let source = HostPathVolumeSource {
                path: at(name),
                type_,
            };
            check_host_path(&source).map_err(|error| error.to_string())
        };
        for (name, kind, wanted) in [
            ("new-file", "FileOrCreate", None),
            ("new-file", "FileOrCreate", None),
            ("new-file", "Directory", Some("directory")),
            ("new-folder", "DirectoryOrCreate", None),
            ("new-folder", "FileOrCreate", Some("file")),
            ("pipe", "FileOrCreate", Some("file")),
            ("pipe", "", None),
        ] {
            let expected = wanted.map(|wanted| {
                format!("hostPath type check failed: {} is not a {wanted}", at(name))
            });
            assert_eq!(check(name, kind).err(), expected, "{name} {kind}");
        }
    }
}
