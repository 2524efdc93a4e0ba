"""Every alert says what a person needs, asks only for what exists, and has a case of its own in alerts_cases.yaml."""

import re
import unittest

import cluster
import lint
import model
import promql
import registry
import yaml

RULES = yaml.safe_load((cluster.ROOT / "grafana" / "alerts.yaml").read_text())
CASES = (cluster.ROOT / "tests" / "dashboards" / "alerts_cases.yaml").read_text()
RUNBOOK = (cluster.ROOT / "docs" / "runbook.md").read_text()

RECORDED = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
# What Prometheus says of its targets.
OF_PROMETHEUS = {"up"}


class Alerts(unittest.TestCase):
    """The rules of alerts."""

    def test_every_alert_has_words_and_a_page(self):
        for alert in ALERTS:
            with self.subTest(alert["alert"]):
                self.assertIn(alert["labels"]["severity"], ("critical", "warning"))
                self.assertEqual(set(alert["annotations"]), {"summary", "description", "runbook"})
                self.assertIn("for", alert)
                self.assertEqual(alert["annotations"]["runbook"], f"docs/runbook.md#{alert['alert'].lower()}")
                self.assertIn(f"\n## {alert['alert']}\n", RUNBOOK)

    def test_every_page_has_an_alert(self):
        headings = set(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE))
        self.assertEqual(headings, {alert["alert"] for alert in ALERTS})

    def test_every_alert_comes_and_stays_away_in_a_case(self):
        for name in {alert["alert"] for alert in ALERTS}:
            cases = re.findall(rf"alertname: {name}\n( +exp_alerts)?", CASES)
            self.assertIn("", [case.strip() for case in cases], f"{name} never stays away")
            self.assertTrue(any(case.strip() for case in cases), f"{name} never comes")

    def test_rules_ask_only_for_what_exists(self):
        series = registry.read()
        for group in RULES["groups"]:
            for rule in group["rules"]:
                name = rule.get("alert") or rule["record"]
                parts = promql.parse(rule["expr"])
                parts.selected = [one for one in parts.selected if one.name not in RECORDED | OF_PROMETHEUS]
                query = model.Query(name, rule["expr"])
                self.assertEqual(list(lint.names_exist(query, parts, series)), [])


if __name__ == "__main__":
    unittest.main()
