"""The signals that both dashboards show: success, traffic, errors, time."""

from . import queries as q
from .grafana import GREEN, ORANGE, RED, bargauge, query, stat, steps, timeseries

SUCCESS = steps(RED, (0.99, ORANGE), (0.999, GREEN))
SECONDS = steps(GREEN, (0.5, ORANGE), (2.5, RED))
ANY_IS_BAD = steps(GREEN, (0.000001, RED))
SILENCE = steps(GREEN, (120, ORANGE), (300, RED))
# 3 days and 21 days.
LEFT = steps(RED, (259_200, ORANGE), (1_814_400, GREEN))
SHARE_USED = steps(GREEN, (0.7, ORANGE), (0.9, RED))


# --- health -----------------------------------------------------------------------------------------------------------


def health(matchers):
    """The four numbers that are looked at first."""
    return [
        stat(
            "Success",
            """Share of requests that were not answered with a 5xx, as each tier saw it. 4xx and 499 (the client went away) are no failures
            of ours. If both tiers are down, the trouble is at or behind the namespace tier; if only the cluster tier is, between them.""",
            "percentunit",
            [query(q.success(matchers, "tier"), "{{tier}}")],
            width=5,
            thresholds=SUCCESS,
            nothing="no requests",
            decimals=2,
        ),
        stat(
            "Requests",
            "Requests that ended, in a second. A request to a tenant counts once in each tier that it passes.",
            "reqps",
            [query(q.requests(matchers, "tier"), "{{tier}}")],
            width=5,
        ),
        stat(
            "Latency p50",
            "Half of the requests took at most this long, from their head to the end of the answer.",
            "s",
            [query(q.latency(0.5, matchers, "tier"), "{{tier}}")],
            width=5,
            thresholds=SECONDS,
            nothing="no requests",
        ),
        stat(
            "Latency p99",
            "99 of 100 requests took at most this long, from their head to the end of the answer.",
            "s",
            [query(q.latency(0.99, matchers, "tier"), "{{tier}}")],
            width=5,
            thresholds=SECONDS,
            nothing="no requests",
        ),
        stat(
            "Objects rejected",
            "Objects with a condition: some rule of theirs is not served as written. The log and /debug/model say why, in a sentence each.",
            "short",
            [query(q.or_zero(q.objects(f'{q.TENANT},state="rejected"', "tier")), "{{tier}}")],
            thresholds=steps(GREEN, (1, ORANGE)),
        ),
    ]


# --- errors -----------------------------------------------------------------------------------------------------------


def errors(matchers):
    return [
        timeseries(
            "Answers by code",
            """Answers with 4xx and 5xx, by code. 499: the client went away before the answer was complete. Codes without a series of their
            own count as 4xx or 5xx.""",
            "reqps",
            [query(q.or_zero(q.requests(f'{matchers},code=~"[45].."', "tier", "code")), "{{tier}} {{code}}")],
        ),
        timeseries(
            "Whose 5xx",
            """Made here: the tier could not get an answer (no endpoints, connect failed, time-out, …). From behind: the tier passed on what it
            got; for the cluster tier that is the namespace tier's answer, for the namespace tier the application's. Broken: the body ended
            after the answer had begun, so the code was good.""",
            "reqps",
            [
                query(q.made_here(q.TENANT, "tier"), "{{tier}}: made here"),
                query(q.from_behind(q.TENANT, "tier"), "{{tier}}: from behind"),
                query(q.broken_bodies(q.TENANT, "tier"), "{{tier}}: broken bodies"),
            ],
        ),
        timeseries(
            "Errors by reason",
            "What went wrong, in the words of docs/reasons.md, which says what to do about each.",
            "reqps",
            [query(q.or_zero(q.rate("tiergate_proxy_errors_total", q.TENANT, "tier", "reason")), "{{tier}} {{reason}}")],
        ),
    ]


# --- time -------------------------------------------------------------------------------------------------------------


