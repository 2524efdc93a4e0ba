"""The dashboard of all tenants: is the ingress well, and where to look if not."""

from . import queries as q
from . import signals
from . import variables as choices
from .grafana import GREEN, ORANGE, RED, bargauge, dashboard, query, row, stat, steps, table, timeseries

UID = "tiergate-overview"
TENANT_LINK = {
    "title": "${__data.fields.tenant} in detail",
    "url": "/d/tiergate-tenant?${__url_time_range}&${datasource:queryparam}&var-tenant=${__value.raw}",
    "targetBlank": False,
}


def tenants():
    by = ("tier", "tenant")
    matchers = q.TENANT
    return table(
        "Tenants",
        """One line for each tenant and tier; the name leads to its dashboard. _none: requests that no Ingress matched. _overflow: what is beyond
        the limit of series.""",
        [
            (query(q.requests(matchers, *by)), ("Requests", "reqps", None)),
            (query(q.success(matchers, *by)), ("Success", "percentunit", signals.SUCCESS)),
            (query(q.latency(0.5, matchers, *by)), ("p50", "s", None)),
            (query(q.latency(0.99, matchers, *by)), ("p99", "s", signals.SECONDS)),
            (query(q.made_here(matchers, *by)), ("5xx made here", "reqps", signals.ANY_IS_BAD)),
            (query(q.from_behind(matchers, *by)), ("5xx from behind", "reqps", signals.ANY_IS_BAD)),
            (query(q.rate("tiergate_client_aborts_total", matchers, *by)), ("Aborts", "reqps", None)),
            (
                query(q.or_zero(q.objects(f'{matchers},state="rejected"', *by))),
                ("Rejected", "short", steps(GREEN, (1, ORANGE))),
            ),
        ],
        keys=["tenant", "tier"],
        links={"tenant": TENANT_LINK},
        sort="Requests",
    )


def traffic():
    return [
        timeseries(
            "Requests by tenant",
            "Requests that ended, in a second.",
            "reqps",
            [query(q.requests(q.INGRESS, "tier", "tenant"), "{{tier}} {{tenant}}")],
        ),
        signals.transferred("tier"),
        signals.in_flight("tier"),
    ]


def behind():
    return [
        timeseries(
            "Connects to endpoints",
            "Connections opened to endpoints, by result. Failed and timeout: pods that are gone, or a NetworkPolicy; the request goes to another endpoint.",
            "ops",
            [query(q.rate("tiergate_upstream_connects_total", q.TIER, "tier", "result"), "{{tier}} {{result}}")],
        ),
        timeseries(
            "Connections to endpoints",
            "Open ones, idle ones included.",
            "short",
            [query(f"sum by (tier) (tiergate_upstream_connections{{{q.TIER}}})", "{{tier}}")],
        ),
        timeseries(
            "Endpoints left alone",
            """Endpoints that failed several times in a row and get no requests for a while, as all processes of a tier count them; and how often that
            came to be, by tenant. Where fewer than half of a Service's endpoints would be left, none is left alone.""",
            "short",
            [
                query(f"sum by (tier) (tiergate_endpoints_ejected{{{q.TIER}}})", "{{tier}}"),
                query(q.or_zero(q.rate("tiergate_endpoint_ejections_total", q.TENANT, "tier", "tenant")), "{{tier}} {{tenant}} ejections/s"),
            ],
        ),
        signals.aborts_and_retries(),
        signals.empty_backends("tier", "tenant"),
    ]


