"""Processes of a run: started, pinned, measured and ended.

In: commands. Out: running processes, their CPU time and memory. What they are for is said elsewhere.

CPU time is what the scheduler counted for each thread (/proc/PID/task/TID/schedstat, nanoseconds, user and system). A thread
or process that ended within the measured time takes its figure with it: then the counters of the processes are used, which
keep what their dead threads and children had, in ticks of 10 ms.
"""
import atexit, ctypes, os, resource, signal, subprocess, time
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 10
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
ALLOWED = sorted(os.sched_getaffinity(0))
alive = []


class Failure(Exception):
    """Something that was to be measured does not work; a sentence."""


class Missing(Exception):
    """A program that is needed is not there; a sentence."""


def cpus(role, pinned):
    """Which CPUs a role may use: when pinned, the proxy has the first one for itself and everything else has the others."""
    if not pinned:
        return ALLOWED
    return ALLOWED[:1] if role == "proxy" else ALLOWED[1:]


class Process:
    """A program with its output in a file. It ends with this program, however that ends."""

    def __init__(self, name, command, folder, role, pinned=True, environment=None):
        self.name = name
        self.log = Path(folder) / f"{name}.log"
        allowed = cpus(role, pinned)
        parent = os.getpid()

        def prepare():
            os.sched_setaffinity(0, allowed)
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        self.begun = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
                env={**os.environ, **(environment or {})}, start_new_session=True, preexec_fn=prepare)
        self.pid = self.process.pid
        alive.append(self)

    def is_running(self):
        return self.process.poll() is None

    def until_said(self, line, seconds):
        """Waits until it has written this line."""
        end = time.monotonic() + seconds
        while line not in self.log.read_text(errors="replace").splitlines():
            if not self.is_running() or time.monotonic() > end:
                raise Failure(f"{self.name} does not say {line!r}: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self):
        return self.log.read_text(errors="replace").strip()[-800:]

    def stop(self, how=signal.SIGTERM):
        if self.is_running():
            self.process.send_signal(how)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        # What it left behind, such as workers whose master is gone, is in its session's group.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        if self in alive:
            alive.remove(self)


@atexit.register
def stop_all():
    for process in reversed(alive[:]):
        process.stop(signal.SIGKILL)


def raise_descriptors():
    """Raises the limit of open descriptors as far as it goes; processes inherit it. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (200_000, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
        except (ValueError, OSError):
            continue
    return soft


# --- what processes used ----------------------------------------------------------------------------------------------

def stat_fields(pid):
    """Fields of /proc/PID/stat from the state on: the parent is the second, CPU ticks are the twelfth to fifteenth."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()


def tree(roots):
    """These processes and all below them."""
    below = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                below.setdefault(int(stat_fields(entry)[1]), []).append(int(entry))
            except OSError:
                pass
    found, todo = [], list(roots)
    while todo:
        one = todo.pop()
        found.append(one)
        todo += below.get(one, [])
    return found


class Usage:
    """CPU time that a tree of processes had used at one moment."""

    def __init__(self, processes):
        self.threads, self.ticks = {}, 0
        for pid in tree(process.pid for process in processes):
            try:
                self.ticks += sum(map(int, stat_fields(pid)[11:15]))
                for thread in os.listdir(f"/proc/{pid}/task"):
                    text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text()
                    self.threads[(pid, thread)] = int(text.split()[0])
            except OSError:
                pass

    def since(self, before):
        """Nanoseconds of CPU time between two moments."""
        if before.threads and before.threads.keys() <= self.threads.keys():
            return sum(self.threads.values()) - sum(before.threads.values())
        return (self.ticks - before.ticks) * TICK_NS


def pss_mib(processes):
    """Memory of a tree of processes; what several share counts in parts."""
    total = 0
    for pid in tree(process.pid for process in processes):
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total / 1024
