"""The application behind every proxy: nginx that answers from memory. It also says which headers reached it.

In: a folder. Out: a certificate, and a running backend on two ports that answer differently, so that a change is seen.
"""
import os, shutil, subprocess

import probe
from processes import Missing, Process
from scene import ADDRESS, BACKEND_PORT, Certificate, NEXT_BACKEND_PORT, TLS_NAME

# 64 bytes each.
BODY = "An answer of 64 bytes from the backend that is there at first...".ljust(64, ".")
NEXT_BODY = "An answer of 64 bytes from the backend that comes afterwards....".ljust(64, ".")
SIZES = {"16k": 16 * 1024, "1m": 1024 * 1024}
HEADERS = ("host", "x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "x_request_id")


def program(name):
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise Missing(f"{name} is not installed (tests/install bench)")
    return found


def certificate(folder):
    made = Certificate(folder / "certificate.pem", folder / "key.pem", folder / "both.pem")
    names = f"DNS:{TLS_NAME},DNS:*.tenant.example.test"
    command = [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
               "-subj", f"/CN={TLS_NAME}", "-addext", f"subjectAltName={names}", "-keyout", made.key, "-out", made.certificate]
    subprocess.run(command, check=True, capture_output=True)
    made.both.write_text(made.certificate.read_text() + made.key.read_text())
    return made


def server(port, body, files):
    said = "|".join(f"$http_{name}" for name in HEADERS)
    return f"""
  server {{
    listen {ADDRESS}:{port} backlog=8192 reuseport;
    root {files};
    location = / {{ default_type text/plain; return 200 "{body}"; }}
    location = /headers {{ default_type text/plain; return 200 "{said}"; }}
    location = /upload {{ client_max_body_size 0; proxy_pass http://{ADDRESS}:{NEXT_BACKEND_PORT}/; }}
    location / {{ default_type application/octet-stream; }}
  }}"""


def start(folder, workers, pinned):
    files = folder / "files"
    files.mkdir(exist_ok=True)
    for name, size in SIZES.items():
        (files / name).write_bytes(os.urandom(size))
    config = folder / "backend.conf"
    temporary = " ".join(f"{kind}_temp_path {folder}/backend-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config.write_text(f"""
{"user root;" if os.getuid() == 0 else ""} daemon off; worker_processes {workers}; worker_rlimit_nofile 20000;
pid {folder}/backend.pid; error_log {folder}/backend.err crit;
events {{ worker_connections 16384; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s; open_file_cache max=100;
  {temporary}{server(BACKEND_PORT, BODY, files)}{server(NEXT_BACKEND_PORT, NEXT_BODY, files)}
}}
""")
    running = Process("backend", [program("nginx"), "-p", folder, "-e", f"{folder}/backend.err", "-c", config], folder, "load", pinned)
    for port in (BACKEND_PORT, NEXT_BACKEND_PORT):
        probe.until_answered(running, port, "backend.example.test")
    return running
