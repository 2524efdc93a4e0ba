"""Envoy: endpoints come from files that it watches (EDS), as from a control plane; circuit breakers do not bind."""
import json

from scene import ADDRESS, CONNECT_SECONDS, HEAD_SECONDS, IDLE_SECONDS, RESPONSE_SECONDS, STREAMS_MAX, host, service

from . import programs

NAME = "envoy"
API = "type.googleapis.com/envoy"
HTTP = f"{API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = f"{API}.extensions.filters.http.router.v3.Router"
TLS = f"{API}.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
BREAKERS = {"thresholds": [{"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}]}


def program():
    return programs.find("envoy", "envoy-1.40")


def version():
    return programs.version([program(), "--version"], r"/(\d+\.\d+\.\d+)/")


def start(hop):
    for number in range(hop.scene.services()):
        write_endpoints(hop, number, hop.endpoint)
    config = hop.file("envoy.json", json.dumps({
        "node": {"id": f"hop-{hop.index}", "cluster": "bench"},
        "static_resources": {"listeners": listeners(hop), "clusters": [cluster(hop, n) for n in range(hop.scene.services())]}}))
    return [program(), "-c", config, "--concurrency", hop.scene.workers, "--disable-hot-restart", "-l", "error"], {}


def socket_address(port):
    return {"socket_address": {"address": ADDRESS, "port_value": port}}


def write_endpoints(hop, number, port):
    """A file holds the endpoints of one cluster alone, in a folder of its own that is watched."""
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": socket_address(port)}}]}]
    hop.file(f"eds/{number}/endpoints.json", json.dumps({"version_info": str(port), "resources": [
        {"@type": f"{API}.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": f"s{number}", "endpoints": endpoints}]}))


def cluster(hop, number):
    file = hop.path(f"eds/{number}/endpoints.json")
    source = {"path": str(file), "watched_directory": {"path": str(file.parent)}}
    return {"name": f"s{number}", "type": "EDS", "connect_timeout": f"{CONNECT_SECONDS}s", "circuit_breakers": BREAKERS,
            "eds_cluster_config": {"eds_config": {"path_config_source": source, "resource_api_version": "V3"}}}


def route(number):
    return {"match": {"prefix": "/"}, "route": {"cluster": f"s{number}", "timeout": f"{RESPONSE_SECONDS}s"}}


def manager(hop):
    hosts = hop.scene.hosts
    names = [["*"]] if hosts == 1 else [[host(number)] for number in range(hosts)]
    virtual_hosts = [{"name": f"v{number}", "domains": domains, "routes": [route(service(number))]} for number, domains in enumerate(names)]
    forwarded_host = {"header": {"key": "x-forwarded-host", "value": "%REQ(:AUTHORITY)%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "@type": HTTP, "stat_prefix": "bench", "codec_type": "AUTO", "use_remote_address": True, "generate_request_id": True,
        "stream_idle_timeout": f"{RESPONSE_SECONDS}s", "request_headers_timeout": f"{HEAD_SECONDS}s",
        "common_http_protocol_options": {"idle_timeout": f"{IDLE_SECONDS}s"},
        "http2_protocol_options": {"max_concurrent_streams": STREAMS_MAX},
        "route_config": {"name": "routes", "virtual_hosts": virtual_hosts, "request_headers_to_add": [forwarded_host]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER, "suppress_envoy_headers": True}}]}}


def listeners(hop):
    certificate = hop.scene.certificate
    filters = [manager(hop)]
    plain = {"name": "http", "address": socket_address(hop.http), "tcp_backlog_size": 8192, "filter_chains": [{"filters": filters}]}
    if hop.scene.hosts > 1:
        return [plain]
    tls = {"@type": TLS, "disable_stateless_session_resumption": True, "disable_stateful_session_resumption": True, "common_tls_context": {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [{"certificate_chain": {"filename": str(certificate.certificate)}, "private_key": {"filename": str(certificate.key)}}]}}
    chain = {"filters": filters, "transport_socket": {"name": "tls", "typed_config": tls}}
    return [plain, {"name": "https", "address": socket_address(hop.https), "tcp_backlog_size": 8192, "filter_chains": [chain]}]
