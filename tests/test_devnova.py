"""
Tests for L{mdproxy.devnova} and L{mdproxy.devnova_tree}.

What the real Nova says was recorded from Nova 34; C{tests/lab/test_nova_contract.py}
compares all of it.
"""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path

from attrs import evolve
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from mdproxy.devnova import Asked, DevNova, main
from mdproxy.devnova_tree import (
    BadInstances,
    Instance,
    NovaCrash,
    look_up,
    read_instances,
)

_LAB = Path(__file__).parent / "lab" / "instances.yaml"
_SECRET = b"deadbeef2eb84d8d"
_ID = "32d0524b-314d-4594-b3a3-607e3f2354f8"
_PROJECT = "28a490a0f8b28800181ce490a74df8d2"
#: The known answer: HMAC-SHA256 of the id under the secret.
_SIGNATURE = "6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605"
_IDENTITY = {
    "x-instance-id": _ID,
    "x-tenant-id": _PROJECT,
    "x-instance-id-signature": _SIGNATURE,
    "x-forwarded-for": "10.0.0.11",
}
_ONE = Instance(
    number=10,
    instance=_ID,
    project=_PROJECT,
    hostname="one",
    network="net",
    mac="fa:16:3e:00:01:11",
    addresses=("10.0.0.11",),
    availability_zone="zone",
    keys={"k": "ssh-ed25519 AAAA k", "second": "ssh-ed25519 BBBB"},
    user_data=bytes(range(256)),
)


class ReadInstancesTests(SynchronousTestCase):
    """
    Tests for L{read_instances}.
    """

    def _read(self, text: str) -> tuple[Instance, ...]:
        """
        Read a file with this text.
        """
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        return read_instances(path)

    def test_lab(self) -> None:
        """
        The lab's file has two networks that share an address, and a key for each.
        """
        instances = read_instances(_LAB)
        seats = {(each.network, each.addresses[0]) for each in instances}
        keys = [key for each in instances for key in each.keys.values()]
        self.assertIn(("br-tenant1", "10.0.0.11"), seats)
        self.assertIn(("br-tenant2", "10.0.0.11"), seats)
        self.assertEqual(len(instances), len(seats))
        self.assertEqual(len(keys), len(set(keys)))
        self.assertEqual(_ID, instances[0].instance)

    def test_user_data_of_the_lab(self) -> None:
        """
        User-data comes as text, as any bytes, or not at all.
        """
        raw = [each.user_data for each in read_instances(_LAB)]
        self.assertEqual(bytes(range(256)), raw[1])
        self.assertTrue(raw[0] and raw[0].startswith(b"#cloud-config\n"))
        self.assertTrue(raw[2] and raw[2].startswith(b"\x1f\x8b"))
        self.assertTrue(raw[3] and raw[3].startswith(b"#!/bin/sh\n"))
        self.assertIsNone(raw[4])

    def test_bad_files_are_refused_by_name(self) -> None:
        """
        What is not a description of instances raises one exception, with the file.
        """
        good = f"instances: [{{instance: {_ID}, project: p, hostname: h"
        good += ", network: n, mac: m"
        for text in (
            "",
            "[]",
            "instances: 5",
            "instances: [5]",
            "instances: [{}]",
            good + ", addresses: 5}]",
            good + ", addresses: [a], keys: 5}]",
            good + ", addresses: [a], user_data_base64: '*'}]",
            good + ", addresses: []}]",
            "instances: [{instance: x}]",
            "instances: {",
        ):
            path = Path(self.mktemp())
            path.write_text(text, "utf-8")
            error = self.assertRaises(BadInstances, read_instances, path)
            self.assertIn(str(path), str(error), text)

    def test_missing_file(self) -> None:
        """
        A file that is not there raises the same exception.
        """
        self.assertRaises(BadInstances, read_instances, Path(self.mktemp()))