def configuration():
    propagation = "tiergate_config_propagation_seconds"
    age = f"time() - max by (tier) (tiergate_config_last_apply_success_timestamp_seconds{{{q.TIER}}})"
    silence = f"max by (tier, kind) (time() - tiergate_watch_last_event_timestamp_seconds{{{q.TIER}}})"
    conditions = f"sum by (tier, reason) (max by (tier, reason) (tiergate_config_conditions{{{q.TIER}}}) > 0)"
    return [
        stat(
            "Last translation",
            "Since objects of the API server were last made into a table. Hours are normal when nobody changes anything; compare with the silence of the watches.",
            "s",
            [query(age, "{{tier}}")],
        ),
        stat(
            "Watches restarted",
            "In the chosen time, without the regular ones. More than a few: the API server, or the way there, has trouble.",
            "short",
            [
                query(
                    f'sum by (tier) (increase(tiergate_watch_restarts_total{{{q.TIER},reason!="interval"}}[$__range])) or on() vector(0)',
                    "{{tier}}",
                    instant=True,
                )
            ],
            thresholds=steps(GREEN, (10, ORANGE), (100, RED)),
            decimals=0,
        ),
        timeseries(
            "Silence of the watches",
            """Since the last news of each kind of object, in the process that waits longest. Bookmarks come about every minute, so a line beyond a few
            minutes means that the tier serves an old state.""",
            "s",
            [query(silence, "{{tier}} {{kind}}")],
        ),
        bargauge(
            "Conditions by reason",
            "What is wrong with objects, in the tier's process that sees most of it. docs/install.md and kubectl describe say more; the log has a sentence for each.",
            "short",
            [query(q.or_zero(conditions), "{{tier}} {{reason}}")],
            thresholds=steps(GREEN, (1, ORANGE)),
        ),
        timeseries(
            "From change to served",
            "From the news of the API server to the table that serves it. Empty while nothing changes.",
            "s",
            [
                query(q.or_zero(q.quantile(0.5, propagation, q.TIER, "tier")), "{{tier}} p50"),
                query(q.or_zero(q.quantile(0.99, propagation, q.TIER, "tier")), "{{tier}} p99"),
            ],
        ),
        timeseries(
            "Translations",
            "Translations of objects into a table, by result: published as a new generation, or unchanged.",
            "ops",
            [query(q.rate("tiergate_config_applies_total", q.TIER, "tier", "result"), "{{tier}} {{result}}")],
        ),
        timeseries(
            "News from the API server",
            "Lists, changes, deletions and bookmarks received.",
            "ops",
            [query(q.rate("tiergate_watch_events_total", q.TIER, "tier", "type"), "{{tier}} {{type}}")],
        ),
        timeseries(
            "Ingresses without an address yet",
            """Ingresses that wait for their address, as the replica counts that writes it: it comes when every replica serves them. Seconds are normal;
            a line that stays: a replica is behind, or the writes fail.""",
            "short",
            [query(f"max by (tier) (tiergate_status_waiting_ingresses{{{q.TIER}}})", "{{tier}}")],
        ),
        timeseries(
            "Writes to the API server",
            "Statuses of Ingresses and Events, by result. gone: the object was deleted meanwhile. forbidden: a right is missing; /readyz names the command that grants it.",
            "ops",
            [
                query(q.or_zero(q.rate("tiergate_status_writes_total", q.TIER, "tier", "result")), "{{tier}} status {{result}}"),
                query(q.or_zero(q.rate("tiergate_status_events_total", q.TIER, "tier", "result")), "{{tier}} Event {{result}}"),
            ],
        ),
        signals.certificates(),
    ]


