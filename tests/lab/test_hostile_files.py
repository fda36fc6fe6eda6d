"""
Files that are torn, binary, huge, gone or written by an enemy, under a running proxy.

One VM is known by the static inventory alone, another by libvirt's files alone, and
both have a lease.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.case import LabTestCase
from tests.lab.proxy import Proxy
from tests.lab.stage import wait_for

TARGET = "/openstack/latest/meta_data.json"
NAME = "instance-0000002a.xml"
XML = Path(__file__).parent.parent / "data" / "libvirt" / f"run-libvirt-qemu--{NAME}"
#: As long as a line of the log may get and still be called clear.
LONGEST = 400

BOMB = b"""<!DOCTYPE domstatus [<!ENTITY a "aaaaaaaaaa">%s]><domstatus>&j;</domstatus>
""" % b"".join(
    b'<!ENTITY %c "%s">' % (letter, b"&%c;" % (letter - 1) * 10)
    for letter in b"bcdefghij"
)


def encoded(xml: bytes, name: str) -> bytes:
    """
    Declare an encoding in place of whatever else is declared.
    """
    start = xml.index(b"<domstatus")
    return b'<?xml version="1.0" encoding="%s"?>' % name.encode() + xml[start:]


def replace(path: Path, data: bytes) -> None:
    """
    Put other data in a file's place, whole; none is read before it is all there.
    """
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(data)
    os.replace(draft, path)


def replace_with_hole(path: Path, size: int) -> None:
    """
    Put a huge file in a file's place, which takes no room.
    """
    draft = path.with_name(f".{path.name}.draft")
    draft.touch()
    os.truncate(draft, size)
    os.replace(draft, path)


def replace_with_pipe(path: Path) -> None:
    """
    Put a pipe in a file's place, on which a reader would wait for ever.
    """
    draft = path.with_name(f".{path.name}.draft")
    os.mkfifo(draft)
    os.replace(draft, path)


class HostileFilesTests(LabTestCase):
    """
    Whatever lies in its files, the proxy serves whom it knows and says what is wrong.
    """

    booted = ("red-one", "blue-two")

    def setUp(self) -> None:
        """
        Start the proxy; red-one is a domain of libvirt's, blue-two is in the YAML.
        """
        super().setUp()
        self.domains = self.world.directory / "qemu"
        self.domains.mkdir()
        self.xml = XML.read_bytes()
        red = self.machine("red-one")
        for theirs, ours in (
            ("fa:16:3e:99:00:01", red.mac),
            ("192.168.122.50", red.ipv4),
            ("virbr0", red.network),
        ):
            self.assertIn(theirs.encode(), self.xml)
            self.xml = self.xml.replace(theirs.encode(), ours.encode())
        (self.domains / NAME).write_bytes(self.xml)
        self.proxy: Proxy = self.start_devnova(
            known=[self.machine("blue-two")],
            options={
                "DEFAULT": {"inventories": "static, libvirt"},
                "libvirt": {"path": self.domains},
            },
        )
        self.wait_until_live()
        self.check_served()

    def sources(self) -> dict[str, Any]:
        """
        Read what the sources say of themselves, by their names.
        """
        return {each["name"]: each for each in self.proxy.status()["sources"]}

    def is_live(self) -> bool:
        """
        Tell whether all sources are live and none has anything to complain of.
        """
        sources = self.sources().values()
        return all(s["state"] == "live" and s["problem"] is None for s in sources)

    def wait_until_live(self) -> None:
        """
        Wait until all sources are live.
        """
        wait_for("live sources", self.is_live)

    def check_served(self) -> None:
        """
        Check that both VMs get their own data.
        """
        for hostname in self.booted:
            answer = self.guest(hostname).ask(TARGET)
            self.assertEqual(answer.status, 200, (hostname, answer))
            self.assertEqual(answer.json()["uuid"], self.machine(hostname).instance)

    def check_damage(
        self, source: str, damage: Callable[[], Any], said: str, repair: Any
    ) -> None:
        """
        Damage a file: both VMs are served as before, the status and one line of the log
        say what is wrong.  Repair it: all is well, and the log says so.

        @param source: The name of the source that it is a file of.
        @param said: What is said about it.
        """
        before = len(self.proxy.running.said())

        def problem() -> str | None:
            told: str | None = self.sources()[source]["problem"]
            return told if told is not None and said in told else None

        damage()
        wait_for(f"problem of {source}: {said}", problem)
        self.assertEqual(self.sources()[source]["state"], "stale")
        self.check_served()
        repair()
        self.wait_until_live()
        self.check_served()
        log = self.proxy.running.said()[before:].splitlines()
        lines = [line for line in log if source in line]
        self.assertEqual(len(lines), 2, lines)
        self.assertIn(f"#warn] {source} is stale: ", lines[0])
        self.assertIn(said, lines[0])
        self.assertLess(len(lines[0]), LONGEST)
        self.assertIn(f"#info] {source} is live", lines[1])

    def test_static(self) -> None:
        """
        A YAML file that can't be used costs nothing that it said before.
        """
        path = self.proxy.inventory
        good = path.read_bytes()
        torn = good[: good.index(b"instance:") + 5]
        cases: dict[str, Callable[[], None]] = {
            "could not find expected ':'": lambda: replace(path, torn),
            "it has no list 'ports'": lambda: replace(path, b""),
            "control characters are not allowed": lambda: replace(path, bytes(100)),
            "invalid leading UTF-8 octet": lambda: replace(path, b"ports: [\xff]"),
            "anchors and aliases are not allowed": lambda: replace(
                path, b"a: &a [b]\nports: [*a, *a]\n"
            ),
            "nested too deeply": lambda: replace(path, b"[" * 100_000),
            "is larger than": lambda: replace_with_hole(path, 1 << 40),
            "does not exist": path.unlink,
            "is no plain file": lambda: replace_with_pipe(path),
        }
        for said, damage in cases.items():
            self.check_damage("static", damage, said, lambda: replace(path, good))

    def test_libvirt(self) -> None:
        """
        A domain's file that can't be used costs nothing that it said before, and no
        other domain anything.
        """
        xml, mine, other = self.xml, self.domains / NAME, self.domains / "evil.xml"
        bad = {
            "no element found": xml[: xml.index(b"<devices>")],
            "not well-formed": bytes(range(256)),
            "it declares a document type": BOMB,
            "multi-byte encodings are not supported": encoded(xml, "shift_jis"),
            "it is no XML": encoded(xml, "utf-7"),
            "encoding specified in XML declaration is incorrect": encoded(
                xml, "utf-16"
            ),
            "unknown encoding": encoded(xml, "x-evil"),
            "it is nested too deeply": b"<a>" * 100_000,
            "is larger than": b"<!--" + b"a" * (1 << 20) + b"-->" + xml,
        }
        for said, data in bad.items():
            self.check_damage(
                "libvirt",
                lambda data=data: replace(mine, data),  # type: ignore[misc]
                said,
                lambda: replace(mine, xml),
            )
            self.check_damage(
                "libvirt",
                lambda data=data: replace(other, data),  # type: ignore[misc]
                said,
                other.unlink,
            )

    def test_libvirt_directory(self) -> None:
        """
        Where libvirt's whole directory is gone its domains are known as before, until
        it is there again and says otherwise.
        """

        away, copy = (self.world.directory / name for name in ("away", "copy"))
        shutil.copytree(self.domains, copy)
        self.check_damage(
            "libvirt",
            lambda: self.domains.rename(away),
            "can't be read",
            lambda: copy.rename(self.domains),
        )
        (self.domains / NAME).unlink()
        wait_for("end of the domain", lambda: not self.sources()["libvirt"]["domains"])
        self.assertEqual(self.guest("red-one").ask(TARGET).status, 404)
        replace(self.domains / NAME, self.xml)
        wait_for("domain", lambda: self.sources()["libvirt"]["domains"])
        self.check_served()

    def test_leases(self) -> None:
        """
        A lease file that can't be used costs nobody his data; what are no leases in it
        is counted.
        """
        path = self.world.leases("br-tenant1")
        good = path.read_bytes()
        name = f"dnsmasq:{path}@br-tenant1"
        cases: dict[str, Callable[[], None]] = {
            "ends within a line": lambda: replace(path, good[:-9]),
            "is larger than": lambda: replace_with_hole(path, 1 << 40),
            "does not exist": path.unlink,
            "is no plain file": lambda: replace_with_pipe(path),
        }
        for said, damage in cases.items():
            self.check_damage(name, damage, said, lambda: replace(path, good))
        garbage = bytes(each for each in range(256) if each != 10)
        replace(path, (garbage + b"\n") * 1000)
        wait_for("count", lambda: self.sources()[name]["refused_lines"])
        self.check_served()
        replace(path, good)
        wait_for("count", lambda: not self.sources()[name]["refused_lines"])
        self.check_served()
