"""A local cluster with the story, and what `kubectl apply -k deploy/monitoring` makes in it.

In: folders of programs. Out: the addresses of the VIP and of Prometheus, and answers of the API server. The Prometheus of the
cluster runs as a pod, with the command, the mounts, the probes and the configuration of deploy/monitoring.
"""

import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import discovery
import yaml

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
NAMESPACE = "tiergate-monitoring"
VIP = "127.0.83.254"
HTTP_PORT, HTTPS_PORT = 8080, 8443
POD_CIDR = "127.83.0.0/16"
START_SECONDS = 60

# Pods of the local cluster share one loopback device, so each listens on the address of its own.
PATCH = """\
- op: add
  path: /spec/template/spec/containers/0/args/-
  value: --web.listen-address=$(POD_IP):9090
- op: add
  path: /spec/template/spec/containers/0/env
  value: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
"""


def until(what, condition, limit_seconds=START_SECONDS):
    """Waits for a condition, and returns what it found."""
    end = time.monotonic() + limit_seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {limit_seconds} s")
        time.sleep(0.2)


def kubectl_program():
    return shutil.which("kubectl-1.37") or shutil.which("kubectl")


def has_kubernetes_discovery(promtool):
    """Debian builds Prometheus without it."""
    command = [promtool, "check", "config", "--syntax-only", MONITORING / "config" / "prometheus.yml"]
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0


class Cluster:
    """The cluster, from its start to its end."""

    def __init__(self, simulator, prometheus, work):
        self.simulator, self.work = simulator, Path(work)
        self.kubeconfig = self.work / "kubeconfig"
        self.requests = self.work / "requests.jsonl"
        self.programs = self.work / "image"
        self.programs.mkdir(parents=True)
        (self.programs / "prometheus").symlink_to(prometheus)
        self.promtool = Path(prometheus).parent / "promtool"
        self.process = self.server = None

    def __enter__(self):
        image = rendered_image("prometheus")
        command = [
            self.simulator, "up", "--kubeconfig", self.kubeconfig, "--vip", VIP, "--pod-cidr", POD_CIDR,
            "--http-port", str(HTTP_PORT), "--https-port", str(HTTPS_PORT),
            "--image", f"{image}={self.programs}", "--request-log", self.requests,
        ]  # fmt: skip
        output = self.work / "up.log"
        with output.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            until("the local cluster", lambda: self.is_ready(output))
            self.read_kubeconfig()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.server:
            self.server.shutdown()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def is_ready(self, output):
        if self.process.poll() is not None:
            raise SystemExit(f"tiergate-sim ended with {self.process.returncode}:\n{output.read_text()}")
        return "\nready\n" in output.read_text()

    def read_kubeconfig(self):
        found = json.loads(self.kubeconfig.read_text())
        self.api = found["clusters"][0]["cluster"]["server"]
        self.token = found["users"][0]["user"]["token"]
        # The certificate of this API server is its own.
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    # --- the API ------------------------------------------------------------------------------------------------------

    def get(self, path):
        request = urllib.request.Request(self.api + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=10, context=self.context) as answer:
            return json.load(answer)

    def kubectl(self, *arguments, text=None):
        command = [kubectl_program(), "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise SystemExit(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def pods(self, selector="", namespace=""):
        scope = f"namespaces/{namespace}/" if namespace else ""
        return self.get(f"/api/v1/{scope}pods?labelSelector={urllib.request.quote(selector)}")["items"]

    # --- monitoring ---------------------------------------------------------------------------------------------------

    def monitor(self):
        """Applies deploy/monitoring, and returns the address of Prometheus when its pods are ready."""
        self.kubectl("apply", "--filename", str(Path(__file__).with_name("world.yaml")))
        for namespace, ingress in (("openstack", "keystone"), ("ceph", "rgw")):
            self.certify(namespace, ingress)
        self.kubectl("apply", "--kustomize", str(self.overlay()))
        until("the pods of deploy/monitoring", self.are_ready)
        service = self.get(f"/api/v1/namespaces/{NAMESPACE}/services/prometheus")["spec"]
        return f"http://{service['clusterIP']}:{service['ports'][0]['port']}"

    def certify(self, namespace, ingress):
        """Gives the Ingress a certificate of its own, for ten days."""
        key, chain = self.work / f"{ingress}.key", self.work / f"{ingress}.crt"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "10",
                   "-subj", f"/CN={ingress}", "-addext", f"subjectAltName=DNS:{ingress}", "-keyout", key, "-out", chain]  # fmt: skip
        subprocess.run(command, capture_output=True, check=True, timeout=20)
        within = ("--namespace", namespace)
        self.kubectl(*within, "create", "secret", "tls", ingress, "--cert", str(chain), "--key", str(key))
        tls = json.dumps({"spec": {"tls": [{"secretName": ingress}]}})
        self.kubectl(*within, "patch", "ingress", ingress, "--type", "merge", "--patch", tls)

    def are_ready(self):
        pods = self.pods(namespace=NAMESPACE)
        ready = [one for pod in pods for one in pod["status"].get("conditions", []) if one["type"] == "Ready"]
        return len(ready) >= 2 and all(one["status"] == "True" for one in ready)

    def overlay(self):
        """deploy/monitoring for this cluster: Prometheus listens on its pod's address, and discovers as it can."""
        folder = self.work / "overlay"
        folder.mkdir()
        lines = {
            "resources": [os.path.relpath(MONITORING, folder)],
            "namespace": NAMESPACE,
            "patches": [{"target": {"kind": "Deployment", "name": "prometheus"}, "patch": PATCH}],
        }
        configuration = yaml.safe_load((MONITORING / "config" / "prometheus.yml").read_text())
        self.selector = configuration["scrape_configs"][0]["kubernetes_sd_configs"][0]["selectors"][0]["label"]
        if not has_kubernetes_discovery(self.promtool):
            self.server = discovery.Server(lambda: self.pods(self.selector))
            configuration, self.selector = discovery.without_kubernetes(configuration, self.server.url)
            (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration, sort_keys=False))
            lines["configMapGenerator"] = [
                {"name": "prometheus-config", "behavior": "replace", "files": ["prometheus.yml"]}
            ]
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(lines))
        return folder


def rendered_image(container):
    """The image that deploy/monitoring gives a container."""
    for one in rendered():
        if one["kind"] == "Deployment" and one["metadata"]["name"] == container:
            return one["spec"]["template"]["spec"]["containers"][0]["image"]
    raise SystemExit(f"deploy/monitoring has no Deployment {container}")


def rendered():
    """The objects of deploy/monitoring."""
    command = [kubectl_program(), "kustomize", str(MONITORING)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise SystemExit(done.stderr)
    return list(yaml.safe_load_all(done.stdout))


def work_folder():
    """A folder within the repository: kustomize takes no absolute path."""
    parent = ROOT / "target" / "tests" / "dashboards"
    parent.mkdir(parents=True, exist_ok=True)
    return tempfile.mkdtemp(dir=parent)


class Changes:
    """Changes an Ingress again and again, so that tables are published."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join(timeout=10)

    def run(self):
        number = 0
        while not self.stopped.wait(3):
            number += 1
            value = [{"op": "replace", "path": "/spec/rules/0/http/paths/0/path", "value": f"/{number % 2 or ''}"}]
            for name in ("broken", "openstack-ingress"):
                path = value if name == "broken" else [{"op": "add", "path": "/metadata/annotations", "value": {"n": str(number)}}]
                self.cluster.kubectl("--namespace", "openstack", "patch", "ingress", name, "--type", "json", "--patch", json.dumps(path))
