"""Pure: the workloads, as data. What each sends, through how many proxies, and which proxies run by default."""
from dataclasses import dataclass

from bars import OURS, PEERS
from scene import HOSTS_MAX

NAMESPACE_LINK_H1 = "tiergate-h1-link"
ONE_ROUTE = "tiergate-one-route"
TUNED = "nginx-tuned"
WATCHED = "haproxy-watched"


@dataclass(frozen=True)
class Workload:
    """`stage` is the module that measures it; the rest is for the stage `requests`."""
    name: str
    title: str
    proxies: tuple
    stage: str = "requests"
    load: str = "wrk"
    tls: bool = False
    path: str = "/"
    connections: int = 64
    close: bool = False
    hops: int = 1
    hosts: int = 1
    workers: int = 1
    pinned: bool = True


EVERY = ("nginx", TUNED, "haproxy", "envoy", "traefik", "caddy", OURS)
CHAINS = ("nginx", "haproxy", "envoy", "traefik", "caddy", OURS, NAMESPACE_LINK_H1)

ALL = {workload.name: workload for workload in (
    Workload("h1", "HTTP/1.1, kept connections, 64 bytes", EVERY),
    Workload("h1-free", "HTTP/1.1, kept connections, 64 bytes, 2 workers not pinned", EVERY, workers=2, pinned=False),
    Workload("16k", "16 KiB", EVERY, path="/16k"),
    Workload("1m", "1 MiB, 16 connections", EVERY, path="/1m", connections=16),
    Workload("tls-1m", "1 MiB over TLS 1.3, 16 connections", EVERY, path="/1m", connections=16, tls=True),
    Workload("conn", "a new connection for each request", EVERY, close=True),
    Workload("tls", "TLS 1.3, kept connections, 64 bytes", EVERY, tls=True),
    Workload("tls-handshake", "a full TLS 1.3 handshake for each request", EVERY, load="handshake", tls=True, connections=32),
    Workload("h2", "HTTP/2 over TLS, 8 connections of 16 streams, HTTP/1.1 to the endpoint", EVERY, load="h2load", tls=True, connections=8),
    Workload("chain", "two proxies in a row, HTTP/1.1 in", CHAINS, hops=2),
    Workload("chain-tls", "two proxies in a row, TLS 1.3 in", CHAINS, hops=2, tls=True),
    Workload("hosts", "10,000 hosts, one by chance for each request", ("nginx", "haproxy", "envoy", ONE_ROUTE, OURS), hosts=HOSTS_MAX),
    Workload("change", "an endpoint moves, at 10,000 hosts under load", ("haproxy", WATCHED, OURS), stage="change", hosts=HOSTS_MAX),
    Workload("idle", "idle kept connections", ("nginx", "haproxy", "envoy", "traefik", "caddy", OURS), stage="idle"),
    Workload("rate", "requests at a fixed rate", ("nginx", "haproxy", "envoy", OURS), stage="rate"),
    Workload("rate-chain", "requests at a fixed rate, two proxies in a row", ("nginx", "haproxy", OURS, NAMESPACE_LINK_H1), stage="rate", hops=2),
)}

SANITY = ("h1", "tls-handshake", "h2", "chain", "hosts", "change", "idle", "rate")
SANITY_PROXIES = ("nginx", OURS)
QUICK_PROXIES = ("nginx", "haproxy", "envoy", ONE_ROUTE, OURS, NAMESPACE_LINK_H1)
assert set(PEERS) <= set(EVERY)
