"""
The backend that all systems relay to: nginx, with a page for every case.
"""

from __future__ import annotations

from attrs import frozen

from bench.places import OTHER_CORE, Place
from tests.lab.stage import Running

#: What nearly all cases ask for, and its 200 bytes.
PLAIN = "/openstack/latest/meta_data.json"
PLAIN_BODY = '{"uuid": "32d0524b-314d-4594-b3a3-607e3f2354f8"'.ljust(199) + "}"
#: 16 KiB.
BIG = "/openstack/latest/user_data"
BIG_BODY = "0123456789abcdef" * 1024
#: As the first, after 20 ms.
SLOW = "/openstack/latest/vendor_data.json"
#: As the first, with a header field that never comes again.
UNIQUE = "/openstack/latest/network_data.json"
#: What the backend was told of the caller.
HEADERS = "/openstack/latest/vendor_data2.json"
BODIES = {PLAIN: PLAIN_BODY, BIG: BIG_BODY, SLOW: PLAIN_BODY, UNIQUE: PLAIN_BODY}

#: Where Debian has nginx's modules.
MODULES = "/usr/lib/nginx/modules"

_CONFIG = """\
load_module {modules}/ngx_http_echo_module.so;
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {directory}/backend.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    open_file_cache_valid 600s;
    default_type application/json;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl backlog=4096;
        ssl_certificate {certificates.server.certificate};
        ssl_certificate_key {certificates.server.key};
        ssl_client_certificate {certificates.ca};
        ssl_verify_client on;
        location = {plain} {{ return 200 '{body}'; }}
        location = {big} {{ alias {directory}/big; }}
        # Timers of the event loop: they cost nothing while they run.
        location = {slow} {{ echo_sleep 0.02; echo_exec {plain}; }}
        location = {unique} {{
            add_header X-Request-Id $request_id;
            return 200 '{body}';
        }}
        location = {headers} {{
            return 200 '{{"instance": "$http_x_instance_id",
                "signature": "$http_x_instance_id_signature",
                "address": "$http_x_forwarded_for",
                "project": "$http_x_tenant_id"}}';
        }}
    }}
}}
"""


@frozen
class Backend:
    """
    It runs.

    @ivar port: The port for requests from systems, TLS if the place says so.
    @ivar running: Its process.
    """

    port: int
    running: Running


def start_backend(place: Place) -> Backend:
    """
    Start it, and wait until it listens.
    """
    port, tls_port = place.ports(2)
    (place.directory / "big").write_text(BIG_BODY)
    config = place.write(
        "backend.conf",
        _CONFIG.format(
            modules=MODULES,
            directory=place.directory,
            certificates=place.certificates,
            port=port,
            tls_port=tls_port,
            plain=PLAIN,
            big=BIG,
            slow=SLOW,
            unique=UNIQUE,
            headers=HEADERS,
            body=PLAIN_BODY,
        ),
    )
    arguments = ("nginx", "-c", str(config), "-p", str(place.directory))
    running = place.launch("backend", OTHER_CORE, *arguments)
    place.listening(running, port, "127.0.0.1")
    return Backend(tls_port if place.tls else port, running)
