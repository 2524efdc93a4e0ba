"""HAProxy of Debian: bodies are spliced where it can, upstream connections are shared by all clients."""
import socket

import message
from scene import ADDRESS, CONNECT_SECONDS, CONNECTIONS_MAX, HEAD_SECONDS, IDLE_SECONDS, RESPONSE_SECONDS, STREAMS_MAX, host, service

from . import programs

NAME = "haproxy"


def program():
    return programs.find("haproxy")


def version():
    return programs.version([program(), "-v"], r"version ([\d.]+)")


def start(hop):
    return [program(), "-f", hop.file("haproxy.cfg", config(hop)), "-db"], {}


def config(hop):
    scene, certificate = hop.scene, hop.scene.certificate
    use = "default_backend s0"
    if scene.hosts > 1:
        hosts = hop.file("haproxy.map", "".join(f"{host(number)} s{service(number)}\n" for number in range(scene.hosts)))
        use = f"use_backend %[req.hdr(host),lower,map_str({hosts})]"
    backends = "".join(f"backend s{number}\n  server s1 {ADDRESS}:{hop.endpoint}\n" for number in range(scene.services()))
    return f"""
global
  nbthread {scene.workers}
  maxconn {CONNECTIONS_MAX}
  no strict-limits
  stats socket {socket_path(hop)} mode 600 level admin
  tune.ssl.cachesize 0
  tune.h2.max-concurrent-streams {STREAMS_MAX}
  ssl-default-bind-options no-tls-tickets ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect {CONNECT_SECONDS}s
  timeout client {RESPONSE_SECONDS}s
  timeout server {RESPONSE_SECONDS}s
  timeout http-request {HEAD_SECONDS}s
  timeout http-keep-alive {IDLE_SECONDS}s
  option http-keep-alive
  option splice-auto
  http-reuse always
frontend all
  maxconn {CONNECTIONS_MAX}
  bind {ADDRESS}:{hop.http} backlog 8192
  bind {ADDRESS}:{hop.https} ssl crt {certificate.both} alpn h2,http/1.1 backlog 8192
  option forwardfor
  unique-id-format %[uuid()]
  http-request set-header X-Request-ID %[unique-id]
  http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  {use}
{backends}"""


def socket_path(hop):
    """Where the runtime API is."""
    return hop.path("haproxy.sock")


def change(hop, services, port):
    """What moves the endpoints of these services by the runtime API: one command on a connection that is open."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(socket_path(hop)))
    return message.Message(connection, command(services, ADDRESS, port), message.ends_with_connection)


def command(services, address, port):
    """Pure: what the runtime API is told."""
    return ";".join(f"set server s{number}/s1 addr {address} port {port}" for number in services).encode() + b"\n"
