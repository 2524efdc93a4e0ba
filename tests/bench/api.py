"""The API server that our tiers watch: the local cluster's own, with no node and no pod. Objects go in by HTTP.

In: objects as dictionaries. Out: a kubeconfig for the tiers. Shares the CPUs of the load: it costs no tier anything.
"""
import base64, http.client, json, socket, ssl, urllib.parse

import message
from processes import Failure, Process

READY_SECONDS = 60


class Cluster:
    """`tiergate-sim up --control-plane-only`, and a connection to it."""

    def __init__(self, binaries, folder, pinned):
        self.kubeconfig = folder / "kubeconfig"
        command = [binaries / "tiergate-sim", "up", "--control-plane-only", "--kubeconfig", self.kubeconfig]
        # Namespaces of the scenes whose objects are there.
        self.written = set()
        self.process = Process("cluster", command, folder, "load", pinned)
        self.process.until_said("ready", READY_SECONDS)
        self.api = Api(json.loads(self.kubeconfig.read_text()))

    def stop(self):
        self.process.stop()


class Api:
    """One kept connection with the token of the kubeconfig."""

    def __init__(self, kubeconfig):
        cluster = kubeconfig["clusters"][0]["cluster"]
        trusted = base64.b64decode(cluster["certificate-authority-data"]).decode()
        server = urllib.parse.urlsplit(cluster["server"])
        self.address, self.context = (server.hostname, server.port), ssl.create_default_context(cadata=trusted)
        self.connection = http.client.HTTPSConnection(*self.address, timeout=30, context=self.context)
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

    def replacement(self, one):
        """A message that puts an object in the place of the one with its name, ready on a connection of its own."""
        body = json.dumps(one).encode()
        headers = {"Host": f"{self.address[0]}:{self.address[1]}", **self.headers, "Content-Length": len(body)}
        lines = [f"PUT {path(one)} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return message.Message(self.connect(), "\r\n".join(lines).encode() + body, message.is_whole_http)

    def connect(self):
        """A new connection, over which TLS is spoken already."""
        connection = socket.create_connection(self.address, 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(connection, server_hostname=self.address[0])


PLURALS = {"Namespace": "namespaces", "IngressClass": "ingressclasses", "Ingress": "ingresses", "Service": "services",
           "EndpointSlice": "endpointslices", "Secret": "secrets"}


def collection(one):
    """Where objects of this kind are created."""
    version = one["apiVersion"]
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    namespace = one["metadata"].get("namespace")
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{PLURALS[one['kind']]}"


def path(one):
    """Where an object is, once it is created."""
    return f"{collection(one)}/{one['metadata']['name']}"
