"""What deploy/monitoring holds: valid objects, least rights, and parts that fit one another."""

import json
import re
import subprocess
import unittest

import cluster
import kubernetes_validate
import yaml

VERSIONS = ["1.30", "1.34", "1.37"]
# What Grafana reads of these two kinds of files (its documentation, "Provision Grafana").
DATA_SOURCE = {"name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData"}
PROVIDER = {"name", "type", "folder", "folderUid", "allowUiUpdates", "disableDeletion", "updateIntervalSeconds", "options"}
# `kubectl apply` writes an object into an annotation of itself, and annotations have 262,144 bytes.
CONFIG_MAP_BYTES_MAX = 200_000
SETTINGS = cluster.ROOT / "deploy" / "monitoring" / "config"
CHART = cluster.ROOT / "deploy" / "charts" / "tiergate"

OBJECTS = cluster.rendered()


def of_kind(kind):
    return {one["metadata"]["name"]: one for one in OBJECTS if one["kind"] == kind}


def pod(name):
    return of_kind("Deployment")[name]["spec"]["template"]


def container(name):
    return pod(name)["spec"]["containers"][0]


def mounted(name):
    """The folder or file of each ConfigMap in a container."""
    volumes = {one["name"]: one for one in pod(name)["spec"]["volumes"]}
    found = {}
    for mount in container(name)["volumeMounts"]:
        volume = volumes[mount["name"]]
        sources = volume.get("projected", {}).get("sources", [volume])
        for source in sources:
            if "configMap" in source:
                found.setdefault(source["configMap"]["name"], []).append(mount["mountPath"])
    return found


def setting(name):
    return yaml.safe_load((SETTINGS / name).read_text())


class Objects(unittest.TestCase):
    """The objects by themselves."""

    def test_every_object_is_valid_in_all_supported_versions(self):
        for version in VERSIONS:
            for one in OBJECTS:
                with self.subTest(version=version, kind=one["kind"], name=one["metadata"]["name"]):
                    kubernetes_validate.validate(one, version, strict=True)

    def test_everything_is_in_the_namespace(self):
        for one in OBJECTS:
            if one["kind"] not in ("Namespace", "ClusterRole", "ClusterRoleBinding"):
                self.assertEqual(one["metadata"].get("namespace"), cluster.NAMESPACE, one["metadata"]["name"])

    def test_pods_keep_the_restricted_profile(self):
        labels = of_kind("Namespace")[cluster.NAMESPACE]["metadata"]["labels"]
        self.assertEqual(labels["pod-security.kubernetes.io/enforce"], "restricted")
        for name in of_kind("Deployment"):
            spec, one = pod(name)["spec"], container(name)
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertGreater(spec["securityContext"]["runAsUser"], 0)
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertEqual(
                one["securityContext"],
                {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
            )
            self.assertIn("memory", one["resources"]["limits"])
            self.assertIn("cpu", one["resources"]["requests"])
            self.assertLessEqual({"startupProbe", "readinessProbe", "livenessProbe"}, set(one))
            self.assertRegex(one["image"], r":v?\d+\.\d+\.\d+$")

    def test_only_prometheus_has_a_token_and_it_reads_pods(self):
        tokens = {name: pod(name)["spec"].get("automountServiceAccountToken") for name in of_kind("Deployment")}
        self.assertEqual(tokens, {"prometheus": True, "grafana": False})
        rules = [one["rules"] for kind in ("ClusterRole", "Role") for one in of_kind(kind).values()]
        self.assertEqual(rules, [[{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]])

    def test_config_maps_fit_into_the_annotation_of_kubectl_apply(self):
        for name, one in of_kind("ConfigMap").items():
            self.assertLess(len(json.dumps(one)), CONFIG_MAP_BYTES_MAX, name)


class Parts(unittest.TestCase):
    """What must be the same in two places."""

    def test_grafana_finds_its_dashboards(self):
        (provider,) = setting("dashboards.yaml")["providers"]
        self.assertLessEqual(set(provider), PROVIDER)
        maps = mounted("grafana")
        found = [name for name in maps if name.startswith("tiergate-dashboard-")]
        self.assertEqual(len(found), len(list((cluster.ROOT / "grafana").glob("*.json"))))
        for name in found:
            self.assertEqual(maps[name], [provider["options"]["path"]])
        home = [one["value"] for one in container("grafana")["env"] if one["name"].endswith("HOME_DASHBOARD_PATH")]
        self.assertEqual(home, [f"{provider['options']['path']}/overview.json"])

    def test_grafana_finds_prometheus(self):
        (source,) = setting("datasources.yaml")["datasources"]
        self.assertLessEqual(set(source), DATA_SOURCE)
        port = of_kind("Service")["prometheus"]["spec"]["ports"][0]["port"]
        self.assertEqual(source["url"], f"http://prometheus:{port}")
        self.assertEqual(source["jsonData"]["timeInterval"], setting("prometheus.yml")["global"]["scrape_interval"])

    def test_grafana_reads_what_is_provisioned(self):
        folder = "/etc/grafana/provisioning"
        (name,) = [name for name in mounted("grafana") if name.startswith("grafana-provisioning")]
        expected = [f"{folder}/datasources/tiergate.yaml", f"{folder}/dashboards/tiergate.yaml"]
        self.assertEqual(mounted("grafana")[name], expected)

    def test_prometheus_finds_its_rules(self):
        (folder,) = mounted("prometheus")["tiergate-rules"]
        self.assertEqual(setting("prometheus.yml")["rule_files"], [f"{folder}/*.yaml"])
        self.assertTrue(all(name.endswith(".yaml") for name in of_kind("ConfigMap")["tiergate-rules"]["data"]))

    def test_services_select_the_pods(self):
        for name, one in of_kind("Service").items():
            self.assertLessEqual(one["spec"]["selector"].items(), pod(name)["metadata"]["labels"].items())
            ports = [port["name"] for port in container(name)["ports"]]
            self.assertIn(one["spec"]["ports"][0]["targetPort"], ports)


class Chart(unittest.TestCase):
    """The pods of the chart are those that Prometheus scrapes."""

    def pods(self, mode, *settings):
        helm = [cluster.ROOT / ".tools" / "bin" / "helm-4", "template", "release", CHART, "--set", f"deployment.mode={mode}"]
        command = [*helm, *(word for one in settings for word in ("--set", one))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        objects = [one for one in yaml.safe_load_all(done.stdout) if one]
        return [one["spec"]["template"] for one in objects if one["kind"] in ("Deployment", "DaemonSet")]

    def test_pods_have_the_label_and_the_annotations_that_are_looked_for(self):
        (job,) = setting("prometheus.yml")["scrape_configs"]
        label, value = job["kubernetes_sd_configs"][0]["selectors"][0]["label"].split("=")
        wanted = re.findall(r"pod_annotation_(\w+)'", str(job["relabel_configs"]))
        for mode, settings in [("cluster", []), ("namespace", []), ("cluster", ["network.hostNetwork=true"])]:
            (found,) = self.pods(mode, *settings)
            self.assertEqual(found["metadata"]["labels"].get(label), value)
            names = {re.sub(r"\W", "_", name) for name in found["metadata"]["annotations"]}
            self.assertLessEqual(set(wanted), names)


if __name__ == "__main__":
    unittest.main()
