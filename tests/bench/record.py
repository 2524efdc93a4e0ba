"""Writes what a run measured into docs/: the tables between two marks of docs/performance.md, the plot and the JSON beside it."""
import json
from pathlib import Path

import plot, report

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, PLOT, FIGURES = DOCS / "performance.md", DOCS / "performance.svg", DOCS / "performance.json"
IMAGE = f"![What a proxy costs, as a ratio to the reference of its workload]({PLOT.name})"
BEGIN, END = "<!-- Written by tests/bench/run --record. -->", "<!-- End of what is written. -->"


def write(result):
    PAGE.write_text(between(PAGE.read_text(), f"{IMAGE}\n\n{report.markdown(result)}"))
    PLOT.write_text(plot.svg(result["rows"]))
    FIGURES.write_text(json.dumps(result, indent=1) + "\n")


def between(page, tables):
    """The page with new tables between the marks; everything else stays."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"
