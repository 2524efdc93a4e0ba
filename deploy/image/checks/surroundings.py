"""What a pod finds around it: an API server without objects, over TLS, and a name server. Both end with this process.

In: addresses. Out: threads that answer. The API server answers lists, leaves watches open, and wants the token.
"""

import http.server
import json
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time

NAME = "kubernetes.example"
TOKEN = "the-token-of-the-service-account"


def certificate(folder, address):
    """A key and a certificate of nobody that anybody knows, for the name and the address: paths of both."""
    key, pem, request = f"{folder}/tls.key", f"{folder}/tls.crt", f"{folder}/request"
    with open(request, "w", encoding="ascii") as file:
        file.write(
            "[req]\ndistinguished_name = name\nx509_extensions = extensions\n[name]\n[extensions]\n"
            f"basicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:{NAME}, IP:{address}\n")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-config", request, "-keyout", key, "-out", pem, "-subj", "/CN=api"],
        check=True, capture_output=True, timeout=60)
    return key, pem


class ApiServer(http.server.ThreadingHTTPServer):
    """Serves until the process ends; `asked` holds the paths of requests that had the token."""

    daemon_threads = True

    def __init__(self, address, key, pem):
        super().__init__(address, Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.asked = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A connection that ended early is none of the checks' business."""


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401})
            return
        self.server.asked.add(self.path.partition("?")[0])
        if "watch=true" in self.path:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.flush()
            time.sleep(600)
            return
        self.answer(200, {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []})

    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


class NameServer(socketserver.ThreadingUDPServer):
    """Knows one name, by its IPv4 address; `asked` holds the names that were asked for (RFC 1035, section 4)."""

    daemon_threads = True

    def __init__(self, address, known):
        super().__init__((address, 53), Reply)
        self.known = socket.inet_aton(known)
        self.asked = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Reply(socketserver.BaseRequestHandler):
    def handle(self):
        query, reply_socket = self.request
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12:at + 5]
        (kind,) = struct.unpack("!H", query[at + 1:at + 3])
        name = ".".join(labels).lower()
        self.server.asked.add(name)
        is_known = name == NAME
        answer = b""
        if is_known and kind == 1:
            answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + self.server.known
        flags = 0x8580 if is_known else 0x8583
        head = query[:2] + struct.pack("!HHHHH", flags, 1, 1 if answer else 0, 0, 0)
        reply_socket.sendto(head + question + answer, self.client_address)
