//! Writes the files of a volume so that a reader sees all of one version or all of the next.
//!
//! The layout is that of a real kubelet: the files lie in a folder of their version, `..data` is a link to it, and each name at the top
//! of the volume is a link through `..data`. A new version is one rename.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::payload::Payload;
use crate::clock::wall_now;

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Makes `payload` the content of the volume. After an error it is what it was before, and nothing else is left.
pub(super) fn replace(volume: &Path, payload: &Payload) -> io::Result<()> {
    fs::create_dir_all(volume)?;
    let now = wall_now();
    let version = now.strftime("..%Y_%m_%d_%H_%M_%S.%N").to_string();
    let folder = volume.join(&version);
    let before = fs::read_link(volume.join(DATA)).ok();
    let switched = write_files(&folder, payload).and_then(|()| switch(volume, &version));
    if let Err(error) = switched {
        // It is tried again and again: what each try leaves would fill the disk.
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }
    link_names(volume, payload)?;
    match before {
        Some(before) => fs::remove_dir_all(volume.join(before)),
        None => Ok(()),
    }
}

fn write_files(folder: &Path, payload: &Payload) -> io::Result<()> {
    fs::create_dir(folder)?;
    for (path, file) in payload {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

/// One rename makes the version the present one.
fn switch(volume: &Path, version: &str) -> io::Result<()> {
    let next = volume.join(NEXT);
    // What an earlier try left. If it cannot go, making the new one says why.
    let _ = fs::remove_file(&next);
    symlink(version, &next)?;
    fs::rename(&next, volume.join(DATA))
}

/// A link for each name at the top; links of names that are gone go.
fn link_names(volume: &Path, payload: &Payload) -> io::Result<()> {
    let names: BTreeSet<&str> = payload
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    for entry in fs::read_dir(volume)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !names.contains(name.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in names {
        let link = volume.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::volumes::payload::File;

    fn payload(files: &[(&str, &str, u32)]) -> Payload {
        let file = |&(path, text, mode): &(&str, &str, u32)| {
            let bytes = text.as_bytes().to_vec();
            (path.to_owned(), File { bytes, mode })
        };
        files.iter().map(file).collect()
    }

    #[test]
    fn a_new_version_replaces_the_old_one_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("v");
        let read = |name: &str| fs::read_to_string(volume.join(name)).ok();
        replace(
            &volume,
            &payload(&[("a", "1", 0o644), ("sub/b", "2", 0o600)]),
        )
        .unwrap();
        assert_eq!(
            (read("a"), read("sub/b")),
            (Some("1".into()), Some("2".into()))
        );
        let mode = fs::metadata(volume.join("sub/b")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let first = fs::read_link(volume.join(DATA)).unwrap();

        replace(&volume, &payload(&[("a", "3", 0o644), ("c", "4", 0o644)])).unwrap();
        assert_eq!((read("a"), read("c")), (Some("3".into()), Some("4".into())));
        assert_eq!(read("sub/b"), None);
        assert!(fs::symlink_metadata(volume.join("sub")).is_err());
        assert!(!volume.join(first).exists());
        assert_eq!(
            fs::read_link(volume.join("a")).unwrap(),
            Path::new("..data/a")
        );
    }

    #[test]
    fn a_version_that_cannot_be_written_leaves_the_one_before_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("v");
        let names = || {
            let entries = fs::read_dir(&volume).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name());
            names.collect::<BTreeSet<_>>()
        };
        replace(&volume, &payload(&[("a", "1", 0o644)])).unwrap();
        let before = names();
        // A file cannot be a folder as well.
        let impossible = payload(&[("a", "2", 0o644), ("a/b", "2", 0o644)]);
        replace(&volume, &impossible).unwrap_err();
        assert_eq!(names(), before);
        assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "1");
    }
}
