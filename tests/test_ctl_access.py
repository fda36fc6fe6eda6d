"""
Tests for L{mdproxy.ctl.access}.
"""

from __future__ import annotations

import socket
import ssl
from argparse import Namespace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis.strategies import text
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.ctl.access import Access, Unanswered, find_access, place_of
from mdproxy.places import completed
from mdproxy.places import place_of as place_by_twisted
from tests.answering import Answering
from tests.lab import certs


def arguments(**given: Any) -> Namespace:
    """
    Make what the command line said.
    """
    nothing = {"endpoint": None, "ca": None, "cert": None, "key": None}
    return Namespace(**{**nothing, "config_file": [], "config_dir": [], **given})


class PlaceTests(SynchronousTestCase):
    """
    Tests for L{place_of}.
    """

    def test_as_twisted_reads_them(self) -> None:
        """
        Every endpoint that a configuration may have is found where Twisted puts it; one
        on every address is asked at loopback.
        """
        for endpoint in (
            "tcp:8085:interface=127.0.0.1",
            "tcp:port=8085:interface=127.0.0.1",
            "tcp:8085:interface=localhost",
            "tcp6:8085:interface=\\:\\:1",
            "tcp:8085:interface=\\:\\:1",
            "tcp:8085:interface=10.0.0.1",
            "unix:/run/mdproxy/status.sock",
            "unix:/run/a b/c\\:d:mode=600",
            "unix:address=/run/s:mode=640:lockfile=0",
        ):
            expected = place_by_twisted(completed(endpoint), remote=True)
            self.assertEqual(place_of(endpoint), expected, endpoint)
        for endpoint, place in (
            ("tcp:8085", ("127.0.0.1", 8085)),
            ("tcp:8085:interface=0.0.0.0", ("127.0.0.1", 8085)),
            ("tcp6:8085", ("::1", 8085)),
            ("tcp6:8085:interface=\\:\\:", ("::1", 8085)),
        ):
            self.assertEqual(place_of(endpoint), place)

    def test_what_is_none(self) -> None:
        """
        What is no endpoint is told as such.
        """
        for endpoint in ("", "tcp", "tcp:x", "http://a", "/run/x", "unix", "tls:80"):
            with self.assertRaises(Unanswered) as caught:
                place_of(endpoint)
            self.assertIn("is no endpoint", caught.exception.text)

    @given(text(max_size=40))
    def test_anything(self, endpoint: str) -> None:
        """
        Whatever is written there, it is read or refused.
        """
        try:
            place = place_of(endpoint)
        except Unanswered:
            return
        self.assertTrue(str(Access(place)).isprintable())


class FindingTests(SynchronousTestCase):
    """
    Tests for L{find_access}.
    """

    def write(self, content: str) -> str:
        """
        Write a configuration.
        """
        path = Path(self.mktemp())
        path.write_text(content)
        return str(path)

    def test_from_the_configuration(self) -> None:
        """
        Where the pages are is all that is looked at: neither faults elsewhere nor a
        secret that can't be read are in the way.
        """
        for content, place in (
            ("[introspection]\nendpoint = unix:/run/x\n", "/run/x"),
            (
                "[DEFAULT]\nmetadata_proxy_shared_secret_file = /none\nx = y\n"
                "[introspection]\nendpoint = tcp:99:interface=127.0.0.1\n",
                ("127.0.0.1", 99),
            ),
            ("", ("127.0.0.1", 8085)),
        ):
            path = self.write(content)
            access = find_access(arguments(config_file=[path]))
            self.assertEqual((access.place, access.tls), (place, None))

    def test_no_configuration(self) -> None:
        """
        A configuration that can't be read is told, and that there is another way.
        """
        missing = self.mktemp()
        with self.assertRaises(Unanswered) as caught:
            find_access(arguments(config_file=[missing]))
        self.assertIn(f"{missing}: cannot be read", caught.exception.text)
        self.assertIn("--endpoint", caught.exception.advice)
        access = find_access(arguments(config_file=[missing], endpoint="unix:/run/y"))
        self.assertEqual(access.place, "/run/y")

    def test_files_that_do_not_fit(self) -> None:
        """
        Files of TLS that can't be used are told by their names.
        """
        for option in ("ca", "cert"):
            asked = arguments(endpoint="tcp:80", **{option: "/none"})
            with self.assertRaises(Unanswered) as caught:
                find_access(asked)
            self.assertIn("/none", caught.exception.text)


