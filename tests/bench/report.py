"""Pure: the tables. In: the result of a run. Out: Markdown, first what is judged, then every proxy in every workload."""
import bars

UNITS = {"ratio": "×", "ready_s": "s to ready", "pss_mib": "MiB", "mib_per_10k": "MiB for 10,000", "failed": "requests failed"}
WORDS = ("workload", "proxy", "divided by", "verdict")  # columns that hold no numbers
RATIOS = {"cpu_us": "ratio", "p99_us": "ratio of p99", "change_ms": "ratio of change", "mib_per_10k": "ratio of memory"}
# Columns of the details: what is shown when at least one row has it, and how it is called.
DETAILS = (
    ("requests_s", "requests/s"), ("mib_s", "MiB/s"), ("p50_us", "p50 µs"), ("p99_us", "p99 µs"), ("p999_us", "p99.9 µs"), ("late_percent", "sent late %"),
    ("stolen_percent", "stolen %"), ("busy", "busy CPUs"), ("change_ms", "change ms"), ("change_max_ms", "longest ms"), ("write_ms", "the write itself ms"), ("after_write_ms", "after the write ms"),
    ("connections", "connections"), ("base_mib", "MiB without"), ("mib_per_10k", "MiB for 10,000"), ("pss_mib", "PSS MiB"), ("ready_s", "ready s"))


def number(value):
    """Three digits that count; thousands apart."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3f}"


def spread(row, figure, unit=""):
    least, greatest = row.get(f"{figure}_min"), row.get(f"{figure}_max")
    if row.get(figure) is None:
        return "–"
    known = least is not None and row["rounds"] > 1
    return number(row[figure]) + unit + (f" ({number(least)}–{number(greatest)})" if known else "")


def table(head, lines):
    alignment = ["---" if name in WORDS else "---:" for name in head]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, alignment, *lines]) + "\n"


def verdict(row):
    if row["must"] is None and row["aim"] is None:
        return "–"
    if row["must"] is not None and row["met"] is None or row["must"] is None and row["aim_met"] is None:
        return f"unknown: {row['why']}"
    words = {None: "stated", True: "met", False: "**missed**"}[row["met"]]
    aim = {None: "", True: ", aim met", False: ", aim missed"}[row["aim_met"]]
    return words + aim + (f" ({row['why']})" if row["why"] else "")


def limit(value, is_strict=False):
    return "–" if value is None else f"{'<' if is_strict else '≤'} {number(value)}"


def overview(rows):
    """Ours against the bars, a line for each."""
    lines = []
    for row in rows:
        if row["proxy"] != bars.OURS:
            continue
        against = row["reference"] if row["figure"] == "ratio" else "–"
        unit = f" {UNITS[row['figure']]}"
        value = spread(row, "ratio", unit) if row["figure"] == "ratio" else number(row.get(row["figure"])) + unit
        strict = any(bar.is_aim_strict for bar in bars.of(row["workload"]))
        lines.append([row["title"], value, against or "–", limit(row["must"]),
                      limit(row["aim"], strict), verdict(row)])
    return table(["workload", "Tiergate", "divided by", "must", "aim", "verdict"], lines)


def details(rows):
    """Every proxy of one workload."""
    shown = [(figure, name) for figure, name in DETAILS if any(row.get(figure) is not None for row in rows)]
    has_cpu = any(row["cpu_us"] is not None for row in rows)
    head = ["proxy", *(["CPU µs/request (least–most)"] if has_cpu else []), RATIOS[rows[0]["ratio_of"]], *(name for _, name in shown), "failed", "rounds"]
    lines, seen = [], set()
    for row in rows:
        if row["proxy"] in seen:
            continue  # the same figures, held against a further bar
        seen.add(row["proxy"])
        cpu = [spread(row, "cpu_us")] if has_cpu else []
        lines.append([row["proxy"], *cpu, number(row["ratio"]), *(number(row.get(figure)) for figure, _ in shown),
                      f"{row['failed']:,} of {row['requests']:,}", str(row["rounds"])])
    return table(head, lines)


def head(result):
    machine, settings = result["machine"], result["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (f"{result['date']}, commit {result['commit']}: {machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']} GiB, Linux "
            f"{machine['kernel']}, {machine['congestion_control']}, at most {machine['descriptors_max']:,} descriptors. {settings['rounds']} "
            f"interleaved rounds of {settings['seconds']} s ({settings['form']}). {versions}.\n")


def markdown(result):
    """The whole report."""
    rows = result["rows"]
    parts = [head(result), "### Against the bars\n", overview(rows)]
    for name in dict.fromkeys(row["workload"] for row in rows):
        of_workload = [row for row in rows if row["workload"] == name]
        for title in dict.fromkeys(row["title"] for row in of_workload):
            parts += [f"### `{name}`: {title}\n", details([row for row in of_workload if row["title"] == title])]
    if result["missing"]:
        parts += ["### What did not run\n", "\n".join(f"- {what}: {why}" for what, why in result["missing"].items()) + "\n"]
    return "\n".join(parts)
