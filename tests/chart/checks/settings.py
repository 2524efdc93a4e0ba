"""The tiers take what the chart renders: every pod of every scenario is started as its program, with the arguments, the
variables and the file of the manifest, and must find nothing wrong with them.

The programs read all settings before they look for the API server, and are told of none here: then they end with exit code
3 and a sentence about --kubeconfig, before they bind or ask anything. Another ending is a setting that they refuse."""

import os
import pathlib
import re
import subprocess
import tempfile

import chart
import report

NO_API_SERVER = "`--kubeconfig`: no way to the API server is known"


def check(outcome):
    folder = binaries()
    started = probes = 0
    seen = set()
    for scenario in chart.scenarios():
        objects = chart.objects(scenario)
        files = {item["metadata"]["name"]: item.get("data", {}) for item in objects if item["kind"] == "ConfigMap"}
        for item, _, spec in chart.pod_specs(objects):
            for container in spec["containers"]:
                words = [*container.get("command", []), *container.get("args", [])]
                program = folder / pathlib.Path((words or [""])[0]).name
                where = f"{scenario.name}: {chart.called(item)}"
                if not program.name.startswith("tiergate-"):
                    outcome.failed(f"{where}: {program.name} is no program of ours", chart.render(scenario).command)
                    continue
                if words[1:2] == ["probe"]:
                    probes += probe(outcome, where, program, words[1:])
                    continue
                for name in ("startupProbe", "livenessProbe", "readinessProbe"):
                    command = ((container.get(name) or {}).get("exec") or {}).get("command")
                    if command and tuple(command) not in seen:
                        seen.add(tuple(command))
                        probes += probe(outcome, f"{where}: {name}", folder / pathlib.Path(command[0]).name, command[1:])
                started += start(outcome, where, scenario, program, words[1:], container, spec, files)
    outcome.summary = f"{started} pods start with their arguments, variables and files; {probes} probe commands are understood"


def binaries():
    for folder in [os.environ.get("TIERGATE_BINARIES"), "target/release", "target/debug"]:
        if folder and (chart.ROOT / folder / "tiergate-cluster").exists():
            return chart.ROOT / folder
    raise report.Skip("no tiergate-cluster; `cargo build -p tiergate-cluster -p tiergate-namespace` makes it")


def start(outcome, where, scenario, program, words, container, spec, files):
    """Starts a tier as its container would be, but for the API server."""
    mounted = {}
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    with tempfile.TemporaryDirectory() as folder:
        for mount in container.get("volumeMounts", []):
            name = (volumes[mount["name"]].get("configMap") or {}).get("name")
            if name is None:
                continue
            if name not in files:
                outcome.failed(f"{where}: mounts the ConfigMap {name}, which is not there", chart.render(scenario).command)
            for key, text in files.get(name, {}).items():
                path = pathlib.Path(folder, name, key)
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
                mounted[f"{mount['mountPath']}/{key}"] = str(path)
        variables = {}
        for variable in container.get("env", []):
            field = ((variable.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
            variables[variable["name"]] = {
                "metadata.namespace": scenario.namespace, "metadata.name": "pod", "spec.nodeName": "node",
                "status.podIP": "127.0.0.1", "status.hostIP": "127.0.0.1",
            }.get(field, variable.get("value", ""))
        words = [expand(word, variables) for word in words]
        for path, real in mounted.items():
            words = [word.replace(path, real) for word in words]
        done = subprocess.run(
            [program, *words], env={"HOME": folder, **variables}, capture_output=True, text=True, timeout=chart.SECONDS
        )
    if done.returncode != 3 or NO_API_SERVER not in done.stderr or "unknown_variable" in done.stderr:
        outcome.failed(f"{where}: {program.name} says: {done.stderr.strip()[-800:]}", chart.render(scenario).command)
    return 1


def expand(word, variables):
    """$(NAME) as the kubelet replaces it."""
    for name, value in variables.items():
        word = word.replace(f"$({name})", value)
    return word


def probe(outcome, where, program, words):
    """A probe of an address where nobody is must fail as a probe (1), not for its arguments (2)."""
    # The kubelet gives the addresses of Services by variables. Here nobody serves what is asked for.
    words = [re.sub(r"\[\$\(\w+_SERVICE_HOST\)\]", "[::1]", word) for word in words]
    words = [re.sub(r"\$\(\w+_SERVICE_HOST\)", "127.0.0.1", word) for word in words]
    done = subprocess.run([program, *words], env={}, capture_output=True, text=True, timeout=chart.SECONDS)
    if done.returncode != 1:
        outcome.failed(f"{where}: {program.name} {' '.join(words)} ends with {done.returncode}: {done.stderr.strip()[-400:]}")
    return 1
