"""nginx of Debian, set as peers usually are: 256 kept upstream connections for each worker, buffers that hold 1 MiB in memory."""
import os

from scene import ADDRESS, CONNECT_SECONDS, CONNECTIONS_MAX, HEAD_SECONDS, IDLE_SECONDS, RESPONSE_SECONDS, STREAMS_MAX, host, service

from . import programs

NAME = "nginx"
EVENTS, LISTEN = "", ""
BUFFERS = "proxy_buffer_size 16k; proxy_buffers 16 64k; proxy_busy_buffers_size 256k; proxy_max_temp_file_size 0;"


def program():
    return programs.find("nginx")


def version():
    return programs.version([program(), "-v"], r"nginx/([\d.]+)")


def start(hop, events=EVENTS, listen=LISTEN, buffers=BUFFERS):
    path = hop.file("nginx.conf", config(hop, events, listen, buffers))
    return [program(), "-p", hop.scene.folder, "-e", hop.path("nginx.err"), "-c", path], {}


def upstream(name, port):
    return f"upstream {name} {{ server {ADDRESS}:{port}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 60s; }}\n"


def servers(hop, listen):
    if hop.scene.hosts == 1:
        return upstream("s0", hop.endpoint) + f"""
server {{
  listen {ADDRESS}:{hop.http} backlog=8192 {listen};
  listen {ADDRESS}:{hop.https} ssl http2 backlog=8192 {listen};
  location / {{ proxy_pass http://s0; }}
}}"""
    made = [upstream(f"s{number}", hop.endpoint) for number in range(hop.scene.services())]
    for number in range(hop.scene.hosts):
        first = f" backlog=8192 {listen}" if number == 0 else ""
        made.append(f"server {{ listen {ADDRESS}:{hop.http}{first}; server_name {host(number)}; "
                    f"location / {{ proxy_pass http://s{service(number)}; }} }}\n")
    return "".join(made)


def config(hop, events, listen, buffers):
    folder, certificate = hop.scene.folder, hop.scene.certificate
    temporary = " ".join(f"{kind}_temp_path {folder}/{hop.index}-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    tls = f"""ssl_certificate {certificate.certificate}; ssl_certificate_key {certificate.key};
  ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off;""" if hop.scene.hosts == 1 else ""
    return f"""
{"user root;" if os.getuid() == 0 else ""} daemon off; worker_processes {hop.scene.workers}; worker_rlimit_nofile 20000;
pid {hop.path("nginx.pid")}; error_log {hop.path("nginx.err")} crit;
events {{ worker_connections {CONNECTIONS_MAX}; {events} }}
http {{
  access_log off; tcp_nodelay on; server_tokens off;
  keepalive_requests 1000000000; keepalive_timeout {IDLE_SECONDS}s; client_header_timeout {HEAD_SECONDS}s;
  server_names_hash_max_size 65536; server_names_hash_bucket_size 128; http2_max_concurrent_streams {STREAMS_MAX};
  {temporary}
  {tls}
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Request-ID $request_id;
  proxy_connect_timeout {CONNECT_SECONDS}s; proxy_read_timeout {RESPONSE_SECONDS}s; proxy_send_timeout {RESPONSE_SECONDS}s;
  {buffers}
  {servers(hop, listen)}
}}
"""
