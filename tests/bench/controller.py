#!/usr/bin/env python3
"""HAProxy's part of an ingress controller, as little as it can be: watches EndpointSlices and tells HAProxy's runtime API of each.

    controller.py KUBECONFIG NAMESPACE SOCKET

Out: a line `ready`, when every server has the endpoint that its slice names and the watch is open. One endpoint for each Service. It makes
no configuration, compares nothing and waits for nothing: a real one does all three and is slower. It ends with its watch.
"""
import json, socket, sys
from pathlib import Path

from api import Api
from peers.haproxy import command
from processes import Failure

WATCH_SECONDS = 3600


def told(path, slices):
    """Has these slices in HAProxy, by one command; returns when it has answered."""
    commands = [command([name_of(one).removeprefix("s")], *endpoint(one)) for one in slices]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b";".join(one.strip() for one in commands) + b"\n")
        while connection.recv(65536):
            pass


def name_of(one):
    """Pure: the Service of a slice."""
    return one["metadata"]["labels"]["kubernetes.io/service-name"]


def endpoint(one):
    """Pure: where its endpoint is."""
    return one["endpoints"][0]["addresses"][0], one["ports"][0]["port"]


def main(kubeconfig, namespace, path):
    api = Api(json.loads(Path(kubeconfig).read_text()))
    collection = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    status, found = api.ask("GET", collection)
    if status != 200:
        raise Failure(f"the list of slices: {status} {found.get('message')}")
    for one in found["items"]:
        told(path, [one])
    query = f"watch=1&resourceVersion={found['metadata']['resourceVersion']}&timeoutSeconds={WATCH_SECONDS}"
    api.connection.request("GET", f"{collection}?{query}", headers=api.headers)
    events = api.connection.getresponse()
    # The time-out is that of an answer; news may be a long time in coming.
    api.connection.sock.settimeout(WATCH_SECONDS + 60)
    print("ready", flush=True)
    while line := events.readline():
        event = json.loads(line)
        if event["type"] in ("ADDED", "MODIFIED"):
            told(path, [event["object"]])
        elif event["type"] == "ERROR":
            raise Failure(f"the watch: {event['object'].get('message')}")


if __name__ == "__main__":
    main(*sys.argv[1:])
