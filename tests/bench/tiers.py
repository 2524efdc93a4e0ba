"""Our tiers: the release programs as they ship, on objects that are written into the local API server.

In: a scene. Out: running tiers. One hop is `tiergate-namespace`; two are `tiergate-cluster` before it, which sends the tenant's
wildcard to it. Between them HTTP/2 is spoken, for the ports say `appProtocol: kubernetes.io/h2c` as the chart writes it; the proxy
`tiergate-h1-link` is the same without that word.
"""
import http.client, time

import objects
from processes import Failure, Missing, Process
from scene import ADDRESS, BACKEND_PORT, Hop, host, service

READY_SECONDS = 60
NAMESPACE_TIER, CLUSTER_TIER = "tiergate-namespace", "tiergate-cluster"
# A tier ends at once: nobody is behind it who must learn of its end first.
ENVIRONMENT = {"TIERGATE_DRAIN_DELAY": "0s", "TIERGATE_DRAIN_TIMEOUT": "1s"}


class Tiers:
    """The tiers as a proxy to measure. `h2c` is whether two of them speak HTTP/2."""

    environment = ENVIRONMENT

    def __init__(self, name, binaries, cluster, h2c=True):
        self.name, self.binaries, self.cluster, self.h2c = name, binaries, cluster, h2c
        # `cluster` starts the API server when it is first called.
        for program in (NAMESPACE_TIER, CLUSTER_TIER, "tiergate-sim"):
            if not (binaries / program).exists():
                raise Missing(f"{binaries / program} is not built")

    def program(self):
        return str(self.binaries / NAMESPACE_TIER)

    def hosts(self, scene):
        return scene.hosts

    def namespace(self, scene):
        return f"tenant-{scene.hosts}-{scene.hops}" + ("" if self.h2c else "-h1")

    def prepare(self, scene):
        """Writes the objects of a scene, once."""
        namespace, written = self.namespace(scene), self.cluster().written
        if namespace in written:
            return
        write = self.cluster().api.create
        for one in scene_objects(scene, namespace, Hop(scene, scene.hops - 1).http, objects.LINK_PROTOCOL if self.h2c else None):
            write(one)
        written.add(namespace)

    def start(self, scene, started):
        """Puts the processes into the list, the front one first; returns the seconds that one took to /readyz."""
        self.prepare(scene)
        for index in reversed(range(scene.hops)):
            hop = Hop(scene, index)
            is_edge = index == 0 and scene.hops == 2
            process = self.tier(CLUSTER_TIER if is_edge else NAMESPACE_TIER, hop)
            started.insert(0, process)
            ready = until_ready(process, hop.admin)
        return ready - process.begun

    def tier(self, program, hop):
        namespace = self.namespace(hop.scene)
        command = [self.binaries / program, f"--kubeconfig={self.cluster().kubeconfig}", f"--worker-threads={hop.scene.workers}",
                   f"--http-address={ADDRESS}:{hop.http}", f"--https-address={ADDRESS}:{hop.https}",
                   f"--admin-address={ADDRESS}:{hop.admin}", f"--default-ssl-certificate={namespace}/{objects.CERTIFICATE}", "--log-level=warn"]
        if program == NAMESPACE_TIER:
            command += [f"--watch-namespace={namespace}", f"--trusted-proxies={ADDRESS}/32"] if hop.scene.hops == 2 else [f"--watch-namespace={namespace}"]
        else:
            command += [f"--ingress-class={edge_class(namespace)}", f"--secret-namespaces={namespace}"]
        return Process(f"{self.name}-{hop.index}", command, hop.scene.folder, "proxy", hop.scene.pinned, self.environment)

    def change(self, scene, services, port):
        """What moves the endpoint of a Service by the API server: a PUT of its EndpointSlice on a connection that is open."""
        [number] = services
        return self.cluster().api.replacement(objects.endpoint_slice(f"s{number}", self.namespace(scene), ADDRESS, port))


def edge_class(namespace):
    """A class for each tenant: the cluster tier of a run then serves that one alone."""
    return f"{objects.CLUSTER_CLASS}-{namespace}"


def scene_objects(scene, namespace, tier_port, link_protocol):
    """What a scene needs, in the order in which it is written."""
    made = [objects.namespace(namespace), objects.ingress_class(objects.NAMESPACE_CLASS),
            objects.secret(objects.CERTIFICATE, namespace, scene.certificate)]
    for number in range(scene.services()):
        made += [objects.service(f"s{number}", namespace), objects.endpoint_slice(f"s{number}", namespace, ADDRESS, BACKEND_PORT)]
    tls = objects.CERTIFICATE if scene.hosts == 1 else None
    for number in range(scene.hosts):
        made.append(objects.ingress(f"h{number}", namespace, objects.NAMESPACE_CLASS, [host(number)], f"s{service(number)}", tls))
    if scene.hops == 2:
        wildcard = "*." + host(0).split(".", 1)[1]
        made += [objects.ingress_class(edge_class(namespace)), objects.service("tier", namespace, link_protocol),
                 objects.endpoint_slice("tier", namespace, ADDRESS, tier_port, link_protocol),
                 objects.ingress("edge", namespace, edge_class(namespace), [wildcard], "tier")]
    return made


def until_ready(process, port):
    """Waits for /readyz on one connection after another; returns when it answered 200."""
    end = time.monotonic() + READY_SECONDS
    said = "nobody listens"
    while time.monotonic() < end:
        connection = http.client.HTTPConnection(ADDRESS, port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            if answer.status == 200:
                return time.monotonic()
            said = answer.read().decode()
        except OSError as error:
            said = str(error)
        finally:
            connection.close()
        if not process.is_running():
            raise Failure(f"{process.name} ended: {process.last_words()}")
        time.sleep(0.001)
    raise Failure(f"{process.name} is not ready within {READY_SECONDS} s: {said}; {process.last_words()}")
