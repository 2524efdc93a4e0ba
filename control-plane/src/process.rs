//! What the programs of both tiers do around their `run`: telemetry, runtime, API server, signals, exit code.
//!
//! In: what [`crate::config::invocation`] found. Out: the exit code. Only the product comes through here; the simulator
//! calls `run` itself.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use http::header::{HeaderValue, USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tiergate_data_plane::net::{TokioNet, raise_descriptors};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::config::{Common, Invalid, Stop};
use crate::explain::{self, Documents};
use crate::failure::{Failure, with_causes};
use crate::platform::{Identity, Platform, kube_client};
use crate::probe::Probe;
use crate::scope::Scope;
use crate::{status, telemetry};

/// Bytes of one file with objects.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// Counts the signals to stop that have come.
struct Signals(watch::Receiver<u32>);

/// The variables of this process. A value that is no UTF-8 is shown with replacement characters, and fits no setting.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    })
}

/// What this host calls itself.
fn host_name() -> String {
    let name = nix::unistd::gethostname().ok();
    name.map_or_else(
        || "unknown".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Ends a start that has nothing to do: shows help, version, or what is wrong.
#[must_use]
pub fn stop(stop: Stop) -> ExitCode {
    match stop {
        Stop::Usage(error) => {
            // A closed pipe is no reason to end otherwise.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        Stop::Invalid(invalid) => fail(&Failure::from(invalid)),
    }
}

/// Says on standard error why the process ends, in one sentence.
#[must_use]
pub fn fail(failure: &Failure) -> ExitCode {
    let mut message = failure.to_string();
    if !message.ends_with(['.', '?']) {
        message.push('.');
    }
    let _ = writeln!(std::io::stderr(), "{message}");
    failure.exit_code()
}

/// Says on standard output what the objects in files mean to a tier with this scope, and where requests go. The exit code is
/// 1 when an object has a condition.
#[must_use]
pub fn explain(scope: &Scope, files: &[PathBuf], requests: &[String]) -> ExitCode {
    let documents = match documents(scope, files) {
        Ok(documents) => documents,
        Err(failure) => return fail(&failure),
    };
    let requests: Vec<_> = requests.iter().map(String::as_str).collect();
    let text = explain::explain(&documents, scope, &requests);
    // Whoever closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(u8::from(explain::has_conditions(&documents, scope)))
}

fn documents(scope: &Scope, files: &[PathBuf]) -> Result<Documents, Failure> {
    let namespace = scope.namespace.as_deref().unwrap_or("default");
    let mut all = String::new();
    for path in files {
        let shown = path.display();
        let text = read(path).map_err(|error| {
            Failure::Input(format!(
                "cannot read {shown}: {error}; name a readable YAML file"
            ))
        })?;
        // Each alone first, so that an error names its file.
        Documents::parse(&text, namespace)
            .map_err(|error| Failure::Input(format!("{shown}: {}", with_causes(&error))))?;
        all.push_str("\n---\n");
        all.push_str(&text);
    }
    Documents::parse(&all, namespace)
        .map_err(|error| Failure::Input(format!("the files together: {}", with_causes(&error))))
}

/// Reads a file, or standard input for `-`.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(INPUT_BYTES_MAX + 1)
            .read_to_string(&mut text)?
    } else {
        File::open(path)?
            .take(INPUT_BYTES_MAX + 1)
            .read_to_string(&mut text)?
    };
    if u64::try_from(read).is_ok_and(|read| read > INPUT_BYTES_MAX) {
        return Err(std::io::Error::other("it is larger than 64 MiB"));
    }
    Ok(text)
}

/// Takes back what a tier that is removed has told of Ingresses, and says how much.
#[must_use]
pub fn clear_status(common: &Common, scope: &Scope) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return fail(&Failure::Fault("the runtime cannot be made"));
    };
    let election_id = &common.status.election_id;
    let result = LocalSet::new().block_on(&runtime, async {
        let platform = platform(common).await?;
        let cleared = status::clear::clear_with_patience(&platform, scope, election_id).await;
        cleared.map_err(|error| {
            Failure::Unreachable(format!(
                "the status of Ingresses is not cleared: {}; it may be tried again",
                with_causes(error.as_ref())
            ))
        })
    });
    runtime.shutdown_background();
    match result {
        Ok(status::clear::Cleared { ingresses, leases }) => {
            // A closed pipe is no reason to end otherwise.
            let _ = writeln!(
                std::io::stdout(),
                "{election_id}: {ingresses} Ingresses cleared, {leases} Leases deleted."
            );
            ExitCode::SUCCESS
        }
        Err(failure) => fail(&failure),
    }
}