class AskingTests(SynchronousTestCase):
    """
    Tests for L{Access}.
    """

    def setUp(self) -> None:
        """
        Have a service.
        """
        self.service = Answering()

    def refused(self, access: Access) -> Unanswered:
        """
        Ask in vain.
        """
        with self.assertRaises(Unanswered) as caught:
            access.ask("status")
        error: Unanswered = caught.exception
        return error

    def test_questions(self) -> None:
        """
        What is asked for and what is said with it arrive, by TCP and by UNIX sockets
        however long their paths are; what is not given is not said.
        """
        self.service.answers["/api/v1/why"] = {"a": [1]}
        with self.service.listening() as port:
            access = Access(("127.0.0.1", port))
            told = access.ask("why", address="fe80::1%a&b", network=None)
            self.assertEqual(told, {"a": [1]})
        with self.service.listening_at_a_path("x" * 150) as path:
            self.assertEqual(Access(path).ask("why", address="1"), {"a": [1]})
        one, other = self.service.asked
        self.assertEqual(one[:3], ("GET", "/api/v1/why", {"address": "fe80::1%a&b"}))
        self.assertEqual(one[3]["host"], f"127.0.0.1:{port}")
        self.assertEqual(other[3]["host"], "localhost")

    def test_having_things_done(self) -> None:
        """
        What changes something is sent as a form, and as no browser's page would.
        """
        self.service.answers["/api/v1/watch"] = {}
        with self.service.listening() as port:
            Access(("127.0.0.1", port)).tell("watch", instance="a b", seconds=7)
        ((method, _, said, fields),) = self.service.asked
        self.assertEqual((method, said), ("POST", {"instance": "a b", "seconds": "7"}))
        self.assertEqual(fields["x-mdproxy"], "1")
        self.assertNotIn("origin", fields)

    def test_events(self) -> None:
        """
        A stream of events is followed to its end; remarks and other fields are no
        events.
        """
        stream = b': hello\n\nid: 1\ndata: {"n": 1}\n\ndata: {"n": 2}\n\n'
        self.service.answers["/api/v1/live"] = (200, stream)
        with self.service.listening() as port:
            access = Access(("127.0.0.1", port))
            events = list(access.follow("live", "req-7", status=200))
            list(access.follow("live", None))
        self.assertEqual(events, [{"n": 1}, {"n": 2}])
        first, second = self.service.asked
        self.assertEqual(first[2], {"status": "200"})
        self.assertEqual(first[3]["last-event-id"], "req-7")
        self.assertNotIn("last-event-id", second[3])

    def test_nobody_there(self) -> None:
        """
        Where nobody listens it is told what to look at.
        """
        with socket.create_server(("127.0.0.1", 0)) as opened:
            port = opened.getsockname()[1]
        error = self.refused(Access(("127.0.0.1", port)))
        self.assertIn(f"does not listen at 127.0.0.1:{port}", error.text)
        self.assertIn("systemctl status mdproxy", error.advice)
        error = self.refused(Access("/none/s"))
        self.assertIn("does not listen at /none/s: there is no such", error.text)

    def test_forbidden(self) -> None:
        """
        A socket that is another user's is told as such.
        """
        error = Access("/run/s")._blame(PermissionError(13, "Permission denied"))
        self.assertIn("may not be used by this user", error.text)
        self.assertIn("sudo", error.advice)

    def test_silence(self) -> None:
        """
        A service that says nothing may hang, and that is told.
        """
        error = Access("/run/s")._blame(TimeoutError())
        self.assertIn("is silent", error.text)

    def test_refusals(self) -> None:
        """
        A reason that the service gives is told; without one it is the status that
        tells.
        """
        for status, body, words in (
            (400, b'{"error": "x\\u001b[2J is no address"}', "says: x\\x1b[2J is no"),
            (404, b"<html>", "no such page"),
            (421, b"", "name"),
            (500, b"[]", "500"),
            (302, b"{", "302"),
        ):
            self.service.answers["/api/v1/status"] = (status, body)
            with self.service.listening() as port:
                error = self.refused(Access(("127.0.0.1", port)))
            self.assertIn(words, error.text)

    def test_nonsense(self) -> None:
        """
        What is no JSON, or no HTTP, is not mdproxy; nor is what has no names for what
        it says, or hides it deep.
        """
        for said in (b"<html>", b"[1]", b"NaN", b"[" * 100_000):
            self.service.answers["/api/v1/status"] = (200, said)
            with self.service.listening() as port:
                access = Access(("127.0.0.1", port))
                self.assertIn("is no JSON of mdproxy's", self.refused(access).text)
        context = ssl.create_default_context()
        with self.service.listening() as port:
            access = Access(("127.0.0.1", port), context)
            self.assertIn("No TLS connection", self.refused(access).text)


class TlsTests(SynchronousTestCase):
    """
    Tests for L{Access} on TLS.
    """

    def test_both_show_certificates(self) -> None:
        """
        The certificate that the configuration names is trusted as it is, whatever it is
        for; and ours is shown where the service wants one.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        made = certs.make(directory)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(made.wrong_name.certificate, made.wrong_name.key)
        server.load_verify_locations(made.ca)
        server.verify_mode = ssl.CERT_REQUIRED
        service = Answering({"/api/v1/status": {"a": 7}})
        with service.listening(server) as port:
            config = directory / "mdproxy.conf"
            config.write_text(
                f"[introspection]\nendpoint = tcp:{port}:interface=127.0.0.1\n"
                f"certificate = {made.wrong_name.certificate}\n"
            )
            ours = {"cert": made.client.certificate, "key": made.client.key}
            access = find_access(arguments(config_file=[str(config)], **ours))
            self.assertEqual(access.ask("status"), {"a": 7})
            for given, words in (
                ({}, "127.0.0.1"),
                ({**ours, "ca": made.rogue_ca}, "signed certificate in"),
                ({**ours, "ca": made.ca}, "IP address mismatch"),
            ):
                asked = arguments(config_file=[str(config)], **given)
                with self.assertRaises(Unanswered) as caught:
                    find_access(asked).ask("status")
                self.assertIn(words, caught.exception.text)
