"""Starts a program as a container runtime does: in a root of its own, as a user, with the capabilities that are named.

In: the files of the root and what the pod says. Out: the process. Must be called as root in a mount namespace of its own
(`unshare --mount`); it has no network namespace, no cgroup and no process namespace of its own.
"""

import ctypes
import os
import subprocess
import tempfile

LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 23, 24, 38, 47, 4
PR_SET_PDEATHSIG, SIGKILL = 1, 9
NET_BIND_SERVICE = 10
# What every container has (the runtime specification of OCI, "Default Devices").
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def mount(source, target, kind, flags, data=""):
    arguments = [text.encode() for text in (source, target, kind)]
    checked(LIBC.mount(*arguments, ctypes.c_ulong(flags), data.encode()))


def prctl(option, argument=0):
    return LIBC.prctl(option, ctypes.c_ulong(argument), 0, 0, 0)


class Root:
    """The root of a container: a file system that holds the given files and devices and cannot be written."""

    def __init__(self, files, with_proc):
        self.folder = tempfile.mkdtemp(prefix="tiergate-image-")
        mount("tmpfs", self.folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
        for name, content in files.items():
            path = os.path.join(self.folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, 0o755 if name.startswith("usr/local/bin/") else 0o444)
        os.mkdir(os.path.join(self.folder, "dev"))
        for device in DEVICES:
            path = os.path.join(self.folder, "dev", device)
            with open(path, "wb"):
                mount(f"/dev/{device}", path, "", MS_BIND)
        if with_proc:
            os.mkdir(os.path.join(self.folder, "proc"))
        mount("tmpfs", self.folder, "tmpfs", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
        if with_proc:
            mount("proc", os.path.join(self.folder, "proc"), "proc", MS_NOSUID | MS_NODEV)

    def start(self, command, variables, user, capabilities):
        """As `securityContext` says: runAsUser, drop ALL and add what is named, no new privileges, read-only root."""

        def become():
            prctl(PR_SET_PDEATHSIG, SIGKILL)
            os.chroot(self.folder)
            os.chdir("/")
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
            number = 0
            while prctl(PR_CAPBSET_READ, number) >= 0:
                if number not in capabilities:
                    checked(prctl(PR_CAPBSET_DROP, number))
                number += 1
            checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0))
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)

        # The runtime looks for the program in the root and in its PATH, and so does the kernel behind `chroot`.
        return subprocess.Popen(
            command,
            executable=os.path.join("/usr/local/bin", command[0]),
            env={"PATH": "/usr/local/bin", **variables},
            preexec_fn=become,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def remove(self):
        LIBC.umount2(self.folder.encode(), 2)
        os.rmdir(self.folder)


def status(process):
    """What the kernel says of the process: `Uid`, `CapPrm`, `NoNewPrivs` and so on."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
