"""Clients of every kind, good ones and bad ones, so that every series has something to count.

In: the address of the cluster. Out: nothing but requests, until they are told to stop.
"""

import http.client
import json
import socket
import ssl
import threading
import time

HORIZON = "horizon.openstack.svc.cluster.local"
KEYSTONE = "keystone.openstack.svc.cluster.local"
# Between two requests of one client.
PAUSE_SECONDS = 0.1


class Traffic:
    """Clients in threads of their own."""

    def __init__(self, vip, http_port, https_port, ceph_host):
        self.vip, self.http_port, self.https_port = vip, http_port, https_port
        self.ceph_host = ceph_host
        self.stopped = threading.Event()
        self.counts = {}
        kinds = [self.good, self.failing, self.refused, self.leaving, self.encrypted, self.upgraded]
        self.threads = [threading.Thread(target=self.repeat, args=(kind,), daemon=True) for kind in kinds]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join(timeout=10)

    def repeat(self, kind):
        while not self.stopped.wait(PAUSE_SECONDS):
            try:
                kind()
            except (OSError, http.client.HTTPException):
                # What a client sees of a fault is the business of the end-to-end tests.
                self.count("broken")

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def ask(self, host, path="/", method="GET", body=None, **headers):
        connection = http.client.HTTPConnection(self.vip, self.http_port, timeout=10)
        try:
            connection.request(method, path, body, {"Host": host, **headers})
            answer = connection.getresponse()
            answer.read()
            self.count(answer.status)
        finally:
            connection.close()

    def good(self):
        self.ask(KEYSTONE, "/v3")
        self.ask(HORIZON, "/?bytes=20000")
        self.ask(HORIZON, "/upload", "POST", b"x" * 5000)
        self.ask(KEYSTONE, "/slow?delay_ms=30")
        self.ask(self.ceph_host)

    def failing(self):
        """The application's own errors, and ours about it."""
        for status in (500, 503, 404, 403):
            self.ask(KEYSTONE, f"/?status={status}")
        self.ask("nobody.openstack.svc.cluster.local")
        self.ask("refusing.openstack.svc.cluster.local")

    def refused(self):
        """Requests that go nowhere."""
        self.ask("stranger.example")
        self.ask(KEYSTONE, "/", "GET", None, **{"X-Long": "x" * 100_000})
        self.ask("not a host")
        self.ask(KEYSTONE, "/a/../b")

    def leaving(self):
        """A client that goes away before its answer."""
        with socket.create_connection((self.vip, self.http_port), timeout=10) as connection:
            connection.sendall(f"GET /?delay_ms=2000 HTTP/1.1\r\nHost: {KEYSTONE}\r\n\r\n".encode())
            time.sleep(0.05)

    def encrypted(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(self.vip, self.https_port, timeout=10, context=context)
        connection.request("GET", "/", headers={"Host": KEYSTONE})
        connection.getresponse().read()
        connection.close()
        # No TLS at all.
        with socket.create_connection((self.vip, self.https_port), timeout=10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            plain.recv(100)

    def upgraded(self):
        """A connection that speaks something else, and stays for a while."""
        with socket.create_connection((self.vip, self.http_port), timeout=10) as connection:
            head = f"GET / HTTP/1.1\r\nHost: {KEYSTONE}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            connection.sendall(head.encode())
            connection.recv(1000)
            self.stopped.wait(5)

    def __str__(self):
        return json.dumps({str(what): count for what, count in sorted(self.counts.items(), key=str)})
