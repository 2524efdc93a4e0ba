//! The kubeconfig for whoever uses the cluster. It holds one bearer token, that of the administrator.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::error::UpError;
use crate::kubelet::ApiAccess;

/// Writes the file, readable for its owner only, and replaces one that is there.
pub(super) fn write(path: &Path, access: &ApiAccess, token: &str) -> Result<(), UpError> {
    // JSON is YAML, and needs no thought about quoting.
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tiergate", "cluster": {
            "server": access.server,
            "certificate-authority-data": STANDARD.encode(&access.ca_pem),
        }}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "tiergate", "context": {"cluster": "tiergate", "user": "admin"}}],
        "current-context": "tiergate",
    });
    write_file(path, format!("{kubeconfig:#}\n").as_bytes()).map_err(|error| UpError::File {
        path: path.to_owned(),
        error,
    })
}

/// Writes a file for the user of the cluster. A reader never sees half of it.
pub(super) fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    let next = path.with_added_extension("new");
    // What an earlier end left there. If it cannot go, making the new one says why.
    let _ = fs::remove_file(&next);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(content)?;
    fs::rename(&next, path)
}
