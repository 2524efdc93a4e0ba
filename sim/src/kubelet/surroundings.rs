//! What a program finds around it: its volumes, its working folder, and the variables that tell of them.
//!
//! In: the container and how pods are started here. Out: the plan of its mount namespace, as a file for the child process; or, where
//! there are no mount namespaces, variables that name the same things in the pod's folder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Container;
use serde_json::json;

use super::ApiAccess;
use super::context::Context;
use super::hosts;
use super::launch::{Bind, Plan};
use super::volumes::{self, mounts};

/// Why a program cannot be given its surroundings.
#[derive(Debug, thiserror::Error)]
pub(super) enum SurroundingsError {
    #[error(transparent)]
    Mount(#[from] mounts::MountError),
    #[error("cannot prepare the container: {0}")]
    Write(#[from] io::Error),
}

/// Adds what the surroundings tell by variables; the container's own values win. Some: the plan that the child process follows.
pub(super) fn prepare<N>(
    context: &Context<N>,
    container: &Container,
    variables: &mut BTreeMap<String, String>,
) -> Result<Option<PathBuf>, SurroundingsError> {
    let Some(spec) = &context.pod.spec else {
        return Ok(None);
    };
    let laid_out = volumes::folder(&context.folder);
    let launcher = context.launcher.as_ref();
    if launcher.is_some_and(|launcher| launcher.without_mounts.is_none()) {
        let security = container.security_context.as_ref();
        let is_read_only = security.and_then(|security| security.read_only_root_filesystem);
        let mut binds = mounts::binds(container, spec, &laid_out, variables)?;
        if !binds
            .iter()
            .any(|bind| bind.target == Path::new(hosts::PLACE))
        {
            hosts::write(context)?;
            binds.push(Bind {
                source: hosts::path(context),
                target: hosts::PLACE.into(),
                read_only: false,
            });
        }
        let working_folder = container.working_dir.as_deref();
        let plan = Plan {
            scratch: context.folder.join("root"),
            binds,
            working_folder: working_folder
                .filter(|path| !path.is_empty())
                .unwrap_or("/")
                .into(),
            read_only_root: is_read_only == Some(true),
        };
        fs::create_dir_all(&plan.scratch)?;
        let path = context.folder.join(format!("{}.mounts", container.name));
        let text = serde_json::to_vec(&plan).map_err(io::Error::from)?;
        fs::write(&path, text)?;
        // Not that of the machine's user: a client library would find his kubeconfig there.
        add(variables, "HOME", "/".to_owned());
        return Ok(Some(path));
    }
    for (name, path) in mounts::variables(container, spec, &laid_out) {
        add(variables, &name, path.display().to_string());
    }
    if let Some(account) = mounts::account(container, spec, &laid_out) {
        let kubeconfig = context.folder.join("kubeconfig");
        write_kubeconfig(&kubeconfig, &context.access, &account)?;
        add(variables, "KUBECONFIG", kubeconfig.display().to_string());
    }
    add(variables, "HOME", context.folder.display().to_string());
    Ok(None)
}

fn add(variables: &mut BTreeMap<String, String>, name: &str, value: String) {
    variables.entry(name.to_owned()).or_insert(value);
}

/// A kubeconfig that names the files of a ServiceAccount where they are.
fn write_kubeconfig(path: &Path, access: &ApiAccess, account: &Path) -> io::Result<()> {
    let namespace = fs::read_to_string(account.join("namespace")).unwrap_or_default();
    // JSON is YAML, and needs no thought about quoting.
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {
            "server": access.server,
            "certificate-authority": account.join("ca.crt"),
        }}],
        "users": [{"name": "pod", "user": {"tokenFile": account.join("token")}}],
        "contexts": [{"name": "pod", "context": {
            "cluster": "cluster", "user": "pod", "namespace": namespace,
        }}],
        "current-context": "pod",
    });
    fs::write(path, format!("{kubeconfig:#}\n"))
}
