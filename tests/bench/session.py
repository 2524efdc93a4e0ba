"""One run: the backend, the API server, and the proxies that can be had. What is missing is said once and kept for the report."""
import os, sys
from pathlib import Path

import backend, bars, proxies, stolen, workloads
from api import Cluster
from processes import Missing, cpus, raise_descriptors
from scene import HOSTS_MAX, Scene

ROOT = Path(__file__).resolve().parents[2]
SANITY_HOSTS = 200


class Session:
    """Everything that lasts for a run. A change between pinned and not pinned starts backend and API server anew."""

    def __init__(self, chosen, folder):
        self.chosen, self.folder = chosen, folder
        self.rounds, self.seconds, self.is_sanity = chosen.rounds, chosen.seconds, chosen.sanity
        self.is_whole = not chosen.sanity and not chosen.quick and not chosen.has_rounds
        self.binaries = Path(os.environ.get("TIERGATE_BINARIES", ROOT / "target/release"))
        self.descriptors = raise_descriptors()
        self.missing, self.found = {}, {}
        self.again = stolen.AGAIN_MAX
        self.surroundings, self.running = None, []
        self.certificate = backend.certificate(folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in reversed(self.running):
            one.stop()

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def trouble(self, workload, proxy, error):
        """Keeps what went wrong, for the report."""
        self.say(f"{workload} {proxy}: {error}")
        self.missing.setdefault(f"{workload} {proxy}", str(error))

    def scene(self, workload):
        """The scene of a workload, with what it needs around it."""
        wanted = (workload.workers, workload.pinned)
        # This program asks and waits as well: it is part of the load.
        os.sched_setaffinity(0, cpus("load", workload.pinned))
        if self.surroundings != wanted:
            for one in reversed(self.running):
                one.stop()
            self.running, self.found = [], {}
            self.running.append(backend.start(self.folder, *wanted))
            self.surroundings = wanted
        hosts = min(workload.hosts, SANITY_HOSTS) if self.is_sanity else workload.hosts
        return Scene(self.folder, self.certificate, workload.hops, hosts, workload.workers, workload.pinned)

    def wanted(self, workload):
        """Names of the proxies of a workload that were asked for; what ours are divided by always runs."""
        allowed = self.chosen.proxies or (workloads.SANITY_PROXIES if self.chosen.sanity else workloads.QUICK_PROXIES if self.chosen.quick else None)
        if allowed is None:
            return list(workload.proxies)
        reference, best_of = bars.reference(workload.name)
        allowed = {*allowed, reference, *(best_of if not self.chosen.proxies and not self.chosen.sanity else ())}
        return [name for name in workload.proxies if name in allowed]

    def able(self, workload, scene):
        """Of those, the ones that can be had, with their objects written."""
        names = []
        for name in self.wanted(workload):
            try:
                self.proxy(name).prepare(scene)
                names.append(name)
            except Missing as error:
                self.trouble(workload.name, name, error)
        return names

    def proxy(self, name):
        if name not in self.found:
            self.found[name] = proxies.find(name, self.binaries, self.cluster)
        return self.found[name]

    def cluster(self):
        """The API server, started when the first of our tiers needs it."""
        if not any(isinstance(one, Cluster) for one in self.running):
            self.running.append(Cluster(self.binaries, self.folder, self.surroundings[1]))
        return self.running[-1]

    def peers(self):
        return {name: proxy for name, proxy in self.found.items() if isinstance(proxy, proxies.Peer)}

    def settings(self):
        form = "sanity" if self.chosen.sanity else "quick" if self.chosen.quick else "full"
        return {"form": form, "rounds": self.rounds, "seconds": self.seconds, "hosts": SANITY_HOSTS if self.is_sanity else HOSTS_MAX,
                "descriptors": self.descriptors}
