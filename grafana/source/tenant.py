"""The dashboard of one tenant, for the tenant and for whoever helps him."""

from . import queries as q
from . import signals
from . import variables as choices
from .grafana import GREEN, bargauge, dashboard, query, row, steps, table, timeseries

UID = "tiergate-tenant"


def ingresses():
    by = ("tier", "ingress")
    return table(
        "Ingresses",
        """One line for each Ingress and tier. At the cluster tier a tenant has one Ingress, which sends its hosts to the namespace tier; there each
        Ingress of its own counts.""",
        [
            (query(q.requests(q.INGRESS, *by)), ("Requests", "reqps", None)),
            (query(q.success(q.INGRESS, *by)), ("Success", "percentunit", signals.SUCCESS)),
            (query(q.latency(0.5, q.INGRESS, *by)), ("p50", "s", None)),
            (query(q.latency(0.99, q.INGRESS, *by)), ("p99", "s", signals.SECONDS)),
            (query(q.waiting(0.99, q.INGRESS, *by)), ("p99 until the head", "s", signals.SECONDS)),
        ],
        keys=["ingress", "tier"],
        sort="Requests",
    )


def traffic():
    return [
        timeseries(
            "Requests by Ingress",
            "Requests that ended, in a second.",
            "reqps",
            [query(q.requests(q.INGRESS, "tier", "ingress"), "{{tier}} {{ingress}}")],
        ),
        bargauge(
            "Codes",
            "Answers in a second by code, as clients saw them.",
            "reqps",
            [query(q.requests(q.INGRESS, "tier", "code"), "{{tier}} {{code}}")],
        ),
        timeseries(
            "Latency p99 by Ingress",
            "99 of 100 requests took at most this long, from their head to the end of the answer.",
            "s",
            [query(q.latency(0.99, q.INGRESS, "tier", "ingress"), "{{tier}} {{ingress}}")],
        ),
        signals.transferred("tier"),
        signals.in_flight("tier"),
        signals.aborts_and_retries(),
    ]


def configuration():
    return [
        bargauge(
            "Objects",
            "Objects of the tenant, as each tier sees them. rejected: they have a condition; the log and /debug/model say which.",
            "short",
            [
                query(q.objects(f'{q.TENANT},state="accepted"', "tier", "kind"), "{{tier}} {{kind}} accepted"),
                query(
                    q.or_zero(q.objects(f'{q.TENANT},state="rejected"', "tier", "kind")), "{{tier}} {{kind}} rejected"
                ),
            ],
            thresholds=steps(GREEN),
        ),
        signals.empty_backends("tier"),
        signals.certificates(),
    ]


def build():
    return dashboard(
        UID,
        "Tiergate / Tenant",
        """One tenant: what its clients see at the cluster tier and at its own namespace tier, whose errors they are, where the time goes, and what
        is wrong with its objects. Works on the tenant's own Prometheus too; the lines of the cluster tier are then missing.""",
        choices.variables(has_all_tenants=False),
        choices.annotations(),
        [
            row("Is it well?", *signals.health(q.INGRESS)),
            row("Errors", *signals.errors(q.INGRESS)),
            row("Time", *signals.times(q.INGRESS)),
            row("Ingresses", ingresses()),
            row("Traffic", *traffic()),
            row("Configuration", *configuration()),
        ],
    )
