#!/usr/bin/env python3
"""Starts the programs of a folder as pods do, each alone in an empty root that cannot be written.

Started by deploy/image/check, as root in a network namespace and a mount namespace of its own, for it uses the ports 53, 80 and
443, and mounts. Prints a line for each group of checks.
"""

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

import container
from report import Report
from surroundings import NAME, TOKEN, ApiServer, NameServer, certificate

SECONDS_MAX = 30
API = ("10.96.0.1", 6443)
NAME_SERVER = "10.96.0.10"
ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"
RESTRICTED = {"user": 65532, "capabilities": ()}
PRIVILEGED_PORTS = {"user": 0, "capabilities": (container.NET_BIND_SERVICE,)}

# (what the pod is, program, arguments, who finds the API server and how, security context, /proc, ports)
PODS = [
    ("namespace tier, API server by address, empty root without /proc", "tiergate-namespace",
     ["--watch-namespace", "a"], "address", RESTRICTED, False, (8080, 8443)),
    ("cluster tier, API server by a name in /etc/hosts", "tiergate-cluster", [], "hosts", RESTRICTED, True, (8080, 8443)),
    ("namespace tier, API server by a name in DNS", "tiergate-namespace",
     ["--watch-namespace", "a"], "dns", RESTRICTED, True, (8080, 8443)),
    ("cluster tier on ports 80 and 443, NET_BIND_SERVICE alone", "tiergate-cluster",
     ["--http-address", "0.0.0.0:80", "--https-address", "0.0.0.0:443"], "address", PRIVILEGED_PORTS, True, (80, 443)),
]


def files(folder, program, found_by, pem):
    """The image, and what a kubelet and a runtime add to every container."""
    with open(os.path.join(folder, program), "rb") as file:
        content = {f"usr/local/bin/{program}": file.read()}
    with open(pem, "rb") as file:
        content[f"{ACCOUNT}/ca.crt"] = file.read()
    content[f"{ACCOUNT}/token"] = TOKEN.encode()
    content[f"{ACCOUNT}/namespace"] = b"a"
    if found_by == "hosts":
        content["etc/hosts"] = f"127.0.0.1\tlocalhost\n{API[0]}\t{NAME}\n".encode()
    elif found_by == "dns":
        content["etc/hosts"] = b"127.0.0.1\tlocalhost\n"
        content["etc/resolv.conf"] = f"nameserver {NAME_SERVER}\noptions ndots:5\nsearch a.svc.example\n".encode()
    return content


def get(port, path):
    """Status and body of a GET, or nothing while nobody answers."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError:
        return None, ""


def handshake(port):
    """What ends a TLS handshake, or nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stream, context.wrap_socket(stream):
            return None
    except OSError as error:
        return error


def until(process, port, path, wanted):
    """Asks until the status is the wanted one; the seconds that it took, or none when the process or the time is over."""
    begun = time.monotonic()
    while time.monotonic() - begun < SECONDS_MAX and process.poll() is None:
        if get(port, path)[0] == wanted:
            return time.monotonic() - begun
        time.sleep(0.005)
    return None


def who_it_is(process, context, with_proc):
    """Whether the kernel agrees with the security context, and the root is empty and cannot be written."""
    wrong = []
    status = container.status(process)
    mask = f"{sum(1 << number for number in context['capabilities']):016x}"
    held = "0" * 16 if context["user"] else mask
    expected = {"NoNewPrivs": "1", "CapBnd": mask, "CapPrm": held, "CapEff": held, "CapAmb": "0" * 16}
    for name, value in expected.items():
        if status[name] != value:
            wrong.append(f"{name} is {status[name]}, not {value}")
    if set(status["Uid"].split()) != {str(context["user"])}:
        wrong.append(f"it runs as {status['Uid']}")
    root = f"/proc/{process.pid}/root"
    if not os.statvfs(root).f_flag & os.ST_RDONLY:
        wrong.append("its root can be written")
    found = set(os.listdir(root)) - {"usr", "var", "etc", "dev"} - ({"proc"} if with_proc else set())
    if found:
        wrong.append(f"its root holds {sorted(found)}")
    mapped = set()
    with open(f"/proc/{process.pid}/maps", encoding="utf-8") as maps:
        mapped = {path for path in re.findall(r" (/\S+)$", maps.read(), re.MULTILINE)}
    if len(mapped) != 1:
        wrong.append(f"it has mapped more than itself: {sorted(mapped)}")
    return wrong


