"""All proxies behind one face: started for a scene, checked, ended.

In: a name and a scene. Out: running processes that answer rightly and tell the backend what they must.
"""
import contextlib, socket, time

import backend, probe, tiers, watched, workloads
from peers import ALL
from processes import Failure, Process
from scene import ADDRESS, Hop, Scene, host

REQUIRED_HEADERS = ("x_forwarded_for", "x_forwarded_proto", "x_forwarded_host")


class Peer:
    """A proxy of somebody else: the same program for every hop.

    Every proxy's `start` puts its processes into a list, the front one first, and returns the seconds that one took to be ready.
    """

    def __init__(self, name):
        self.name, self.module = name, ALL[name]
        self.module.program()

    def version(self):
        return self.module.version()

    def prepare(self, scene):
        """Nothing: a peer has its configuration in files that belong to one start."""

    def hosts(self, scene):
        return scene.hosts

    def start(self, scene, started):
        for index in reversed(range(scene.hops)):
            hop = Hop(scene, index)
            command, environment = self.module.start(hop)
            process = Process(f"{self.name}-{index}", command, scene.folder, "proxy", scene.pinned, environment)
            started.insert(0, process)
            ready = probe.until_answered(process, hop.http, host(scene.hosts - 1))
        return ready - process.begun

    def change(self, scene, services, port):
        return self.module.change(Hop(scene, 0), services, port)


class OneRoute:
    """Our tier for the first host alone, whatever the scene says: what the same tier costs without the other hosts."""

    def __init__(self, tiers_of_ours):
        self.name, self.tiers = workloads.ONE_ROUTE, tiers_of_ours

    def alone(self, scene):
        return Scene(scene.folder, scene.certificate, scene.hops, 1, scene.workers, scene.pinned)

    def prepare(self, scene):
        self.tiers.prepare(self.alone(scene))

    def hosts(self, scene):
        return 1

    def start(self, scene, started):
        return self.tiers.start(self.alone(scene), started)


def find(name, binaries, cluster):
    """The proxy of this name, or Missing."""
    if name in ALL:
        return Peer(name)
    if name == workloads.WATCHED:
        return watched.Watched(Peer("haproxy"), tiers.Tiers(name, binaries, cluster))
    if name == workloads.ONE_ROUTE:
        return OneRoute(tiers.Tiers(name, binaries, cluster))
    return tiers.Tiers(name, binaries, cluster, h2c=name != workloads.NAMESPACE_LINK_H1)


@contextlib.contextmanager
def running(proxy, scene, tls=False):
    """Starts a proxy, checks it, gives its processes and the seconds to its first answer, and ends it."""
    started = []
    try:
        ready_s = proxy.start(scene, started)
        hop = Hop(scene, 0)
        if tls:
            until_listening(hop.https)
        check(proxy.name, hop)
        yield started, ready_s
    finally:
        for process in started:
            process.stop()


def until_listening(port, seconds=10):
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((ADDRESS, port), 1).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise Failure(f"nobody listens at port {port}: {error}")
            time.sleep(0.01)


def check(name, hop):
    """A proxy answers with what the backend said, and has told it who asks. Both are the same work for all."""
    status, body = probe.get(hop.http, host(0))
    if (status, body.decode()) != (200, backend.BODY):
        raise Failure(f"{name} answers {status} with {body[:80]!r}")
    seen = probe.headers(hop.http, host(0), backend.HEADERS)
    lacking = [header for header in REQUIRED_HEADERS if not seen[header]]
    if lacking or seen["host"] != host(0):
        raise Failure(f"{name} does not send {lacking or 'Host as it came'}: {seen}")
    return seen
