//! Runs a command in a container, for a probe or a hook.
//!
//! It is a program of the image's folder, found by its file name as the container's own command is. What the folder does not have is
//! not taken from this machine, because whoever may create a pod could then run anything here. The exceptions are
//! [`HARMLESS`]: small programs that most images have and that change nothing. An image that needs a shell gets a link to one in its folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::expand;
use super::super::probe::Outcome;
use super::super::process::{Order, Process};
use super::patience::within;
use crate::images;

/// Programs of this machine that every container has.
const HARMLESS: [&str; 5] = ["true", "false", "cat", "sleep", "test"];
const HARMLESS_FOLDERS: [&str; 2] = ["/usr/bin", "/bin"];

/// How commands are run in one container.
#[derive(Clone, Debug)]
pub(in crate::kubelet) struct Commands {
    /// How the container's own program is run; its variables, folder and launcher hold for commands too.
    pub(in crate::kubelet) order: Order,
    /// None: the image is not here.
    pub(in crate::kubelet) image: Option<PathBuf>,
    /// Where what the commands print goes.
    pub(in crate::kubelet) log: PathBuf,
}

/// Why a command did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(in crate::kubelet) enum CommandError {
    #[error("no command given")]
    Empty,
    #[error(
        "exec: {program:?}: executable file not found in the image{}; put it, or a link to it, in the folder of the image",
        where_is(.image)
    )]
    NotFound {
        program: String,
        image: Option<PathBuf>,
    },
    #[error("exec: {program}: {error}")]
    Start {
        program: String,
        error: std::io::Error,
    },
    #[error("command timed out: {command:?} timed out after {timeout:?}")]
    TimedOut {
        command: Vec<String>,
        timeout: Duration,
    },
}

// === impl Commands ===

impl Commands {
    /// Runs a command as a probe.
    pub(super) async fn probe(&self, command: &[String], timeout: Duration) -> Outcome {
        match self.run(command, timeout).await {
            Ok((0, _)) => Outcome::Success,
            Ok((_, output)) => Outcome::Failure(output),
            Err(error @ CommandError::TimedOut { .. }) => Outcome::Failure(error.to_string()),
            Err(error) => Outcome::Error(error.to_string()),
        }
    }

    /// Runs a command to its end: its exit code and the last lines of what it printed.
    async fn run(
        &self,
        command: &[String],
        timeout: Duration,
    ) -> Result<(i32, String), CommandError> {
        let variables = &self.order.variables;
        let mut words = command.iter().map(|word| expand::expand(word, variables));
        let name = words.next().ok_or(CommandError::Empty)?;
        let program = self.program(&name).ok_or_else(|| CommandError::NotFound {
            program: name.clone(),
            image: self.image.clone(),
        })?;
        let order = Order {
            program,
            arguments: words.collect(),
            log: self.log.clone(),
            ..self.order.clone()
        };
        let mut process = Process::start(&order).map_err(|error| CommandError::Start {
            program: name,
            error,
        })?;
        let ended = within(timeout, process.ended()).await;
        // Dropping the process kills what is left of it.
        ended.ok_or_else(|| CommandError::TimedOut {
            command: command.to_vec(),
            timeout,
        })
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        let of_image = self.image.as_deref();
        let found = of_image.and_then(|folder| images::program(folder, Some(name)).ok());
        found.or_else(|| harmless(name))
    }
}

fn harmless(name: &str) -> Option<PathBuf> {
    let name = Path::new(name).file_name()?.to_str()?;
    let name = HARMLESS.into_iter().find(|known| *known == name)?;
    let paths = HARMLESS_FOLDERS.into_iter();
    paths
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

fn where_is(image: &Option<PathBuf>) -> String {
    match image {
        Some(folder) => format!(" folder {}", folder.display()),
        None => ", which is played by the built-in server".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn commands_come_from_the_image_and_a_few_from_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::create_dir(&image).unwrap();
        let script = "#!/bin/sh\necho \"$1 $GREETING\"\nexit $2\n";
        std::fs::write(image.join("check"), script).unwrap();
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(image.join("check"), executable).unwrap();
        std::fs::write(folder.path().join("ok"), "").unwrap();
        let commands = |image: Option<PathBuf>| Commands {
            order: Order {
                program: PathBuf::new(),
                arguments: Vec::new(),
                variables: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
                folder: folder.path().to_owned(),
                log: folder.path().join("app.log"),
                launcher: None,
                plan: None,
            },
            image,
            log: folder.path().join("exec.log"),
        };
        let here = commands(Some(image));
        let played = commands(None);
        let cases: [(&Commands, &[&str], &str); 9] = [
            (&here, &["/bin/check", "$(GREETING)", "0"], "Success"),
            (&here, &["check", "oh,", "3"], "Failure(\"oh, hello\")"),
            (
                &here,
                &["sh", "-c", "true"],
                "put it, or a link to it, in the folder",
            ),
            (&here, &["cat", "ok"], "Success"),
            (&played, &["cat", "ok"], "Success"),
            (&played, &["test", "-e", "no"], "Failure(\"\")"),
            (&played, &["check"], "played by the built-in server"),
            (&played, &[], "Error(\"no command given\")"),
            (&here, &["sleep", "60"], "timed out after 1s"),
        ];
        for (commands, command, expected) in cases {
            let command: Vec<String> = command.iter().map(ToString::to_string).collect();
            // A limit that only the sleep meets: the others end with their program.
            let is_slow = command.first().is_some_and(|name| name == "sleep");
            let timeout = Duration::from_secs(if is_slow { 1 } else { 60 });
            let outcome = commands.probe(&command, timeout).await;
            let outcome = format!("{outcome:?}");
            assert!(outcome.contains(expected), "{command:?}: {outcome}");
        }
    }
}
