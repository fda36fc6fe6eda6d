"""
A stand-in for Keystone and Neutron as a server of its own: that of
L{tests.neutron_stub}.

C{python -m tests.lab.neutron_server PORTS PORT}: a JSON file with a list of ports,
which is read for every request, and the TCP port of loopback to listen on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import reactor as _reactor
from twisted.web.server import Site

from tests.neutron_stub import Stub

# Twisted's reactor is a module that turns into an object at run time.
reactor: Any = _reactor


@define(eq=False)
class FileStub(Stub):
    """
    The stand-in, whose ports are in a file.

    @ivar file: The file.
    """

    file: Path = field(kw_only=True)

    def render(self, request: Any) -> Any:
        """
        Answer by what the file says now.
        """
        self.ports = {port["id"]: port for port in json.loads(self.file.read_text())}
        return Stub.render(self, request)


def main(ports: str, port: str) -> None:
    """
    Be Keystone and Neutron until a signal ends the process.
    """
    stub = FileStub(reactor, f"http://127.0.0.1:{port}", file=Path(ports))
    reactor.listenTCP(int(port), Site(stub), interface="127.0.0.1")
    reactor.callWhenRunning(print, "neutron: running", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
