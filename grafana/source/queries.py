"""The queries that both dashboards share, in PromQL.

In: which variables of the dashboard a family's labels can be matched with. Out: expressions. Both tiers count a request that passes
them, so each expression groups by `tier` or names one.
"""

import re
from pathlib import Path

TIER = 'tier=~"$tier"'
TENANT = f'{TIER},tenant=~"$tenant"'
INGRESS = f'{TENANT},ingress=~"$ingress"'

REASONS_PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"


def reasons_with(statuses):
    """The reasons that docs/reasons.md lists with a status that matches."""
    rows = re.findall(r"^\| `(\w+)` \| ([^ ]+) \|", REASONS_PAGE.read_text(), re.MULTILINE)
    found = [reason for reason, status in rows if re.fullmatch(statuses, status)]
    if not found:
        raise SystemExit(f"{REASONS_PAGE.name} has no reason with a status like {statuses}")
    return "|".join(found)


# Answers of ours with 5xx, and bodies that broke after an answer had begun.
OURS_5XX = reasons_with(r"5\d\d")
BROKEN = reasons_with(r"\(50[234]\)")


def rate(family, matchers, *by):
    """How fast a counter grows, for each combination of the labels."""
    return f"sum by ({', '.join(by)}) (rate({family}{{{matchers}}}[$__rate_interval]))"


def requests(matchers, *by):
    return rate("tiergate_requests_total", matchers, *by)


def failed(matchers, *by):
    """Answers with 5xx; 0 where there are answers, but none of these."""
    bad = requests(f'{matchers},code=~"5.."', *by)
    return f"({bad} or 0 * {requests(matchers, *by)})"


def success(matchers, *by):
    """The share of requests that were not answered with 5xx. Nothing where there was no request."""
    return f"1 - {failed(matchers, *by)} / ({requests(matchers, *by)} > 0)"


def quantile(share, family, matchers, *by):
    buckets = rate(f"{family}_bucket", matchers, *by, "le")
    return f"histogram_quantile({share}, {buckets})"


def latency(share, matchers, *by):
    return quantile(share, "tiergate_request_duration_seconds", matchers, *by)


def waiting(share, matchers, *by):
    return quantile(share, "tiergate_upstream_duration_seconds", matchers, *by)


def made_here(matchers, *by):
    """Answers with 5xx that the tier made itself; 0 where there are requests, but none of these."""
    ours = rate("tiergate_proxy_errors_total", f'{matchers},reason=~"{OURS_5XX}"', *by)
    return f"({ours} or 0 * {requests(matchers, *by)})"


def from_behind(matchers, *by):
    """Answers with 5xx that the tier passed on."""
    return f"clamp_min({failed(matchers, *by)} - {made_here(matchers, *by)}, 0)"


def broken_bodies(matchers, *by):
    """Answers whose body ended early; 0 where there are requests, but none of these."""
    broken = rate("tiergate_proxy_errors_total", f'{matchers},reason=~"{BROKEN}"', *by)
    return f"({broken} or 0 * {requests(matchers, *by)})"


def own_time(tier, matchers):
    """Seconds per request that one tier adds to what it waits for the head of a response."""
    matchers = f'tier="{tier}",{matchers}'
    whole = rate("tiergate_request_duration_seconds_sum", matchers, "tier")
    waited = rate("tiergate_upstream_duration_seconds_sum", matchers, "tier")
    count = rate("tiergate_request_duration_seconds_count", matchers, "tier")
    return f"clamp_min({whole} - {waited}, 0) / ({count} > 0)"


def application_time(matchers):
    """Seconds per request that the namespace tier waits for the head of a response."""
    matchers = f'tier="namespace",{matchers}'
    waited = rate("tiergate_upstream_duration_seconds_sum", matchers, "tier")
    count = rate("tiergate_request_duration_seconds_count", matchers, "tier")
    return f"{waited} / ({count} > 0)"


def objects(matchers, *by):
    """Objects; each process of a tier counts the same ones, so one process is taken."""
    one = f"max by (tier, tenant, kind, state) (tiergate_config_objects{{{matchers}}})"
    return f"sum by ({', '.join(by)}) ({one})"


def or_zero(expression):
    """For what is empty when all is well."""
    return f"{expression} or on() vector(0)"
