"""Pure: from samples to rows. In: what each round measured. Out: medians, spreads, ratios, and whether a bar is met.

The ratio is the median of the rounds divided by the median of the reference's rounds. Its spread is that of the ratios of single
rounds, which ran one after the other: it shows how far the machine can be trusted.
"""
import statistics

import bars

# What is taken from the samples of a round as it is, by its median.
MEDIANS = ("requests_s", "p50_us", "p99_us", "p999_us", "late_percent", "stolen_percent", "mib_s", "busy", "pss_mib", "ready_s", "base_mib",
           "mib_per_10k", "change_ms", "change_max_ms", "write_ms", "after_write_ms", "connections")
SUMS = ("requests", "failed")


def median(samples, figure):
    """The middle of the rounds that have this figure; None without one."""
    values = [sample[figure] for sample in samples if sample.get(figure) is not None]
    return statistics.median(values) if values else None


def spread(samples, figure):
    values = [sample[figure] for sample in samples if sample.get(figure) is not None]
    return (min(values), max(values)) if values else (None, None)


def chosen_reference(workload, samples, main):
    """Name of the proxy that the others are divided by; None when it did not run."""
    name, best_of = bars.reference(workload)
    if name == "best":
        known = {proxy: median(samples[proxy], main) for proxy in best_of if samples.get(proxy)}
        known = {proxy: value for proxy, value in known.items() if value}
        return min(known, key=known.get) if known else None
    return name if samples.get(name) else None


def divided(samples, references, main):
    """Ratio of the medians, and the least and the greatest ratio within one round."""
    mine, other = median(samples, main), median(references, main)
    if mine is None or not other:
        return None, None, None
    pairs = [one[main] / two[main] for one, two in zip(samples, references) if one.get(main) is not None and two.get(main)]
    return mine / other, min(pairs, default=None), max(pairs, default=None)


def row(workload, title, proxy, samples, reference=None, references=(), main="cpu_us"):
    """One row: what was measured, without a judgement. `main` is the figure that is divided."""
    ratio, ratio_min, ratio_max = divided(samples, references, main)
    made = {"workload": workload, "title": title, "proxy": proxy, "figure": "ratio", "cpu_us": median(samples, "cpu_us")}
    made["cpu_us_min"], made["cpu_us_max"] = spread(samples, "cpu_us")
    made |= {"reference": reference, "ratio_of": main, "ratio": ratio, "ratio_min": ratio_min, "ratio_max": ratio_max, "rounds": len(samples)}
    made |= {"must": None, "aim": None, "met": None, "aim_met": None, "why": None}
    made |= {figure: median(samples, figure) for figure in MEDIANS if any(sample.get(figure) is not None for sample in samples)}
    made |= {figure: sum(sample.get(figure, 0) for sample in samples) for figure in SUMS}
    return made


def judge(made, bar):
    """The same row held against a bar. Unknown (None) when what it needs was not measured; never met with failed requests."""
    value = made.get(bar.figure)
    judged = {**made, "figure": bar.figure, "must": bar.must, "aim": bar.aim}
    if bar.reference and made.get("reference") is None:
        return {**judged, "why": f"the reference {bar.reference} did not run"}
    if value is None:
        return {**judged, "why": f"{bar.figure} was not measured"}
    failed = made.get("failed", 0)
    if failed:
        judged["why"] = f"{failed} requests failed"
    if bar.must is not None:
        judged["met"] = value <= bar.must and not failed
    if bar.aim is not None:
        judged["aim_met"] = (value < bar.aim if bar.is_aim_strict else value <= bar.aim) and not failed
    return judged


def rows(workload, title, samples, main="cpu_us"):
    """All rows of a workload: one for each proxy, and one more for each further bar of ours."""
    reference = chosen_reference(workload, samples, main)
    made = []
    for proxy, of_proxy in samples.items():
        if not of_proxy:
            continue
        plain = row(workload, title, proxy, of_proxy, reference, samples.get(reference, ()), main)
        judged = [judge(plain, bar) for bar in bars.of(workload)] if proxy == bars.OURS else []
        made += judged or [plain]
    return made


def outcome(made, workloads):
    """Exit code of a run of these workloads: 1 when a must is missed, 4 when one cannot be judged, else 0."""
    if any(one["met"] is False for one in made):
        return 1
    unknown = [one for one in made if one["must"] is not None and one["met"] is None]
    ours = {one["workload"] for one in made if one["proxy"] == bars.OURS}
    return 4 if unknown or not ours.issuperset(workloads) else 0
