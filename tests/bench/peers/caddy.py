"""Caddy with its JSON configuration; no automatic HTTPS. X-Forwarded-* it always sets."""
import json

from scene import ADDRESS, CONNECT_SECONDS, HEAD_SECONDS, IDLE_SECONDS, RESPONSE_SECONDS

from . import programs

NAME = "caddy"
NANOSECONDS = 1_000_000_000


def program():
    return programs.find("caddy", "caddy-2.11")


def version():
    return programs.version([program(), "version"], r"v([\d.]+)")


def start(hop):
    config = hop.file("caddy.json", json.dumps({
        "admin": {"disabled": True}, "logging": {"logs": {"default": {"level": "ERROR"}}}, "apps": applications(hop)}))
    return [program(), "run", "--config", config], {"GOMAXPROCS": str(hop.scene.workers), "HOME": str(hop.scene.folder)}


def applications(hop):
    certificate = hop.scene.certificate
    forward = {
        "handler": "reverse_proxy", "upstreams": [{"dial": f"{ADDRESS}:{hop.endpoint}"}],
        "headers": {"request": {"set": {"X-Request-Id": ["{http.request.uuid}"]}}},
        "transport": {"protocol": "http", "compression": False, "keep_alive": {"max_idle_conns_per_host": 256},
                      "dial_timeout": CONNECT_SECONDS * NANOSECONDS, "response_header_timeout": RESPONSE_SECONDS * NANOSECONDS}}
    every = {"routes": [{"handle": [forward]}], "automatic_https": {"disable": True},
             "read_header_timeout": HEAD_SECONDS * NANOSECONDS, "idle_timeout": IDLE_SECONDS * NANOSECONDS}
    plain = {**every, "listen": [f"{ADDRESS}:{hop.http}"], "protocols": ["h1"]}
    secure = {**every, "listen": [f"{ADDRESS}:{hop.https}"], "protocols": ["h1", "h2"],
              "tls_connection_policies": [{"protocol_min": "tls1.3"}]}
    files = [{"certificate": str(certificate.certificate), "key": str(certificate.key)}]
    return {"http": {"servers": {"plain": plain, "secure": secure}},
            "tls": {"certificates": {"load_files": files}, "session_tickets": {"disabled": True}}}
