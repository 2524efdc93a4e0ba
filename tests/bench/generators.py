"""The load: wrk for throughput, h2load for HTTP/2, our own `tiergate-load` for handshakes, fixed rates and idle connections.

In: what to ask, and for how long. Out: what came back, as a dictionary: `requests`, `failed`, `seconds`, and what else is known.
"""
import json, os, random, re, subprocess
from pathlib import Path

from backend import program
from processes import Failure, Missing, cpus
from scene import ADDRESS, TLS_NAME, host

SCRIPT = Path(__file__).with_name("wrk.lua")


def run(command, seconds, pinned, environment=None):
    """The output of a load program, on the load's CPUs."""
    allowed = cpus("load", pinned)
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=seconds + 60,
                          env={**os.environ, **(environment or {})}, preexec_fn=lambda: os.sched_setaffinity(0, allowed))
    if done.returncode:
        raise Failure(f"{Path(command[0]).name} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def wrk(port, seconds, tls=False, connections=64, path="/", hosts=1, close=False, threads=1, pinned=True):
    environment = {"BENCH_HOSTS": str(hosts), "BENCH_PATH": path, "BENCH_SEED": str(random.randrange(1 << 30)), **({"BENCH_CLOSE": "1"} if close else {})}
    url = f"https://{TLS_NAME}:{port}/" if tls else f"http://{ADDRESS}:{port}/"
    command = [program("wrk"), "--threads", threads, "--connections", connections, "--duration", f"{seconds}s", "--timeout", "5s", "--script", SCRIPT, url]
    return parse_wrk(run(command, seconds, pinned, environment))


def parse_wrk(text):
    found = re.search(r"^JSON (\{.*\})$", text, re.MULTILINE)
    if not found:
        raise Failure(f"wrk said no figures: {text.strip()[-400:]}")
    said = json.loads(found[1])
    seconds = said["duration_us"] / 1e6
    return {"requests": said["requests"], "failed": said["broken"] + said["refused"], "seconds": seconds,
            "bytes": said["bytes"], **{key: said[key] for key in ("p50_us", "p99_us", "p999_us")}}


def h2load(port, seconds, connections=8, streams=16, path="/", threads=1, pinned=True):
    command = [program("h2load"), "--threads", threads, "--clients", connections, "--max-concurrent-streams", streams,
               "--duration", seconds, f"--connect-to={ADDRESS}:{port}", f"https://{host(0)}:{port}{path}"]
    return parse_h2load(run(command, seconds, pinned), seconds)


def parse_h2load(text, seconds):
    requests = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    codes = re.search(r"status codes: (\d+) 2xx", text)
    if not requests or not codes:
        raise Failure(f"h2load said no figures: {text.strip()[-400:]}")
    if "Application protocol: h2" not in text:
        raise Failure("h2load did not speak HTTP/2")
    succeeded, failed = int(requests[1]), int(requests[2])
    return {"requests": succeeded, "failed": failed + succeeded - min(succeeded, int(codes[1])), "seconds": seconds}


def own_program(binaries):
    path = binaries / "tiergate-load"
    if not path.exists():
        raise Missing(f"{path} is not built")
    return path


def own(binaries, words, seconds, pinned):
    """Our own load program; the last line that it prints is a JSON object."""
    return json.loads(run([own_program(binaries), *words], seconds, pinned).strip().splitlines()[-1])


def counted(said):
    """What our load program reports, by the names that all loads have."""
    return {"requests": said["requests"], "failed": said["failures"], "seconds": said["seconds"], "p50_us": said.get("p50_us"),
            "p99_us": said.get("p99_us"), "p999_us": said.get("p99_9_us"), "late": said.get("late"), "kinds": said["failures_by_kind"]}


def handshake(binaries, port, seconds, connections=32, pinned=True):
    words = ["handshake", "--address", f"{ADDRESS}:{port}", "--name", host(0), "--seconds", seconds, "--connections", connections]
    return counted(own(binaries, words, seconds, pinned))


def rate(binaries, port, per_second, seconds, connections=64, pinned=True, name=host(0)):
    words = ["rate", "--url", f"http://{ADDRESS}:{port}/", "--host", name, "--rate", per_second, "--seconds", seconds,
             "--connections", connections]
    return counted(own(binaries, words, seconds, pinned))
