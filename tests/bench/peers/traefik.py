"""Traefik with its file provider. It makes no request id of its own; X-Forwarded-* it always sets."""
import json

from scene import ADDRESS, CONNECT_SECONDS, HEAD_SECONDS, IDLE_SECONDS, RESPONSE_SECONDS, STREAMS_MAX, host, service

from . import programs

NAME = "traefik"


def program():
    return programs.find("traefik", "traefik-3.7")


def version():
    return programs.version([program(), "version"], r"Version: +([\d.]+)")


def start(hop):
    hop.file("traefik/dynamic.yml", json.dumps(dynamic(hop)))
    transport = "--serversTransport"
    flags = [
        f"--entrypoints.web.address={ADDRESS}:{hop.http}", f"--entrypoints.secure.address={ADDRESS}:{hop.https}",
        "--log.level=ERROR", "--global.checknewversion=false", "--global.sendanonymoususage=false",
        f"{transport}.maxidleconnsperhost=256", f"{transport}.forwardingtimeouts.dialtimeout={CONNECT_SECONDS}s",
        f"{transport}.forwardingtimeouts.responseheadertimeout={RESPONSE_SECONDS}s",
        f"--providers.file.directory={hop.path('traefik')}", "--providers.providersthrottleduration=0s"]
    for entry in ("web", "secure"):
        flags += [f"--entrypoints.{entry}.transport.respondingtimeouts.readtimeout={RESPONSE_SECONDS}s",
                  f"--entrypoints.{entry}.transport.respondingtimeouts.idletimeout={IDLE_SECONDS}s",
                  f"--entrypoints.{entry}.http2.maxconcurrentstreams={STREAMS_MAX}"]
    return [program(), *flags], {"GOMAXPROCS": str(hop.scene.workers)}


def dynamic(hop):
    certificate, hosts = hop.scene.certificate, hop.scene.hosts
    url = f"http://{ADDRESS}:{hop.endpoint}"
    services = {f"s{n}": {"loadBalancer": {"servers": [{"url": url}], "passHostHeader": True}} for n in range(hop.scene.services())}
    if hosts == 1:
        every = {"rule": "PathPrefix(`/`)", "service": "s0"}
        routers = {"web": {**every, "entryPoints": ["web"]}, "secure": {**every, "entryPoints": ["secure"], "tls": {}}}
    else:
        routers = {f"r{n}": {"rule": f"Host(`{host(n)}`)", "service": f"s{service(n)}", "entryPoints": ["web"]} for n in range(hosts)}
    pair = {"certFile": str(certificate.certificate), "keyFile": str(certificate.key)}
    return {"http": {"routers": routers, "services": services}, "tls": {
        "options": {"default": {"minVersion": "VersionTLS13", "disableSessionTickets": True}},
        "stores": {"default": {"defaultCertificate": pair}}}}
