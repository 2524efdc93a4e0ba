"""NOTES.txt: a namespace tier is told what it lacks until the cluster tier is in trustedProxies, and not more than that.

Only helm 4 renders the notes without a cluster; that helm 3 reads the template is seen in the group `matrix`."""

import chart

MODE = "deployment.mode=namespace"
ADDRESS = "applications see its address, not the client's"
WINDOW = "the HTTP/2 link from it has the window and the limits of a single client"
# Values, and which of the two sentences they bring.
CASES = [
    ([], {ADDRESS, WINDOW}),
    (["service.h2c=true"], {ADDRESS, WINDOW}),
    (["service.h2c=false"], {ADDRESS}),
    (["trustedProxies={10.244.0.0/16}"], set()),
]


def check(outcome):
    for values, expected in CASES:
        settings = [word for value in [MODE, *values] for word in ("--set", value)]
        shown = chart.helm(
            "4", "install", "ingress", chart.CHART, "--namespace", "openstack", "--dry-run=client", *settings
        )
        if shown.code != 0:
            outcome.failed(f"helm does not show the notes: {shown.why}", shown.command)
            continue
        notes = shown.out.partition("\nNOTES:\n")[2]
        found = {sentence for sentence in (ADDRESS, WINDOW) if sentence in notes}
        if found != expected:
            outcome.failed(f"the notes say {sorted(found)}, not {sorted(expected)}", shown.command)
    outcome.summary = f"what a tier lacks without trustedProxies, with {len(CASES)} sets of values"
