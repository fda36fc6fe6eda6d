"""
Four failures, and what C{mdproxyctl} says of each: an operator who runs it is told what
is wrong, and what to do.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.lab import certs
from tests.lab.case import LabTestCase
from tests.lab.machines import INSTANCES
from tests.lab.nova import SECRET
from tests.lab.proxy import NOVA_PORT, write_private
from tests.lab.rogue import Attacker
from tests.lab.stage import LabError, Stage, wait_for
from tests.lab.test_namespaces import NeutronCase

#: How often the secret is checked here, in seconds.
CHECKING = {"upstream": {"check_interval": 5}}
#: Nobody waits long for what does not come.
SHORT = {"hold": {"openstack": 0.5, "other": 0.5}}
META_DATA = "/openstack/latest/meta_data.json"


class Operator:
    """
    The operator of a host.

    @ivar stage: Where the host is.
    """

    def __init__(self, stage: Stage) -> None:
        """
        Be there.
        """
        self.stage = stage

    def run(self, *command: str) -> tuple[int, str]:
        """
        Run C{mdproxyctl} on the host.

        @return: Its exit status and its output, without the ends of lines.
        """
        python = (sys.executable, "-m", "mdproxy.cli")
        config = ("--config-file", str(self.stage.directory / "mdproxy.conf"))
        done = self.stage.hypervisor.run(*python, *command, *config, check=False)
        if done.stderr:
            raise LabError(done.stderr.decode())
        return done.returncode, " ".join(done.stdout.decode().split())

    def doctor(self) -> dict[str, Any]:
        """
        Ask the doctor.

        @return: What it found, by names; what it says itself before what the service
            says.
        """
        _, out = self.run("doctor", "--json")
        groups = reversed(json.loads(out)["groups"])
        return {f["name"]: f for group in groups for f in group["findings"]}


class NamespacesTests(NeutronCase):
    """
    A host of Neutron's, and the operator.
    """

    def test_a_held_port(self) -> None:
        """
        Of a namespace whose port somebody else has the doctor says who, and of one
        without the address which; nothing is said of what is well.
        """
        held, bare = self.host.add_network("red"), self.host.add_network("blue")
        self.host.add_network("green")
        script = "import socket, time; o = socket.create_server(('0.0.0.0', 80)); "
        script += "time.sleep(600)"
        holder = self.host.start_python(held, "holder", "-c", script)
        bare.run("sh", "-c", "ip address flush to 169.254.169.254/32")
        self.start()
        wait_for("trouble", lambda: self.described()["problem"])
        found = Operator(self.host).doctor()
        port = found[f"port in {held.name}"]
        self.assertEqual(port["verdict"], "wrong")
        # In between is what entered the namespace.
        self.assertIn(f"(pid {holder.process.pid}) holds 169.254.169.254", port["text"])
        self.assertNotIn(f"port in {bare.name}", found)
        lacking = found["address in the namespaces of neutron"]
        self.assertEqual(lacking["verdict"], "note")
        self.assertIn(f"1 of 3 namespaces: {bare.name}.", lacking["text"])
        self.assertEqual(found["listener neutron"]["verdict"], "wrong")


class DoctorTests(LabTestCase):
    """
    VMs on one network, a failure, and the operator.
    """

    booted = ("red-one", "red-two")

    def setUp(self) -> None:
        """
        Make the world.
        """
        super().setUp()
        operator = Operator(self.world)
        self.operate, self.doctor = operator.run, operator.doctor

    def expect(self, words: str, *command: str) -> None:
        """
        Wait until a command says something.
        """
        wait_for(words, lambda: words in self.operate(*command)[1])

    def test_all_well(self) -> None:
        """
        Where nothing was done the doctor finds nothing wrong, and the operator is told
        who asked and what they got.
        """
        self.world.leases("br-tenant1").write_text("")
        self.start_devnova(networks=("br-tenant1",), options=CHECKING)
        self.assertEqual(self.guest("red-one").ask(META_DATA).status, 200)
        self.expect("secret right", "status")
        found = self.doctor()
        wrong = [each for each in found.values() if each["verdict"] == "wrong"]
        self.assertEqual(wrong, [])
        for name in (
            "Nova at 127.0.0.1:8775",
            "signatures at 127.0.0.1:8775",
            "address on br-tenant1",
            "rp_filter of br-tenant1",
            "port of br-tenant1",
            "source static",
            "readiness",
        ):
            self.assertEqual(found[name]["verdict"], "ok", found[name])
        machine = self.machine("red-one")
        status, said = self.operate("whois", machine.ipv4)
        self.assertEqual(status, 0)
        self.assertIn(f"It is instance {machine.instance}", said)
        status, said = self.operate("trace", "--instance", machine.instance)
        self.assertIn(f" 200 GET {META_DATA} {machine.ipv4} br-tenant1 ", said)

    def test_wrong_secret(self) -> None:
        """
        A secret that is not Nova's is found before any instance has asked; the doctor
        says where to look, and instances are told to come back.
        """
        secret = self.world.directory / "other"
        write_private(secret, "another secret\n")
        own = {"DEFAULT": {"metadata_proxy_shared_secret_file": secret}}
        self.start_devnova(
            networks=("br-tenant1",), options={**own, **CHECKING, **SHORT}
        )
        self.expect("secret wrong", "status")
        status, said = self.operate("status")
        self.assertEqual(status, 1)
        self.assertIn("NOT READY", said)
        finding = self.doctor()["Nova at 127.0.0.1:8775"]
        self.assertEqual(finding["verdict"], "wrong")
        self.assertIn("refuses our signature", finding["text"])
        self.assertIn("mdproxyctl sign", finding["advice"])
        self.assertEqual(self.guest("red-one").ask("/openstack").status, 503)
        _, said = self.operate("trace", "--status", "503")
        self.assertIn(f" 503 GET /openstack {self.machine('red-one').ipv4}", said)

    def test_stolen_address(self) -> None:
        """
        Of an address that another VM has taken C{whois} says whose it is, and which MAC
        to look for.
        """
        thief, victim = self.machine("red-two"), self.machine("red-one")
        self.start_devnova(networks=("br-tenant1",), known=[victim])
        with Attacker(self.world, thief, victim).having_the_address():
            self.expect("REFUSED", "whois", victim.ipv4)
            status, said = self.operate("whois", victim.ipv4, "--network", "br-tenant1")
        self.assertEqual(status, 1)
        for words in (
            "REFUSED, mac-mismatch (row 6)",
            f"belongs to instance {victim.instance}",
            f"whose port has the MAC {victim.mac}",
            f"find {thief.mac} on the bridge",
        ):
            self.assertIn(words, said)

    def test_dead_source(self) -> None:
        """
        An inventory that can't be read any more is found by the doctor, and C{whois}
        says that it knows nothing for sure.
        """
        unknown = self.machine("red-two")
        proxy = self.start_devnova(
            networks=("br-tenant1",), known=[self.machine("red-one")], options=SHORT
        )
        proxy.inventory.write_text("ports: [")
        self.expect("static stale", "status")
        found = self.doctor()
        self.assertEqual(found["source static"]["verdict"], "wrong")
        self.assertEqual(found["inventory static"]["verdict"], "wrong")
        self.assertIn(str(proxy.inventory), found["inventory static"]["text"])
        self.assertEqual(self.guest("red-two").ask("/latest").status, 503)
        _, said = self.operate("whois", unknown.ipv4)
        self.assertIn("inventory static is stale", said)
        self.assertIn("This proves nothing yet, because static is stale", said)

    def test_expired_certificate(self) -> None:
        """
        Where Nova's certificate has expired that is what the doctor says.
        """
        made = certs.make(self.world.directory)
        secret = self.world.directory / "devnova.secret"
        write_private(secret, SECRET)
        running = self.world.start_python(
            self.world.hypervisor,
            "devnova",
            *("-m", "mdproxy.devnova", str(INSTANCES), "--secret-file", str(secret)),
            "--listen",
            f"ssl:{NOVA_PORT}:interface=127.0.0.1:privateKey={made.expired.key}:"
            f"certKey={made.expired.certificate}",
        )
        wait_for("devnova", lambda: "instances on" in running.said())
        tls = {"nova_metadata_protocol": "https", "auth_ca_cert": made.ca}
        options = {"DEFAULT": tls, **CHECKING}
        self.start_proxy(networks=("br-tenant1",), options=options)
        self.expect("it has expired", "status")
        finding = self.doctor()["Nova at 127.0.0.1:8775"]
        self.assertEqual(finding["verdict"], "wrong")
        self.assertIn("it has expired", finding["text"])
        self.assertIn("Renew the certificate", finding["advice"])