/// Asks a URL once: says the status on standard output and ends with 0 when it is good, else why on standard error, with 1.
#[must_use]
pub fn probe(probe: &Probe) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return fail(&Failure::Fault("the runtime cannot be made"));
    };
    let asked = runtime.block_on(probe.ask(&TokioNet));
    // A name that is being looked up must not hold up the end.
    runtime.shutdown_background();
    match asked {
        Ok(status) => {
            // A closed pipe is no reason to end otherwise.
            let _ = writeln!(std::io::stdout(), "{}: answers {status}.", probe.asked());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}.");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal comes. `run` gets the platform, the log handle, and a future that resolves with the signal.
#[must_use]
pub fn serve<R>(
    common: &Common,
    warnings: &[String],
    run: impl FnOnce(Platform<TokioNet>, telemetry::Handle, Shutdown) -> R,
) -> ExitCode
where
    R: Future<Output = Result<(), Failure>>,
{
    let telemetry = telemetry::init(common.tier, common.log_format, common.log_level.clone());
    std::panic::set_hook(Box::new(|panic| {
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(%location, reason = "panic", "internal fault: {message}");
    }));
    if let Err(error) = raise_descriptors() {
        tracing::warn!(%error, reason = "open_files", "the limit of open files stays as it is");
    }
    for warning in warnings {
        tracing::warn!(reason = "unknown_variable", "{warning}");
    }
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| Failure::Fault("the runtime cannot be made"))?;
        let result = LocalSet::new().block_on(&runtime, async {
            let signals = Signals::listen()?;
            let platform = platform(common).await?;
            let shutdown = signals.reach(1);
            tokio::select! {
                biased;
                result = run(platform, telemetry, Box::pin(shutdown)) => result,
                () = signals.reach(2) => Err(Failure::Cut),
            }
        });
        // A name that is being looked up must not hold up the end.
        runtime.shutdown_background();
        result
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => fail(&failure),
        Err(_) => fail(&Failure::Fault("see the log")),
    }
}

/// Resolves when the process is told to stop.
pub type Shutdown = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// The network of the kernel, the API server that the settings name, and a seed of its own for each start.
async fn platform(common: &Common) -> Result<Platform<TokioNet>, Failure> {
    let mut config = match &common.kubeconfig {
        Some(path) => {
            let trouble = |error: &(dyn std::error::Error + 'static)| {
                Invalid::new(format!(
                    "`--kubeconfig`: cannot use {}: {}; name a kubeconfig that holds a current context",
                    path.display(),
                    with_causes(error),
                ))
            };
            let file = Kubeconfig::read_from(path).map_err(|error| trouble(&error))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|error| trouble(&error))?
        }
        None => kube::Config::infer().await.map_err(|error| {
            Invalid::new(format!(
                "`--kubeconfig`: no way to the API server is known: {}; give the flag, set KUBECONFIG, or start in a pod \
                 with a ServiceAccount",
                with_causes(&error),
            ))
        })?,
    };
    let agent = HeaderValue::from_str(&format!("tiergate/{}", common.version))
        .map_err(|_| Failure::Fault("the version of this program is no header value"))?;
    config.headers.push((USER_AGENT, agent));
    let server = config.cluster_url.to_string();
    let client = kube_client(TokioNet, config).map_err(|error| {
        Invalid::new(format!(
            "`--kubeconfig`: cannot make a client for {server}: {error:#}; mend the certificates and tokens it names"
        ))
    })?;
    tracing::info!(server, "API server");
    Ok(Platform {
        net: TokioNet,
        client,
        identity: Identity::new(variables(), host_name()),
        seed: rand::RngCore::next_u64(&mut SmallRng::from_os_rng()),
    })
}

// === impl Signals ===

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let failed = |_| Failure::Fault("signals cannot be received");
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let (sender, receiver) = watch::channel(0);
        tokio::task::spawn_local(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self(receiver))
    }

    /// Resolves when so many signals have come.
    fn reach(&self, wanted: u32) -> impl Future<Output = ()> + use<> {
        let mut count = self.0.clone();
        async move {
            // The sender lives as long as the runtime.
            let _ = count.wait_for(|count| *count >= wanted).await;
        }
    }
}
