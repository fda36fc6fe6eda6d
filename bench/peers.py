"""
What operators run: nginx, haproxy, and Neutron's chain.

Each is a function that starts it, on the core of systems under test.
"""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

from bench.backend import MODULES, Backend
from bench.places import SECRET, SYSTEM_CORE, Place
from bench.system import System
from tests.lab.stage import wait_for

#: Where C{bench/setup} puts Neutron.
NEUTRON = Path(".cache/bench/neutron/bin/python")

_NGINX = """\
load_module {modules}/ngx_http_js_module.so;
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {directory}/{name}.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    js_path {directory};
    js_import identity from identity.js;
    js_set $signature identity.signature;
    map $remote_addr $instance {{ {caller.address} {caller.instance}; }}
    map $remote_addr $project {{ {caller.address} {caller.project}; }}
    upstream nova {{
        server 127.0.0.1:{backend};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {host}:{port} backlog=4096;
        location / {{
            if ($instance = '') {{ return 404; }}
            proxy_pass {protocol}://nova;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Instance-ID $instance;
            proxy_set_header X-Tenant-ID $project;
            proxy_set_header X-Instance-ID-Signature $signature;
            {tls}
        }}
    }}
}}
"""

_NGINX_TLS = """\
            proxy_ssl_certificate {certificates.client.certificate};
            proxy_ssl_certificate_key {certificates.client.key};
            proxy_ssl_trusted_certificate {certificates.ca};
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
"""

#: The HMAC is computed for every request.
_IDENTITY = """\
const crypto = require('crypto');
function signature(r) {{
    return crypto.createHmac('sha256', '{secret}').update(r.variables.instance)
        .digest('hex');
}}
export default {{signature}};
"""

_HAPROXY = """\
global
    maxconn 8192
    nbthread 1
defaults
    mode http
    timeout connect 3s
    timeout client 600s
    timeout server 30s
    timeout http-request 10s
    timeout http-keep-alive 600s
frontend instances
    bind {host}:{port} backlog 4096
    http-request set-var(txn.instance) src,map_ip({directory}/instances.map)
    http-request deny deny_status 404 unless {{ var(txn.instance) -m found }}
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Instance-ID %[var(txn.instance)]
    http-request set-header X-Tenant-ID %[src,map_ip({directory}/projects.map)]
    http-request set-header X-Instance-ID-Signature \
%[var(txn.instance),hmac(sha256,{key}),hex,lower]
    default_backend nova
backend nova
    http-reuse always
    server nova 127.0.0.1:{backend}
"""

_NEUTRON = """\
[DEFAULT]
nova_metadata_host = 127.0.0.1
nova_metadata_port = {backend}
nova_metadata_protocol = http
metadata_proxy_shared_secret = {secret}
metadata_proxy_socket = {directory}/{name}.socket
state_path = {directory}/{name}
transport_url = fake:/
[agent]
# There is no server to report to.
report_interval = 0
"""


def start_nginx(place: Place, backend: Backend) -> System:
    """
    Start nginx with njs.
    """
    [port] = place.ports(1)
    place.write("identity.js", _IDENTITY.format(secret=SECRET))
    tls = _NGINX_TLS.format(certificates=place.certificates) if place.tls else ""
    config = place.write(
        "nginx.conf",
        _NGINX.format(
            name="nginx",
            modules=MODULES,
            directory=place.directory,
            caller=place.caller,
            backend=backend.port,
            protocol="https" if place.tls else "http",
            host=place.host,
            port=port,
            tls=tls,
        ),
    )
    arguments = ("nginx", "-c", str(config), "-p", str(place.directory))
    running = place.launch("nginx", SYSTEM_CORE, *arguments)
    place.listening(running, port)
    return System("nginx", port, (running,))


def start_haproxy(place: Place, backend: Backend) -> System:
    """
    Start haproxy with its hmac converter.
    """
    [port] = place.ports(1)
    caller = place.caller
    place.write("instances.map", f"{caller.address} {caller.instance}\n")
    place.write("projects.map", f"{caller.address} {caller.project}\n")
    config = place.write(
        "haproxy.conf",
        _HAPROXY.format(
            host=place.host,
            port=port,
            directory=place.directory,
            key=base64.b64encode(SECRET.encode()).decode(),
            backend=backend.port,
        ),
    )
    running = place.launch("haproxy", SYSTEM_CORE, "haproxy", "-db", "-f", str(config))
    place.listening(running, port)
    return System("haproxy", port, (running,))


def _start_neutron(place: Place, backend: Backend, name: str, *options: str) -> System:
    """
    Start Neutron's agent, and haproxy as Neutron's template wants it.
    """
    [port] = place.ports(1)
    config = place.write(
        f"{name}.conf",
        _NEUTRON.format(
            backend=backend.port, secret=SECRET, directory=place.directory, name=name
        ),
    )
    caller = place.caller
    program = (str(NEUTRON.absolute()), "bench/neutron_agent.py")
    files = ("--config-file", str(config))
    identity = (caller.instance, caller.project, caller.network)
    agent = place.launch(
        name, SYSTEM_CORE, *program, "serve", *options, *identity, *files
    )
    wait_for("the agent's socket", (place.directory / f"{name}.socket").exists, 60)
    rendered = subprocess.run(
        [*program, "render", caller.network, str(port), *files],
        check=True,
        capture_output=True,
        text=True,
    )
    # It has "daemon" in it, which -db overrides: what it starts must stay our child.
    template = place.write(f"{name}.haproxy", rendered.stdout)
    haproxy = place.launch(
        f"{name}-haproxy", SYSTEM_CORE, "haproxy", "-db", "-f", str(template)
    )
    place.listening(haproxy, port)
    return System(name, port, (agent, haproxy))


def start_neutron(place: Place, backend: Backend) -> System:
    """
    Start Neutron's chain with the agent's backlog as it was meant to be.
    """
    return _start_neutron(place, backend, "neutron", "--repair-backlog")


def start_neutron_shipped(place: Place, backend: Backend) -> System:
    """
    Start Neutron's chain as it is shipped.
    """
    return _start_neutron(place, backend, "neutron-shipped")
