"""Names at their limits: with the longest release name (53) and namespace (63) that are allowed, every name and label is still
one, nothing is called like something else, and what refers to a name has it right."""

import re

import chart
from checks import rules

RELEASE = "r" * 52 + "z"
NAMESPACE = "n" * 62 + "z"
# As the API server has it: of 253 characters, however many of them stand between two dots.
DNS_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
# Kinds whose names are DNS labels. Others may be as long as a host.
LABELS = {"Service", "Namespace", "Deployment", "DaemonSet"}


def check(outcome):
    looked_at = 0
    for scenario in chart.scenarios():
        # Values that name the namespace of the release name the long one.
        values = scenario.file.read_text().replace(scenario.namespace, NAMESPACE)
        done = chart.template("4", "--values", "-", release=RELEASE, namespace=NAMESPACE, input=values)
        if done.code != 0:
            outcome.failed(f"{scenario.name}: {done.why}", done.command)
            continue
        objects = chart.documents(done.out)
        looked_at += len(objects)
        for wrong in [*long_names(objects), *duplicates(objects), *references(scenario, objects)]:
            outcome.failed(f"{scenario.name}: {wrong}", f"{done.command} < {scenario.file.relative_to(chart.ROOT)}")
    outcome.summary = f"the names and labels of {looked_at} objects fit with the longest release and namespace"


def long_names(objects):
    for item in objects:
        name = item["metadata"]["name"]
        pattern = rules.DNS_LABEL if item["kind"] in LABELS else DNS_SUBDOMAIN
        if not pattern.fullmatch(name):
            yield f"the {item['kind']} is called {name}"
        metadata = [item["metadata"]]
        metadata += [inner for owner, inner, _ in chart.pod_specs([item]) if owner["kind"] != "Pod"]
        for labels in (part.get("labels") or {} for part in metadata):
            for key, value in labels.items():
                if not isinstance(value, str) or not LABEL_VALUE.fullmatch(value):
                    yield f"{chart.called(item)}: label {key}={value}"


def duplicates(objects):
    seen = set()
    for item in objects:
        key = (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        if key in seen:
            yield f"{item['kind']} {item['metadata']['name']} stands twice"
        seen.add(key)


def references(scenario, objects):
    """What objects of the release say of each other by name."""
    there = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for item in objects:
        wanted = []
        if item["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            # The ClusterRole for tenants comes with the cluster release.
            if (item["roleRef"]["kind"], item["roleRef"]["name"]) != ("ClusterRole", rules.tenants_role(scenario)):
                wanted.append((item["roleRef"]["kind"], item["roleRef"]["name"]))
            if any(kind == "ServiceAccount" for kind, _ in there):
                wanted += [(subject["kind"], subject["name"]) for subject in item["subjects"]]
        for owner, _, spec in chart.pod_specs([item]):
            for volume in spec.get("volumes") or []:
                if "configMap" in volume:
                    wanted.append(("ConfigMap", volume["configMap"]["name"]))
        if item["kind"] == "Ingress":
            for rule in item["spec"].get("rules") or []:
                wanted += [("Service", path["backend"]["service"]["name"]) for path in rule["http"]["paths"]]
        if item["kind"] == "HorizontalPodAutoscaler":
            wanted.append((item["spec"]["scaleTargetRef"]["kind"], item["spec"]["scaleTargetRef"]["name"]))
        for kind, name in wanted:
            if (kind, name) not in there:
                yield f"{chart.called(item)} refers to {kind} {name}, which is not there"
