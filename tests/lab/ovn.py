"""
The real ovsdb-server with OVN's own southbound database, and the real northd.

The package with northd and the schemas starts daemons where it is installed, so it is
only unpacked; ovsdb-server comes from a package that starts nothing.

C{python -m tests.lab.ovn build} prepares it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.lab.certs import Certificates
from tests.lab.stage import CHECKOUT, LabError, Running, Stage, wait_for

CACHE = CHECKOUT / ".cache" / "ovn"
_PACKAGE = "ovn-central"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

#: A row as it stands on the wire.
WireRow = dict[str, Any]


class DatabaseError(LabError):
    """
    The database refuses a transaction.
    """


@define
class Wire:
    """
    A connection of the lab's own to a server, which waits for every answer.
    """

    _socket: socket.socket
    _heard: str = ""
    _number: int = 0

    def call(self, method: str, *params: Any) -> Any:
        """
        Call a method.

        @return: Its result.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._socket.sendall(json.dumps(message).encode())
        while True:
            said = self._read()
            if said.get("id") == self._number:
                if said.get("error"):
                    raise DatabaseError(str(said["error"]))
                return said["result"]
            if said.get("method") == "echo":
                answer = {"id": said["id"], "result": said["params"], "error": None}
                self._socket.sendall(json.dumps(answer).encode())

    def transact(self, database: str, *operations: Any) -> list[Any]:
        """
        Carry out a transaction.
        """
        results: list[Any] = self.call("transact", database, *operations)
        errors = [result for result in results if result and "error" in result]
        if errors:
            raise DatabaseError(str(errors))
        return results

    def close(self) -> None:
        """
        Close the connection.
        """
        self._socket.close()

    def _read(self) -> Any:
        """
        Read a message.
        """
        while True:
            try:
                message, end = json.JSONDecoder().raw_decode(self._heard)
            except ValueError:
                data = self._socket.recv(1 << 20)
                if not data:
                    raise LabError("the server closed the connection") from None
                self._heard += data.decode()
            else:
                self._heard = self._heard[end:].lstrip()
                return message


@define
class Database:
    """
    A server with one of OVN's databases, in a folder of the lab.

    @ivar stage: Where it runs.
    @ivar name: Begins with C{sb} or C{nb}.
    @ivar certificates: What it shows over TLS, where it speaks that.
    @ivar remotes: Where it listens besides its socket.
    @ivar member_at: Where the other members of its cluster reach it; C{None}: it is
        alone.
    @ivar joins: Where it reaches one of them; C{None}: it is the first.
    @ivar running: Its process.
    """

    stage: Stage
    name: str = "sb"
    certificates: Certificates | None = None
    remotes: tuple[str, ...] = ()
    member_at: str | None = None
    joins: str | None = None
    running: Running | None = field(default=None, init=False)

    @property
    def database(self) -> str:
        """
        What the database is called.
        """
        return {"ovn-sb": "OVN_Southbound", "ovn-nb": "OVN_Northbound"}[self._schema]

    @property
    def _schema(self) -> str:
        """
        What the file of its schema is called.
        """
        return f"ovn-{self.name[:2]}"

    @property
    def socket(self) -> str:
        """
        The path of its socket.
        """
        return str(self.stage.directory / f"{self.name}.sock")

    @property
    def _file(self) -> Path:
        """
        The file of the database.
        """
        return self.stage.directory / f"{self.name}.db"

    def start(self) -> None:
        """
        Start it; what was in the database is there again.
        """
        if not self._file.exists():
            self._create()
        tls: list[str] = []
        if self.certificates is not None:
            pair = self.certificates.server
            tls = [f"--private-key={pair.key}", f"--certificate={pair.certificate}"]
            tls.append(f"--ca-cert={self.certificates.ca}")
        self.running = self.stage.start(
            self.stage.hypervisor,
            f"ovsdb-{self.name}",
            "ovsdb-server",
            str(self._file),
            f"--remote=punix:{self.socket}",
            *[f"--remote={remote}" for remote in self.remotes],
            *tls,
            f"--unixctl={self.stage.directory}/{self.name}.ctl",
            "-vconsole:warn",
            PATH=_PATH,
        )
        wait_for("database", self._is_up)

    def _create(self) -> None:
        """
        Make the file of the database.
        """
        schema = str(build() / f"usr/share/ovn/{self._schema}.ovsschema")
        if self.member_at is None:
            _run("ovsdb-tool", "create", str(self._file), schema)
        elif self.joins is None:
            _run(
                "ovsdb-tool", "create-cluster", str(self._file), schema, self.member_at
            )
        else:
            name = self.database
            others = self.member_at, self.joins
            _run("ovsdb-tool", "join-cluster", str(self._file), name, *others)

    def stop(self) -> None:
        """
        Stop it.
        """
        assert self.running is not None
        self.running.stop()

    def kill(self) -> None:
        """
        Kill it without a warning.
        """
        assert self.running is not None
        self.running.process.kill()
        self.running.process.wait()

    def wire(self) -> Wire:
        """
        Connect to it.
        """
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(self.socket)
        return Wire(connection)

    def _is_up(self) -> bool:
        """
        Tell whether it answers.
        """
        try:
            wire = self.wire()
        except OSError:
            return False
        try:
            return self.database in wire.call("list_dbs")
        finally:
            wire.close()


