"""Chart.yaml: what it says of itself is well formed, and a change of the chart brings a new version.

deploy/charts/released.yaml has a line for each released version: the version, and what deploy/digest said of the chart.
`deploy/package --release` adds it. A chart with another digest must have a later version than the last released one."""

import pathlib
import re
import shutil
import tempfile
import tomllib

import chart

RELEASED = chart.ROOT / "deploy/charts/released.yaml"
KINDS = {"added", "changed", "deprecated", "removed", "fixed", "security"}
SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")


def check(outcome):
    about = chart.load((chart.CHART / "Chart.yaml").read_text())
    workspace = tomllib.loads((chart.ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    if about["appVersion"] != workspace:
        outcome.failed(f"appVersion is {about['appVersion']!r}, the programs are {workspace!r}")
    for key in ("name", "description", "type", "version", "appVersion", "kubeVersion", "keywords"):
        if not about.get(key):
            outcome.failed(f"Chart.yaml: no {key}")
    if not SEMVER.fullmatch(about["version"]):
        outcome.failed(f"Chart.yaml: version {about['version']!r} is no semantic version")
    annotations = about.get("annotations") or {}
    changes = chart.load(annotations.get("artifacthub.io/changes", "")) or []
    if not changes:
        outcome.failed("Chart.yaml: artifacthub.io/changes does not list what is new in this version")
    for change in changes:
        if change.get("kind") not in KINDS or not change.get("description"):
            outcome.failed(f"Chart.yaml: artifacthub.io/changes: {change} has no kind of {sorted(KINDS)} or no description")
    images = chart.load(annotations.get("artifacthub.io/images", "")) or []
    if not any(image["image"].endswith(f":{about['appVersion']}") for image in images):
        outcome.failed(f"Chart.yaml: artifacthub.io/images does not name the image of {about['appVersion']}")
    released = chart.load(RELEASED.read_text()) or {} if RELEASED.exists() else {}
    wrong = unreleased(released, about["version"], digest(chart.CHART))
    if wrong:
        outcome.failed(wrong)
    itself(outcome)
    last = max(released, key=ordered, default=None)
    outcome.summary = f"version {about['version']}, " + (f"last released {last}" if last else "none released yet")


def ordered(version):
    """Semantic versions in their order; a pre-release is before its release."""
    core, _, pre = version.partition("-")
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")]
    return [int(part) for part in core.split(".")], not pre, parts


def digest(folder):
    return chart.run([chart.ROOT / "deploy/digest", folder]).out.strip()


def unreleased(released, version, found):
    """What is wrong with a chart of this version and digest after these releases, or None."""
    if not released or released.get(version) == found:
        return None
    last = max(released, key=ordered)
    if ordered(version) > ordered(last):
        return None
    return f"the chart has changed since {last} was released, and its version is still {version}: raise it in Chart.yaml"


def itself(outcome):
    """That a change without a new version is found: the same check, on a copy with one more template."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "tiergate")
        shutil.copytree(chart.CHART, copy)
        before = digest(copy)
        (copy / "templates/further.yaml").write_text("# one more\n")
        after = digest(copy)
        (copy / "templates/further.yaml").unlink()
        about = (copy / "Chart.yaml").read_text()
        (copy / "Chart.yaml").write_text(re.sub("^version: .*$", "version: 99.0.0", about, flags=re.MULTILINE))
        if len({before, after}) != 2 or digest(copy) != before:
            outcome.failed("deploy/digest does not tell a changed chart from one with another version")
    for released, version, found, good in [
        ({}, "0.1.0", after, True),
        ({"0.1.0": before}, "0.1.0", before, True),
        ({"0.1.0": before}, "0.1.0", after, False),
        ({"0.1.0": before}, "0.0.9", after, False),
        ({"0.1.0": before}, "0.1.1-rc.1", after, True),
        ({"0.1.1": before}, "0.1.1-rc.1", after, False),
        ({"0.9.0": before, "0.10.0": before}, "0.9.1", after, False),
    ]:
        if (unreleased(released, version, found) is None) != good:
            outcome.failed(f"the check of versions is wrong for {version} after {sorted(released)}")
