"""Pure: what must be reached and what is aimed at. The one place where these numbers stand.

A bar is about one figure of our tiers in one workload. `ratio` is the figure divided by that of the reference, the median in the
same run; the other figures stand for themselves. The reference `best` is the best of the proxies named.
"""
from dataclasses import dataclass

OURS = "tiergate"
PEERS = ("nginx", "haproxy", "envoy", "traefik", "caddy")


@dataclass(frozen=True)
class Bar:
    """At most `must`, at best at most `aim`; None: the figure is stated, nothing is demanded."""
    workload: str
    figure: str
    must: float | None
    aim: float | None
    reference: str | None = None
    best_of: tuple = ()
    is_aim_strict: bool = False  # less than the aim, not just as much


BARS = (
    Bar("h1", "ratio", 1.10, 1.0, "nginx"),
    Bar("h1-free", "ratio", 1.15, 1.0, "nginx"),
    Bar("16k", "ratio", 1.05, 0.95, "nginx"),
    Bar("1m", "ratio", 0.6, 0.4, "envoy"),
    Bar("tls-1m", "ratio", 0.9, 0.8, "envoy"),
    Bar("conn", "ratio", 1.2, 1.0, "nginx"),
    Bar("tls", "ratio", 0.95, 0.85, "nginx"),
    Bar("tls-handshake", "ratio", 0.9, 0.8, "best", PEERS),
    Bar("h2", "ratio", 1.1, 1.0, "haproxy", is_aim_strict=True),
    Bar("chain", "ratio", 0.75, 0.60, "nginx"),
    Bar("hosts", "ratio", 1.1, None, "tiergate-one-route"),
    Bar("hosts", "ready_s", 0.3, 0.1),
    Bar("hosts", "pss_mib", 60, 30),
    Bar("change", "ratio", 1.5, 1.0, "haproxy"),
    Bar("change", "failed", 0, None),
    Bar("idle", "mib_per_10k", 155, 60),
    Bar("rate", "ratio", None, 1.0, "best", ("nginx", "haproxy")),
    Bar("rate-chain", "ratio", None, 1.0, "tiergate-h1-link"),
)
# Workloads without a bar are still divided by something.
REFERENCES = {"chain-tls": "nginx"}


def of(workload):
    return [bar for bar in BARS if bar.workload == workload]


def reference(workload):
    """What a workload is divided by: a name, or `best` and of whom."""
    for bar in of(workload):
        if bar.figure == "ratio":
            return bar.reference, bar.best_of
    return REFERENCES.get(workload), ()
