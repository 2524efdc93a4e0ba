"""A small client of an API server: JSON, one connection a thread, TLS without verification (loopback only)."""
import http.client
import json
import ssl
import threading
import urllib.parse

CONTEXT = ssl._create_unverified_context()


class ApiError(Exception):
    def __init__(self, code, body):
        super().__init__(code, body[:300])
        self.code = code


class Api:
    def __init__(self, world, agent):
        parts = urllib.parse.urlsplit(world.server)
        self.host, self.port, self.local = parts.hostname, parts.port, threading.local()
        self.headers = {'Authorization': 'Bearer ' + world.token, 'User-Agent': agent, 'Accept': 'application/json'}

    def connect(self, timeout):
        return http.client.HTTPSConnection(self.host, self.port, context=CONTEXT, timeout=timeout)

    def call(self, method, path, body=None, ctype='application/json', timeout=30):
        data = None if body is None else json.dumps(body).encode()
        h = dict(self.headers)
        if data: h['Content-Type'] = ctype
        for attempt in (0, 1):
            c = getattr(self.local, 'c', None)
            if c is None:
                c = self.local.c = self.connect(timeout)
            try:
                c.request(method, path, body=data, headers=h)
                r = c.getresponse()
                out = r.read()
                break
            except (OSError, http.client.HTTPException):
                c.close()
                self.local.c = None
                if attempt: raise
        if r.status >= 300: raise ApiError(r.status, out.decode(errors='replace'))
        return json.loads(out) if out else {}

    def get(self, p): return self.call('GET', p)
    def post(self, p, b): return self.call('POST', p, b)
    def put(self, p, b): return self.call('PUT', p, b)
    def smp(self, p, b): return self.call('PATCH', p, b, 'application/strategic-merge-patch+json')
    def merge(self, p, b): return self.call('PATCH', p, b, 'application/merge-patch+json')
    def delete(self, p, b=None): return self.call('DELETE', p, b)
