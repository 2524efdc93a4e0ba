"""Keys that are taken away, by `--set KEY=null` or by --reuse-values of a chart that did not have them: the schema refuses the
absence and names the key, or the chart renders as well without it. A template never fails for it, and no manifest holds a nil.

All keys that the schema can spare are taken away at once; when that is wrong, by halves. That helm says which key it misses, a few
rows of bad-values.yaml show."""

import json
import tempfile

import chart
from checks import bad_values

# What a template writes for nothing.
NOTHING = ["<nil>", "%!", "<no value>"]
MODES = ["namespace", "cluster"]


def check(outcome):
    keys = list(paths(chart.defaults(), ()))
    # Their absence leaves no mode to look at.
    keys = [key for key in keys if key not in (("deployment",), ("deployment", "mode"))]
    counts = []
    for mode in MODES:
        spared = [key for key in keys if not any(bad_values.errors(without([key], mode)))]
        # Of a map and its keys, the map alone; the keys by themselves beside it.
        inner = [key for key in spared if not isinstance(default(key), dict)]
        outer = [key for key in spared if isinstance(default(key), dict)]
        for group in (inner, outer):
            for key, wrong, command in broken(group, mode):
                outcome.failed(f"{mode} mode without {'.'.join(key)}: {wrong}", command)
        counts.append(len(spared))
    outcome.summary = f"of {len(keys)} keys, each that the schema can spare is: {' and '.join(map(str, counts))} in the modes {' and '.join(MODES)}"


def paths(values, above):
    for key, value in values.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


def default(path):
    value = chart.defaults()
    for key in path:
        value = value[key]
    return value


def without(keys, mode):
    """Values that take keys away; a map that is taken away takes its keys along."""
    values = {}
    for key in sorted(keys, key=len, reverse=True):
        inner = values
        for part in key[:-1]:
            inner = inner.setdefault(part, {})
        inner[key[-1]] = None
    values.setdefault("deployment", {})["mode"] = mode
    return values


def broken(keys, mode):
    """(key, what is wrong, command) for each key whose absence shows."""
    if not keys:
        return
    values = without(keys, mode)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values, file)
        file.flush()
        done = chart.template("4", "--values", file.name)
    nothing = [line for line in done.out.splitlines() if any(word in line for word in NOTHING)]
    if done.code == 0 and not nothing:
        return
    if len(keys) == 1 and "these values cannot be meant" in done.err:
        return
    if len(keys) == 1:
        yield keys[0], "; ".join(nothing) or done.why, f"{done.command}   # values: {json.dumps(values)}"
        return
    half = len(keys) // 2
    yield from broken(keys[:half], mode)
    yield from broken(keys[half:], mode)
