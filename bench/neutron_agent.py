"""
Neutron's metadata agent, with the port lookup stubbed; and its haproxy's configuration.

This runs in Neutron's own virtual environment::

    neutron_agent.py serve [--repair-backlog] INSTANCE PROJECT NETWORK OPTION...
    neutron_agent.py render NETWORK PORT OPTION...
"""

from __future__ import annotations

import socketserver
import sys
from typing import Any

from neutron.agent import metadata_agent
from neutron.agent.metadata import agent, driver, proxy_base
from neutron.common import config as common
from neutron.conf.agent.metadata import config as options
from oslo_config import cfg


def serve(instance: str, project: str, network: str) -> None:
    """
    Be the agent: its own C{main}, which would ask Neutron's server for the port.
    """

    def get_ports(*_: object) -> list[dict[str, Any]]:
        return [{"device_id": instance, "project_id": project, "network_id": network}]

    agent.MetadataPluginAPI.get_ports = get_ports
    metadata_agent.main()


def repair_backlog() -> None:
    """
    Listen with the backlog that the operator configured.

    MetadataProxyServer.__init__ sets request_queue_size after listen() was called, so
    that C{metadata_backlog} has no effect and it is 5 (neutron 29.0.0).
    """

    def server_activate(self: Any) -> None:
        self.request_queue_size = cfg.CONF.metadata_backlog
        socketserver.UnixStreamServer.server_activate(self)

    proxy_base.MetadataProxyServer.server_activate = server_activate


def render(network: str, port: str) -> None:
    """
    Print the configuration of the haproxy that Neutron would start for a network.
    """
    options.register_meta_conf_opts(options.SHARED_OPTS)
    options.register_meta_conf_opts(options.UNIX_DOMAIN_METADATA_PROXY_OPTS)
    options.register_meta_conf_opts(
        options.METADATA_RATE_LIMITING_OPTS, group=options.RATE_LIMITING_GROUP
    )
    options.register_meta_conf_opts(
        options.METADATA_HAPROXY_OPTS, group=options.HAPROXY_GROUP
    )
    common.register_common_config_options()
    cfg.CONF(sys.argv[1:])
    configured = driver.HaproxyConfigurator(
        network_id=network,
        router_id=None,
        unix_socket_path=cfg.CONF.metadata_proxy_socket,
        host="127.0.0.1",
        port=port,
        user="root",
        group="root",
        state_path="",
        pid_file="/dev/null",
        rate_limiting_config=cfg.CONF.metadata_rate_limiting,
        haproxy_config=cfg.CONF.metadata_haproxy,
    )
    print(configured.haproxy_cfg)


def main() -> None:
    """
    Do what the command line says; the rest of it is oslo.config's.
    """
    action = sys.argv.pop(1)
    if action == "render":
        network, port = sys.argv.pop(1), sys.argv.pop(1)
        render(network, port)
        return
    if sys.argv[1] == "--repair-backlog":
        del sys.argv[1]
        repair_backlog()
    instance, project, network = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
    serve(instance, project, network)


if __name__ == "__main__":
    main()
