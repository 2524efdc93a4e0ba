"""HAProxy driven as an ingress controller drives it: the same write into the same API server as ours, a watch, and the runtime API.

In: a scene. Out: HAProxy and the controller beside it (controller.py), on HAProxy's CPU; both are counted. With it a reader sees the whole
way of a change for both, which the row `haproxy`, told by its runtime API, leaves out.
"""
import sys
from pathlib import Path

import workloads
from processes import Process
from scene import Hop

CONTROLLER = Path(__file__).with_name("controller.py")
READY_SECONDS = 30


class Watched:
    """`tiers` writes the objects, as it does for ours; `peer` is HAProxy as in its own row."""

    def __init__(self, peer, tiers):
        self.name, self.peer, self.tiers = workloads.WATCHED, peer, tiers

    def prepare(self, scene):
        self.tiers.prepare(scene)

    def hosts(self, scene):
        return scene.hosts

    def start(self, scene, started):
        ready_s = self.peer.start(scene, started)
        command = [sys.executable, CONTROLLER, self.tiers.cluster().kubeconfig, self.tiers.namespace(scene),
                   self.peer.module.socket_path(Hop(scene, 0))]
        controller = Process(f"{self.name}-controller", command, scene.folder, "proxy", scene.pinned)
        started.append(controller)
        controller.until_said("ready", READY_SECONDS)
        return ready_s

    def change(self, scene, services, port):
        return self.tiers.change(scene, services, port)
