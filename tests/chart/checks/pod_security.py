"""The rules of the Pod Security Standards, level "restricted" (with those of "baseline" in it), for every pod that a
scenario makes, init containers and test pods included; and a read-only root, which the standards do not ask for.

One function for each field that the standards name. https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

import chart

SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def containers(spec):
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        yield from spec.get(kind) or []


def contexts(spec):
    """(container, its own security context, what holds for it: the pod's where its own is silent)."""
    for container in containers(spec):
        own = container.get("securityContext") or {}
        yield container, own, {**(spec.get("securityContext") or {}), **own}


def host_namespaces(_, objects):
    for item, _, spec in chart.pod_specs(objects):
        yield from (f"{chart.called(item)}: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key))


def host_ports(_, objects):
    for item, _, spec in chart.pod_specs(objects):
        for container in containers(spec):
            for port in container.get("ports") or []:
                if port.get("hostPort"):
                    yield f"{chart.called(item)}: port {port['hostPort']}"


def host_probes(_, objects):
    for item, _, spec in chart.pod_specs(objects):
        for container in containers(spec):
            hooks = [container.get(f"{name}Probe") or {} for name in ("startup", "liveness", "readiness")]
            hooks += list((container.get("lifecycle") or {}).values())
            for hook in hooks:
                for action in ("httpGet", "tcpSocket"):
                    if (hook.get(action) or {}).get("host"):
                        yield f"{chart.called(item)}: {action} of the host {hook[action]['host']}"


def privileged(_, objects):
    for item, _, spec in chart.pod_specs(objects):
        for container, own, _ in contexts(spec):
            if own.get("privileged"):
                yield f"{chart.called(item)}: {container['name']}"
            if own.get("allowPrivilegeEscalation") is not False:
                yield f"{chart.called(item)}: {container['name']} may gain privileges"


def capabilities(_, objects):
    for item, _, spec in chart.pod_specs(objects):
        for container, own, _ in contexts(spec):
            held = own.get("capabilities") or {}
            if "ALL" not in (held.get("drop") or []):
                yield f"{chart.called(item)}: {container['name']} does not drop ALL"
            for added in set(held.get("add") or []) - {"NET_BIND_SERVICE"}:
                yield f"{chart.called(item)}: {container['name']} adds {added}"


def run_as_non_root(_, objects):
    for item, _, spec in chart.pod_specs(objects):
        for container, _, context in contexts(spec):
            if context.get("runAsNonRoot") is not True:
                yield f"{chart.called(item)}: {container['name']} may be root"
            if context.get("runAsUser") == 0:
                yield f"{chart.called(item)}: {container['name']} is root"


def seccomp(_, objects):
    for item, _, spec in chart.pod_specs(objects):
        for container, _, context in contexts(spec):
            if (context.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
                yield f"{chart.called(item)}: {container['name']}"


def profiles(_, objects):
    """SELinux, AppArmor, /proc, Windows."""
    for item, metadata, spec in chart.pod_specs(objects):
        for container, _, context in contexts(spec):
            selinux = context.get("seLinuxOptions") or {}
            if selinux.get("type", "") not in ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"):
                yield f"{chart.called(item)}: {container['name']}: SELinux type {selinux['type']}"
            if selinux.get("user") or selinux.get("role"):
                yield f"{chart.called(item)}: {container['name']}: SELinux user or role"
            if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in ("RuntimeDefault", "Localhost"):
                yield f"{chart.called(item)}: {container['name']}: AppArmor"
            if context.get("procMount", "Default") != "Default":
                yield f"{chart.called(item)}: {container['name']}: procMount"
            if (context.get("windowsOptions") or {}).get("hostProcess"):
                yield f"{chart.called(item)}: {container['name']}: hostProcess"
        for key, value in (metadata.get("annotations") or {}).items():
            if key.startswith("container.apparmor.security.beta.kubernetes.io/") and value == "unconfined":
                yield f"{chart.called(item)}: {key}"


def sysctls(_, objects):
    for item, _, spec in chart.pod_specs(objects):
        for sysctl in (spec.get("securityContext") or {}).get("sysctls") or []:
            if sysctl["name"] not in SAFE_SYSCTLS:
                yield f"{chart.called(item)}: {sysctl['name']}"
            elif spec.get("hostNetwork") and sysctl["name"].startswith("net."):
                yield f"{chart.called(item)}: {sysctl['name']} with the host network: the API server refuses it"


def volumes(_, objects):
    for item, _, spec in chart.pod_specs(objects):
        for volume in spec.get("volumes") or []:
            for kind in volume.keys() - VOLUMES - {"name"}:
                yield f"{chart.called(item)}: {volume['name']} is a {kind}"


def read_only_root(_, objects):
    for item, _, spec in chart.pod_specs(objects):
        for container, own, _ in contexts(spec):
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{chart.called(item)}: {container['name']}"


RULES = [
    host_namespaces, host_ports, host_probes, privileged, capabilities, run_as_non_root, seccomp, profiles, sysctls,
    volumes, read_only_root,
]
