"""What a proxy is started for: addresses, hosts, certificate. Data only.

In: the numbers of a workload. Out: one value that every proxy, ours or a peer's, makes its configuration of.
"""
import os
from dataclasses import dataclass
from pathlib import Path

# Everything is at 127.0.0.1: wrk takes the name for TLS from the URL and resolves it, so that name is `localhost`.
ADDRESS = "127.0.0.1"
TLS_NAME = "localhost"
PORT_BASE = int(os.environ.get("TIERGATE_BENCH_PORT", "27000"))
BACKEND_PORT, NEXT_BACKEND_PORT = PORT_BASE + 80, PORT_BASE + 81
HOSTS_MAX, SERVICES_MAX = 10_000, 100

# As tiers have it (docs/configuration.md); every peer that can be told is told the same.
CONNECT_SECONDS, RESPONSE_SECONDS, HEAD_SECONDS, IDLE_SECONDS = 5, 60, 15, 75
CONNECTIONS_MAX, STREAMS_MAX = 16_384, 128


def host(number):
    return f"h{number}.tenant.example.test"


def service(number):
    """Which Service a host belongs to."""
    return number % SERVICES_MAX


@dataclass(frozen=True)
class Certificate:
    """ECDSA P-256, self-signed: the files of its parts, and of both together."""
    certificate: Path
    key: Path
    both: Path


@dataclass(frozen=True)
class Scene:
    """One start: how many proxies in a row, for how many hosts, on how many threads."""
    folder: Path
    certificate: Certificate
    hops: int = 1
    hosts: int = 1
    workers: int = 1
    pinned: bool = True

    def services(self):
        return min(self.hosts, SERVICES_MAX)


@dataclass(frozen=True)
class Hop:
    """One proxy of the row: where it listens, and where its endpoint is."""
    scene: Scene
    index: int

    @property
    def http(self):
        return PORT_BASE + 100 + 100 * self.index

    @property
    def https(self):
        return self.http + 1

    @property
    def admin(self):
        return self.http + 2

    @property
    def endpoint(self):
        is_last = self.index + 1 == self.scene.hops
        return BACKEND_PORT if is_last else Hop(self.scene, self.index + 1).http

    def file(self, name, text):
        """A file of this proxy's; a reader never sees half of it."""
        path = self.scene.folder / f"{self.index}-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + "~")
        part.write_text(text)
        part.rename(path)
        return path

    def path(self, name):
        return self.scene.folder / f"{self.index}-{name}"
