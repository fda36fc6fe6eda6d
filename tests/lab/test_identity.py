"""
Each VM is itself, whatever addresses its network uses and whatever it says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from tests.lab.case import LabTestCase, Recorded, Recording
from tests.lab.guest import Talk, request
from tests.lab.machines import Machine
from tests.lab.proxy import signed
from tests.lab.world import METADATA_ADDRESS, METADATA_ADDRESS6

#: What Nova takes a caller's identity from, or did, and what proxies add on the way.
IDENTITY = (
    "X-Instance-ID",
    "X-Tenant-ID",
    "X-Instance-ID-Signature",
    "X-Forwarded-For",
    "X-Metadata-Provider",
    "X-Metadata-Provider-Signature",
    "X-Neutron-Network-ID",
    "X-OVN-Network-ID",
    "Forwarded",
)


def spellings(name: str) -> Iterator[str]:
    """
    Spell the name of a header in the ways that some server somewhere takes for it.
    """
    yield name
    yield name.lower()
    yield name.upper()
    yield name.replace("-", "_")
    yield name.replace("-", "_", 1)
    yield name.upper().replace("-", "_")
    yield f"HTTP_{name.upper().replace('-', '_')}"


class IdentityTests(LabTestCase):
    """
    VMs on two networks with the same addresses.
    """

    booted = ("red-one", "red-two", "blue-one", "blue-rogue")

    def test_same_address_on_two_networks(self) -> None:
        """
        Two VMs with one address, asking at the same time, each get their own data.
        """
        self.start_devnova()
        red, blue = self.machine("red-one"), self.machine("blue-one")
        self.assertEqual(red.ipv4, blue.ipv4)
        asks = [Talk(((0, request("/openstack/latest/meta_data.json")),))] * 40
        pending = [
            (each, self.guest(each.hostname).begin(*asks, parallel=4))
            for each in (red, blue)
        ]
        for machine, asked in pending:
            got = [answer.json()["uuid"] for answer in asked.answers()]
            self.assertEqual(got, [machine.instance] * len(asks))

    def test_kept_connection(self) -> None:
        """
        Requests sent ahead on one connection are answered for the same VM, in order.
        """
        self.start_devnova()
        asks = [
            request("/latest/meta-data/hostname", close=False),
            request("/latest/meta-data/local-ipv4", close=False),
            request("/openstack/latest/user_data"),
        ]
        machine = self.machine("red-two")
        [answer] = self.guest("red-two").talk(Talk(((0, b"".join(asks)),)))
        self.assertEqual(answer.raw.count(b"HTTP/1.1 200 OK\r\n"), len(asks))
        self.assertTrue(answer.raw.endswith(machine.user_data or b"-"))
        hostname = answer.raw.index(machine.hostname.encode())
        self.assertGreater(answer.raw.index(machine.ipv4.encode()), hostname)

    def test_reused_address(self) -> None:
        """
        A VM that was given the address of one that is gone gets its own data with its
        first request, though the hypervisor still knows the other by that address.
        """
        old, new = self.machine("red-one"), self.machine("red-two")
        proxy = self.start_devnova()
        self.assertEqual(self.guest("red-one").ask("/openstack").status, 200)
        self.world.hypervisor.ip("link", "delete", self.world.tap(old))
        heir = evolve(new, addresses=old.addresses)
        proxy.know([heir, self.machine("blue-one")])
        inside = self.world.vms["red-two"]
        inside.ip("address", "flush", "dev", "eth0")
        inside.ip("address", "add", f"{old.ipv4}/24", "dev", "eth0")
        inside.ip("route", "replace", f"{METADATA_ADDRESS}/32", "dev", "eth0")
        inside.ip("neighbour", "flush", "dev", "eth0")
        # The kernel keeps a fresh entry for a second, whoever else claims its address.
        self.world.hypervisor.sysctl(f"ipv4/neigh/{old.network}/locktime", 0)
        answer = self.guest("red-two").ask("/openstack/latest/meta_data.json")
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json()["uuid"], new.instance)

    def test_link_local_ipv6(self) -> None:
        """
        A VM that asks over IPv6, from its link-local address, gets its data too.
        """
        self.start_devnova()
        for hostname in self.booted:
            answer = self.guest(hostname).ask(
                "/openstack/latest/meta_data.json", host=f"{METADATA_ADDRESS6}%eth0"
            )
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(answer.json()["uuid"], self.machine(hostname).instance)

    def test_curl_from_every_vm(self) -> None:
        """
        What every manual shows works: curl of the metadata address.
        """
        self.start_devnova()
        for hostname in self.booted:
            url = "http://169.254.169.254/latest/meta-data/hostname"
            said = self.world.vms[hostname].run("curl", "-sSf", url).stdout.decode()
            self.assertEqual(said.partition(".")[0], hostname)

    def check_record(self, recording: Recording, machine: Machine) -> list[Recorded]:
        """
        Check that every request that came through carries one VM's identity, once.
        """
        arrived = recording.requests()
        for each in arrived:
            for field in signed(machine):
                name, _, value = field.partition(": ")
                self.assertEqual(each.values(name.lower()), [value], each)
            for name in IDENTITY[4:]:
                self.assertEqual(each.values(name.lower()), [], each)
            self.assertFalse([f for f in each.fields if "_" in f.partition(":")[0]])
        return arrived

    def test_forged_headers(self) -> None:
        """
        Whatever identity a VM writes into its request, in whatever spelling, Nova sees
        only what the host knows of it.
        """
        recording, _ = self.start_recording()
        me, other = self.machine("red-one"), self.machine("blue-one")
        forged = dict(field.split(": ", 1) for field in signed(other))
        asks = [
            request(f"/latest/{name}", f"{spelling}: {forged.get(name, 'x')}")
            for name in IDENTITY
            for spelling in spellings(name)
        ]
        asks.append(request("/latest/all", *signed(other), *signed(other)))
        talks = [Talk(((0, ask),), timeout=20) for ask in asks]
        answers = self.guest("red-one").talk(*talks, parallel=8)
        arrived = self.check_record(recording, me)
        statuses = {answer.status for answer in answers}
        self.assertLessEqual(statuses, {200, 400})
        self.assertEqual(len(arrived), sum(answer.status == 200 for answer in answers))
        # What is spelt as HTTP has it is no fault of the VM; it is just not believed.
        plain = [r for r in arrived if r.line.startswith("GET /latest/all ")]
        self.assertEqual(len(plain), 1)

    def test_smuggled_headers(self) -> None:
        """
        Neither folded lines, trailers, hop-by-hop tricks nor a second request in a body
        bring a forged identity to Nova.
        """
        recording, _ = self.start_recording()
        me, other = self.machine("red-one"), self.machine("blue-one")
        forged = "\r\n".join(signed(other))
        inner = request("/openstack/latest/inner", *signed(other))
        chunk = b"%x\r\n%b\r\n" % (len(inner), inner)
        target = "/openstack/latest/password"
        asks = [
            request("/latest/folded", f"Accept: */*\r\n {forged}"),
            request("/latest/bare", "Accept: */*\n" + forged.replace("\r", "")),
            request("/latest/space", f"X-Instance-ID : {other.instance}"),
            request("/latest/nul", f"X-Instance-ID\0: {other.instance}"),
            request("/latest/hop", "Connection: X-Instance-ID, X-Tenant-ID", forged),
            request(
                target,
                "Transfer-Encoding: chunked",
                "Trailer: X-Instance-ID",
                body=b"1\r\na\r\n0\r\n" + forged.encode() + b"\r\n\r\n",
                method="POST",
            ),
            request(target, f"Content-Length: {len(inner)}", body=inner, method="POST"),
            request(
                target,
                "Content-Length: 4",
                "Transfer-Encoding: chunked",
                body=chunk + b"0\r\n\r\n",
                method="POST",
            ),
            request(
                target,
                "Content-Length: 0",
                "Content-Length: 5",
                body=inner,
                method="POST",
            ),
            request(f"/latest/x HTTP/1.1\r\n{forged}\r\nY:"),
        ]
        talks = [Talk(((0, ask),)) for ask in asks]
        answers = self.guest("red-one").talk(*talks, parallel=4)
        for answer in answers:
            self.assertIn(answer.status, (200, 400, 501), answer)
        arrived = self.check_record(recording, me)
        bodies = [each.body for each in arrived if each.line.startswith("POST ")]
        # A second request that is the body of a first is nothing but a body.
        self.assertLessEqual(set(bodies), {b"a", inner})
        self.assertFalse([each for each in arrived if "inner" in each.line])
