"""
Tests for L{mdproxy.operator_config}.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mdproxy.config import Config, ConfigError, load
from mdproxy.operator_config import LEVELS
from tests.lab import certs
from tests.test_config import ConfigCase

LISTENER = "[listener:br0]\n"
REMOTE = "tcp:8085:interface=10.0.0.1"


class IntrospectionTests(ConfigCase):
    """
    Tests for C{[introspection]}.
    """

    def pages(self, text: str, rest: str = LISTENER) -> Config:
        """
        Load a configuration with something in C{[introspection]}.
        """
        return self.load(rest=f"{rest}[introspection]\n{text}\n")

    def pages_faults(self, text: str, rest: str = LISTENER) -> list[str]:
        """
        List what is wrong with it.
        """
        return self.faults(rest=f"{rest}[introspection]\n{text}\n")

    def setUp(self) -> None:
        """
        Make certificates.
        """
        super().setUp()
        directory = Path(self.mktemp())
        directory.mkdir()
        self.certificates = certs.make(directory)

    def tls(self, **changes: object) -> str:
        """
        Name the files of TLS.

        @param changes: What differs, by option.
        """
        files = {
            "certificate": self.certificates.server.certificate,
            "private_key": self.certificates.server.key,
            "client_ca": self.certificates.ca,
            **changes,
        }
        return "".join(f"{name} = {path}\n" for name, path in files.items())

    def test_it_is_private(self) -> None:
        """
        Without more ado the pages are on a loopback address or a UNIX socket.
        """
        for value in ("", "systemd:x", "no", "tcp:8085:interface=nova"):
            [fault] = self.pages_faults(f"endpoint = {value}")
            self.assertTrue(fault.startswith("[introspection] endpoint: "), fault)
            self.assertIn("like tcp:8085:interface=127.0.0.1", fault)
        for value in ("tcp:8085", REMOTE, r"tcp6:8085:interface=\:\:"):
            [fault] = self.pages_faults(f"endpoint = {value}")
            self.assertIn("[introspection] endpoint: ", fault)
            self.assertIn("is reachable from outside: set certificate", fault)

    def test_certificates_open_it(self) -> None:
        """
        Where operators have to show a certificate the pages may be anywhere, without a
        note.
        """
        config = self.pages(f"endpoint = {REMOTE}\n{self.tls()}")
        self.assertEqual(config.introspection.endpoint, REMOTE)
        self.assertEqual(config.notes, ())
        assert config.introspection.client_ca is not None

    def test_allowed_to_all(self) -> None:
        """
        Where the operator says so the pages are open to whoever reaches them, which is
        noted.
        """
        for more, end in (
            ("", "all pages in clear"),
            (self.tls().rsplit("client_ca", 1)[0], "all pages"),
        ):
            config = self.pages(f"endpoint = {REMOTE}\nallow_remote = true\n{more}")
            [note] = config.notes
            self.assertIn("[introspection] allow_remote: whoever reaches", note)
            self.assertIn(f" can read {end}; so can instances", note)

    def test_a_certificate_alone_is_not_enough(self) -> None:
        """
        A certificate of ours without any of theirs keeps nobody out.
        """
        more = self.tls().rsplit("client_ca", 1)[0]
        [fault] = self.pages_faults(f"endpoint = {REMOTE}\n{more}")
        self.assertIn("is reachable from outside", fault)

    def test_files_belong_together(self) -> None:
        """
        A certificate needs its key, a key its certificate, and who asks others for
        theirs has one.
        """
        for option, missing in (
            ("certificate", ["private_key"]),
            ("private_key", ["certificate"]),
            ("client_ca", ["certificate"]),
        ):
            faults = self.pages_faults(f"{option} = {self.file('PEM')}")
            found = [fault.partition(":")[0] for fault in faults]
            self.assertEqual(found, [f"[introspection] {each}" for each in missing])

    def test_files_are_there(self) -> None:
        """
        The files can be read, and the key is private.
        """
        certificate, key = self.file("PEM"), self.file("PEM", 0o644)
        faults = self.pages_faults(
            f"certificate = {certificate}\nprivate_key = {key}\nclient_ca = /none/ca"
        )
        self.assertIn("chmod 0600", faults[0])
        self.assertIn("[introspection] client_ca: /none/ca cannot be read", faults[1])

    def test_files_fit(self) -> None:
        """
        OpenSSL takes the files, and the key is that of the certificate.
        """
        for option, path, words in (
            ("certificate", self.file("PEM"), "no readable PEM certificate"),
            ("private_key", self.certificates.client.key, "is not the key of"),
            ("client_ca", self.file("PEM"), "no readable PEM certificates"),
        ):
            [fault] = self.pages_faults(self.tls(**{option: path}))
            self.assertTrue(fault.startswith(f"[introspection] {option}: "), fault)
            self.assertIn(words, fault)

    def test_no_certificate_on_a_socket(self) -> None:
        """
        A UNIX socket has no use for a certificate, which is a fault.
        """
        [fault] = self.pages_faults(f"endpoint = unix:/run/x\n{self.tls()}")
        self.assertIn("[introspection] certificate: has no meaning for a UNIX", fault)

    def test_a_socket_is_its_owners(self) -> None:
        """
        A UNIX socket is made for its owner alone unless a mode says otherwise, and
        never for everybody.
        """
        for mode, whole in (("", ":mode=600"), (":mode=660", ":mode=660")):
            config = self.pages(f"endpoint = unix:/run/x{mode}")
            self.assertEqual(config.introspection.endpoint, f"unix:/run/x{whole}")
        [fault] = self.pages_faults("endpoint = unix:/run/x:mode=666")
        self.assertIn("[introspection] endpoint: 'unix:/run/x:mode=666' lets", fault)

    def test_it_is_not_where_instances_ask(self) -> None:
        """
        A listener's address and port is no place for the operator's pages, nor is what
        instances know.
        """
        for address in ("127.0.0.1", "0.0.0.0"):
            listener = f"kind = address\naddress = {address}\nidentify_by = address\n"
            [fault] = self.pages_faults("", f"[listener:a]\nport = 8085\n{listener}")
            self.assertIn("[introspection] endpoint: is where [listener:a]", fault)
            self.assertEqual(len(self.pages("", f"[listener:a]\n{listener}").notes), 1)
        [fault] = self.pages_faults(
            "endpoint = tcp:80:interface=169.254.169.254\nallow_remote = true"
        )
        self.assertIn("is what instances ask", fault)

    def test_everywhere_is_where_instances_ask(self) -> None:
        """
        Pages on every address can't have the port of any listener.
        """
        for endpoint in ("tcp:80", "tcp:80:interface=0.0.0.0", r"tcp6:80"):
            text = f"endpoint = {endpoint}\nallow_remote = true"
            [fault] = self.pages_faults(text)
            self.assertIn("[introspection] endpoint: is where [listener:br0]", fault)
        self.pages("endpoint = tcp:81\nallow_remote = true")

    def test_it_is_not_what_neutron_asks(self) -> None:
        """
        Nor is the UNIX socket of a listener.
        """
        [fault] = self.pages_faults(
            "endpoint = unix:/run/x", "[listener:a]\nkind = socket\npath = /run/x\n"
        )
        self.assertIn("[introspection] endpoint: is where [listener:a]", fault)

    def test_hosts(self) -> None:
        """
        Names with or without a port are taken, in lower case, each once.
        """
        config = self.pages("allowed_hosts = Ops.Example, ops.example:443, [FD00::1]:1")
        self.assertEqual(
            config.introspection.allowed_hosts,
            ("ops.example", "ops.example:443", "[fd00::1]:1"),
        )

    def test_no_hosts(self) -> None:
        """
        What is no name is a fault, patterns included.
        """
        for text in ("*", "a/b", "a:b", "a:0", "a:65536", "a b", "[::1", "::1", "[a]"):
            [fault] = self.pages_faults(f"allowed_hosts = {text}")
            self.assertIn("[introspection] allowed_hosts: ", fault)


class LogTests(ConfigCase):
    """
    Tests for C{[log]}.
    """

    def test_levels(self) -> None:
        """
        A level is for a namespace, or for all else.
        """
        text = "levels = mdproxy.lookup = debug, error, twisted=critical"
        self.assertEqual(
            self.load(rest=f"{LISTENER}[log]\n{text}\n").log.levels,
            (("mdproxy.lookup", "debug"), ("", "error"), ("twisted", "critical")),
        )

    def test_no_levels(self) -> None:
        """
        What names no level, no module, or the same twice, is a fault.
        """
        for text, words in (
            ("mdproxy=loud", "there is no 'loud': "),
            ("mdproxy=inf", "did you mean info?"),
            ("=info", "is not written NAME=LEVEL"),
            ("a b=info", "is not written NAME=LEVEL"),
            ("mdproxy.=info", "is not written NAME=LEVEL"),
            ("a=info, a=debug", "a stands there twice"),
            ("info, debug", "a level for all else stands there twice"),
        ):
            [fault] = self.faults(rest=f"{LISTENER}[log]\nlevels = {text}\n")
            self.assertIn("[log] levels: ", fault)
            self.assertIn(words, fault)

    def test_access_log(self) -> None:
        """
        The access log is off, the journal's, or a file that is found from anywhere.
        """
        for value in ("", "journal", "/var/log/mdproxy/access.log"):
            rest = f"{LISTENER}[log]\naccess_log = {value}\n"
            self.assertEqual(self.load(rest=rest).log.access_log, value)
        [fault] = self.faults(rest=f"{LISTENER}[log]\naccess_log = access.log\n")
        self.assertIn("[log] access_log: 'access.log' is neither journal nor", fault)

    @given(st.lists(st.text(st.characters(exclude_characters="\n\r#;$")), max_size=4))
    def test_any_levels(self, words: list[str]) -> None:
        """
        Whatever is written for levels becomes levels or faults.
        """
        path = self.file(f"[DEFAULT]\nmetadata_proxy_shared_secret = s\n{LISTENER}")
        with open(path, "a") as file:
            file.write(f"[log]\nlevels = {','.join(words)}\n")
        try:
            levels = load([path]).log.levels
        except ConfigError as error:
            self.assertNotEqual(error.faults, ())
        else:
            self.assertLessEqual({level for _name, level in levels}, set(LEVELS))


class ManholeTests(ConfigCase):
    """
    Tests for C{[manhole]}.
    """

    def manhole_faults(self, text: str, rest: str = LISTENER) -> list[str]:
        """
        List what is wrong with something in C{[manhole]}.
        """
        return self.faults(rest=f"{rest}[manhole]\n{text}\n")

    def test_off(self) -> None:
        """
        Without an endpoint there is none, whatever else stands there.
        """
        config = self.load(rest=f"{LISTENER}[manhole]\nhost_key =\n")
        self.assertIsNone(config.manhole)

    def test_it_is_private(self) -> None:
        """
        It is on loopback or a UNIX socket of its owner's, and nothing opens it to
        others.
        """
        config = self.load(rest=f"{LISTENER}[manhole]\nendpoint = unix:/run/m\n")
        assert config.manhole is not None
        self.assertEqual(config.manhole.place, "/run/m")
        for value in (
            *(REMOTE, "tcp:22", "ssl:22", "1"),
            *("unix:/run/m:mode=666", "unix:/run/m:mode=660"),
        ):
            rest = f"{LISTENER}[introspection]\nallow_remote = true\n"
            [fault] = self.manhole_faults(f"endpoint = {value}", rest)
            self.assertIn("[manhole] endpoint: ", fault)

    def test_it_has_a_place_of_its_own(self) -> None:
        """
        It is neither where instances ask nor where the pages are.
        """
        agent = "[listener:a]\nkind = socket\npath = /run/x\n"
        [fault] = self.manhole_faults("endpoint = unix:/run/x", agent)
        self.assertIn("[manhole] endpoint: is where [listener:a]", fault)
        [fault] = self.manhole_faults("endpoint = tcp:8085:interface=127.0.0.1")
        self.assertIn("is where [introspection] endpoint is", fault)
        [fault] = self.manhole_faults(
            "endpoint = tcp:9:interface=127.0.0.1",
            f"{LISTENER}[introspection]\nendpoint = tcp:9\nallow_remote = true\n",
        )
        self.assertIn("is where [introspection] endpoint is", fault)

    def test_it_names_its_files(self) -> None:
        """
        Where there is one it must be told who may log in, and what its key is.
        """
        for option in ("authorized_keys", "host_key"):
            [fault] = self.manhole_faults(f"endpoint = unix:/run/m\n{option} =")
            self.assertIn(f"[manhole] {option}: is empty", fault)
