//! Leaves for a mount namespace of its own, with a root of its own.
//!
//! In: a [`Plan`], in a process of one thread. Out: a file system that shows this machine's files as they are, where writes stay in
//! memory and end with the process, and where the plan's volumes have their places. Each file system of the machine is the lower layer
//! of an overlay, except those of the kernel (`/proc`, `/sys`, `/dev`), which are shared. Nothing is mounted on the machine itself: all
//! of it is private to the namespace and vanishes with its last process. Places are made only when the machine's files are out of
//! reach, since a link in a volume can lead anywhere.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd;

use super::{Bind, Plan};

/// What a container may write outside of its volumes, as tmpfs takes it.
const SCRATCH_SIZE: &str = "size=512m,mode=755";

/// Trees that belong to the kernel.
const SHARED: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Where the machine's own root is seen between the change of the root and its end.
const MACHINE: &str = "/.machine";

/// Where volumes wait for their places.
const WAITING: &str = "/.volumes";

/// What programs share by memory, as much as a container runtime gives them.
const SHARED_MEMORY: &str = "/dev/shm";
const SHARED_MEMORY_SIZE: &str = "size=64m,mode=1777";

/// Enters the namespace. After an error the process is not fit for anything.
pub(super) fn enter(plan: &Plan) -> io::Result<()> {
    step("leave the mount namespace of this machine", || {
        Ok(unshare(CloneFlags::CLONE_NEWNS)?)
    })?;
    step("make mounts private", || {
        set("/".as_ref(), MsFlags::MS_REC | MsFlags::MS_PRIVATE)
    })?;
    let scratch = &plan.scratch;
    step("mount a tmpfs", || mount_memory(scratch, SCRATCH_SIZE))?;
    let overlays = layers(scratch)?;
    let new_root = scratch.join("root");
    let waiting = within(&new_root, Path::new(WAITING));
    step("keep a place for volumes", || {
        fs::create_dir(&waiting)?;
        mount_memory(&waiting, "mode=700")
    })?;
    for (number, one) in plan.binds.iter().enumerate() {
        let what = format!("find {}", one.source.display());
        step(&what, || {
            gather(&one.source, &waiting.join(number.to_string()))
        })?;
    }
    step("change the root", || pivot(&new_root))?;
    step("let go of the old root", || {
        umount2(MACHINE, MntFlags::MNT_DETACH)?;
        fs::remove_dir(MACHINE)
    })?;
    if Path::new(SHARED_MEMORY).is_dir() {
        let own = || mount_memory(SHARED_MEMORY.as_ref(), SHARED_MEMORY_SIZE);
        step("mount shared memory", own)?;
    }
    for (number, one) in plan.binds.iter().enumerate() {
        let what = format!("mount {}", one.target.display());
        let source = Path::new(WAITING).join(number.to_string());
        step(&what, || bind(&source, one))?;
    }
    step("let go of waiting volumes", || {
        umount2(WAITING, MntFlags::MNT_DETACH)?;
        // The folder stays, empty, when a volume shows all of the machine, this folder among it.
        let _ = fs::remove_dir(WAITING);
        Ok(())
    })?;
    step("enter the working folder", || {
        make_folder(&plan.working_folder)?;
        Ok(unistd::chdir(&plan.working_folder)?)
    })?;
    if plan.read_only_root {
        for overlay in &overlays {
            step("make the root read-only", || set_read_only(overlay))?;
        }
    }
    Ok(())
}

/// Lays an overlay over every file system of the machine. Returns where they will be.
fn layers(scratch: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let new_root = scratch.join("root");
    fs::create_dir(&new_root)?;
    let mut overlays = Vec::new();
    for (number, place) in mount_points(&table, scratch).into_iter().enumerate() {
        let target = within(&new_root, &place);
        if SHARED.iter().any(|shared| place == Path::new(shared)) {
            let what = format!("share {}", place.display());
            step(&what, || {
                bind_at(&place, &target, MsFlags::MS_BIND | MsFlags::MS_REC)
            })?;
            continue;
        }
        let folder = scratch.join(number.to_string());
        let laid = lay_over(&place, &target, &folder);
        match laid {
            Ok(()) => overlays.push(place),
            Err(error) if place == Path::new("/") => {
                return Err(explained("lay an overlay over the root", error));
            }
            // File systems that cannot be a layer, and files that are mount points, can only be read; what cannot even be shown
            // twice, or not without being written, is hidden.
            Err(_) => {
                if bind_at(&place, &target, MsFlags::MS_BIND).is_ok()
                    && let Err(error) = set_read_only(&target)
                {
                    let what = format!("protect {}: {error}", place.display());
                    step(&what, || Ok(umount2(&target, MntFlags::MNT_DETACH)?))?;
                }
            }
        }
    }
    Ok(overlays)
}

fn lay_over(lower: &Path, target: &Path, folder: &Path) -> io::Result<()> {
    let text = lower.to_str().unwrap_or(",");
    if !lower.is_dir() || text.contains([',', ':', '\\']) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir(&work)?;
    // The root of the overlay has the mode of its upper folder: /tmp stays open for everybody.
    fs::set_permissions(&upper, fs::metadata(lower)?.permissions())?;
    let options = format!(
        "lowerdir={text},upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    Ok(mount(
        Some("overlay"),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )?)
}

/// Makes `new_root` the root; the old one is at [`MACHINE`].
fn pivot(new_root: &Path) -> io::Result<()> {
    let old = within(new_root, Path::new(MACHINE));
    fs::create_dir(&old)?;
    unistd::chdir(new_root)?;
    unistd::pivot_root(".", &old)?;
    Ok(unistd::chdir("/")?)
}

