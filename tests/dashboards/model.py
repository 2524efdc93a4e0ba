"""What a dashboard asks for: its queries, with their places.

In: a dashboard as Grafana imports it. Out: its panels, and every query in it with a name that a person finds it by.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "grafana"
VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
# Not every tier and tenant has these.
WORDS_FOR_NOTHING = frozenset({"no certificate"})
LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+),\s*(?P<label>\w+)\)")


@dataclass(frozen=True)
class Query:
    """One expression, and where it stands."""

    place: str
    expression: str
    legend: str = ""
    is_instant: bool = False
    # A panel shows something as soon as one of its queries does.
    panel: str = ""
    # Annotations mark what happens now and then.
    may_be_empty: bool = False
    # The panel says itself what nothing means there.
    may_be_empty_when_chosen: bool = False


def read(path):
    return json.loads(Path(path).read_text())


def all_dashboards(folder=FOLDER):
    """Dashboards by the names of their files."""
    return {path.name: read(path) for path in sorted(Path(folder).glob("*.json"))}


def panels(dashboard):
    """All panels, those within collapsed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def shown(dashboard):
    """The panels that show something."""
    return [panel for panel in panels(dashboard) if panel["type"] != "row"]


def queries(name, dashboard):
    """Every query of the panels and annotations."""
    for panel in shown(dashboard):
        place = f"{name}: panel {panel['title']!r}"
        has_words = panel["fieldConfig"]["defaults"].get("noValue") in WORDS_FOR_NOTHING
        for target in panel.get("targets", []):
            yield Query(
                f"{place} {target['refId']}",
                target["expr"],
                target.get("legendFormat", ""),
                target.get("instant", False),
                place,
                may_be_empty_when_chosen=has_words,
            )
    for annotation in dashboard["annotations"]["list"]:
        place = f"{name}: annotation {annotation['name']!r}"
        yield Query(place, annotation["expr"], annotation["titleFormat"], panel=place, may_be_empty=True)


def variables(dashboard):
    """The variables that are filled by a query, in their order."""
    return [one for one in dashboard["templating"]["list"] if one["type"] == "query"]


def label_values(variable):
    """The selector and the label of a query `label_values(SELECTOR, LABEL)`."""
    found = LABEL_VALUES.fullmatch(variable["query"]["query"])
    return (found["selector"], found["label"]) if found else None


def everything(dashboard):
    """For each variable the value that stands for all."""
    return {one["name"]: one.get("allValue", ".+") for one in variables(dashboard)}


def filled(expression, values, interval="20s", span="1m"):
    """The expression with the variables that Grafana would fill in."""
    known = {"__rate_interval": interval, "__interval": interval, "__range": span, **values}
    return VARIABLE.sub(lambda found: known.get(found[1] or found[2], found[0]), expression)
