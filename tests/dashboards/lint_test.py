"""The rules of lint.py find what they are for: each case breaks one thing, and names what must be said."""

import copy
import unittest

import lint
import model
import registry

SERIES = registry.read()
GOOD = model.all_dashboards()


def panel(dashboards, title):
    return next(one for one in model.shown(dashboards["overview.json"]) if one["title"] == title)


def asks(title, expression, legend=""):
    """Lets the first query of a panel be another one."""

    def change(dashboards):
        panel(dashboards, title)["targets"][0].update(expr=expression, legendFormat=legend)

    return change


def sets(which, /, **values):
    return lambda dashboards: panel(dashboards, which).update(values)


def whole(**values):
    return lambda dashboards: dashboards["overview.json"].update(values)


def variable(which, /, **values):
    def change(dashboards):
        found = [one for one in model.variables(dashboards["overview.json"]) if one["name"] == which]
        found[0].update(values)

    return change


M = 'tier=~"$tier"'
CASES = [
    ("a metric that was renamed", asks("CPU", f"sum by (tier) (rate(process_cpu_total{{{M}}}[$__rate_interval]))"), "panel 'CPU' A: there is no metric process_cpu_total"),
    ("a label that the metric lacks", asks("CPU", f'sum by (tier) (rate(process_cpu_seconds_total{{{M},tenant="a"}}[$__rate_interval]))'), "panel 'CPU' A: process_cpu_seconds_total has no label tenant"),
    ("a label of the pod that is scraped", asks("Memory", f"max by (tier, pod) (process_resident_memory_bytes{{{M}}})"), "panel 'Memory' A: process_resident_memory_bytes has no label pod to group by"),
    ("a legend that shows nothing", asks("Memory", f"max by (tier) (process_resident_memory_bytes{{{M}}})", "{{node}}"), "panel 'Memory' A: its legend names node"),
    ("requests of both tiers in one sum", asks("Bodies", f"sum by (tenant) (rate(tiergate_request_body_bytes_total{{{M}}}[$__rate_interval]))"), "panel 'Bodies' A: tiergate_request_body_bytes_total is neither grouped by tier nor of one tier"),
    ("a tier that nobody can choose", asks("Memory", "max by (tier) (process_resident_memory_bytes)"), "panel 'Memory' A: process_resident_memory_bytes does not heed the variable tier"),
    ("a fixed range", asks("CPU", f"sum by (tier) (rate(process_cpu_seconds_total{{{M}}}[5m]))"), "panel 'CPU' A: the range of process_cpu_seconds_total is neither"),
    ("the whole range in every point", asks("CPU", f"sum by (tier) (rate(process_cpu_seconds_total{{{M}}}[$__range]))"), "panel 'CPU' A: $__range belongs into instant queries"),
    ("a sum before its rate", asks("CPU", f"sum by (tier) (process_cpu_seconds_total{{{M}}})"), "panel 'CPU' A: the counter process_cpu_seconds_total needs rate()"),
    ("a rate of a gauge", asks("Memory", f"sum by (tier) (rate(process_resident_memory_bytes{{{M}}}[$__rate_interval]))"), "panel 'Memory' A: process_resident_memory_bytes is no counter"),
    ("irate", asks("CPU", f"sum by (tier) (irate(process_cpu_seconds_total{{{M}}}[$__rate_interval]))"), "panel 'CPU' A: irate shows"),
    ("a label that an inner sum dropped", asks("Bodies", f"sum by (tier, tenant) (sum by (tier) (rate(tiergate_request_body_bytes_total{{{M}}}[$__rate_interval])))"), "panel 'Bodies' A: an inner grouping has dropped tenant"),
    ("no PromQL", asks("CPU", "sum by (tier (1)"), "panel 'CPU' A: "),
    ("a kind of panel that others draw differently", sets("CPU", type="piechart"), "panel 'CPU': the kind 'piechart'"),
    ("no description", sets("CPU", description=""), "panel 'CPU': no description"),
    ("no unit", sets("CPU", fieldConfig={"defaults": {}}), "panel 'CPU': no unit"),
    ("a data source of one Grafana", sets("CPU", datasource={"type": "prometheus", "uid": "P1"}), "panel 'CPU': its data source"),
    ("a panel upon another", sets("CPU", gridPos={"x": 4, "y": 78, "w": 8, "h": 8}), "lies on"),
    ("a title twice", sets("CPU", title="Memory"), "two panels are called 'Memory'"),
    ("a column that no query gives", sets("Tenants", transformations=[{"id": "organize", "options": {"renameByName": {"Value #Z": "x"}}}]), "panel 'Tenants': it renames 'Value #Z'"),
    ("inputs", whole(__inputs=[]), "overview.json: __inputs"),
    ("the uid of another", whole(uid="tiergate-tenant"), "overview.json: its uid 'tiergate-tenant' is another's too"),
    ("another tag", whole(tags=["x"]), "overview.json: its tags"),
    ("no link", whole(links=[]), "overview.json: no link"),
    ("a number that one Grafana gave", whole(id=7), "overview.json: an id"),
    ("a variable that is read once", variable("tenant", refresh=1), "variable 'tenant': it is not read anew"),
    ("a variable of a label that is not there", variable("tenant", query={"query": "label_values(tiergate_draining, tenant)"}), "variable 'tenant': tiergate_draining has no label tenant"),
    ("a variable of another name", variable("tenant", name="namespace"), "overview.json: its variables are"),
]


class Rules(unittest.TestCase):
    """Every case of the table, and the dashboards as they are."""

    maxDiff = None

    def test_the_dashboards_break_no_rule(self):
        self.assertEqual(lint.lint(GOOD, SERIES), [])

    def test_what_is_broken_is_named(self):
        for what, change, expected in CASES:
            with self.subTest(what):
                dashboards = copy.deepcopy(GOOD)
                change(dashboards)
                findings = lint.lint(dashboards, SERIES)
                self.assertTrue(any(expected in finding for finding in findings), f"{expected!r} not in {findings}")

    def test_a_metric_that_is_gone_is_missed_by_every_panel_that_shows_it(self):
        series = {name: one for name, one in SERIES.items() if name != "tiergate_requests_total"}
        findings = lint.lint(GOOD, series)
        for title in ("Success", "Requests", "Requests by tenant"):
            self.assertTrue(any(f"panel {title!r}" in finding for finding in findings), title)


if __name__ == "__main__":
    unittest.main()
