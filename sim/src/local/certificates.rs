//! The certificate of the VIP, and where the user finds who signed it.

use std::path::PathBuf;

use super::error::UpError;
use super::kubeconfig;
use super::settings::{Content, Settings};
use crate::story::Certificates;

/// Where the authority's certificate is written, for `curl --cacert`.
pub(super) fn authority_path(settings: &Settings) -> PathBuf {
    settings.kubeconfig.with_added_extension("ca.crt")
}

/// Makes both, new at every start, and writes the authority for the user.
pub(super) fn make(settings: &Settings) -> Result<Certificates, UpError> {
    let is_story = settings.content == Content::Story;
    let certificates = Certificates::new(settings.vip, is_story)
        .map_err(|error| UpError::Certificate(error.to_string()))?;
    if settings.content.has_nodes() {
        let path = authority_path(settings);
        kubeconfig::write_file(&path, certificates.authority_pem.as_bytes())
            .map_err(|error| UpError::File { path, error })?;
    }
    Ok(certificates)
}
