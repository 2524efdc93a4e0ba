#!/usr/bin/env python3
"""Measures the tiers on the local cluster, side by side with nginx.

    bench.py [--quick] [--json FILE]

Requests: wrk with kept connections asks the namespace tier (one tier), or the VIP (both tiers); as a reference it asks one
nginx, or two in a row, in front of the same pods. Rounds are interleaved, the medians are shown. The main figure is the CPU
time of the proxies per request, which a noisy machine disturbs least; requests per second depend on what wrk and the pods
leave of the machine, for they run on it too.

Memory: resident set of each tier before any request. Change: from the start of `kubectl apply` of an Ingress, and from its
end, to the first 200 at the VIP.

Exit status: 0, 1 when a request failed, 2 usage, 4 when something that is needed is missing.
"""
import argparse, json, os, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("TIERGATE_BINARIES", ROOT / "target/release"))
KUBECTL = ROOT / ".tools/bin/kubectl-1.37"
HOST = "keystone.openstack.svc.cluster.local"
VIP, POD_CIDR = "127.98.255.254", "127.98.0.0/17"
NGINX_ONE, NGINX_TWO = ("127.98.255.1", 8080), ("127.98.255.2", 8080)
TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
CONNECTIONS, READY_SECONDS = 32, 120


# --- processes --------------------------------------------------------------------------------------------------------

def children(pid):
    """All processes below this one."""
    below = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                below.setdefault(int((entry / "stat").read_text().rsplit(") ", 1)[1].split()[1]), []).append(int(entry.name))
            except OSError:
                pass
    found, todo = [], [pid]
    while todo:
        todo += (mine := below.get(todo.pop(), []))
        found += mine
    return found


def programs(pid, name):
    """Processes below this one that run this program."""
    def runs(one):
        try:
            return os.path.basename(os.readlink(f"/proc/{one}/exe")) == name
        except OSError:
            return False
    return [one for one in children(pid) if runs(one)]


def cpu_us(pids):
    """CPU time of these processes, user and system, in microseconds."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total * TICK_US


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def wait_for(what, probe, seconds=READY_SECONDS, pause=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = probe()
        if value:
            return value
        time.sleep(pause)
    sys.exit(f"{what}: not within {seconds} s")


# --- the cluster and its reference ------------------------------------------------------------------------------------

class Cluster:
    """`tiergate-sim up` with the story."""

    def __init__(self, folder):
        self.kubeconfig = folder / "kubeconfig"
        self.output = folder / "up.out"
        command = [BINARIES / "tiergate-sim", "up", "--vip", VIP, "--pod-cidr", POD_CIDR, "--kubeconfig", self.kubeconfig]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.output.open("w"),
                                        stderr=(folder / "up.err").open("w"))
        wait_for("the local cluster", lambda: self.process.poll() is None and "ready" in self.output.read_text().splitlines())
        self.cluster_tier = programs(self.process.pid, "tiergate-cluster")
        self.namespace_tiers = programs(self.process.pid, "tiergate-namespace")

    def kubectl(self, *arguments, text=None):
        command = [KUBECTL, "--kubeconfig", self.kubeconfig, "--cache-dir", self.kubeconfig.parent / "cache", *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=120).stdout

    def pods(self, namespace, prefix):
        items = json.loads(self.kubectl("get", "pods", "--namespace", namespace, "--output", "json"))["items"]
        return [pod for pod in items if pod["metadata"]["name"].startswith(prefix)]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def nginx(folder, address, upstreams):
    """One nginx that proxies to these addresses as a tier does: kept connections both ways, forwarding headers, no log."""
    servers = "".join(f"server {host}:{port};" for host, port in upstreams)
    workers = os.cpu_count()
    config = folder / f"nginx-{address[0]}.conf"
    config.write_text(f"""