@define
class RealOutside:
    """
    A real southbound database that is written (L{tests.southbound.Outside}).

    @ivar wire: A connection to it.
    """

    wire: Wire
    _known: set[str] = field(factory=set, init=False)

    def put(self, table: str, uuid: str, row: WireRow) -> None:
        """
        Insert a row, or change columns of one.
        """
        if uuid in self._known:
            where = [["_uuid", "==", ["uuid", uuid]]]
            change = {"op": "update", "table": table, "where": where, "row": row}
            self.wire.transact("OVN_Southbound", change)
        else:
            self._known.add(uuid)
            self.wire.transact("OVN_Southbound", *insert(table, uuid, row))

    def erase(self, table: str, *uuids: str) -> None:
        """
        Delete rows.
        """
        self._known.difference_update(uuids)
        wheres = [[["_uuid", "==", ["uuid", uuid]]] for uuid in uuids]
        self.wire.transact(
            "OVN_Southbound",
            *[{"op": "delete", "table": table, "where": where} for where in wheres],
        )


def insert(table: str, uuid: str, row: WireRow) -> list[Any]:
    """
    Write the operations that insert a row, with all that the real schema asks for.
    """
    number = int(uuid[-12:], 16)
    first: list[Any] = []
    if table == "Chassis":
        ip = f"10.{int(uuid[:8], 16)}.{number >> 8}.{number & 255}"
        encap = {"type": "geneve", "ip": ip}
        encap["chassis_name"] = f"{row['name']}-{number}"
        operation = {"op": "insert", "table": "Encap", "row": encap}
        first = [{**operation, "uuid-name": "encap"}]
        row = {**row, "encaps": ["named-uuid", "encap"]}
    else:
        row = {**row, "tunnel_key": number}
    return [*first, {"op": "insert", "table": table, "uuid": uuid, "row": row}]


def start_northd(stage: Stage, northbound: Database, southbound: Database) -> Running:
    """
    Start northd between two databases.
    """
    return stage.start(
        stage.hypervisor,
        "northd",
        str(build() / "usr/bin/ovn-northd"),
        f"--ovnnb-db=unix:{northbound.socket}",
        f"--ovnsb-db=unix:{southbound.socket}",
        f"--unixctl={stage.directory}/northd.ctl",
        "-vconsole:warn",
    )


def _run(*argv: str, cwd: Path | None = None) -> None:
    """
    Run one step.
    """
    environment = {**os.environ, "PATH": _PATH}
    done = subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, env=environment
    )
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {(done.stderr or done.stdout)[-2000:]}")


def build(cache: Path = CACHE) -> Path:
    """
    Unpack OVN, unless it is there already.

    What an interrupted build left behind is thrown away, and of two builds at a time
    one waits for the other.

    @return: The root of what was unpacked.
    """
    root, complete = cache / "root", cache / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(root, ignore_errors=True)
            for package in cache.glob("*.deb"):
                package.unlink()
            _run("apt-get", "download", _PACKAGE, cwd=cache)
            [package] = cache.glob(f"{_PACKAGE}_*.deb")
            _run("dpkg", "-x", str(package), str(root))
            complete.touch()
    return root


if __name__ == "__main__":
    if sys.argv[1:] != ["build"]:
        sys.exit("usage: python -m tests.lab.ovn build")
    print(build())
