"""The stage of fixed rates: how long answers take when the load does not wait for them, and what a request costs then.

In: a workload. Out: rows for each rate, divided by their p99. Latency counts from the moment at which a request was due (an open
loop, `tiergate-load rate`). A proxy is started anew for each round and then asked at all rates, from the lowest on.
"""
import math

import figures, generators, proxies, stolen
from processes import Failure, Missing, Usage
from scene import Hop

RATES, SANITY_RATES = (100, 1_000, 6_000, 10_000), (1_000,)
# The 99th part of fewer requests is chance. A median over ten rounds and more is asked for.
REQUESTS_MIN, REQUESTS_FOR_P999, ROUNDS_MIN = 500, 2_000, 10
WARM_UP_SECONDS, WARM_UP_RATE = 1, 2_000


def measure(run, workload):
    scene = run.scene(workload)
    names = run.able(workload, scene)
    generators.own_program(run.binaries)
    rates = SANITY_RATES if run.is_sanity else RATES
    samples = {rate: {name: [] for name in names} for rate in rates}
    rounds = max(run.rounds, ROUNDS_MIN) if run.is_whole else run.rounds
    for number in range(rounds):
        for name in names:
            try:
                for rate, sample in one(run, scene, run.proxy(name), rates):
                    samples[rate][name].append(sample)
                    run.say(f"{workload.name} {number + 1}/{rounds} {name} {rate}/s: p50 {sample['p50_us']}, p99 {sample['p99_us']} µs, "
                            f"{sample['cpu_us']:.1f} µs CPU, {sample['failed']} failed")
            except (Failure, Missing, OSError) as error:
                run.trouble(workload.name, name, error)
    return [row for rate in rates for row in figures.rows(workload.name, f"{workload.title}: {rate:,}/s", samples[rate], main="p99_us")]


def one(run, scene, proxy, rates):
    """One round of one proxy: a sample for each rate."""
    with proxies.running(proxy, scene) as (started, _):
        generators.rate(run.binaries, Hop(scene, 0).http, WARM_UP_RATE, WARM_UP_SECONDS, pinned=scene.pinned)
        for rate in rates:
            yield rate, stolen.least(run, f"{proxy.name} {rate}/s", lambda: at(run, scene, started, rate))


def at(run, scene, started, rate):
    """One rate."""
    seconds = max(run.seconds, math.ceil(REQUESTS_MIN / rate))
    before = Usage(started)
    said = generators.rate(run.binaries, Hop(scene, 0).http, rate, seconds, pinned=scene.pinned)
    used_ns = Usage(started).since(before)
    sample = {key: said[key] for key in ("requests", "failed", "p50_us", "p99_us")}
    sample["late_percent"] = 100 * said["late"] / max(1, said["requests"])
    if said["requests"] >= REQUESTS_FOR_P999:
        sample["p999_us"] = said["p999_us"]
    return {**sample, "cpu_us": used_ns / 1000 / max(1, said["requests"]), "requests_s": said["requests"] / seconds}
