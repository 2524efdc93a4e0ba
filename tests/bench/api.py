"""The API server that our tiers watch: the local cluster's own, with no node and no pod. Objects go in by HTTP.

In: objects as dictionaries. Out: a kubeconfig for the tiers. Shares the CPUs of the load: it costs no tier anything.
"""
import base64, http.client, json, ssl, time, urllib.parse

from processes import Failure, Process

READY_SECONDS = 60


class Cluster:
    """`tiergate-sim up --control-plane-only`, and a connection to it."""

    def __init__(self, binaries, folder, pinned):
        self.kubeconfig = folder / "kubeconfig"
        command = [binaries / "tiergate-sim", "up", "--control-plane-only", "--kubeconfig", self.kubeconfig]
        self.process = Process("cluster", command, folder, "load", pinned)
        end = time.monotonic() + READY_SECONDS
        while "ready" not in self.process.log.read_text().splitlines():
            if not self.process.is_running() or time.monotonic() > end:
                raise Failure(f"the local cluster does not become ready: {self.process.last_words()}")
            time.sleep(0.02)
        self.api = Api(json.loads(self.kubeconfig.read_text()))

    def stop(self):
        self.process.stop()


class Api:
    """One kept connection with the token of the kubeconfig."""

    def __init__(self, kubeconfig):
        cluster = kubeconfig["clusters"][0]["cluster"]
        trusted = base64.b64decode(cluster["certificate-authority-data"]).decode()
        server = urllib.parse.urlsplit(cluster["server"])
        self.connection = http.client.HTTPSConnection(server.hostname, server.port, timeout=30,
                                                      context=ssl.create_default_context(cadata=trusted))
        self.headers = {"Authorization": f"Bearer {kubeconfig['users'][0]['user']['token']}", "Content-Type": "application/json"}

    def ask(self, method, path, value=None):
        """Status and answer. The server closes a connection that was idle for long: then a new one asks again."""
        for is_last in (False, True):
            try:
                self.connection.request(method, path, json.dumps(value) if value else None, self.headers)
                answer = self.connection.getresponse()
                return answer.status, json.loads(answer.read())
            except (OSError, http.client.HTTPException):
                self.connection.close()
                if is_last:
                    raise

    def create(self, one):
        """Creates an object; one that is there already stays."""
        status, answer = self.ask("POST", collection(one), one)
        if status not in (201, 409):
            raise Failure(f"{one['kind']} {one['metadata']['name']}: {status} {answer.get('message')}")

    def replace(self, one):
        """Puts an object in the place of the one with its name."""
        status, answer = self.ask("PUT", f"{collection(one)}/{one['metadata']['name']}", one)
        if status != 200:
            raise Failure(f"{one['kind']} {one['metadata']['name']}: {status} {answer.get('message')}")


PLURALS = {"Namespace": "namespaces", "IngressClass": "ingressclasses", "Ingress": "ingresses", "Service": "services",
           "EndpointSlice": "endpointslices", "Secret": "secrets"}


def collection(one):
    """Where objects of this kind are created."""
    version = one["apiVersion"]
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    namespace = one["metadata"].get("namespace")
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{PLURALS[one['kind']]}"
