"""Each scenario, with both majors of helm, for each supported version of Kubernetes: it lints, renders, renders the same
with both and again, and every object is valid for that version. Objects of the Prometheus operator are checked by its own
definitions. A version before the supported ones is refused."""

import concurrent.futures
import functools
import json
import os
import re

import chart
import report


def check(outcome):
    scenarios = chart.scenarios()
    for done in chart.at_once(lint, [(scenario, major) for scenario in scenarios for major in chart.MAJORS]):
        if done.code != 0 or "[WARNING]" in done.out:
            outcome.failed(done.why, done.command)
    minors = rendered_for()
    cells = [(scenario, kubernetes) for scenario in scenarios for kubernetes in minors]
    texts = {}
    for (scenario, kubernetes), (three, four) in zip(cells, chart.at_once(both, cells)):
        for done in (three, four):
            if done.code != 0:
                outcome.failed(done.why, done.command)
        if three.code == four.code == 0:
            if tight(three.out) != tight(four.out):
                outcome.failed(f"helm 3 and 4 differ: {first_difference(three.out, four.out)}", three.command)
            for minor in chart.MINORS if minors != chart.MINORS else [kubernetes]:
                texts.setdefault((four.out, minor), four.command)
    distinct, operators = set(), {}
    for (text, kubernetes), command in texts.items():
        for item in chart.documents(text):
            if item["apiVersion"] == chart.API_VERSIONS:
                operators.setdefault(json.dumps(item, sort_keys=True), command)
            else:
                distinct.add((json.dumps(item, sort_keys=True), kubernetes, command))
    unique = {(item, kubernetes): command for item, kubernetes, command in distinct}
    for wrong, command in validate(unique):
        outcome.failed(wrong, command)
    for wrong, command in validate_operators(operators):
        outcome.failed(wrong, command)
    upgrades(outcome, scenarios)
    too_old(outcome)
    outcome.summary = (
        f"{len(scenarios)} scenarios x helm {' and '.join(chart.MAJORS)} x Kubernetes {chart.MINORS[0]} to "
        f"{chart.NEWEST} are equal and valid; {len(unique)} objects by the API's schemas, {len(operators)} by the "
        "Prometheus operator's"
    )


def rendered_for():
    """The versions to render for: all of them, or, when no template asks for the version, the first and the last, whose
    renderings are then valid or not for all."""
    templates = "".join(file.read_text() for file in (chart.CHART / "templates").rglob("*") if file.is_file())
    return chart.MINORS if "Capabilities" in templates else [chart.MINORS[0], chart.NEWEST]


def lint(cell):
    scenario, major = cell
    return chart.helm(
        major, "lint", chart.CHART, "--strict", "--quiet", "--values", scenario.file, "--namespace", scenario.namespace
    )


def both(cell):
    scenario, kubernetes = cell
    return tuple(chart.render(scenario, major, kubernetes) for major in chart.MAJORS)


def tight(text):
    """Without the empty lines at the ends of documents, of which helm 4 leaves more."""
    return re.sub(r"\n+---\n", "\n---\n", text).rstrip("\n")


def first_difference(left, right):
    for number, (one, other) in enumerate(zip(tight(left).splitlines(), tight(right).splitlines()), 1):
        if one != other:
            return f"line {number}: {one!r} and {other!r}"
    return "one is longer"


def upgrades(outcome, scenarios):
    """An upgrade renders what an installation does: nothing depends on when or on what is there."""
    for scenario in scenarios:
        first, again = chart.render(scenario), chart.render(scenario, "4", chart.NEWEST, "--is-upgrade")
        if first.out != again.out:
            outcome.failed(f"{scenario.name}: an upgrade renders something else", again.command)


def too_old(outcome):
    done = chart.template("4", kubernetes="1.28")
    if done.code == 0 or "kubeVersion" not in done.err:
        outcome.failed(f"Kubernetes 1.28 is not refused: {done.why}", done.command)


def validate(unique):
    """(object as JSON, version) -> command; yields (what is wrong, command)."""
    jobs = {kubernetes: [] for kubernetes in chart.MINORS}
    for (item, kubernetes), command in sorted(unique.items()):
        jobs[kubernetes].append((item, command))
    # Processes: the validator is Python from end to end.
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        for wrong in pool.map(validate_for, jobs, jobs.values()):
            yield from wrong


def validate_for(kubernetes, items):
    import kubernetes_validate

    # It reads the schemas anew for every object; here they are read once.
    utils = kubernetes_validate.utils
    utils.schema_contents = functools.cache(utils.schema_contents)
    utils.all_versions = functools.cache(utils.all_versions)
    wrong = []
    for text, command in items:
        item = json.loads(text)
        try:
            kubernetes_validate.validate(item, kubernetes, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            wrong.append((f"{chart.called(item)} for {kubernetes}: {path}: {error.message[:400]}", command))
        except kubernetes_validate.SchemaNotFoundError as error:
            wrong.append((f"{chart.called(item)}: {error.message}", command))
    return wrong


def validate_operators(items):
    if not items:
        return
    if not (report.TOOLS / "node").exists():
        yield "no .tools/node; `tests/install chart` gets it", None
        return
    done = chart.run(["node", chart.ROOT / "tests/chart/validate.mjs", report.TOOLS / "node"], input="\n".join(items))
    if done.code not in (0, 1):
        yield done.why, done.command
    commands = list(items.values())
    for line in done.out.splitlines():
        number, wrong = line.split(" ", 1)
        yield wrong, commands[int(number)]