def run(pod, folder, pem, api, names):
    """Starts a pod, asks it, ends it; what went wrong, and what was seen."""
    _, program, arguments, found_by, context, with_proc, (http_port, https_port) = pod
    api.asked.clear()
    names.asked.clear()
    root = container.Root(files(folder, program, found_by, pem), with_proc)
    host = API[0] if found_by == "address" else NAME
    # Nobody sends here who must notice the end before it comes.
    variables = {
        "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(API[1]), "TIERGATE_DRAIN_DELAY": "0s",
    }
    process = root.start([program, *arguments], variables, **context)
    wrong, seen = [], ""
    try:
        live, ready = until(process, 10254, "/livez", 200), until(process, 10254, "/readyz", 200)
        if live is None or ready is None:
            wrong.append(f"/livez after {live} s, /readyz after {ready} s of at most {SECONDS_MAX} s")
        else:
            wrong += who_it_is(process, context, with_proc)
            if get(http_port, "/")[0] != 404:
                wrong.append(f"port {http_port} answers {get(http_port, '/')} instead of 404")
            # There is no certificate, so a client gets an alert, and not a closed port.
            if not isinstance(handshake(https_port), ssl.SSLError):
                wrong.append(f"port {https_port}: {handshake(https_port)!r} instead of an alert of TLS")
            metrics = get(10254, "/metrics")[1]
            if with_proc != ("process_resident_memory_bytes{" in metrics):
                wrong.append(f"/metrics has process_*: {not with_proc}")
            if not any(path.endswith("/ingresses") for path in api.asked):
                wrong.append(f"the API server was asked for {sorted(api.asked)}")
            if (found_by == "dns") != (NAME in names.asked):
                wrong.append(f"the name server was asked for {sorted(names.asked)}")
            status = container.status(process)
            seen = f"/livez after {live * 1000:.0f} ms, /readyz after {(live + ready) * 1000:.0f} ms, {status['VmRSS']} resident"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            output = process.communicate(timeout=SECONDS_MAX)[0]
            if process.returncode != 0:
                wrong.append(f"it ended with {process.returncode}")
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0]
            wrong.append(f"it did not end within {SECONDS_MAX} s")
        root.remove()
    if wrong:
        wrong += [f"log: {line}" for line in output.splitlines()[-5:]]
    return wrong, seen


def refusal(folder, pem):
    """A port below 1024 without the capability: exit code 4 and a sentence, not a loop."""
    root = container.Root(files(folder, "tiergate-cluster", "address", pem), True)
    variables = {"KUBERNETES_SERVICE_HOST": API[0], "KUBERNETES_SERVICE_PORT": str(API[1])}
    process = root.start(["tiergate-cluster", "--http-address", "0.0.0.0:80"], variables, **RESTRICTED)
    try:
        output = process.communicate(timeout=SECONDS_MAX)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        output = process.communicate()[0]
    root.remove()
    last = output.strip().rpartition("\n")[2]
    wrong = []
    if process.returncode != 4 or "0.0.0.0:80" not in last or "ermission denied" not in last:
        wrong.append(f"exit code {process.returncode}: {last}")
    return wrong, f"exit code 4: {last}"


def main():
    folder = sys.argv[1]
    report = Report()
    with tempfile.TemporaryDirectory() as work:
        key, pem = certificate(work, API[0])
        api, names = ApiServer(API, key, pem), NameServer(NAME_SERVER, API[0])
        for pod in PODS:
            wrong, seen = run(pod, folder, pem, api, names)
            report.group(f"starts: {pod[0]}", wrong, seen)
        wrong, seen = refusal(folder, pem)
        report.group("refuses port 80 without NET_BIND_SERVICE", wrong, seen)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
