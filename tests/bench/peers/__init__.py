"""The proxies of others. A module each, which knows its program, its configuration and how an endpoint is changed.

Each has `NAME`, `program()` (its path, or Missing), `version()`, and `start(hop)`, which gives the command and the environment. All
are set alike: kept connections to the endpoint, X-Forwarded-For, -Proto and -Host, a request id where they can make one, no access
log, the times of docs/configuration.md, TLS 1.3 alone without resumption. What differs is said in the module, and in the README.
"""
from . import caddy, envoy, haproxy, nginx, nginx_tuned, traefik

ALL = {peer.NAME: peer for peer in (nginx, nginx_tuned, haproxy, envoy, traefik, caddy)}