def capacity():
    return [
        timeseries(
            "Client connections",
            "Open connections, and connections refused in a second because limits.connections_max are open.",
            "short",
            [
                query(f"sum by (tier) (tiergate_client_connections_open{{{q.TIER}}})", "{{tier}} open"),
                query(
                    q.or_zero(q.rate("tiergate_client_connections_total", f'{q.TIER},result="refused"', "tier")),
                    "{{tier}} refused/s",
                ),
            ],
        ),
        timeseries(
            "New connections",
            "Connections of clients accepted in a second, and TLS handshakes by result. no_certificate: a name that no certificate covers.",
            "ops",
            [
                query(q.rate("tiergate_client_connections_total", f'{q.TIER},result="accepted"', "tier"), "{{tier}} accepted"),
                query(q.or_zero(q.rate("tiergate_tls_handshakes_total", q.TIER, "tier", "result")), "{{tier}} TLS {{result}}"),
            ],
        ),
        timeseries(
            "Open files",
            "Share of the file descriptors that a process may have open, in the process that has most. Near 1 new clients wait.",
            "percentunit",
            [query(f"max by (tier) (process_open_fds{{{q.TIER}}} / process_max_fds{{{q.TIER}}})", "{{tier}}")],
            maximum=1,
        ),
        timeseries(
            "Pauses of accepting",
            "How often in a second a tier took no client for 50 ms, by reason. reserve: the descriptors left are kept for connections to endpoints.",
            "ops",
            [query(q.or_zero(q.rate("tiergate_accept_pauses_total", q.TIER, "tier", "reason")), "{{tier}} {{reason}}")],
        ),
        timeseries(
            "CPU",
            "CPU seconds that all processes of a tier use in a second: cores.",
            "short",
            [query(q.rate("process_cpu_seconds_total", q.TIER, "tier"), "{{tier}}")],
        ),
        timeseries(
            "Memory",
            "Memory in RAM of the largest process of a tier.",
            "bytes",
            [query(f"max by (tier) (process_resident_memory_bytes{{{q.TIER}}})", "{{tier}}")],
        ),
        timeseries(
            "Limits reached",
            "Objects and Ingresses beyond their limit, and refused connections to the admin port. All of it is 0 when all is well.",
            "short",
            [
                query(q.rate("tiergate_config_objects_refused_total", q.TIER, "tier"), "{{tier}} objects refused/s"),
                query(f"max by (tier) (tiergate_metrics_owners_overflowed{{{q.TIER}}})", "{{tier}} Ingresses in _overflow"),
                query(q.rate("tiergate_admin_connections_refused_total", q.TIER, "tier"), "{{tier}} admin refused/s"),
            ],
        ),
    ]


def processes():
    by = "tier, instance"
    build = f"max by ({by}, version) (tiergate_build_info{{{q.TIER}}})"
    return table(
        "Processes",
        "Each process that is scraped. During an upgrade both versions are here.",
        [
            (query(build), ("Info", "short", None)),
            (
                query(f"max by ({by}) (time() - process_start_time_seconds{{{q.TIER}}})"),
                ("Up", "s", None),
            ),
            (query(f"max by ({by}) (tiergate_config_generation{{{q.TIER}}})"), ("Generation", "short", None)),
            (query(f"max by ({by}) (tiergate_draining{{{q.TIER}}})"), ("Draining", "short", steps(GREEN, (1, ORANGE)))),
            (query(f"sum by ({by}) (rate(process_cpu_seconds_total{{{q.TIER}}}[$__rate_interval]))"), ("CPU", "short", None)),
            (query(f"max by ({by}) (process_resident_memory_bytes{{{q.TIER}}})"), ("Memory", "bytes", None)),
            (
                query(f"max by ({by}) (process_open_fds{{{q.TIER}}} / process_max_fds{{{q.TIER}}})"),
                ("Open files", "percentunit", signals.SHARE_USED),
            ),
        ],
        keys=["tier", "instance", "version"],
        sort="Up",
    )


def build():
    silence = f"max by (tier) (time() - tiergate_watch_last_event_timestamp_seconds{{{q.TIER}}})"
    return dashboard(
        UID,
        "Tiergate / Overview",
        """All tenants of the ingress: success, latency, whose errors, where the time goes, and the state of the configuration. Works on a
        Prometheus that scrapes both tiers, and on one of a tenant that scrapes only its own.""",
        choices.variables(has_all_tenants=True),
        choices.annotations(),
        [
            row(
                "Is it well?",
                *signals.health(q.INGRESS),
            ),
            row("Tenants", tenants()),
            row("Errors", *signals.errors(q.INGRESS)),
            row("Time", *signals.times(q.INGRESS)),
            row("Traffic", *traffic()),
            row("Behind the tiers", *behind()),
            row(
                "Configuration",
                stat(
                    "Watches silent",
                    "Since the last news of the kind of object that is silent longest. Beyond a few minutes the tier serves an old state.",
                    "s",
                    [query(silence, "{{tier}}")],
                    thresholds=signals.SILENCE,
                ),
                *configuration(),
            ),
            row("Capacity", *capacity(), processes()),
        ],
    )
