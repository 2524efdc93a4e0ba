"""The stage of idle connections: what a proxy keeps for a client that is there and says nothing.

In: a workload. Out: rows with MiB for 10,000 connections. Each brought one request; there are as many as the limit of descriptors
allows (`tiergate-load idle` holds them), scaled to 10,000. Memory is that of the processes (PSS); what the kernel keeps for a socket is
the same for all. The load asks some of the connections again at the end: one that the proxy has closed is a failure.
"""
import json, os, signal, subprocess, time

import figures, generators, proxies
from processes import Failure, Missing, cpus, pss_mib
from scene import ADDRESS, CONNECTIONS_MAX, Hop, host

# Descriptors that a proxy needs besides: listeners, upstream connections, its own files.
RESERVE, SANITY_COUNT = 1_000, 1_000
SETTLE_SECONDS, SANITY_SETTLE_SECONDS, HOLD_SECONDS = 3, 1, 120
ROUNDS_MAX = 3


def measure(run, workload):
    scene = run.scene(workload)
    names = run.able(workload, scene)
    count = SANITY_COUNT if run.is_sanity else min(CONNECTIONS_MAX, run.descriptors) - RESERVE
    samples = {name: [] for name in names}
    for number in range(min(run.rounds, ROUNDS_MAX)):
        for name in names:
            try:
                sample = one(run, scene, run.proxy(name), count)
            except (Failure, Missing, OSError, subprocess.SubprocessError) as error:
                run.trouble(workload.name, name, error)
                continue
            samples[name].append(sample)
            run.say(f"idle {number + 1} {name}: {sample['mib_per_10k']:.1f} MiB for 10,000 of {sample['connections']}, {sample['failed']} failed")
    return figures.rows(workload.name, workload.title, samples, main="mib_per_10k")


def one(run, scene, proxy, count):
    """One round of one proxy. Memory is taken after a first load, so that what is made once counts to no connection."""
    with proxies.running(proxy, scene) as (started, _):
        port = Hop(scene, 0).http
        generators.wrk(port, 1, pinned=scene.pinned)
        settle = SANITY_SETTLE_SECONDS if run.is_sanity else SETTLE_SECONDS
        time.sleep(settle)
        base = pss_mib(started)
        words = ["idle", "--address", f"{ADDRESS}:{port}", "--host", host(0), "--count", str(count), "--hold", str(HOLD_SECONDS)]
        allowed = cpus("load", scene.pinned)
        with subprocess.Popen([generators.own_program(run.binaries), *words], stdout=subprocess.PIPE, text=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, allowed)) as held:
            try:
                line = held.stdout.readline()
                if not line.startswith("ready "):
                    raise Failure(f"tiergate-load idle said {line!r}")
                time.sleep(settle)
                memory = pss_mib(started)
                held.send_signal(signal.SIGINT)
                said = json.loads(held.stdout.read().strip().splitlines()[-1])
            finally:
                held.kill()
        connections = said["connections"]
        return {"requests": said["requests"], "failed": said["failures"], "connections": connections, "base_mib": base,
                "mib_per_10k": (memory - base) * 10_000 / max(1, connections)}
