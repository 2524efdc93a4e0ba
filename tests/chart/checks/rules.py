"""What no manifest of any scenario may have: rights that were not meant, selectors that changed, pods that are not restricted.

What a scenario has all the same, and must have, stands in exceptions.yaml with the reason; an exception that is not needed
any more is a failure, too."""

import re

import chart
from checks import bad_values, pod_security

EXCEPTIONS = chart.ROOT / "tests/chart/exceptions.yaml"
# Kinds that need no namespace. Whatever else a chart could make is in a namespace.
CLUSTER_SCOPED = {
    "APIService", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "IngressClass",
    "MutatingWebhookConfiguration", "Namespace", "Node", "PersistentVolume", "PriorityClass", "RuntimeClass",
    "StorageClass", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
}
SELECTOR_KEYS = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# What makes a rendering depend on when or where it is made.
IMPURE = re.compile(
    r"\b(lookup|now|date|dateModify|htmlDate|randAlphaNum|randAlpha|randNumeric|randAscii|randInt|uuidv4|genCA|"
    r"genSelfSignedCert|genSignedCert|genPrivateKey|derivePassword|htpasswd|getHostByName)\b"
)


def check(outcome):
    excepted = chart.load(EXCEPTIONS.read_text()) or {}
    rules = [
        cluster_scoped, namespaces, secrets, wildcards, tenant_role, selectors, replicas, environment, names, pods,
        zeros,
    ]
    looked_at = 0
    for scenario in chart.scenarios():
        objects = chart.objects(scenario)
        looked_at += len(objects)
        found = {}
        for rule in [*rules, *pod_security.RULES]:
            for wrong in rule(scenario, objects):
                found.setdefault(rule.__name__, []).append(wrong)
        allowed = excepted.pop(scenario.name, {})
        command = chart.render(scenario).command
        for rule, wrongs in found.items():
            if rule not in allowed:
                for wrong in wrongs:
                    outcome.failed(f"{scenario.name}: {rule}: {wrong}", command)
        for rule in allowed:
            if rule not in found:
                outcome.failed(f"{scenario.name}: nothing breaks the rule {rule}: take it out of {EXCEPTIONS.name}", command)
    for name in excepted:
        outcome.failed(f"{EXCEPTIONS.name}: there is no scenario {name}")
    pure(outcome)
    outcome.summary = f"{len(rules) + len(pod_security.RULES)} rules hold for {looked_at} objects; no template looks anything up"


