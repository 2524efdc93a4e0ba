"""The rules of dashboards, checked without Prometheus.

In: dashboards, and the registry of metrics. Out: findings, each a sentence that names the dashboard and the panel.
"""

import re

import model
import promql
import registry

KINDS = frozenset({"stat", "timeseries", "table", "bargauge"})
VARIABLES = ["datasource", "tier", "tenant", "ingress"]
TAG = "tiergate"
LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
ADDS_UP = frozenset({"rate", "increase"})
# Stand for $__rate_interval and $__range; nobody writes such times himself.
INTERVALS = ("23s", "61s")


def lint(dashboards, series):
    """All findings, for a set of dashboards that is shipped together."""
    findings = []
    uids = [dashboard.get("uid") for dashboard in dashboards.values()]
    for name, dashboard in dashboards.items():
        if uids.count(dashboard.get("uid")) > 1:
            findings.append(f"{name}: its uid {dashboard.get('uid')!r} is another's too")
        findings += whole(name, dashboard)
        for panel in model.shown(dashboard):
            findings += looks(f"{name}: panel {panel['title']!r}", panel)
        for query in model.queries(name, dashboard):
            findings += asks(query, series)
        findings += fills(name, dashboard, series)
    return findings


def whole(name, dashboard):
    """What holds for a dashboard as a whole."""
    if "__inputs" in dashboard:
        yield f"{name}: __inputs cannot be provisioned"
    if not re.fullmatch(r"tiergate-[a-z-]{1,30}", dashboard.get("uid") or ""):
        yield f"{name}: the uid must be stable and begin with tiergate-"
    if dashboard.get("tags") != [TAG]:
        yield f"{name}: its tags are not [{TAG!r}]"
    if dashboard.get("editable") is not False:
        yield f"{name}: editable is not false"
    if not dashboard.get("description"):
        yield f"{name}: no description"
    if "id" in dashboard and dashboard["id"] is not None:
        yield f"{name}: an id belongs to one Grafana only"
    names = [one["name"] for one in dashboard["templating"]["list"]]
    if names != VARIABLES:
        yield f"{name}: its variables are {names}, not {VARIABLES}"
    links = [one for one in dashboard["links"] if one["type"] == "dashboards" and one["tags"] == [TAG]]
    if not links or not all(one["keepTime"] and one["includeVars"] for one in links):
        yield f"{name}: no link to the other dashboards that keeps the time and the variables"
    numbers = [panel["id"] for panel in model.panels(dashboard)]
    if len(numbers) != len(set(numbers)):
        yield f"{name}: two panels have one id"
    titles = [panel["title"] for panel in model.shown(dashboard)]
    for title in sorted({title for title in titles if titles.count(title) > 1}):
        yield f"{name}: two panels are called {title!r}"
    yield from overlaps(name, dashboard)


def overlaps(name, dashboard):
    taken = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken or cell[0] >= 24:
                yield f"{name}: panel {panel['title']!r} lies on {taken.get(cell, 'the edge')!r}"
                break
            taken[cell] = panel["title"]


def looks(place, panel):
    """What holds for each panel."""
    if panel["type"] not in KINDS:
        yield f"{place}: the kind {panel['type']!r} is not one of {sorted(KINDS)}"
    if not panel.get("title"):
        yield f"{place}: no title"
    if len(panel.get("description") or "") < 20:
        yield f"{place}: no description"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield f"{place}: no unit"
    if not panel.get("targets"):
        yield f"{place}: no query"
    for holder in [panel, *panel.get("targets", [])]:
        if holder.get("datasource") != {"type": "prometheus", "uid": "${datasource}"}:
            yield f"{place}: its data source is not the variable"
    if panel["type"] == "table":
        known = {f"Value #{target['refId']}" for target in panel["targets"]} | {"Value"}
        for change in panel.get("transformations", []):
            for field in sorted(set(change["options"].get("renameByName", {})) - known):
                yield f"{place}: it renames {field!r}, which no query gives"


def asks(query, series):
    """What holds for each query: its series and labels exist, it does not count twice, and it looks at the right time."""
    if "$__range]" in query.expression and not query.is_instant:
        yield f"{query.place}: $__range belongs into instant queries"
    try:
        parts = promql.parse(model.filled(query.expression, {}, *INTERVALS))
    except ValueError as error:
        yield f"{query.place}: {error}"
        return
    yield from names_exist(query, parts, series)
    if "irate" in parts.functions:
        yield f"{query.place}: irate shows two samples of many"
    for one in parts.selected:
        yield from reads_well(query, one, series)
        if one.range and f"{one.range.total_seconds():.0f}s" not in INTERVALS:
            yield f"{query.place}: the range of {one.name} is neither $__rate_interval nor $__range"


def names_exist(query, parts, series):
    known = [one for one in parts.selected if one.name in series]
    for one in parts.selected:
        if one.name not in series:
            yield f"{query.place}: there is no metric {one.name} in docs/metrics.md"
    for one in known:
        for label, _, _ in one.matchers:
            if label not in series[one.name].labels:
                yield f"{query.place}: {one.name} has no label {label}"
    for by, names in parts.grouped:
        for name in sorted(names & set(series)):
            for label in by:
                if label not in series[name].labels:
                    yield f"{query.place}: {name} has no label {label} to group by"
    shown = {label for by, _ in parts.grouped for label in by}
    for label in LEGEND.findall(query.legend):
        if label not in shown:
            yield f"{query.place}: its legend names {label}, which nothing is grouped by"


def reads_well(query, one, series):
    matched = {label for label, _, _ in one.matchers}
    groupings = [step[2] for step in one.around if isinstance(step, tuple)]
    functions = [step for step in one.around if isinstance(step, str)]
    if not any("tier" in by for by in groupings) and not any(label == "tier" and op == "MatchOp.Equal" for label, op, _ in one.matchers):
        yield f"{query.place}: {one.name} is neither grouped by tier nor of one tier, so requests count twice"
    for inner, outer in zip(groupings, groupings[1:], strict=False):
        if lost := sorted(set(outer) - set(inner)):
            yield f"{query.place}: an inner grouping has dropped {', '.join(lost)}"
    if "tier" not in matched:
        yield f"{query.place}: {one.name} does not heed the variable tier"
    kind = series[one.name].kind if one.name in series else None
    first = one.around[0] if one.around else None
    if kind == "counter" and first not in ADDS_UP:
        yield f"{query.place}: the counter {one.name} needs rate() or increase() before all else"
    if kind in ("gauge", "info") and set(functions) & ADDS_UP:
        yield f"{query.place}: {one.name} is no counter, so it has no rate"
    if kind == "counter" and "max" in functions:
        yield f"{query.place}: max over rates of {one.name}"


def fills(name, dashboard, series):
    """What holds for the variables."""
    for one in model.variables(dashboard):
        place = f"{name}: variable {one['name']!r}"
        found = model.label_values(one)
        if one["refresh"] != 2:
            yield f"{place}: it is not read anew when the time range changes"
        if one["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
            yield f"{place}: its data source is not the variable"
        if one["includeAll"] and one.get("allValue") != ".*":
            yield f"{place}: without allValue `.*` a long list makes a long query"
        if not found:
            yield f"{place}: its query is not label_values(SELECTOR, LABEL)"
            continue
        selector, label = found
        parts = promql.parse(model.filled(selector, {}))
        yield from names_exist(model.Query(place, selector), parts, series)
        for selected in parts.selected:
            if selected.name in series and label not in series[selected.name].labels:
                yield f"{place}: {selected.name} has no label {label}"


def main():
    findings = lint(model.all_dashboards(), registry.read())
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
