"""
The corpus, sent through the real proxy on loopback in three ways.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import yaml
from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from tests.corpus.cases import CORPUS, MORE, load
from tests.corpus.client import Mode
from tests.corpus.judge import Verdict
from tests.corpus.recorder import Recorder
from tests.corpus.runner import Instance, Runner

_LONGEST_START = 30.0


def free_port() -> int:
    """
    Find a port on loopback that nobody listens on.

    @return: The port.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def write_ini(path: Path, sections: Mapping[str, Mapping[str, object]]) -> None:
    """
    Write a configuration that only its owner can read, for it has the secret.

    @param path: Where to.
    @param sections: Its sections with their options.
    """
    path.touch(0o600)
    with path.open("w") as file:
        for name, options in sections.items():
            file.write(f"[{name}]\n")
            file.writelines(
                f"{option} = {value}\n" for option, value in options.items()
            )


@define
class Proxy:
    """
    C{twistd mdproxy} in front of a recorder, with one instance on loopback.

    @ivar _process: The process.
    @ivar _log: Where it writes.
    @ivar port: Where it listens.
    """

    _process: subprocess.Popen[bytes]
    _log: Path
    port: int

    @classmethod
    def start(cls, directory: Path, nova: int, instance: Instance) -> Proxy:
        """
        Start it, and wait until it listens.

        @param directory: For its files.
        @param nova: The recorder's port.
        @param instance: Who asks from loopback.

        @return: The running proxy.
        """
        port = free_port()
        cls._configure(directory, port, nova, instance)
        return cls.run(directory, port)

    @classmethod
    def run(cls, directory: Path, port: int) -> Proxy:
        """
        Start it with the files that there are, and wait until it listens.

        @param directory: Where its configuration is.
        @param port: The port that this has it listen on.

        @return: The running proxy.
        """
        log = directory / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("twistd"),
                    *("--nodaemon", "--pidfile=", "mdproxy"),
                    *("--config-file", "mdproxy.conf"),
                ],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        proxy = cls(process, log, port)
        proxy._await_listener()
        return proxy

    @property
    def pid(self) -> int:
        """
        Name its process.
        """
        return self._process.pid

    @staticmethod
    def _configure(directory: Path, port: int, nova: int, instance: Instance) -> None:
        """
        Write its files.
        """
        known = {
            "network": "loopback",
            "mac": "02:00:00:00:00:01",
            "addresses": [instance.address],
            "instance": instance.instance_id,
            "project": instance.project_id,
        }
        (directory / "instances.yaml").write_text(yaml.safe_dump({"ports": [known]}))
        defaults = {
            "nova_metadata_port": nova,
            "metadata_proxy_shared_secret": instance.secret,
        }
        listener = {
            "kind": "address",
            "address": "127.0.0.1",
            "port": port,
            "identify_by": "address",
        }
        pages = {"endpoint": f"tcp:{free_port()}:interface=127.0.0.1"}
        write_ini(
            directory / "mdproxy.conf",
            {
                "DEFAULT": defaults,
                "static": {"path": (directory / "instances.yaml").resolve()},
                "listener:loopback": listener,
                "introspection": pages,
                # Whatever comes to Nova is what the corpus sent.
                "upstream": {"check_interval": 0},
            },
        )

    def _await_listener(self) -> None:
        """
        Wait until it accepts connections.

        @raise AssertionError: If it ends, or takes too long; with what it said.
        """
        deadline = time.monotonic() + _LONGEST_START
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self._process.kill()
        self._process.wait()
        raise AssertionError(f"the proxy doesn't listen: {self.said()}")

    def said(self) -> str:
        """
        Read its log.

        @return: All of it.
        """
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        """
        Ask it to end.

        @return: Its exit status.
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class CorpusTests(SynchronousTestCase):
    """
    Tests for what becomes of hostile requests.
    """

    def setUp(self) -> None:
        """
        Start the recorder and the proxy before it.
        """
        self.instance = Instance()
        self.nova = Recorder()
        self.addCleanup(self.nova.server_close)
        threading.Thread(target=self.nova.serve_forever, daemon=True).start()
        self.addCleanup(self.nova.shutdown)
        directory = Path(self.mktemp())
        directory.mkdir()
        port: int = self.nova.server_address[1]
        self.proxy = Proxy.start(directory, port, self.instance)

    def assert_all_pass(
        self, mode: Mode, path: Path = CORPUS, count: int = 212
    ) -> None:
        """
        Assert that every case passes, that the proxy lives to be asked to stop, and
        that its log has nothing in it that nobody may see or nobody thought of.

        @param mode: How requests are cut into writes.
        @param path: Where the cases are.
        @param count: How many there have to be.
        """
        cases = load(path)
        runner = Runner(self.proxy.port, self.nova, mode, self.instance)
        results = list(runner.run(cases))
        status = self.proxy.stop()
        counts = dict.fromkeys(Verdict, 0)
        for result in results:
            counts[result.verdict] += 1
        faults = [str(result) for result in results if result.faults]
        wanted = dict.fromkeys(Verdict, 0) | {Verdict.PASS: count}
        self.assertEqual(counts, wanted, os.linesep.join(faults))
        self.assertEqual(status, 0)
        log = self.proxy.said()
        for hidden in (
            "Traceback",
            self.instance.secret,
            self.instance.headers()["x-instance-id-signature"],
        ):
            self.assertNotIn(hidden, log)

    def test_whole(self) -> None:
        """
        Every case passes when it is sent in one write.
        """
        self.assert_all_pass(Mode.WHOLE)

    def test_tokens(self) -> None:
        """
        Every case passes when it is cut behind each separator.
        """
        self.assert_all_pass(Mode.TOKENS)

    def test_bytes(self) -> None:
        """
        Every case passes when it is sent byte by byte.
        """
        self.assert_all_pass(Mode.BYTES)

    def test_more_whole(self) -> None:
        """
        So does every case of the classes that the corpus doesn't have, in one write.
        """
        self.assert_all_pass(Mode.WHOLE, MORE, 567)

    def test_more_tokens(self) -> None:
        """
        They pass cut behind each separator.
        """
        self.assert_all_pass(Mode.TOKENS, MORE, 567)

    def test_more_bytes(self) -> None:
        """
        They pass byte by byte.
        """
        self.assert_all_pass(Mode.BYTES, MORE, 567)


class CasesTests(SynchronousTestCase):
    """
    Tests for the cases themselves.
    """

    def test_each_is_new(self) -> None:
        """
        No two cases have the same name or the same bytes.
        """
        cases = load() + load(MORE)
        for of in ("name", "raw"):
            self.assertEqual(len({getattr(case, of) for case in cases}), len(cases))