class TreeTests(SynchronousTestCase):
    """
    Tests for L{look_up}.
    """

    def _text(self, path: str, instance: Instance = _ONE) -> str:
        """
        Look a text up.
        """
        found = look_up(instance, path)
        assert found is not None
        return found[1].decode()

    def test_user_data_byte_for_byte(self) -> None:
        """
        Both trees give exactly the bytes of the user-data.
        """
        for path in ("/latest/user-data", "/openstack/latest/user_data"):
            found = look_up(_ONE, path)
            self.assertEqual(("text/plain; charset=UTF-8", bytes(range(256))), found)

    def test_no_user_data(self) -> None:
        """
        Where there is no user-data, it is neither listed nor found.
        """
        bare = evolve(_ONE, user_data=None)
        self.assertEqual("meta-data/", self._text("/latest", bare))
        self.assertNotIn("user_data", self._text("/openstack/latest", bare))
        self.assertRaises(KeyError, look_up, bare, "/latest/user-data")
        self.assertRaises(KeyError, look_up, bare, "/openstack/latest/user_data")

    def test_ec2_leaves(self) -> None:
        """
        EC2 ids are made of the instance's number; names have the domain.
        """
        for leaf, wanted in (
            ("instance-id", "i-0000000a"),
            ("reservation-id", "r-0000000a"),
            ("hostname", "one.novalocal"),
            ("local-ipv4", "10.0.0.11"),
            ("public-ipv4", ""),
            ("public-keys/", "0=k"),
            ("public-keys/0", "openssh-key"),
            ("public-keys/0/openssh-key", "ssh-ed25519 AAAA k"),
            ("placement/availability-zone", "zone"),
            ("security-groups", "default"),
            ("ami-launch-index", "0"),
        ):
            self.assertEqual(wanted, self._text(f"/latest/meta-data/{leaf}"), leaf)

    def test_ec2_versions(self) -> None:
        """
        Older versions have less.
        """
        oldest = self._text("/1.0/meta-data").split("\n")
        newest = self._text("/2009-04-04/meta-data").split("\n")
        self.assertEqual((9, 16), (len(oldest), len(newest)))
        self.assertEqual(newest, self._text("/latest/meta-data/").split("\n"))

    def test_openstack_versions(self) -> None:
        """
        Older versions list less, and serve less.
        """
        self.assertEqual(
            "meta_data.json\nuser_data", self._text("/openstack/2012-08-10")
        )
        self.assertEqual(
            "meta_data.json\nuser_data\npassword\nvendor_data.json\n"
            "network_data.json\nvendor_data2.json",
            self._text("/openstack/latest/"),
        )
        self.assertRaises(KeyError, look_up, _ONE, "/openstack/2012-08-10/password")

    def test_meta_data(self) -> None:
        """
        C{meta_data.json} shows the first key, and fresh random bytes each time.
        """
        path = "/openstack/latest/meta_data.json"
        first, second = json.loads(self._text(path)), json.loads(self._text(path))
        self.assertNotEqual(first.pop("random_seed"), second.pop("random_seed"))
        self.assertEqual(first, second)
        self.assertEqual((_ID, _PROJECT), (first["uuid"], first["project_id"]))
        self.assertEqual({"k": "ssh-ed25519 AAAA k"}, first["public_keys"])

    def test_network_data(self) -> None:
        """
        C{network_data.json} shows the port.
        """
        (link,) = json.loads(self._text("/openstack/latest/network_data.json"))["links"]
        self.assertEqual(_ONE.mac, link["ethernet_mac_address"])

    def test_nothing_there(self) -> None:
        """
        What does not exist raises C{KeyError}.
        """
        for path in (
            "/x",
            "/openstack/x",
            "/openstack/latest/x",
            "/latest/meta-data/x",
        ):
            self.assertRaises(KeyError, look_up, _ONE, path)
        self.assertRaises(KeyError, look_up, _ONE, "/latest/meta-data/hostname/a/b")

    def test_below_a_leaf(self) -> None:
        """
        One step below a value Nova itself fails.
        """
        self.assertRaises(NovaCrash, look_up, _ONE, "/latest/meta-data/hostname/a")

    def test_odd_paths(self) -> None:
        """
        Slashes and dots are normalised first.
        """
        wanted = self._text("/latest/meta-data/instance-id")
        for path in (
            "//latest//meta-data/./instance-id/",
            "/x/../ec2/latest/meta-data/",
        ):
            self.assertIn(wanted if "id" in path else "instance-id", self._text(path))


