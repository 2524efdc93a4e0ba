"""Every panel shows something: tests/dashboards/live.py SIMULATOR PROMETHEUS

Starts a local cluster (tiergate-sim with the tiers beside it), applies deploy/monitoring with the Prometheus of this machine, lets
clients of every kind ask for half a minute, and asks Prometheus what the dashboards ask. Prints a line for each group of checks.
"""

import copy
import os
import shutil
import sys
import time

import answers
import cluster as clusters
import model
import registry
import traffic

# Scrapes of each target before anything is asked: a rate needs two, and what begins late a third.
SCRAPES = 3
PATIENCE_SECONDS = 60
CHOICES = [
    {"tier": "namespace", "tenant": "openstack", "ingress": "keystone"},
    {"tier": "cluster", "tenant": "openstack", "ingress": "openstack-ingress"},
    {"tenant": "openstack"},
    {"tier": "namespace"},
    {"tier": "cluster"},
]
EXPECTED = {
    "tier": {"cluster", "namespace"},
    "tenant": {"openstack", "ceph"},
    "ingress": {"keystone", "horizon", "broken", "openstack-ingress"},
}


class Groups:
    """What was checked, and how it went."""

    def __init__(self):
        self.has_failed = False

    def tell(self, name, findings):
        for finding in findings:
            print(f"  {finding}")
        print(f"{'FAILED' if findings else 'ok'} {name}", flush=True)
        self.has_failed |= bool(findings)

    def check(self, name, find, patience_seconds=0):
        """Asks again while something is missing: the first scrape of a series may be a moment away."""
        end = time.monotonic() + patience_seconds
        while (findings := list(find())) and time.monotonic() < end:
            time.sleep(2)
        self.tell(name, findings)


def restricted_to(namespace):
    """What a tenant's own Prometheus holds: the series of the pods in his namespace."""
    return lambda expression: expression.replace("{tier", f'{{namespace="{namespace}",tier')


def targets(cluster, prometheus):
    """The pods of the tiers, each once, and all of them scraped."""
    pods = {(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in cluster.pods(cluster.selector)}
    found = prometheus.get("targets", state="active")["activeTargets"]
    scraped = [(one["labels"]["namespace"], one["labels"]["pod"]) for one in found]
    if sorted(scraped) != sorted(pods) or len(pods) != 5:
        yield f"scraped are {sorted(scraped)}, and there are {sorted(pods)}"
    for one in found:
        if one["health"] != "up":
            yield f"{one['scrapeUrl']}: {one['lastError']}"
        if not one["labels"].get("node"):
            yield f"{one['scrapeUrl']}: no node"


def has_scraped(prometheus):
    try:
        found = prometheus.get("query", query="min(count_over_time(up[5m]))")["result"]
    except OSError:
        # Its Service comes a moment after its pod.
        return False
    return bool(found) and float(found[0]["value"][1]) >= SCRAPES


def rules(prometheus):
    """The alerts are read, and nothing is wrong with any."""
    groups = prometheus.get("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    if not found:
        yield "Prometheus has no rule"
    for rule in found:
        if rule["health"] == "err":
            yield f"{rule['name']}: {rule['lastError']}"
    rejected = [rule for rule in found if rule["name"] == "TiergateConfigRejected"]
    if not any(rule["state"] in ("pending", "firing") for rule in rejected):
        yield "TiergateConfigRejected does not see the Ingress that is rejected"


def broken_dashboards(dashboards):
    """Two panels that must be named, and the places they have."""
    broken = copy.deepcopy(dashboards)
    panels = {panel["title"]: panel for panel in model.shown(broken["overview.json"])}
    panels["CPU"]["targets"][0]["expr"] = 'sum by (tier) (rate(process_cpu_seconds_total{tier="third"}[$__rate_interval]))'
    panels["Memory"]["targets"][0]["expr"] = "max by (tier) (process_resident_memory_megabytes)"
    return broken, {f"overview.json: panel {title!r} A: no data" for title in ("CPU", "Memory")}


def names_the_broken(dashboards, prometheus):
    broken, expected = broken_dashboards(dashboards)
    found = set(answers.empty_queries(broken, prometheus))
    if found != expected:
        yield f"of two broken panels the check named {sorted(found)}"
    if not list(answers.missing_names(broken, prometheus)):
        yield "a metric that nothing exposes was not named"


def check(cluster, prometheus, groups):
    dashboards = model.all_dashboards()
    clusters.until("a scrape", lambda: has_scraped(prometheus), 120)
    groups.check("every pod of a tier is scraped, once", lambda: targets(cluster, prometheus))
    groups.check("the metrics are those of docs/metrics.md", lambda: answers.wrong_labels(registry.read(), prometheus))
    groups.check("metrics that panels ask for exist", lambda: answers.missing_names(dashboards, prometheus), 30)
    groups.check(
        "every query of every panel gives data", lambda: answers.empty_queries(dashboards, prometheus), PATIENCE_SECONDS
    )
    groups.check("variables offer what is there", lambda: answers.empty_variables(dashboards, prometheus, EXPECTED))
    for choice in CHOICES:
        words = " ".join(choice.values())
        groups.check(
            f"every panel shows something of {words}", lambda choice=choice: answers.empty_panels(dashboards, prometheus, choice), 10
        )
    groups.check(
        "every panel shows something on a tenant's own Prometheus",
        lambda: answers.empty_panels(dashboards, prometheus, {"tenant": "openstack"}, restricted_to("openstack")),
    )
    groups.check("the alerts are read, and one sees what is wrong", lambda: rules(prometheus), 30)
    groups.check("a broken panel is named", lambda: names_the_broken(dashboards, prometheus))


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    simulator, program = arguments
    work = clusters.work_folder()
    groups = Groups()
    started = time.monotonic()
    try:
        with clusters.Cluster(simulator, program, work) as cluster:
            clients = traffic.Traffic(clusters.VIP, clusters.HTTP_PORT, clusters.HTTPS_PORT, "rgw.ceph.svc.cluster.local")
            with clients, clusters.Changes(cluster):
                prometheus = answers.Prometheus(cluster.monitor())
                print(f"  Prometheus answers after {time.monotonic() - started:.0f} s", flush=True)
                check(cluster, prometheus, groups)
            print(f"  answers of the VIP: {clients}")
    finally:
        if os.environ.get("KEEP"):
            print(f"  kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(f"  all of it took {time.monotonic() - started:.0f} s")
    return int(groups.has_failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