daemon off; worker_processes {workers}; pid {config}.pid; error_log {config}.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream pods {{ {servers} keepalive 64; }}
  server {{
    listen {address[0]}:{address[1]} reuseport;
    location / {{
      proxy_pass http://pods; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Request-ID $request_id;
    }}
  }}
}}
""")
    process = subprocess.Popen(["nginx", "-p", folder, "-e", f"{config}.log", "-c", config], stdin=subprocess.DEVNULL)
    wait_for("nginx", lambda: process.poll() is None and status(address) == 200, 20)
    return process


def status(address, host=HOST):
    """Status of one GET on a connection of its own; None when nobody answers."""
    try:
        with socket.create_connection(address, 2) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            head = connection.recv(64)
            while connection.recv(65536):
                pass
            return int(head.split()[1])
    except (OSError, IndexError, ValueError):
        return None


# --- measuring --------------------------------------------------------------------------------------------------------

def load(address, seconds, pids):
    """One run of wrk: requests per second, latencies, and the CPU time of these processes per request."""
    before = cpu_us(pids)
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--latency",
               "--header", f"Host: {HOST}", f"http://{address[0]}:{address[1]}/"]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    used = cpu_us(pids) - before
    requests = int(re.search(r"(\d+) requests in", out)[1])
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    failed = (int(bad[1]) if bad else 0) + (sum(map(int, broken.groups())) if broken else 0)
    latency = {part: milliseconds(re.search(rf"{part}%\s+([\d.]+)(us|ms|s)", out)) for part in (50, 99)}
    return {"requests_s": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), "cpu_us": used / max(requests, 1),
            "p50_ms": latency[50], "p99_ms": latency[99], "requests": requests, "failed": failed}


def milliseconds(found):
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]] if found else None


def throughput(cluster, folder, rounds, seconds):
    tier = cluster.pods("openstack", "")
    tier = next(pod for pod in tier if pod["spec"]["containers"][0]["image"].startswith("tiergate"))
    one = (tier["status"]["podIP"], 8080)
    keystone = [pod for pod in cluster.pods("openstack", "keystone") if pod["status"].get("podIP")]
    upstreams = [(pod["status"]["podIP"], pod["spec"]["containers"][0]["ports"][0]["containerPort"]) for pod in keystone]
    runs = [("one tier", "tiergate", one, cluster.namespace_tiers),
            ("both tiers", "tiergate", (VIP, 8080), cluster.cluster_tier + cluster.namespace_tiers)]
    references = []
    if shutil.which("nginx"):
        first = nginx(folder, NGINX_ONE, upstreams)
        second = nginx(folder, NGINX_TWO, [NGINX_ONE])
        references = [first, second]
        tree = lambda process: [process.pid] + children(process.pid)
        runs += [("one tier", "nginx", NGINX_ONE, tree(first)), ("both tiers", "nginx", NGINX_TWO, tree(first) + tree(second))]
    measured = {}
    for round_number in range(rounds + 1):
        for workload, proxy, address, pids in runs:
            result = load(address, 1 if round_number == 0 else seconds, pids)
            if round_number > 0:  # the first is to warm up
                measured.setdefault((workload, proxy), []).append(result)
    for process in references:
        process.terminate()
        process.wait(20)
    middle = lambda results, key: statistics.median(result[key] for result in results)
    rows = []
    for (workload, proxy), results in measured.items():
        reference = measured.get((workload, "nginx"))
        rows.append({"workload": workload, "proxy": proxy, "rounds": rounds,
                     **{key: middle(results, key) for key in ("requests_s", "cpu_us", "p50_ms", "p99_ms")},
                     "requests": sum(r["requests"] for r in results), "failed": sum(r["failed"] for r in results),
                     "reference": "nginx" if reference else None, "must": None, "aim": None, "met": None,
                     "ratio": middle(results, "cpu_us") / middle(reference, "cpu_us") if reference else None})
    return rows


def changes(cluster, rounds):
    """Milliseconds from `kubectl apply` of an Ingress to the first 200 at the VIP: from its start, and from its end."""
    from_start, from_end = [], []
    service = json.loads(cluster.kubectl("get", "ingress", "--namespace", "openstack", "--output", "json"))["items"]
    backend = next(path["backend"] for one in service for rule in one["spec"]["rules"]
                   if rule.get("host") == HOST for path in rule["http"]["paths"])
    for number in range(rounds):
        host = f"bench-{number}.example.test"
        ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": f"bench-{number}"},
                   "spec": {"ingressClassName": "tiergate-cluster", "rules": [{"host": host, "http": {"paths": [
                       {"path": "/", "pathType": "Prefix", "backend": backend}]}}]}}
        assert status((VIP, 8080), host) == 404
        started = time.monotonic()
        cluster.kubectl("apply", "--namespace", "openstack", "--filename", "-", text=json.dumps(ingress))
        applied = time.monotonic()
        wait_for(host, lambda: status((VIP, 8080), host) == 200, pause=0.001)
        answered = time.monotonic()
        from_start.append((answered - started) * 1000)
        from_end.append((answered - applied) * 1000)
    return {"rounds": rounds, "from_start_ms": statistics.median(from_start), "from_end_ms": statistics.median(from_end),
            "from_end_max_ms": max(from_end)}


# --- the report -------------------------------------------------------------------------------------------------------

def report(result):
    print(f"\n{result['machine']}; {CONNECTIONS} kept connections; medians\n")
    print("| path | proxy | requests/s | CPU µs/request | p50 ms | p99 ms | CPU against nginx | failed |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in result["rows"]:
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else "–"
        print(f"| {row['workload']} | {row['proxy']} | {row['requests_s']:.0f} | {row['cpu_us']:.1f} | {row['p50_ms']:.2f} "
              f"| {row['p99_ms']:.2f} | {ratio} | {row['failed']} of {row['requests']} |")
    print("\n| resident memory of an idle tier | MiB |\n| --- | ---: |")
    for name, kib in result["resident_kib"].items():
        print(f"| {name} | {kib / 1024:.1f} |")
    change = result["change"]
    print(f"\n| `kubectl apply` of an Ingress to the first 200 ({change['rounds']} rounds) | ms |\n| --- | ---: |")
    print(f"| from the start of kubectl, median | {change['from_start_ms']:.0f} |")
    print(f"| from the end of kubectl, median | {change['from_end_ms']:.1f} |")
    print(f"| from the end of kubectl, longest | {change['from_end_max_ms']:.1f} |")


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} CPUs, {model[1] if model else 'unknown'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short rounds: shows that it runs, not how fast it is")
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    args = parser.parse_args()
    if not shutil.which("wrk") or not KUBECTL.exists():
        print("wrk or kubectl is missing", file=sys.stderr)
        return 4
    rounds, seconds = (2, 2) if args.quick else (5, 8)
    with tempfile.TemporaryDirectory() as name:
        cluster = Cluster(Path(name))
        try:
            tiers = {"tiergate-cluster": cluster.cluster_tier[0], "tiergate-namespace": cluster.namespace_tiers[0]}
            result = {"machine": machine(), "resident_kib": {tier: resident_kib(pid) for tier, pid in tiers.items()}}
            result["rows"] = throughput(cluster, Path(name), rounds, seconds)
            result["change"] = changes(cluster, 5 if args.quick else 20)
        finally:
            cluster.end()
    report(result)
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if any(row["failed"] for row in result["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