def pure(outcome):
    for file in sorted((chart.CHART / "templates").rglob("*")):
        if file.suffix not in (".yaml", ".tpl", ".txt"):
            continue
        text = re.sub(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", "", file.read_text(), flags=re.DOTALL)
        for action in re.findall(r"\{\{.*?\}\}", text, flags=re.DOTALL):
            # Words in quotes are text, names after a dot are values.
            bare = re.sub(r'"(\\.|[^"\\])*"|`[^`]*`|[.$][\w.]+', "", action)
            for word in IMPURE.findall(bare):
                outcome.failed(f"{file.relative_to(chart.CHART)}: `{word}` depends on when or where it is rendered: {action}")


def cluster_scoped(scenario, objects):
    """A release of a tenant makes nothing outside its namespace."""
    if scenario.mode == "namespace":
        yield from (chart.called(item) for item in objects if item["kind"] in CLUSTER_SCOPED)


def namespaces(scenario, objects):
    """Objects are in the release's namespace; only a cluster release has some elsewhere, and values name where."""
    values = chart.load(scenario.file.read_text()) or {}
    elsewhere = set((values.get("rbac") or {}).get("secretNamespaces") or [])
    elsewhere.add((values.get("dashboards") or {}).get("namespace") or scenario.namespace)
    for item in objects:
        namespace = item["metadata"].get("namespace")
        if item["kind"] in CLUSTER_SCOPED:
            if namespace is not None:
                yield f"{chart.called(item)} has a namespace"
        elif namespace not in {scenario.namespace, *(elsewhere if scenario.mode == "cluster" else [])}:
            yield f"{chart.called(item)} is in the namespace {namespace}"


def tenants_role(scenario):
    """Name of the ClusterRole that the releases of tenants bind."""
    values = bad_values.merge(chart.defaults(), chart.load(scenario.file.read_text()) or {})
    return values["rbac"]["namespaceRole"]["name"]


def grants(objects, resource):
    """(role, verbs) for each rule that gives something on a resource of the core group."""
    for item in objects:
        if item["kind"] in ("Role", "ClusterRole"):
            for rule in item.get("rules") or []:
                if "" in rule.get("apiGroups", []) and {resource, "*"} & set(rule.get("resources", [])):
                    yield item, set(rule["verbs"])


def secrets(scenario, objects):
    """Who may do what with Secrets: the cluster tier `get` by Roles in single namespaces, a tenant's what its Role says."""
    bound_everywhere = {item["roleRef"]["name"] for item in objects if item["kind"] == "ClusterRoleBinding"}
    for role, verbs in grants(objects, "secrets"):
        if role["kind"] == "ClusterRole" and role["metadata"]["name"] in bound_everywhere:
            yield f"{chart.called(role)} gives {sorted(verbs)} on the Secrets of all namespaces"
        elif role["kind"] == "ClusterRole" and role["metadata"]["name"] != tenants_role(scenario):
            yield f"{chart.called(role)} gives {sorted(verbs)} on Secrets"
        elif role["kind"] == "Role" and scenario.mode == "cluster" and verbs != {"get"}:
            yield f"{chart.called(role)} gives {sorted(verbs)} on Secrets to the cluster tier; `get` is enough"
        elif not verbs <= {"get", "list", "watch"}:
            yield f"{chart.called(role)} gives {sorted(verbs)} on Secrets"


# What a tier may write: what became of Ingresses, and which replica tells.
WRITES = {
    ("networking.k8s.io", "ingresses/status"): {"patch"},
    ("", "events"): {"create"},
    ("coordination.k8s.io", "leases"): {"create", "update", "delete"},
}


def wildcards(_, objects):
    """Rights are named one by one, and only to read, but for those by which owners are told."""
    for item in objects:
        if item["kind"] in ("Role", "ClusterRole"):
            for rule in item.get("rules") or []:
                named = rule.get("apiGroups", []) + rule.get("resources", []) + rule["verbs"]
                kinds = [(group, resource) for group in rule.get("apiGroups", []) for resource in rule.get("resources", [])]
                writes = set.intersection(*(WRITES.get(kind, set()) for kind in kinds)) if kinds else set()
                if "*" in named or not set(rule["verbs"]) <= {"get", "list", "watch"} | writes:
                    yield f"{chart.called(item)}: {rule}"


def tenant_role(scenario, objects):
    """The ClusterRole for tenants is bound in single namespaces only, and never to more than one ServiceAccount."""
    for item in objects:
        if item["kind"] == "ClusterRoleBinding" and item["roleRef"]["name"] == tenants_role(scenario):
            yield f"{chart.called(item)} binds it for the whole cluster"
        if item["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            wanted = [("ServiceAccount", scenario.namespace)]
            if [(subject["kind"], subject.get("namespace")) for subject in item["subjects"]] != wanted:
                yield f"{chart.called(item)} binds {item['subjects']}"


def selected(item):
    """The labels by which an object selects pods, or None."""
    spec = item.get("spec") or {}
    if item["kind"] == "Service":
        return spec.get("selector")
    for path in (["selector", "matchLabels"], ["podSelector", "matchLabels"]):
        labels = spec
        for part in path:
            labels = labels.get(part) if isinstance(labels, dict) else None
        if labels is not None:
            return labels
    return None


def selectors(scenario, objects):
    """Selectors cannot be changed after an installation: these keys, these values, for ever. And they find the pods."""
    pods = [metadata["labels"] for item, metadata, _ in chart.pod_specs(objects) if item["kind"] in ("Deployment", "DaemonSet")]
    values = chart.load(scenario.file.read_text()) or {}
    committed = {
        "app.kubernetes.io/name": values.get("nameOverride") or "tiergate",
        "app.kubernetes.io/instance": scenario.release,
        "app.kubernetes.io/component": f"{scenario.mode}-tier",
    }
    for item in objects:
        labels = selected(item)
        if labels is None:
            continue
        if item["kind"] in ("ServiceMonitor", "PodMonitor") and labels.keys() >= SELECTOR_KEYS:
            labels = {key: labels[key] for key in SELECTOR_KEYS} if item["kind"] == "PodMonitor" else committed
        if item["kind"] == "Service" and labels.get("tiergate.dev/endpoints") == "vip":
            # It leads to the VIP, by an EndpointSlice of the release, and must find no pod beside it.
            slices = [other for other in objects if other["kind"] == "EndpointSlice"]
            named = {other["metadata"]["labels"]["kubernetes.io/service-name"] for other in slices}
            if item["metadata"]["name"] not in named or {**committed, "tiergate.dev/endpoints": "vip"} != labels:
                yield f"{chart.called(item)} selects {labels} and has no EndpointSlice"
            elif any(labels.items() <= pod.items() for pod in pods):
                yield f"{chart.called(item)} selects pods beside the VIP"
        elif labels != committed:
            yield f"{chart.called(item)} selects {labels}"
        elif not any(labels.items() <= pod.items() for pod in pods):
            yield f"{chart.called(item)} selects no pod of ours"


def replicas(_, objects):
    """With a HorizontalPodAutoscaler the number of pods is its own: an upgrade must not set it back."""
    scaled = {
        (item["spec"]["scaleTargetRef"]["kind"], item["spec"]["scaleTargetRef"]["name"])
        for item in objects if item["kind"] == "HorizontalPodAutoscaler"
    }
    for item in objects:
        if (item["kind"], item["metadata"]["name"]) in scaled and "replicas" in item["spec"]:
            yield chart.called(item)
    for kind, name in scaled - {(item["kind"], item["metadata"]["name"]) for item in objects}:
        yield f"the autoscaler scales {kind} {name}, which is not there"


def environment(_, objects):
    """No variable, port, volume or argument of one kind twice: server-side apply refuses it or one is lost."""
    for item, _, spec in chart.pod_specs(objects):
        listed = [("volume", [volume["name"] for volume in spec.get("volumes", [])])]
        for container in spec["containers"]:
            listed.append(("variable", [variable["name"] for variable in container.get("env", [])]))
            listed.append(("port", [port["name"] for port in container.get("ports", [])]))
            listed.append(("mount", [mount["mountPath"] for mount in container.get("volumeMounts", [])]))
            listed.append(("argument", container.get("args", [])))
        for what, all_names in listed:
            for name in {name for name in all_names if all_names.count(name) > 1}:
                yield f"{chart.called(item)}: the {what} {name} stands twice"


def names(_, objects):
    """Names are DNS labels, one object each."""
    seen = set()
    for item in objects:
        name = item["metadata"]["name"]
        if not DNS_LABEL.fullmatch(name):
            yield f"{item['kind']} {name} is no DNS label"
        key = (item["kind"], item["metadata"].get("namespace"), name)
        if key in seen:
            yield f"{item['kind']} {name} stands twice"
        seen.add(key)


def pods(_, objects):
    """What every pod of a tier has beside security: limits of time and memory, health, and no injected variables."""
    for item, _, spec in chart.pod_specs(objects):
        # The pod of `helm test` finds the Service by what is injected.
        if item["kind"] != "Pod" and spec.get("enableServiceLinks") is not False:
            yield f"{chart.called(item)}: enableServiceLinks is not false"
        for container in spec["containers"]:
            if not container.get("image"):
                yield f"{chart.called(item)}: no image"
            if item["kind"] == "Pod":
                continue
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe not in container:
                    yield f"{chart.called(item)}: no {probe}"
            if "preStop" in container.get("lifecycle", {}):
                yield f"{chart.called(item)}: a preStop hook; tiers drain by themselves"
            if not container.get("resources", {}).get("requests"):
                yield f"{chart.called(item)}: requests no resources"


# Numbers that the API server does not keep when they are 0: `kubectl apply` would find them missing each time.
DROPPED = {"minReadySeconds", "initialDelaySeconds", "sampleLimit"}


def zeros(_, objects):
    """Applying the same again changes nothing."""
    for item in objects:
        for name in dropped(item):
            yield f"{chart.called(item)}: {name} is 0: leave it out"


def dropped(item):
    if isinstance(item, dict):
        yield from (key for key, value in item.items() if key in DROPPED and value == 0)
        item = list(item.values())
    for value in item if isinstance(item, list) else []:
        yield from dropped(value)