class AnswerTests(SynchronousTestCase):
    """
    Tests for L{DevNova.answer}.
    """

    def setUp(self) -> None:
        """
        Know two instances.
        """
        other = evolve(_ONE, instance="7f3c1f0e-6a0b-4c55-9d0e-3d1a5b1c0002")
        self.nova = DevNova([_ONE, other], _SECRET)

    def _get(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """
        Ask for a path.
        """
        answer = self.nova.answer(Asked("GET", path, headers))
        return answer.status, answer.body.decode()

    def test_resource(self) -> None:
        """
        It is a resource.
        """
        verifyObject(IResource, self.nova)

    def test_identity(self) -> None:
        """
        The four headers of the known answer are accepted.
        """
        self.assertEqual(
            (200, "i-0000000a"), self._get("/latest/meta-data/instance-id", _IDENTITY)
        )

    def test_order_of_the_checks(self) -> None:
        """
        Of several faults Nova names the first in its own order.
        """
        missing = "400 Bad Request\n\n%s header is missing from request.\n\n   "
        refused = "403 Forbidden\n\nInvalid proxy request signature.\n\n   "
        unknown = "404 Not Found\n\nThe resource could not be found.\n\n   "
        headers: dict[str, str] = {}
        for name, value, wanted in (
            ("x-forwarded-for", "10.0.0.11", (400, missing % "X-Instance-ID")),
            ("x-instance-id", _ID, (400, missing % "X-Instance-ID-Signature")),
            ("x-instance-id-signature", "0" * 64, (400, missing % "X-Tenant-ID")),
            ("x-tenant-id", "other", (403, refused)),
            ("x-instance-id-signature", _SIGNATURE.upper(), (403, refused)),
            ("x-instance-id-signature", _SIGNATURE, (404, unknown)),
            ("x-tenant-id", _PROJECT, (404, unknown)),
        ):
            headers[name] = value
            self.assertEqual(wanted, self._get("/nothere", headers), name)

    def test_unknown_instance(self) -> None:
        """
        A right signature of an unknown id is answered with 404.
        """
        nova = DevNova([], _SECRET)
        answer = nova.answer(Asked("GET", "/latest", _IDENTITY))
        self.assertEqual(404, answer.status)

    def test_signature_that_is_not_ascii(self) -> None:
        """
        Nova fails on a signature that is not ASCII.
        """
        headers = {**_IDENTITY, "x-instance-id-signature": "\xe9"}
        answer = self.nova.answer(Asked("GET", "/latest", headers))
        self.assertEqual((500, True), (answer.status, answer.crashed))

    def test_provider(self) -> None:
        """
        With C{X-Metadata-Provider} it is another signature that counts, and nothing
        is ever served.
        """
        headers = {**_IDENTITY, "x-metadata-provider": "p"}
        self.assertEqual(403, self._get("/latest", headers)[0])
        headers["x-metadata-provider-signature"] = (
            "12284a14c99e200011b3645f899edc85b4d631a24e7a9b104cf0ea914bc36855"
        )
        status, body = self._get("/latest", headers)
        self.assertEqual(400, status)
        self.assertIn("Could not find any subnets for provider p", body)
        del headers["x-forwarded-for"]
        status, body = self._get("/latest", headers)
        self.assertEqual(400, status)
        self.assertIn("X-Forwarded-For is missing from request.", body)

    def test_root_needs_no_identity(self) -> None:
        """
        The list of EC2 versions is for everybody.
        """
        for path in ("/", "/.", "/?x"):
            status, body = self._get(path, {})
            self.assertEqual((200, "1.0"), (status, body.split("\n")[0]))

    def test_form_of_errors(self) -> None:
        """
        Errors are HTML, JSON or text, as the instance accepts.
        """
        for accept, content_type, start in (
            ("*/*", "text/html; charset=UTF-8", b"<html>"),
            ("text/html;q=0.1, application/json", "application/json", b'{"message"'),
            ("text/html;q=0", "text/plain; charset=UTF-8", b"404 Not Found"),
            ("", "text/plain; charset=UTF-8", b"404 Not Found"),
        ):
            headers = {**_IDENTITY, "accept": accept}
            answer = self.nova.answer(Asked("GET", "/nothere", headers))
            self.assertEqual(content_type, answer.content_type)
            self.assertTrue(answer.body.startswith(start), answer.body)

    def test_password(self) -> None:
        """
        The first password stays, and only its instance can read it.
        """
        path = "/openstack/latest/password"
        for method, body, status, answered in (
            ("GET", b"", 200, b""),
            ("PUT", b"x", 400, b"GET and POST only are supported."),
            ("POST", b"p" * 1021, 400, b"Request is too large."),
            ("POST", b"\xff", 500, b"Internal Server Error"),
            ("POST", b"p" * 1020, 200, b""),
            ("POST", b"other", 409, b"There was a conflict"),
            ("GET", b"", 200, b"p" * 1020),
        ):
            answer = self.nova.answer(Asked(method, path, _IDENTITY, body))
            self.assertEqual(status, answer.status, (method, body))
            self.assertIn(answered, answer.body)
        self.assertEqual({_ID: b"p" * 1020}, self.nova.passwords)

    def test_chunked_password(self) -> None:
        """
        Nova fails on a chunked password: a proxy must give it a Content-Length.
        """
        headers = {**_IDENTITY, "transfer-encoding": "chunked"}
        asked = Asked("POST", "/openstack/latest/password", headers, b"secret")
        self.assertTrue(self.nova.answer(asked).crashed)
        self.assertEqual({}, self.nova.passwords)

    def test_secrets_are_not_shown(self) -> None:
        """
        The text of a request shows neither signature nor body.
        """
        shown = repr(Asked("POST", "/x", _IDENTITY, b"hidden"))
        self.assertNotIn(_SIGNATURE, shown)
        self.assertNotIn("hidden", shown)


class WireTests(SynchronousTestCase):
    """
    Tests for L{DevNova} in a L{Site}.
    """

    def setUp(self) -> None:
        """
        Connect to a site.
        """
        self.nova = DevNova([_ONE], _SECRET)
        self.transport = StringTransport()
        self.channel = Site(self.nova, reactor=Clock()).buildProtocol(None)
        self.channel.makeConnection(self.transport)
        self.addCleanup(self.channel.connectionLost, Failure(ConnectionDone()))

    def _send(self, start: str, body: bytes = b"", *more: str) -> tuple[bytes, bytes]:
        """
        Send a request and read the answer's head and body.
        """
        lines = [
            start,
            "Host: nova",
            *(f"{k}: {v}" for k, v in _IDENTITY.items()),
            *more,
        ]
        self.transport.clear()
        self.channel.dataReceived("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head, _, answered = self.transport.value().partition(b"\r\n\r\n")
        return head, answered

    def test_binary_user_data(self) -> None:
        """
        All byte values arrive.
        """
        head, body = self._send("GET /latest/user-data HTTP/1.1")
        self.assertIn(b"Content-Type: text/plain; charset=UTF-8\r\n", head)
        self.assertIn(b"Content-Length: 256", head)
        self.assertEqual(bytes(range(256)), body)

    def test_head(self) -> None:
        """
        HEAD is answered with the length and without the body.
        """
        head, body = self._send("HEAD /latest/user-data HTTP/1.1")
        self.assertIn(b"Content-Length: 256", head)
        self.assertEqual(b"", body)

    def test_kept_connection(self) -> None:
        """
        One connection serves any number of requests.
        """
        for _ in range(3):
            head, body = self._send("GET /latest/meta-data/instance-id HTTP/1.1")
            self.assertEqual(b"HTTP/1.1 200 OK", head.split(b"\r\n")[0])
            self.assertEqual(b"i-0000000a", body)
        self.assertFalse(self.transport.disconnecting)

    def test_crash_closes(self) -> None:
        """
        When Nova fails the server says that it closes, and does.
        """
        head, _ = self._send("GET /%ff HTTP/1.1")
        self.assertIn(b"500 Internal Server Error", head)
        self.assertIn(b"connection: close", head.lower())
        self.assertTrue(self.transport.disconnecting)

    def test_repeated_header(self) -> None:
        """
        A header that comes twice is one with a comma, so its signature is wrong.
        """
        head, _ = self._send("GET /latest HTTP/1.1", b"", "X-Instance-ID: other")
        self.assertIn(b"403 Forbidden", head)
        self.assertEqual(f"{_ID},other", self.nova.asked[0].headers["x-instance-id"])

    def test_remembers_what_was_asked(self) -> None:
        """
        Tests can read what came: method, target, identity and body.
        """
        self._send("PUT /%6catest?x HTTP/1.1", b"body", "Content-Length: 4")
        (asked,) = self.nova.asked
        self.assertEqual(
            ("PUT", "/%6catest?x", b"body"), (asked.method, asked.target, asked.body)
        )
        self.assertEqual(_IDENTITY, {k: asked.headers[k] for k in _IDENTITY})


class MainTests(SynchronousTestCase):
    """
    Tests for L{main}.
    """

    def setUp(self) -> None:
        """
        Catch what is printed.
        """
        self.out = StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.out)

    def test_listens_and_says_what_it_is(self) -> None:
        """
        It listens where it was told, and stays; nobody takes it for the real Nova.
        """
        secret = Path(self.mktemp())
        secret.write_text("deadbeef2eb84d8d\n")
        reactor = MemoryReactorClock()
        listen = ["--listen", "tcp:8775:interface=127.0.0.1"]
        done = main(reactor, str(_LAB), "--secret-file", str(secret), *listen)
        self.assertNoResult(done)
        ((port, _, _, interface),) = reactor.tcpServers
        self.assertEqual((8775, "127.0.0.1"), (port, interface))
        self.assertIn("NOT FOR PRODUCTION", self.out.getvalue())
        self.assertNotIn("deadbeef", self.out.getvalue())

    def test_bad_command_lines(self) -> None:
        """
        Without a secret or instances that can be read it does not start.
        """
        for argv, why in (
            ([str(_LAB)], "--secret"),
            ([str(_LAB), "--secret-file", "/nonexistent"], "/nonexistent"),
            (["/nonexistent", "--secret", "x"], "/nonexistent"),
            (["--secret", "x"], "instances"),
        ):
            self.assertRaises(SystemExit, main, MemoryReactorClock(), *argv)
            self.assertIn(why, self.out.getvalue())
            self.out.truncate(0)
