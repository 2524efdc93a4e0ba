"""Every folder of deploy/kustomize builds with kubectl, means what the chart means with the same values, and is valid. The same for
the single files of deploy/manifests."""

import re

import chart
import report
from checks import matrix

KUSTOMIZE = chart.ROOT / "deploy/kustomize"
MANIFESTS = chart.ROOT / "deploy/manifests"
# Labels that only helm has use for.
HELM = {"helm.sh/chart", "app.kubernetes.io/managed-by"}
# A component is no build of its own: it is tried on top of its base.
ON_A_BASE = """apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{base}]
components: [{component}]
"""


def check(outcome):
    found = {}
    for values in sorted(KUSTOMIZE.glob("*/**/values.yaml")):
        folder = values.parent
        kind = folder.relative_to(KUSTOMIZE).parts[0]
        if kind == "components":
            base = KUSTOMIZE / "base" / header(values, "base")
            built = build_component(base, folder)
            wanted = expected(base / "values.yaml", base / "values.yaml", values)
        else:
            built = build(folder)
            wanted = expected(values, values)
        compare(outcome, found, folder, built, wanted)
    for kustomization in KUSTOMIZE.glob("**/kustomization.yaml"):
        if kustomization.parent not in found:
            outcome.failed(f"{kustomization.parent.relative_to(chart.ROOT)} has no values.yaml that says what it means")
    for values in sorted((MANIFESTS / "values").glob("*.yaml")):
        file = MANIFESTS / values.name
        compare(outcome, found, file, chart.Run(f"cat {file}", 0, file.read_text(), ""), expected(values, values))
    other_tenant(outcome, found)
    unique = {}
    for built in found.values():
        for item in chart.documents(built.out):
            if item["apiVersion"] != chart.API_VERSIONS:
                unique.update({(matrix.json.dumps(item, sort_keys=True), minor): built.command for minor in chart.MINORS})
    for wrong, command in matrix.validate(unique):
        outcome.failed(wrong, command)
    outcome.summary = f"{len(found)} bases, components, overlays and single files build, equal the chart's rendering and are valid"


def other_tenant(outcome, found):
    """What deploy/manifests/namespace.yaml says to do for a tenant of another name."""
    text = (MANIFESTS / "namespace.yaml").read_text()
    command = r"sed 's/\btenant\b/openstack/g' deploy/manifests/namespace.yaml"
    if command not in text:
        outcome.failed(f"deploy/manifests/namespace.yaml does not name the command {command}")
    values = MANIFESTS / "values/namespace.yaml"
    wanted = chart.template("4", "--values", values, "--no-hooks", "--skip-tests", namespace="openstack")
    built = chart.Run(command, 0, re.sub(r"\btenant\b", "openstack", text), "")
    compare(outcome, found, MANIFESTS / "openstack", built, wanted)


def header(values, key):
    return re.search(rf"^# {key}: (.*)$", values.read_text(), flags=re.MULTILINE)[1].strip()


def build(folder):
    return chart.run([report.TOOLS / "bin/kubectl-1.37", "kustomize", folder])


def build_component(base, component):
    # Kustomize takes folders inside the one it builds, or relative to it.
    folder = KUSTOMIZE / f".{component.parent.name}-{component.name}"
    folder.mkdir(exist_ok=True)
    try:
        file = folder / "kustomization.yaml"
        file.write_text(ON_A_BASE.format(base=relative(base), component=relative(component)))
        return build(folder)
    finally:
        file.unlink(missing_ok=True)
        folder.rmdir()


def relative(folder):
    return f"../{folder.relative_to(KUSTOMIZE)}"


def expected(namespace_from, *values):
    """What the chart renders with values of these files."""
    arguments = [word for file in values for word in ("--values", file)]
    return chart.template("4", *arguments, "--no-hooks", "--skip-tests", namespace=header(namespace_from, "namespace"))


def compare(outcome, found, where, built, wanted):
    found[where] = built
    name = where.relative_to(chart.ROOT)
    for done in (built, wanted):
        if done.code != 0:
            outcome.failed(f"{name}: {done.why}", done.command)
            return
    ours, theirs = objects(built.out), objects(wanted.out)
    for key in sorted(ours.keys() | theirs.keys()):
        if key[0] == "Namespace" and key not in theirs:
            continue
        if key not in ours or key not in theirs:
            outcome.failed(f"{name}: {' '.join(filter(None, key))} is only in {'the chart' if key in theirs else 'the build'}", built.command)
        elif ours[key] != theirs[key]:
            for path, one, other in differences(ours[key], theirs[key]):
                outcome.failed(f"{name}: {key[0]} {key[-1]}: {path} is {one!r}, the chart has {other!r}", built.command)


def objects(text):
    found = {}
    for item in chart.documents(text):
        strip(item)
        found[item["kind"], item["metadata"].get("namespace") or "", item["metadata"]["name"]] = item
    return found


def strip(item):
    """Takes out labels of helm's, at any depth."""
    if isinstance(item, dict):
        for key in HELM & item.keys():
            del item[key]
        for value in item.values():
            strip(value)
    elif isinstance(item, list):
        for value in item:
            strip(value)


def differences(one, other, path=""):
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other)):
            yield from differences(*pair, f"{path}[{number}]")
    elif one != other:
        yield path, one, other
