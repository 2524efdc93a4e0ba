"""What deploy/render makes (the README's table, dashboards in the chart, manifests, bases of kustomize) is as it would make it
now: `deploy/render --check`."""

import chart


def check(outcome):
    if outcome.update:
        made = chart.run([chart.ROOT / "deploy/render"])
        if made.code != 0:
            outcome.failed(made.why, made.command)
    done = chart.run([chart.ROOT / "deploy/render", "--check"])
    if done.code != 0:
        outcome.failed(f"{done.out[-3000:]}\n{done.err[-1500:]}", done.command)
    dashboards = list((chart.CHART / "files/dashboards").glob("*.json"))
    if not dashboards:
        outcome.failed("no dashboard in the chart", "deploy/render")
    outcome.summary = f"{len(dashboards)} dashboards, the README's table, single files and bases of kustomize are as deploy/render makes them"
