"""The stage of most workloads: as many requests as the load can make, and what they cost the proxy.

In: a workload. Out: its rows. Rounds are interleaved (A B C, A B C), so that a slow minute of the
machine hits all alike. Each proxy is started anew for its round and is alone then: no round inherits the memory, the connections
or the luck with addresses of an earlier one, and nobody pays for the timers of the others. The first second is to warm up.
"""
import figures, generators, proxies, stolen
from processes import Failure, Missing, Usage, pss_mib
from scene import Hop

WARM_UP_SECONDS = 1
SECONDS_MAX = 16  # of a round in which nothing has been answered yet
BULK_BYTES = 4096  # from this size of an answer on the bytes in a second are told


def measure(run, workload):
    """The rows of a workload."""
    return figures.rows(workload.name, workload.title, samples(run, workload))


def samples(run, workload):
    """Samples by proxy. What cannot run is said and left out."""
    scene = run.scene(workload)
    names = run.able(workload, scene)
    made = {name: [] for name in names}
    for number in range(run.rounds):
        for name in names:
            try:
                sample = stolen.least(run, f"{workload.name} {name}", lambda: one(run, workload, scene, run.proxy(name)))
            except (Failure, Missing, OSError) as error:
                run.trouble(workload.name, name, error)
                continue
            made[name].append(sample)
            run.say(f"{workload.name} {number + 1}/{run.rounds} {name}: {sample['cpu_us']:.1f} µs, {sample['requests_s']:.0f}/s, "
                    f"{sample['failed']} failed")
    return made


def one(run, workload, scene, proxy):
    """One round of one proxy."""
    with proxies.running(proxy, scene, workload.tls) as (started, ready_s):
        load(run, workload, scene, proxy, WARM_UP_SECONDS)
        said, used_ns = answered(run.seconds, lambda seconds: used(started, lambda: load(run, workload, scene, proxy, seconds)))
        sample = {"requests": said["requests"], "failed": said["failed"], "cpu_us": used_ns / 1000 / max(1, said["requests"]),
                  "requests_s": said["requests"] / said["seconds"], "busy": used_ns / 1e9 / said["seconds"],
                  "pss_mib": pss_mib(started), "ready_s": ready_s}
        sample |= {key: said[key] for key in ("p50_us", "p99_us", "p999_us") if said.get(key) is not None}
        if said.get("bytes", 0) > BULK_BYTES * said["requests"]:
            sample["mib_s"] = said["bytes"] / said["seconds"] / (1 << 20)
        return sample


def used(started, ask):
    """What the load said, and the CPU time of the proxy meanwhile."""
    before = Usage(started)
    said = ask()
    return said, Usage(started).since(before)


def answered(seconds, measure):
    """A measurement that says something. On a machine that its host leaves no time, a second can pass before the first answer: then
    twice as long is measured."""
    while True:
        said, used_ns = measure(seconds)
        if said["requests"] or said["failed"] or seconds >= SECONDS_MAX:
            return said, used_ns
        seconds *= 2


def load(run, workload, scene, proxy, seconds):
    hop = Hop(scene, 0)
    port = hop.https if workload.tls else hop.http
    common = {"pinned": workload.pinned, "connections": workload.connections}
    if workload.load == "h2load":
        return generators.h2load(port, seconds, threads=workload.workers, path=workload.path, **common)
    if workload.load == "handshake":
        return generators.handshake(run.binaries, port, seconds, **common)
    # What has one route is asked for one host.
    hosts = proxy.hosts(scene)
    return generators.wrk(port, seconds, tls=workload.tls, path=workload.path, hosts=hosts, close=workload.close,
                          threads=workload.workers, **common)
