"""
Tests for L{mdproxy.places}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.places import (
    DEVICE,
    NETWORK,
    bare,
    completed,
    is_loopback,
    place_of,
    problem_of_host,
)


class NameTests(SynchronousTestCase):
    """
    Tests for L{NETWORK} and L{DEVICE}.
    """

    def test_networks(self) -> None:
        """
        Ids and device names name networks; what lease sources give a meaning does not.
        """
        for name in ("br-tenant1", "8f2b3d3e-7e4e-4e6e-8f2b-3d3e7e4e4e6e", "a", "a:b"):
            self.assertIsNotNone(NETWORK.match(name), name)
        for name in ("", "a@b", "a,b", "a b", "a/b", "-a", "a\n", "é", "a" * 256):
            self.assertIsNone(NETWORK.match(name), name)

    def test_devices(self) -> None:
        """
        What Linux accepts as a name is one.
        """
        for name in ("br-tenant1", "eth0.100", "...", "a" * 15, "-", "eth0@if3"):
            self.assertIsNotNone(DEVICE.match(name), name)
        for name in ("", ".", "..", "a/b", "a:b", "a b", "a\n", "a" * 16, "é"):
            self.assertIsNone(DEVICE.match(name), name)


class HostTests(SynchronousTestCase):
    """
    Tests for L{problem_of_host}.
    """

    def test_hosts(self) -> None:
        """
        Host names and addresses are hosts, IPv6 with or without brackets.
        """
        for text in ("nova", "nova.example.org", "10.0.0.1", "::1", "[fd00::1]", "a-b"):
            self.assertIsNone(problem_of_host(bare(text), text), text)
        self.assertEqual(bare("[fd00::1]"), "fd00::1")

    def test_mistakes_are_explained(self) -> None:
        """
        What is no host is met with what would be one.
        """
        for text, words in (
            ("http://nova", "without http://"),
            ("nova/", "without http://"),
            ("nova:8775", "the port belongs into nova_metadata_port"),
            ("10.0.0.1:8775", "the port belongs into nova_metadata_port"),
            ("[::1]:8775", "the port belongs into nova_metadata_port"),
            ("fe80::1%eth0", "zone"),
            ("300.1.1.1", "neither a host name nor an IP address"),
            ("-nova", "neither a host name nor an IP address"),
            ("no va", "neither a host name nor an IP address"),
            ("nova\n", "neither a host name nor an IP address"),
            ("növa", "neither a host name nor an IP address"),
            ("[nova]", "neither a host name nor an IP address"),
            ("::1::", "neither a host name nor an IP address"),
            ("", "neither a host name nor an IP address"),
        ):
            problem = problem_of_host(bare(text), text)
            self.assertIn(words, problem or "no problem", repr(text))


class PlaceTests(SynchronousTestCase):
    """
    Tests for L{place_of}.
    """

    def test_loopback_and_unix_are_private(self) -> None:
        """
        Loopback addresses and UNIX sockets are places for the operator's pages.
        """
        for text, place in (
            ("tcp:8085:interface=127.0.0.1", ("127.0.0.1", 8085)),
            ("tcp:port=8085:interface=127.9.9.9:backlog=5", ("127.9.9.9", 8085)),
            ("tcp:8085:interface=localhost", ("127.0.0.1", 8085)),
            (r"tcp6:8085:interface=\:\:1", ("::1", 8085)),
            ("unix:/run/mdproxy/status.sock:mode=600", "/run/mdproxy/status.sock"),
            ("unix:address=/run/x:mode=660", "/run/x"),
            ("unix:/run/x:660", "/run/x"),
        ):
            self.assertEqual(place_of(text), place)

    def test_all_else_is_refused(self) -> None:
        """
        What others may reach, and what is no endpoint, is refused with an example.
        """
        for text in (
            "",
            "8085",
            "tcp",
            "tcp:",
            "tcp:http",
            "tcp:8085",
            "tcp:0:interface=127.0.0.1",
            "tcp:70000:interface=127.0.0.1",
            "tcp:8085:interface=",
            "tcp:8085:interface=0.0.0.0",
            "tcp:8085:interface=10.0.0.1",
            "tcp:8085:interface=169.254.169.254",
            "tcp:8085:interface=nova",
            r"tcp6:8085:interface=\:\:",
            "tcp:8085:interface=127.0.0.1:nonsense=1",
            "unix:",
            "unix:/run/x:mode=rw",
            "unix::mode=600",
            "unix:\0abstract:mode=600",
            "ssl:8085",
            "systemd:domain=INET:index=0",
            "autobahn:x",
        ):
            error = self.assertRaises(ValueError, place_of, text)
            self.assertIn("like tcp:8085:interface=127.0.0.1", str(error), text)

    def test_remote(self) -> None:
        """
        Where others may come, an address of the host's or all of them will do, but not
        that which instances ask.
        """
        for text, place in (
            ("tcp:8085", ("0.0.0.0", 8085)),
            ("tcp:8085:interface=10.0.0.1", ("10.0.0.1", 8085)),
            ("tcp6:8085", ("::", 8085)),
            (r"tcp6:8085:interface=fd00\:\:1", ("fd00::1", 8085)),
            ("tcp:8085:interface=127.0.0.1", ("127.0.0.1", 8085)),
            ("unix:/run/x:mode=600", "/run/x"),
        ):
            self.assertEqual(place_of(text, remote=True), place)
        for text in (
            "tcp:80:interface=169.254.169.254",
            r"tcp6:80:interface=\:\:ffff\:169.254.169.254",
            r"tcp6:80:interface=fe80\:\:a9fe\:a9fe",
        ):
            error = self.assertRaises(ValueError, place_of, text, True)
            self.assertIn("is what instances ask", str(error))
        for text in ("tcp:0", "tcp:8085:interface=nova", "unix:/run/x", "tcp:x"):
            self.assertRaises(ValueError, place_of, text, True)

    def test_loopback(self) -> None:
        """
        Loopback addresses and UNIX sockets are this host's alone.
        """
        near: list[tuple[str, int] | str] = [("127.0.0.9", 1), ("::1", 1), "/run/x"]
        for place in near:
            self.assertTrue(is_loopback(place))
        for far in (("0.0.0.0", 1), ("::", 1), ("10.0.0.1", 1)):
            self.assertFalse(is_loopback(far))

    def test_others_stay_out(self) -> None:
        """
        A UNIX socket that others than its owner and its group may write to is refused;
        without a mode of its own everybody may.
        """
        for text in (
            "unix:/run/x",
            "unix:/run/x:mode=666",
            "unix:/run/x:mode=602",
            "unix:/run/x:mode=600:mode=777",
            "unix:/run/x:666",
        ):
            error = self.assertRaises(ValueError, place_of, text)
            self.assertIn("lets everybody in", str(error), text)


class CompletedTests(SynchronousTestCase):
    """
    Tests for L{completed}.
    """

    def test_a_mode_is_added(self) -> None:
        """
        A UNIX socket without a mode gets one that lets in its owner alone.
        """
        for text in (
            "unix:/run/x",
            "unix:address=/run/x:lockfile=0",
            r"unix:/run/a\:mode\=666",
            "unix:/run/mode",
        ):
            whole = completed(text)
            self.assertEqual(whole, f"{text}:mode=600")
            self.assertIsInstance(place_of(whole), str)

    def test_all_else_is_left_alone(self) -> None:
        """
        What has a mode, is no UNIX socket, or no endpoint, stays as it is.
        """
        for text in (
            "unix:/run/x:mode=660",
            "unix:mode=600:address=/run/x",
            "unix:/run/x:mode=666",
            "unix:/run/x:mode=777",
            "unix:/run/x:660",
            "unix:/run/x:666",
            "tcp:8085:interface=127.0.0.1",
            "unix:",
            "unix",
            "unix:/run/x\\",
            "unix:/run/x:mode=rw",
            "nonsense",
            "",
        ):
            self.assertEqual(completed(text), text)
