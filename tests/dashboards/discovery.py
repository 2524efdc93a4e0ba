"""Kubernetes discovery for a Prometheus that lacks it, as Debian's does: the same targets, over its HTTP discovery.

In: pods as the API server tells them. Out: what `kubernetes_sd_configs` with `role: pod` makes of them, with the labels that the
documentation of Prometheus lists, so that the relabelling of a configuration sees what it would see in a cluster.
"""

import http.server
import json
import re
import threading


def name_of_label(text):
    """How Prometheus writes the name of a label or annotation of Kubernetes as one of its own."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", text)


def targets_of(pod):
    """One target for each declared port; one without a port for a container that declares none."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    address = status.get("podIP")
    if not address:
        return []
    shared = {
        "__meta_kubernetes_namespace": metadata["namespace"],
        "__meta_kubernetes_pod_name": metadata["name"],
        "__meta_kubernetes_pod_ip": address,
        "__meta_kubernetes_pod_node_name": spec.get("nodeName", ""),
        "__meta_kubernetes_pod_host_ip": status.get("hostIP", ""),
        "__meta_kubernetes_pod_phase": status.get("phase", ""),
        "__meta_kubernetes_pod_uid": metadata["uid"],
    }
    for kind in ("label", "annotation"):
        for name, value in (metadata.get(f"{kind}s") or {}).items():
            shared[f"__meta_kubernetes_pod_{kind}_{name_of_label(name)}"] = value
            shared[f"__meta_kubernetes_pod_{kind}present_{name_of_label(name)}"] = "true"
    host = f"[{address}]" if ":" in address else address
    found = []
    for container in spec["containers"]:
        of_container = {**shared, "__meta_kubernetes_pod_container_name": container["name"]}
        for port in container.get("ports") or [{}]:
            labels, target = dict(of_container), host
            if port:
                target = f"{host}:{port['containerPort']}"
                labels["__meta_kubernetes_pod_container_port_name"] = port.get("name", "")
                labels["__meta_kubernetes_pod_container_port_number"] = str(port["containerPort"])
            found.append({"targets": [target], "labels": labels})
    return found


def without_kubernetes(configuration, url):
    """The configuration with HTTP discovery in the place of Kubernetes', and the selectors of labels that it had."""
    selectors = []
    for job in configuration["scrape_configs"]:
        for discovery in job.pop("kubernetes_sd_configs"):
            if discovery["role"] != "pod":
                raise SystemExit(f"only pods are discovered here, not the role {discovery['role']}")
            selectors += [one["label"] for one in discovery.get("selectors", [])]
        job["http_sd_configs"] = [{"url": url, "refresh_interval": "2s"}]
    return configuration, ",".join(selectors)


class Server(http.server.ThreadingHTTPServer):
    """Answers every request with the targets of the moment."""

    daemon_threads = True

    def __init__(self, pods):
        """`pods` asks the API server."""
        super().__init__(("127.0.0.1", 0), Answer)
        self.pods = pods
        self.url = f"http://127.0.0.1:{self.server_port}/targets"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(http.server.BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self):  # noqa: N802  (the name is http.server's)
        body = json.dumps([one for pod in self.server.pods() for one in targets_of(pod)]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing is written."""
