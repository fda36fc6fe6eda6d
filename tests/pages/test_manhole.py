"""
The manhole of the real service, come into by OpenSSH's client.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from tests.corpus.test_corpus import free_port
from tests.pages.scene import wait_for
from tests.running import SECRET, VICTIM, Running, ThreadedNova

#: Nobody waits longer than this for anything, in seconds.
_PATIENCE = 60

#: Every way of C{ssh} that is not asked for by name.
_OPTIONS = {
    "BatchMode": "yes",
    "ExitOnForwardFailure": "yes",
    "IdentitiesOnly": "yes",
    "StrictHostKeyChecking": "accept-new",
}


def make_key(path: Path, kind: str = "ed25519") -> str:
    """
    Make a key of the operator's.

    @return: Its fingerprint.
    """
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, timeout=_PATIENCE)
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=_PATIENCE,
    )
    return shown.stdout.split()[1]


@define
class Said:
    """
    How an C{ssh} has ended.

    @ivar status: Its exit status; 255 is its own trouble.
    @ivar shown: What was on its screen.
    @ivar problem: What it said on standard error.
    """

    status: int
    shown: str
    problem: str


class ManholeCase(SynchronousTestCase):
    """
    The service with a manhole, and an operator with a key.
    """

    def setUp(self) -> None:
        """
        Start it.
        """
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.fingerprint = make_key(self.directory / "right")
        authorized = self.directory / "authorized"
        authorized.write_bytes((self.directory / "right.pub").read_bytes())
        authorized.chmod(0o600)
        self.nova = ThreadedNova()
        self.addCleanup(self.nova.stop)
        self.port = free_port()
        self.running: Running | None = Running.before(
            self.directory,
            self.nova.port,
            {
                "manhole": {
                    "endpoint": self.endpoint(),
                    "authorized_keys": authorized,
                    "host_key": self.directory / "host",
                }
            },
        )
        self.addCleanup(self.stop)
        wait_for("the manhole", self.listens)

    def listens(self) -> bool:
        """
        Tell whether it can be come in by.
        """
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", self.port)) == 0

    def endpoint(self) -> str:
        """
        Say where the manhole is.
        """
        return f"tcp:{self.port}:interface=127.0.0.1"

    def stop(self) -> str:
        """
        Have it end, once.

        @return: What it logged.
        """
        running, self.running = self.running, None
        return "" if running is None else running.stop()

    def ssh(
        self,
        *arguments: str,
        key: str = "right",
        types: str = "",
        before: Sequence[str] = (),
        **options: str,
    ) -> Said:
        """
        Go in.

        @param arguments: C{ssh}'s, behind the host.
        @param key: The operator's key.
        @param types: What he types.
        @param before: A command that runs C{ssh}.
        @param options: More of C{ssh_config}.
        """
        known = {"UserKnownHostsFile": str(self.directory / "known")}
        given = {"Port": str(self.port), **_OPTIONS, **known, **options}
        given.setdefault("IdentityAgent", "none")
        chosen = [f"-o{name}={value}" for name, value in given.items()]
        command = ["ssh", "-F", "none", *chosen, "-i", str(self.directory / key)]
        done = subprocess.run(
            [*before, *command, "op@127.0.0.1", *arguments],
            input=types,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        return Said(done.returncode, done.stdout, done.stderr)


class TcpTests(ManholeCase):
    """
    At a port of loopback.
    """

    def test_inside(self) -> None:
        """
        Who has the key asks why an instance got nothing, and what is known of the
        networks; that he came and went is in the log, what he typed is not.
        """
        typed = f'why("{VICTIM.address}")\nsources()\nproxy.signer\nexit()\n'
        said = self.ssh("-tt", types=typed)
        self.assertEqual(said.status, 0, said)
        for words in (VICTIM.name, VICTIM.address, "'static'", "'live'", "Signer("):
            self.assertIn(words, said.shown)
        self.assertNotIn(SECRET.decode(), said.shown)
        log = self.stop()
        self.assertIn(f"with {self.fingerprint} has logged in", log)
        self.assertIn(f"with {self.fingerprint} has left", log)
        self.assertNotIn("why(", log)

    def test_served(self) -> None:
        """
        Whatever happens inside, instances are served.
        """
        said = self.ssh("-tt", types="1 / 0\nraise SystemExit\n")
        self.assertEqual(said.status, 0, said)
        self.assertIn("ZeroDivisionError", said.shown)
        assert self.running is not None
        with self.running.connect(VICTIM) as line:
            line.sendall(
                b"GET /x HTTP/1.1\r\nHost: a\r\nUser-Agent: %b\r\n"
                b"Connection: close\r\n\r\n" % VICTIM.name.encode()
            )
            with line.makefile("rb") as heard:
                self.assertIn(b" 200 ", heard.readline())

    def assert_refused(self, said: Said, words: str, logged: str) -> None:
        """
        Somebody did not get what he wanted, and the log says what that was.
        """
        self.assertEqual(said.status, 255, said)
        self.assertIn(words, said.problem)
        self.assertNotIn(">>>", said.shown)
        self.assertIn(logged, self.stop())

    def test_wrong_key(self) -> None:
        """
        G5: who has another key stays outside; the log has its fingerprint.
        """
        name = make_key(self.directory / "wrong")
        said = self.ssh("-tt", key="wrong")
        words = "Permission denied (publickey)."
        self.assert_refused(said, words, f"has no key that opens: {name}")

    def test_no_key(self) -> None:
        """
        Nothing else opens, a password least of all.
        """
        said = self.ssh(
            "-tt",
            PubkeyAuthentication="no",
            PreferredAuthentications="password,keyboard-interactive",
            BatchMode="no",
            NumberOfPasswordPrompts="1",
        )
        self.assert_refused(said, "Permission denied (publickey).", "")

    def test_no_command(self) -> None:
        """
        No command is run.
        """
        said = self.ssh("id")
        self.assert_refused(said, "exec request failed", "may not have exec")

    def test_no_subsystem(self) -> None:
        """
        No file is carried.
        """
        said = self.ssh("-s", "sftp")
        words = "subsystem request failed"
        self.assert_refused(said, words, "may not have subsystem")

    def test_nothing_out(self) -> None:
        """
        Nothing is forwarded from us.
        """
        said = self.ssh("-W", f"127.0.0.1:{self.nova.port}")
        words = "administratively prohibited"
        self.assert_refused(said, words, "may not open a channel of type direct-tcpip")
        self.assertEqual(self.nova.questions, [])

    def test_nothing_in(self) -> None:
        """
        Nothing is forwarded to the operator.
        """
        said = self.ssh("-N", "-R", f"{free_port()}:127.0.0.1:{self.nova.port}")
        words = "remote port forwarding failed"
        self.assert_refused(said, words, "may not have tcpip-forward")

    def test_no_agent(self) -> None:
        """
        The operator's agent is not for us.
        """
        said = self.ssh(
            *("-tt", "-A"),
            types="exit()\n",
            before=("ssh-agent",),
            IdentityAgent="SSH_AUTH_SOCK",
        )
        self.assertEqual(said.status, 0, said)
        self.assertIn("may not have auth-agent-req@openssh.com", self.stop())


class UnixTests(ManholeCase):
    """
    At a UNIX socket, by C{mdproxyctl}.
    """

    def endpoint(self) -> str:
        """
        Say where the manhole is.
        """
        return f"unix:{self.directory}/manhole.sock"

    def listens(self) -> bool:
        """
        Tell whether it can be come in by.
        """
        return (self.directory / "manhole.sock").exists()

    def test_inside(self) -> None:
        """
        The line in the documentation goes in, and says who came.
        """
        program = Path(sys.executable).with_name("mdproxyctl")
        config = self.directory / "mdproxy.conf"
        proxy = f"{program} manhole --config-file {config}"
        said = self.ssh("-tt", types="sources()\nexit()\n", ProxyCommand=proxy)
        self.assertEqual(said.status, 0, said)
        self.assertIn("'static'", said.shown)
        self.assertIn("of user", self.stop())