/// Shows `source` of the machine at `target`, which is made. The kubelet has followed links before it wrote the plan; one that
/// appeared since then is a trick.
fn gather(source: &Path, target: &Path) -> io::Result<()> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let found = fs::File::from(openat2(AT_FDCWD, source, how)?);
    if found.metadata()?.is_dir() {
        fs::create_dir(target)?;
    } else {
        fs::File::create(target)?;
    }
    let opened = format!("/proc/self/fd/{}", found.as_raw_fd());
    bind_at(opened.as_ref(), target, MsFlags::MS_BIND | MsFlags::MS_REC)
}

fn bind(source: &Path, one: &Bind) -> io::Result<()> {
    if within(Path::new("/"), &one.target) == Path::new("/") {
        return Err(io::Error::other("a volume cannot be the root"));
    }
    if source.is_dir() {
        make_folder(&one.target)?;
    } else if fs::metadata(&one.target).is_err() {
        make_folder(one.target.parent().unwrap_or(Path::new("/")))?;
        refuse_shared(&one.target)?;
        // Not where a link leads that was left there.
        fs::File::create_new(&one.target)?;
    }
    bind_at(source, &one.target, MsFlags::MS_BIND | MsFlags::MS_REC)?;
    if one.read_only {
        set_read_only(&one.target)?;
    }
    Ok(())
}

/// Makes a folder that is not there yet.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    refuse_shared(path)?;
    fs::create_dir_all(path)
}

/// What is made below a tree of the kernel would be made on the machine.
fn refuse_shared(path: &Path) -> io::Result<()> {
    let mut existing = path;
    while let Some(parent) = existing
        .parent()
        .filter(|_| fs::metadata(existing).is_err())
    {
        existing = parent;
    }
    if existing.as_os_str().is_empty() {
        return Ok(());
    }
    let existing = fs::canonicalize(existing)?;
    match SHARED.iter().find(|shared| existing.starts_with(shared)) {
        None => Ok(()),
        Some(shared) => Err(io::Error::other(format!(
            "{} is not there, and {shared} is the machine's, where nothing is made",
            path.display()
        ))),
    }
}

fn mount_memory(target: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    Ok(mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        flags,
        Some(options),
    )?)
}

fn bind_at(source: &Path, target: &Path, flags: MsFlags) -> io::Result<()> {
    Ok(mount(
        Some(source),
        target,
        None::<&str>,
        flags,
        None::<&str>,
    )?)
}

fn set_read_only(target: &Path) -> io::Result<()> {
    // What else holds there stays; in a user namespace the kernel would refuse to lift it.
    let now = statvfs(target)?.flags();
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = kept.iter().filter(|(flag, _)| now.contains(*flag));
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    set(target, kept.fold(flags, |flags, (_, flag)| flags | *flag))
}

fn set(target: &Path, flags: MsFlags) -> io::Result<()> {
    Ok(mount(
        None::<&str>,
        target,
        None::<&str>,
        flags,
        None::<&str>,
    )?)
}

/// Where the machine's file systems are seen, parents first: from the table of `/proc/self/mountinfo`. What lies under a shared tree
/// comes with it, and `without` is ours.
fn mount_points(table: &str, without: &Path) -> Vec<PathBuf> {
    let mut seen: Vec<PathBuf> = Vec::new();
    for line in table.lines() {
        let Some(place) = line.split(' ').nth(4) else {
            continue;
        };
        let place = PathBuf::from(unescaped(place));
        // A later mount hides what is below it.
        seen.retain(|earlier| !earlier.starts_with(&place));
        seen.push(place);
    }
    let is_below_shared = |place: &Path| {
        let mut shared = SHARED.iter().map(Path::new);
        shared.any(|shared| place.starts_with(shared) && place != shared)
    };
    seen.retain(|place| !is_below_shared(place) && !place.starts_with(without));
    seen.sort();
    seen
}

/// The kernel writes blanks and backslashes of a path as `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).map(|digits| u8::from_str_radix(digits, 8)) {
            Some(Ok(byte)) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            _ => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// An absolute path as seen when `root` is the root.
fn within(root: &Path, path: &Path) -> PathBuf {
    let parts = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    root.iter().chain(parts.map(Component::as_os_str)).collect()
}

fn step(what: &str, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    act().map_err(|error| explained(what, error))
}

fn explained(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_file_systems_are_found_once_and_parents_first() {
        let table = "\
22 1 8:1 / / rw,relatime - ext4 /dev/root rw
23 22 0:5 / /dev rw - devtmpfs none rw
24 23 0:20 / /dev/pts rw - devpts devpts rw
25 22 0:21 / /proc rw - proc proc rw
26 22 0:22 / /run/user/1000 rw - tmpfs tmpfs rw
27 22 0:23 / /run rw shared:3 - tmpfs tmpfs rw
28 22 0:24 / /srv/a\\040b rw - ext4 /dev/b rw
29 22 0:25 / /tmp/scratch rw - tmpfs tmpfs rw
";
        let places = mount_points(table, Path::new("/tmp/scratch"));
        let expected = ["/", "/dev", "/proc", "/run", "/srv/a b"];
        assert_eq!(places, expected.map(PathBuf::from));
    }

    #[test]
    fn a_path_is_seen_below_another_root() {
        for (path, seen) in [
            ("/", "/new"),
            ("/run/x", "/new/run/x"),
            ("/a/../b", "/new/a/b"),
        ] {
            assert_eq!(within(Path::new("/new"), Path::new(path)), Path::new(seen));
        }
    }
}
