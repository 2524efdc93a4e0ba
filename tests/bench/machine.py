"""What a run ran on: machine, versions, commit, date. Out: the head of the report."""
import datetime, platform, re, resource, subprocess
from pathlib import Path

from processes import ALLOWED

ROOT = Path(__file__).resolve().parents[2]


def said(command, pattern):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT)
    except OSError:
        return None
    found = re.search(pattern, done.stdout + done.stderr, re.MULTILINE)
    return found[1] if found else None


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return {"cpu": model[1].strip() if model else platform.machine(), "cpus": len(ALLOWED),
            "memory_gib": round(int(memory[1]) / (1 << 20)), "kernel": platform.release(),
            "congestion_control": congestion.read_text().strip() if congestion.exists() else "unknown",
            "descriptors_max": resource.getrlimit(resource.RLIMIT_NOFILE)[1]}


def versions(peers, binaries):
    """Of everything that takes part."""
    known = {"tiergate": said([binaries / "tiergate-namespace", "--version"], r"(\d\S+)")}
    known |= {name: peer.version() for name, peer in sorted(peers.items())}
    known["wrk"] = said(["wrk", "--version"], r"wrk (?:debian/)?(\S+)")
    known["h2load"] = said(["h2load", "--version"], r"nghttp2/(\S+)")
    known["rustc"] = said(["rustc", "--version"], r"rustc (\S+)")
    return {name: version for name, version in known.items() if version}


def commit():
    """The commit, with a `+` when something that is not in it was measured."""
    name = said(["git", "rev-parse", "--short=12", "HEAD"], r"^([0-9a-f]+)$") or "unknown"
    changed = said(["git", "status", "--porcelain", "--untracked-files=no"], r"(\S)")
    return name + ("+" if changed else "")


def date():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
