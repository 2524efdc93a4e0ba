"""The chart, and helm: scenarios, renderings, documents.

A scenario is a file ci/NAME-values.yaml of the chart. A rendering is what `helm template` prints for it. Helm runs with an
empty home, so that nothing of the user's is read or written.
"""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import shlex
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/charts/tiergate"
MAJORS = ["3", "4"]
# Versions of Kubernetes that are supported: the API changes between them, and a renderer may ask for them.
MINORS = [f"1.{minor}" for minor in range(29, 38)]
NEWEST = MINORS[-1]
# What a cluster with the Prometheus operator has beside the built-in groups.
API_VERSIONS = "monitoring.coreos.com/v1"
SECONDS = 60

_home = tempfile.TemporaryDirectory(prefix="tiergate-helm-")


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    file: pathlib.Path
    mode: str

    @property
    def release(self):
        return "ingress"

    @property
    def namespace(self):
        return "tiergate-system" if self.mode == "cluster" else "openstack"


@dataclasses.dataclass(frozen=True)
class Run:
    """A command that has ended."""

    command: str
    code: int
    out: str
    err: str

    @property
    def why(self):
        return (self.err.strip() or self.out.strip())[-2000:]


class Strict(yaml.CSafeLoader):
    """Reads YAML as an API server does: no key twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


@functools.cache
def scenarios():
    found = []
    for file in sorted((CHART / "ci").glob("*-values.yaml")):
        mode = (load(file.read_text()) or {}).get("deployment", {}).get("mode") or defaults()["deployment"]["mode"]
        found.append(Scenario(file.name.removesuffix("-values.yaml"), file, mode))
    if not found:
        raise FileNotFoundError(f"no scenario {CHART / 'ci'}/*-values.yaml")
    return found


@functools.cache
def defaults():
    """values.yaml."""
    return load((CHART / "values.yaml").read_text())


def load(text):
    return yaml.load(text, Loader=Strict)


def documents(text):
    """The objects of a rendering."""
    return [document for document in yaml.load_all(text, Loader=Strict) if document is not None]


def run(arguments, seconds=SECONDS, **options):
    """Runs a command in the repository."""
    strange = ("HELM", "KUBECONFIG", "XDG_", "TIERGATE_", "GNUPG")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    environment |= {"HOME": _home.name, **options.pop("environment", {})}
    words = [os.fspath(argument) for argument in arguments]
    shown = shlex.join(word.removeprefix(f"{ROOT}/") for word in words)
    try:
        done = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, **options
        )
    except subprocess.TimeoutExpired as late:
        return Run(shown, 124, str(late.stdout or ""), f"stopped after {seconds} s")
    return Run(shown, done.returncode, done.stdout, done.stderr)


def helm(major, *arguments, **options):
    return run([ROOT / f".tools/bin/helm-{major}", *arguments], **options)


def template(major, *arguments, release="ingress", namespace="openstack", kubernetes=NEWEST, **options):
    """`helm template` of the chart."""
    return helm(
        major, "template", release, CHART, "--namespace", namespace, "--kube-version", kubernetes,
        "--api-versions", API_VERSIONS, *arguments, **options,
    )


@functools.cache
def render(scenario, major="4", kubernetes=NEWEST, *arguments):
    """`helm template` of a scenario."""
    return template(
        major, "--values", scenario.file, *arguments,
        release=scenario.release, namespace=scenario.namespace, kubernetes=kubernetes,
    )


def objects(scenario):
    """The objects of a scenario; none when it cannot be rendered, which the group `matrix` reports."""
    rendered = render(scenario)
    return documents(rendered.out) if rendered.code == 0 else []


def pod_specs(objects):
    """Every pod that an object makes: (object, metadata, spec)."""
    for item in objects:
        if item["kind"] == "Pod":
            yield item, item["metadata"], item["spec"]
        elif isinstance(item.get("spec"), dict) and "template" in item["spec"]:
            template = item["spec"]["template"]
            yield item, template.get("metadata", {}), template["spec"]


def called(item):
    return f"{item['kind']} {item['metadata']['name']}"


def at_once(work, items):
    """Does the work for each item, as many at a time as there are cores, and answers in their order."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, items))
