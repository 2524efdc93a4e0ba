"""Asks a Prometheus what the dashboards ask, and says which answers are missing.

In: dashboards, the registry of metrics, the address of a Prometheus. Out: findings, each a sentence that names the place.
"""

import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request

import model
import promql

# Grafana makes $__rate_interval of the data source's interval: four times 15 s.
INTERVAL, SPAN_SECONDS, STEP_SECONDS = "60s", 120, 5
# What discovery and scraping add to the labels of a tier.
OF_TARGETS = frozenset({"__name__", "instance", "job", "namespace", "pod", "node"})


class Prometheus:
    """A Prometheus, by its HTTP API."""

    def __init__(self, url):
        self.url = url

    def get(self, path, **arguments):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error

    def points(self, query, values):
        """How many numbers a query gives."""
        expression = model.filled(query.expression, values, INTERVAL, f"{SPAN_SECONDS}s")
        now = time.time()
        if query.is_instant:
            result = self.get("query", query=expression, time=now)["result"]
            samples = [one["value"] for one in result]
        else:
            found = self.get("query_range", query=expression, start=now - SPAN_SECONDS, end=now, step=STEP_SECONDS)
            samples = [sample for one in found["result"] for sample in one["values"]]
        return sum(1 for _, value in samples if not math.isnan(float(value)))

    def label_values(self, variable, values):
        """What the variable offers, in the order in which Grafana shows it."""
        selector, label = model.label_values(variable)
        now = time.time()
        found = self.get(
            f"label/{label}/values", **{"match[]": model.filled(selector, values)}, start=now - SPAN_SECONDS, end=now
        )
        regex = variable["regex"].strip("/")
        return [value for value in found if re.search(regex, value)]


# --- findings ---------------------------------------------------------------------------------------------------------


def missing_names(dashboards, prometheus):
    """Metrics that a panel asks for, and nothing exposes. Where none is as good as 0, the panel says so."""
    names = set(prometheus.get("label/__name__/values"))
    for name, dashboard in dashboards.items():
        for query in model.queries(name, dashboard):
            if "or on() vector(0)" in query.expression:
                continue
            for one in promql.parse(model.filled(query.expression, {})).selected:
                if one.name not in names:
                    yield f"{query.place}: nothing exposes {one.name}"


def wrong_labels(series, prometheus):
    """Series whose labels are not those of the registry, and metrics of ours that the registry lacks."""
    for found in prometheus.get("series", **{"match[]": '{__name__=~"(tiergate|process)_.+",tier!=""}'}):
        name = found["__name__"]
        if name not in series:
            yield f"{name} is exposed, and docs/metrics.md does not name it"
        elif set(found) - OF_TARGETS != set(series[name].labels) - OF_TARGETS:
            yield f"{name} has the labels {sorted(set(found) - OF_TARGETS)}, and not those of docs/metrics.md"


def empty_queries(dashboards, prometheus, restrict=lambda text: text):
    """Queries that give nothing when everything is chosen."""
    for name, dashboard in dashboards.items():
        values = first_values(dashboard, prometheus)
        for query in model.queries(name, dashboard):
            yield from problem(query, values, prometheus, restrict)


def empty_panels(dashboards, prometheus, chosen, restrict=lambda text: text):
    """Panels in which nothing is left when one value of each variable is chosen."""
    for name, dashboard in dashboards.items():
        values = {**first_values(dashboard, prometheus), **chosen}
        by_panel = {}
        for query in model.queries(name, dashboard):
            if not (query.may_be_empty or query.may_be_empty_when_chosen):
                by_panel.setdefault(query.panel, []).append(query)
        for place, queries in by_panel.items():
            findings = [one for query in queries for one in problem(query, values, prometheus, restrict)]
            if len(findings) == len(queries):
                yield f"{place}: nothing with {values}"


def problem(query, values, prometheus, restrict):
    asked = model.Query(query.place, restrict(query.expression), is_instant=query.is_instant)
    try:
        points = prometheus.points(asked, values)
    except ValueError as error:
        yield f"{query.place}: {error}"
        return
    if not points and not query.may_be_empty:
        yield f"{query.place}: no data"


def first_values(dashboard, prometheus):
    """What Grafana chooses when the dashboard is opened: everything, or the first value."""
    values = {}
    for one in model.variables(dashboard):
        offered = prometheus.label_values(one, values)
        values[one["name"]] = one["allValue"] if one["includeAll"] else next(iter(offered), "")
    return values


def empty_variables(dashboards, prometheus, expected):
    """Variables that do not offer what they should."""
    for name, dashboard in dashboards.items():
        everything = model.everything(dashboard)
        for one in model.variables(dashboard):
            offered = set(prometheus.label_values(one, everything))
            if lacking := expected[one["name"]] - offered:
                yield f"{name}: variable {one['name']!r} offers {sorted(offered)}, and not {sorted(lacking)}"
