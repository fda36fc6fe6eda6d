"""
Tests for L{mdproxy.fetch}.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from mdproxy.config import load
from mdproxy.devnova import DevNova
from mdproxy.devnova_tree import read_instances
from mdproxy.fetch import Fetch, ProjectUnknown, ask, project_of
from mdproxy.http.client import (
    UpstreamBroken,
    UpstreamTimedOut,
    UpstreamTlsFailed,
    UpstreamUnavailable,
)
from mdproxy.interfaces import IExchange
from mdproxy.signing import Signer
from mdproxy.testing import FakeUpstream
from tests.lab import certs

INSTANCE = "32d0524b-314d-4594-b3a3-607e3f2354f8"
PROJECT = "28a490a0f8b28800181ce490a74df8d2"
SECRET = "deadbeef2eb84d8d"
SIGNATURE = "6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605"


def number_of(port: IListeningPort) -> int:
    """
    Tell the number of a TCP port.
    """
    address = port.getHost()
    assert isinstance(address, IPv4Address)
    return address.port


class ClosedPipe(io.BytesIO):
    """
    An output that nobody reads any more.
    """

    def flush(self) -> None:
        """
        Fail as a pipe does.
        """
        raise BrokenPipeError(32, "Broken pipe")


class AskTests(SynchronousTestCase):
    """
    Tests for L{ask} and L{Fetch}.
    """

    def setUp(self) -> None:
        """
        Make a request and an upstream that waits for it.
        """
        self.out, self.err = io.BytesIO(), io.StringIO()
        self.upstream = FakeUpstream()
        self.fetch = self.make(self.out)

    def make(self, out: io.BytesIO) -> Fetch:
        """
        Make a request.
        """
        signer = Signer(SECRET.encode())
        return Fetch(INSTANCE, PROJECT, b"/openstack/x", signer, out)

    def start(self, fetch: Fetch) -> Deferred[None]:
        """
        Send a request.
        """
        return Deferred.fromCoroutine(ask(self.upstream, fetch, self.err))

    def said(self) -> str:
        """
        Take what was said about the answer, which never holds anything secret.
        """
        said = self.err.getvalue()
        for secret in (SECRET, SIGNATURE):
            self.assertNotIn(secret, said)
            self.assertNotIn(secret, repr(self.fetch))
        return said

    def test_it_is_an_exchange(self) -> None:
        """
        A request provides what an upstream calls back.
        """
        self.assertTrue(verifyObject(IExchange, self.fetch))

    def test_the_request(self) -> None:
        """
        The request carries the three headers that Nova wants, and no others of ours.
        """
        self.assertEqual(
            self.fetch.wire.decode().split("\r\n"),
            [
                "GET /openstack/x HTTP/1.1",
                "user-agent: mdproxyctl",
                "accept: */*",
                f"X-Instance-ID: {INSTANCE}",
                f"X-Tenant-ID: {PROJECT}",
                f"X-Instance-ID-Signature: {SIGNATURE}",
                "",
            ],
        )

    def test_answers_are_written_as_they_are(self) -> None:
        """
        Status and phrase are one line, and the body follows byte for byte.
        """
        asking = self.start(self.fetch)
        self.upstream.answer(200, b"\x1f\x8b\x00\xff\n", (), b"Fine")
        self.successResultOf(asking)
        self.assertEqual(self.out.getvalue(), b"200 Fine\n\x1f\x8b\x00\xff\n")
        self.assertTrue(self.fetch.is_good)
        self.assertEqual(self.said(), "")

    def test_refusals_are_explained(self) -> None:
        """
        Each refusal is written out, told apart by its words, and no success.
        """
        for status, page, words in (
            (
                400,
                b"<h1>400</h1>X-Tenant-ID header is missing from request.<br /><br />",
                "Nova misses the header X-Tenant-ID",
            ),
            (
                400,
                b"400 Bad Request\n\nX-Instance-ID-Signature header is missing from "
                b"request.\n",
                "Nova misses the header X-Instance-ID-Signature",
            ),
            (400, b"X-Forwarded-For is missing from request.", "X-Metadata-Provider"),
            (400, b"The plain HTTP request was sent to HTTPS port", "speaks TLS"),
            (400, b"No required SSL certificate was sent", "wants a certificate"),
            (400, b"?", "finds the request malformed"),
            (403, b"Invalid proxy request signature.", "the secrets differ"),
            (403, b"Go away", "something before Nova refuses"),
            (404, b"The resource could not be found.", PROJECT),
            (404, b"The resource could not be found.", "no instance " + INSTANCE),
            (404, b"The resource could not be found.", "no /openstack/x for it"),
            (302, b"", "a redirect to http://x/\\x1b"),
            (401, b"", "What stands before it?"),
            (500, b"An unknown error has occurred.", "trouble of its own"),
            (503, b"", "what stands before Nova"),
        ):
            self.setUp()
            asking = self.start(self.fetch)
            self.upstream.answer(status, page, ((b"Location", b"http://x/\x1b"),))
            self.successResultOf(asking)
            self.assertEqual(self.out.getvalue(), b"%d OK\n%s" % (status, page))
            self.assertFalse(self.fetch.is_good)
            self.assertTrue(self.said().startswith(f"{status}: "), self.said())
            self.assertIn(words, self.said())

    def test_failures_are_explained(self) -> None:
        """
        A request without a complete answer is explained by its cause.
        """
        for error, words in (
            (UpstreamTlsFailed("the cause"), "No TLS connection with Nova: the cause"),
            (UpstreamUnavailable("the cause"), "No connection to Nova: the cause"),
            (UpstreamTimedOut("the cause"), "is silent: the cause"),
            (UpstreamBroken("the cause"), "does not speak HTTP: the cause"),
        ):
            self.setUp()
            asking = self.start(self.fetch)
            self.upstream.fail(error)
            self.successResultOf(asking)
            self.assertIn(words, self.said())
            self.assertFalse(self.fetch.is_good)
            self.assertEqual(self.out.getvalue(), b"")

    def test_half_an_answer_is_no_success(self) -> None:
        """
        An answer that breaks off is written as far as it came, and is a failure.
        """
        asking = self.start(self.fetch)
        self.upstream.begin(200).body(b"half")
        self.upstream.fail(UpstreamBroken("cut"))
        self.successResultOf(asking)
        self.assertEqual(self.out.getvalue(), b"200 OK\nhalf")
        self.assertFalse(self.fetch.is_good)
        self.assertIn("breaks off", self.said())

    def test_nobody_reads(self) -> None:
        """
        When the output is closed the request is given up, once, with a word.
        """
        self.fetch = self.make(ClosedPipe())
        asking = self.start(self.fetch)
        exchange = self.upstream.begin(200)
        self.assertEqual(self.upstream.cancelled, [exchange])
        self.successResultOf(asking)
        exchange.body(b"more")
        exchange.done()
        self.assertFalse(self.fetch.is_good)
        self.assertEqual(self.said(), "the answer can't be written: Broken pipe\n")


class ProjectTests(SynchronousTestCase):
    """
    Tests for L{project_of}.
    """

    def find(self, content: str | None, inventories: str = "static") -> str:
        """
        Look for the project of the instance.

        @param content: What the static inventory's file says; C{None}: there is none.
        """
        inventory = Path(self.mktemp())
        if content is not None:
            inventory.write_text(content, "utf-8")
        file = Path(self.mktemp())
        file.touch(0o600)
        file.write_text(
            f"[DEFAULT]\nallow_empty_secret = true\ninventories = {inventories}\n"
            f"[static]\npath = {inventory}\n[listener:br0]\n",
            "utf-8",
        )
        return project_of(load([str(file)]), INSTANCE)

    def port(self, instance: str, project: str) -> str:
        """
        Write one port of an instance.
        """
        return (
            f"- {{network: br0, mac: 'fa:16:3e:00:00:01', instance: {instance}, "
            f"project: {project}}}\n"
        )

    def test_the_static_inventory_knows(self) -> None:
        """
        The project stands beside the instance, however many ports it has.
        """
        ports = self.port("x", "y") + 2 * self.port(INSTANCE, PROJECT)
        self.assertEqual(self.find(f"ports:\n{ports}"), PROJECT)

    def test_nobody_knows(self) -> None:
        """
        Where it can't be found the reason is told.
        """
        twice = self.port(INSTANCE, "one") + self.port(INSTANCE, "two")
        for content, inventories, words in (
            (None, "libvirt", "there is no static inventory"),
            (None, "static", "does not exist"),
            ("]", "static", "is of no use: "),
            (f"ports:\n{self.port('x', PROJECT)}", "static", "does not name"),
            (f"ports:\n{twice}", "static", "names several projects"),
        ):
            error = self.assertRaises(ProjectUnknown, self.find, content, inventories)
            self.assertIn(words, str(error))


class CommandTests(TestCase):
    """
    Tests for the whole command, against a stand-in for Nova on the loopback.
    """

    #: One that fails does not wait for the whole suite's patience.
    timeout = 60

    async def listen(self, endpoint: str, secret: str = SECRET) -> int:
        """
        Run a stand-in for Nova.

        @return: Its port.
        """
        instances = read_instances(Path(__file__).parent / "lab" / "instances.yaml")
        site = Site(DevNova(instances, secret.encode()))
        port = await serverFromString(global_reactor, endpoint).listen(site)
        self.addCleanup(port.stopListening)
        return number_of(port)

    async def mdproxyctl(
        self, options: str, path: str, *more: str
    ) -> tuple[bytes, str, int]:
        """
        Run the command in a process of its own.

        @param options: What stands in C{[DEFAULT]} beside the secret.
        @param path: What to ask for.
        @param more: More arguments.

        @return: Output, errors, exit status.
        """
        config = Path(self.mktemp())
        config.touch(0o600)
        config.write_text(
            f"[DEFAULT]\nmetadata_proxy_shared_secret = {SECRET}\n{options}\n"
            "[listener:br0]\n",
            "utf-8",
        )
        root = str(Path(__file__).parent.parent)
        command = ["-m", "mdproxy.cli", "fetch", INSTANCE, path]
        out, err, status = await getProcessOutputAndValue(
            sys.executable,
            [*command, "--config-file", str(config), *more],
            env={**os.environ, "PYTHONPATH": root},
        )
        self.assertNotIn(SECRET.encode(), out + err)
        self.assertNotIn(SIGNATURE.encode(), out + err)
        return out, err.decode(), status

    async def test_plain_http(self) -> None:
        """
        Over plain HTTP the instance's data come out as Nova sent them.
        """
        port = await self.listen("tcp:0:interface=127.0.0.1")
        options = f"nova_metadata_port = {port}"
        path = "/openstack/latest/meta_data.json"
        out, err, status = await self.mdproxyctl(options, path, "--project", PROJECT)
        line, _, body = out.partition(b"\n")
        self.assertEqual((line, err, status), (b"200 OK", "", 0))
        self.assertEqual(json.loads(body)["uuid"], INSTANCE)

    async def test_the_project_is_needed(self) -> None:
        """
        Without a project that anybody knows nothing is sent.
        """
        out, err, status = await self.mdproxyctl("inventories = libvirt", "/openstack")
        self.assertEqual((out, status), (b"", 1))
        self.assertTrue(err.startswith("--project is needed"), err)

    async def test_refusals(self) -> None:
        """
        Another project, another path and another secret end with 1 and the reason.
        """
        port = await self.listen("tcp:0:interface=127.0.0.1")
        other = await self.listen("tcp:0:interface=127.0.0.1", "another secret")
        for number, path, project, line, words in (
            (
                port,
                "/openstack",
                "other",
                b"404 Not Found",
                "another project than other",
            ),
            (port, "/none", PROJECT, b"404 Not Found", "there is no /none for it"),
            (other, "/openstack", PROJECT, b"403 Forbidden", "the secrets differ"),
        ):
            out, err, status = await self.mdproxyctl(
                f"nova_metadata_port = {number}", path, "--project", project
            )
            self.assertEqual((out.partition(b"\n")[0], status), (line, 1))
            self.assertIn(words, err)

    async def test_the_advice_for_comparing_secrets_works(self) -> None:
        """
        The command that is advised after a 403 prints the same signature as C{sign}.
        """
        port = await self.listen("tcp:0:interface=127.0.0.1", "another secret")
        _, err, _ = await self.mdproxyctl(
            f"nova_metadata_port = {port}", "/openstack", "--project", PROJECT
        )
        found = re.search(r"python3 -c '(.*)'\n", err)
        assert found is not None
        # Only the prompt for the secret is answered here, as there is no terminal.
        code = f"import getpass; getpass.getpass = lambda: '{SECRET}'; {found.group(1)}"
        out, _, status = await getProcessOutputAndValue(sys.executable, ["-c", code])
        self.assertEqual((out.decode().strip(), status), (SIGNATURE, 0))

    async def test_nobody_there(self) -> None:
        """
        A Nova that does not run is a reason, and the status is 1.
        """
        endpoint = serverFromString(global_reactor, "tcp:0:interface=127.0.0.1")
        port = await endpoint.listen(Site(DevNova([], b"")))
        number = number_of(port)
        await maybeDeferred(port.stopListening)
        out, err, status = await self.mdproxyctl(
            f"nova_metadata_port = {number}", "/openstack", "--project", PROJECT
        )
        self.assertEqual((out, status), (b"", 1))
        self.assertIn("No connection to Nova: ConnectionRefusedError", err)

    async def test_tls(self) -> None:
        """
        Over TLS Nova is verified first; a wrong authority or no TLS is told as such.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        made = certs.make(directory)
        server = made.server
        port = await self.listen(
            f"ssl:0:interface=127.0.0.1:privateKey={server.key.absolute()}:"
            f"certKey={server.certificate.absolute()}"
        )
        options = f"nova_metadata_port = {port}\nnova_metadata_protocol = https\n"
        ask = ("/openstack", "--project", PROJECT)
        for more, line, words in (
            (f"auth_ca_cert = {made.ca.absolute()}", b"200 OK", ""),
            (
                f"auth_ca_cert = {made.rogue_ca.absolute()}",
                b"",
                "No TLS connection with Nova: Nova's certificate was refused",
            ),
        ):
            out, err, status = await self.mdproxyctl(options + more, *ask)
            self.assertEqual(out.partition(b"\n")[0], line)
            self.assertEqual(status, 0 if line else 1)
            self.assertIn(words, err)
            self.assertEqual(bool(words), bool(err))
        out, err, status = await self.mdproxyctl(f"nova_metadata_port = {port}", *ask)
        self.assertEqual((out, status), (b"", 1))
        self.assertIn("nova_metadata_protocol", err)
