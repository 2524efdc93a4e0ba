"""What both dashboards let people choose, and what they mark in time."""

from . import queries as q
from .grafana import annotation, variable


def variables(*, has_all_tenants):
    tenants = "label_values(tiergate_requests_in_flight{tier=~\"$tier\"}, tenant)"
    ingresses = 'label_values(tiergate_request_duration_seconds_count{tier=~"$tier",tenant=~"$tenant"}, ingress)'
    # What starts with an underscore is no tenant: requests that nothing matched, and what is beyond a limit.
    regex = "" if has_all_tenants else "/^[^_].*$/"
    return [
        variable("tier", "Tier", "Both tiers count a request that passes them.", "label_values(tiergate_build_info, tier)"),
        variable(
            "tenant",
            "Tenant",
            "The namespace of the Ingress that a request matched.",
            tenants,
            has_all=has_all_tenants,
            regex=regex,
        ),
        variable("ingress", "Ingress", "The Ingress that a request matched.", ingresses),
    ]


def annotations():
    started = f"count by (tier) (time() - process_start_time_seconds{{{q.TIER}}} < 60)"
    return [
        annotation("Processes started", started, "{{tier}} tier: a process started", "blue"),
        annotation("Draining", f"count by (tier) (tiergate_draining{{{q.TIER}}} == 1)", "{{tier}} tier: draining", "orange"),
    ]
