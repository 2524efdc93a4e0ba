"""The manifests of each scenario equal the committed ones, golden/SCENARIO.yaml: a change of the chart shows what it
changes. `tests/chart/run --update golden` writes them; the difference is the review."""

import difflib
import re

import chart

GOLDEN = chart.ROOT / "tests/chart/golden"


def check(outcome):
    wanted = {}
    for scenario in chart.scenarios():
        rendered = chart.render(scenario)
        if rendered.code != 0:
            outcome.failed(rendered.why, rendered.command)
            continue
        wanted[GOLDEN / f"{scenario.name}.yaml"] = rendered, short(rendered.out)
    for file in sorted(GOLDEN.glob("*.yaml")):
        if file not in wanted:
            if outcome.update:
                file.unlink()
            else:
                outcome.failed(f"{file.name}: there is no such scenario", "tests/chart/run --update golden")
    for file, (rendered, text) in wanted.items():
        committed = file.read_text() if file.exists() else ""
        if committed == text:
            continue
        if outcome.update:
            file.write_text(text)
        else:
            outcome.failed(difference(file.name, committed, text), rendered.command)
    outcome.summary = f"the manifests of {len(wanted)} scenarios are as committed"


def short(text):
    """Without the text of dashboards, which is files/dashboards/ as it is (group `rendered`)."""
    return re.sub(r"^(  [a-z-]+\.json: \|-?\n)((    .*)?\n)+", r"\1    (as in files/dashboards/)\n", text, flags=re.MULTILINE)


def difference(name, committed, rendered):
    lines = list(difflib.unified_diff(committed.splitlines(), rendered.splitlines(), name, "rendered", n=1, lineterm=""))
    more = [f"and {len(lines) - 24} lines more; `tests/chart/run --update golden` takes them"] if len(lines) > 24 else []
    return "\n".join(lines[:24] + more)
