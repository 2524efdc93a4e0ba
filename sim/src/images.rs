//! Which images are real: a map from image names to folders of programs. Every other image is played by [`crate::echo`].

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(crate) mod binaries;

pub use binaries::BinariesError;

/// Programs of the image `tiergate`.
pub const TIERGATE_PROGRAMS: [&str; 2] = ["tiergate-cluster", "tiergate-namespace"];

/// `NAME[:TAG]=FOLDER`: the programs of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// As pods name it. Without a tag it means every tag.
    reference: String,
    folder: PathBuf,
}

/// The images that run as processes.
#[derive(Clone, Debug, Default)]
pub struct Images {
    named: Vec<Image>,
    tiergate: Option<PathBuf>,
}

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not of the form `NAME:TAG=FOLDER`.
    #[error("{0:?} is no image; write NAME:TAG=FOLDER, for example tiergate:next=target/next")]
    Form(String),
    /// The folder cannot be read.
    #[error("cannot read the folder {} of image {reference}: {error}", folder.display())]
    Folder {
        /// The image.
        reference: String,
        /// Its folder.
        folder: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// The folder has no program.
    #[error("the folder {} of image {reference} holds no executable file", folder.display())]
    Empty {
        /// The image.
        reference: String,
        /// Its folder.
        folder: PathBuf,
    },
}

/// Why a container's command cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The container names no command and the image has several.
    #[error(
        "no command specified: image folder {0} holds more than one program, so the container must name one"
    )]
    NoCommand(String),
    /// The image has no such program.
    #[error("exec: {program:?}: executable file not found in image folder {folder}")]
    NotFound {
        /// What the container asks for.
        program: String,
        /// Where it was looked for.
        folder: String,
    },
}

// === impl Images ===

impl Images {
    /// The images given by name, and the folder of the image `tiergate`.
    ///
    /// # Errors
    /// When a folder cannot be read or holds no program.
    pub fn new(named: Vec<Image>, tiergate: Option<PathBuf>) -> Result<Self, ImageError> {
        for image in &named {
            let programs = programs(&image.folder).map_err(|error| ImageError::Folder {
                reference: image.reference.clone(),
                folder: image.folder.clone(),
                error,
            })?;
            if programs.is_empty() {
                return Err(ImageError::Empty {
                    reference: image.reference.clone(),
                    folder: image.folder.clone(),
                });
            }
        }
        Ok(Self { named, tiergate })
    }

    /// The folder of an image's programs. None: the image is played by the echo server.
    #[must_use]
    pub fn folder(&self, image: &str) -> Option<&Path> {
        let exact = self.named.iter().find(|entry| entry.reference == image);
        let any_tag = || {
            let name = without_tag(image);
            self.named.iter().find(|entry| entry.reference == name)
        };
        if let Some(entry) = exact.or_else(any_tag) {
            return Some(&entry.folder);
        }
        let name = without_tag(image);
        let is_tiergate = name.rsplit('/').next() == Some("tiergate");
        self.tiergate.as_deref().filter(|_| is_tiergate)
    }
}

/// The program to start for a container's command. Without one, the only program of the image.
///
/// # Errors
/// When the image does not have it.
pub fn program(folder: &Path, command: Option<&str>) -> Result<PathBuf, CommandError> {
    let programs = programs(folder).unwrap_or_default();
    let Some(command) = command else {
        return match programs.as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(CommandError::NoCommand(folder.display().to_string())),
        };
    };
    // `/usr/local/bin/tiergate-cluster` in the image is `tiergate-cluster` in the folder.
    let file_name = Path::new(command).file_name();
    programs
        .into_iter()
        .find(|program| program.file_name() == file_name)
        .ok_or_else(|| CommandError::NotFound {
            program: command.to_owned(),
            folder: folder.display().to_string(),
        })
}

/// The executable files of a folder, sorted.
fn programs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = std::fs::metadata(&path);
        if metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0) {
            programs.push(std::path::absolute(path)?);
        }
    }
    programs.sort();
    Ok(programs)
}

fn without_tag(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _digest)| name);
    match image.rsplit_once(':') {
        // A colon in front of a slash is the port of a registry.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

// === impl Image ===

impl Image {
    /// Whether it stands for every tag of `name`.
    #[must_use]
    pub fn is_every(&self, name: &str) -> bool {
        self.reference == name
    }
}

impl FromStr for Image {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        match text.split_once('=') {
            Some((reference, folder)) if !reference.is_empty() && !folder.is_empty() => Ok(Self {
                reference: reference.to_owned(),
                folder: PathBuf::from(folder),
            }),
            _ => Err(ImageError::Form(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn folder_with(programs: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for program in programs {
            let path = folder.path().join(program);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        folder
    }

    #[test]
    fn an_image_is_found_by_its_name_and_tag() {
        let (old, new) = (folder_with(&["a"]), folder_with(&["a"]));
        let image = |reference: &str, folder: &Path| {
            format!("{reference}={}", folder.display()).parse().unwrap()
        };
        let named = vec![
            image("tiergate:next", new.path()),
            image("other/app", new.path()),
        ];
        let images = Images::new(named, Some(old.path().to_owned())).unwrap();
        let cases = [
            ("tiergate", Some(old.path())),
            ("tiergate:1.0", Some(old.path())),
            ("registry.example:5000/team/tiergate:1.0", Some(old.path())),
            ("tiergate@sha256:0123", Some(old.path())),
            ("tiergate:next", Some(new.path())),
            ("other/app:7", Some(new.path())),
            ("app:7", None),
            ("tiergate-sim:1", None),
            ("registry.example:5000/keystone", None),
        ];
        for (image, folder) in cases {
            assert_eq!(images.folder(image), folder, "{image}");
        }
    }

    #[test]
    fn a_wrong_image_argument_is_refused_with_its_reason() {
        for text in ["", "tiergate", "=folder", "tiergate:1="] {
            let error = text.parse::<Image>().unwrap_err();
            assert!(
                error.to_string().contains("write NAME:TAG=FOLDER"),
                "{text}"
            );
        }
        let empty = folder_with(&[]);
        let image = format!("a={}", empty.path().display()).parse().unwrap();
        let error = Images::new(vec![image], None).unwrap_err().to_string();
        assert!(
            error.ends_with("of image a holds no executable file"),
            "{error}"
        );
        let error = Images::new(vec!["a=/no/such/folder".parse().unwrap()], None).unwrap_err();
        assert!(
            error.to_string().contains("cannot read the folder"),
            "{error}"
        );
    }

    #[test]
    fn a_command_names_a_program_of_the_folder() {
        let two = folder_with(&["tiergate-cluster", "tiergate-namespace"]);
        let one = folder_with(&["app"]);
        let found = |folder: &Path, command| {
            program(folder, command).map(|path| path.file_name().unwrap().to_owned())
        };
        assert_eq!(
            found(two.path(), Some("/bin/tiergate-cluster")).unwrap(),
            "tiergate-cluster"
        );
        assert_eq!(found(one.path(), None).unwrap(), "app");
        assert!(matches!(
            found(two.path(), None),
            Err(CommandError::NoCommand(_))
        ));
        assert!(matches!(
            found(two.path(), Some("notes.txt")),
            Err(CommandError::NotFound { .. })
        ));
    }
}