def times(matchers):
    tenants = 'tier=~"$tier",tenant=~"$tenant"'
    request, head = "{{tier}} whole", "{{tier}} until the head"
    return [
        timeseries(
            "Where the time goes",
            """Average for each request, stacked. A tier's own time is what it adds to the wait for the head of the response: choosing,
            connecting, and passing the bodies on, which both tiers do at once. The application's time ends with the head of its response. For
            all Ingresses of the chosen tenants.""",
            "s",
            [
                query(q.application_time(tenants), "application"),
                query(q.own_time("namespace", tenants), "namespace tier"),
                query(q.own_time("cluster", tenants), "cluster tier"),
            ],
            is_stacked=True,
        ),
        timeseries(
            "p50: whole, and until the head",
            "Whole request, and the wait for the head of the response in it. Where the two lie apart, the tier or the bodies take the time.",
            "s",
            [
                query(q.latency(0.5, matchers, "tier"), request),
                query(q.waiting(0.5, matchers, "tier"), head),
            ],
        ),
        timeseries(
            "p99: whole, and until the head",
            "Whole request, and the wait for the head of the response in it. Values between the buckets (… 0.25, 0.5, 2.5, 10.5 s) are estimated.",
            "s",
            [
                query(q.latency(0.99, matchers, "tier"), request),
                query(q.waiting(0.99, matchers, "tier"), head),
            ],
        ),
    ]


def aborts_and_retries():
    return timeseries(
        "Aborts and retries",
        """Clients that went away before the end of the answer, often by a time-out of theirs; further tries, after a connection to an endpoint
        was refused or closed; and those that were not made. budget: too many requests fail for it to help.""",
        "reqps",
        [
            query(q.rate("tiergate_client_aborts_total", q.TENANT, "tier"), "{{tier}} client aborts"),
            query(q.rate("tiergate_retries_total", q.TENANT, "tier"), "{{tier}} retries"),
            query(
                q.or_zero(q.rate("tiergate_retries_refused_total", q.TENANT, "tier", "reason")),
                "{{tier}} not retried: {{reason}}",
            ),
        ],
    )


def in_flight(*by):
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    return timeseries(
        "Requests in flight",
        "Requests that have not ended, and connections that speak another protocol since (WebSocket). A line that only climbs: who answers is stuck.",
        "short",
        [
            query(f"sum by ({', '.join(by)}) (tiergate_requests_in_flight{{{q.TENANT}}})", legend),
            query(f"sum by ({', '.join(by)}) (tiergate_upgraded_connections{{{q.TENANT}}})", f"{legend} upgraded"),
        ],
    )


def transferred(*by):
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    return timeseries(
        "Bodies",
        "Bytes of bodies in a second: received from clients, and handed to them.",
        "Bps",
        [
            query(q.rate("tiergate_request_body_bytes_total", q.TENANT, *by), f"{legend} received"),
            query(q.rate("tiergate_response_body_bytes_total", q.TENANT, *by), f"{legend} sent"),
        ],
    )


# --- what is configured -----------------------------------------------------------------------------------------------


def certificates():
    expiry = f"min by (tier, tenant, secret) (tiergate_tls_certificate_expiry_timestamp_seconds{{{q.TENANT}}})"
    return bargauge(
        "Certificates expire in",
        "Time left for each Secret that is served, by namespace and name. Orange from 21 days, red from 3. A renewed Secret is served within seconds.",
        "s",
        [query(f"{expiry} - time()", "{{tier}} {{tenant}}/{{secret}}")],
        thresholds=LEFT,
        nothing="no certificate",
    )


def empty_backends(*by):
    """Each process of a tier counts the same backends, so one process is taken."""
    one = f'max by (tier, tenant, state) (tiergate_config_backends{{{q.TENANT},state="empty"}})'
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    return timeseries(
        "Services without a pod",
        "Service ports that an Ingress names and that have no endpoint: their requests are answered with 503.",
        "short",
        [query(f"sum by ({', '.join(by)}) ({one})", legend)],
    )
