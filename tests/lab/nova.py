"""
The real Nova metadata API, for the lab.

Nova 34 from PyPI in an environment of its own, on SQLite, with the instances of
C{instances.yaml}, served by gunicorn as Nova's documentation has it (Nova 34 brings no
server).  L{build} makes it once and keeps it; a L{NovaProcess} serves a copy, so that
any number of them can run and none leaves a trace for the next.

C{python -m tests.lab.nova build} and C{python -m tests.lab.nova serve --port 8775}
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from attrs import frozen

from mdproxy.devnova_tree import Instance, read_instances
from tests.lab.certs import Certificates, KeyPair, make

HERE = Path(__file__).parent
INSTANCES = HERE / "instances.yaml"
CACHE = HERE.parent.parent / ".cache" / "nova"
#: The secret that Nova shares with the proxy.
SECRET = "deadbeef2eb84d8d"
_FILES = HERE / "nova_files"
_CONSTRAINTS = _FILES / "constraints.txt"
#: What a process gets a copy of.
_COPIED = ("nova_api.db", "nova.db", "nova.db.cell0", "seed.json")
#: How long Nova may take until it answers; the first time it compiles itself.
_PATIENCE = 180.0

_CONF = """\
[DEFAULT]
host = mdproxy-lab
transport_url = fake://
state_path = {run}
log_file = {run}/nova.log
use_stderr = false
[api_database]
connection = sqlite:///{run}/nova_api.db
[database]
connection = sqlite:///{run}/nova.db
[oslo_concurrency]
lock_path = {run}
[api]
metadata_cache_expiration = {cache_seconds}
[wsgi]
api_paste_config = {run}/api-paste.ini
[neutron]
service_metadata_proxy = true
metadata_proxy_shared_secret = {secret}
auth_type = none
"""
#: Nova fills these in from C{[database]connection}: so the databases can be moved.
_CELL0, _CELL1 = "sqlite:////{path}.cell0", "sqlite:////{path}"


class CannotInstall(Exception):
    """
    Nova can't be had here: no Python that it runs on, or no package index.
    """


class BrokenNova(Exception):
    """
    Nova was installed, but can't be prepared or does not start.
    """


@frozen
class NovaTree:
    """
    A Nova that is ready to be served.

    @ivar venv: Its environment.
    @ivar databases: Its databases, and the file of instances that they were made of.
    """

    venv: Path
    databases: Path


def build(
    cache: Path = CACHE,
    instances: Path = INSTANCES,
    say: Callable[[str], None] = lambda line: None,
) -> NovaTree:
    """
    Install and seed Nova, unless that was done before with the same ingredients.

    @param cache: Where it is kept.
    @param say: Told what takes long.

    @raise CannotInstall: It can't be had here.
    @raise BrokenNova: It can, but it does not work.
    """
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    tree = NovaTree(cache / "venv", cache / "databases")
    python = _python()
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        version = subprocess.check_output([python, "-VV"])
        key = _digest(version, bytes(tree.venv), _CONSTRAINTS.read_bytes())
        with made_once(tree.venv, key) as missing:
            if missing:
                say("installing Nova 34 (one to three minutes)")
                _install(python, tree.venv, cache / "install.log")
        seed = json.dumps([_seed(each) for each in read_instances(instances)])
        script = (_FILES / "seed.py").read_bytes()
        key = _digest(key.encode(), seed.encode(), script, _CONF.encode())
        with made_once(tree.databases, key) as missing:
            if missing:
                say("making Nova's databases (half a minute)")
                _make_databases(tree, seed, cache / "databases.log")
    return tree


def _python() -> str:
    """
    Find a Python that Nova 34 runs on; C{MDPROXY_LAB_PYTHON} overrules.
    """
    if "MDPROXY_LAB_PYTHON" in os.environ:
        return os.environ["MDPROXY_LAB_PYTHON"]
    if sys.version_info >= (3, 11):
        return sys.executable
    for name in ("python3.13", "python3.12", "python3.11"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise CannotInstall("Nova 34 needs Python 3.11 or later; set MDPROXY_LAB_PYTHON")


def _digest(*ingredients: bytes) -> str:
    """
    Name what something was made of.
    """
    parts = b"".join(hashlib.sha256(each).digest() for each in ingredients)
    return hashlib.sha256(parts).hexdigest()


@contextmanager
def made_once(directory: Path, key: str) -> Iterator[bool]:
    """
    Have a directory made, unless it was made to the end of the same ingredients.

    The mark is written last, so that what was interrupted is not taken for complete.
    """
    mark = directory / ".made-of"
    missing = not (mark.is_file() and mark.read_text() == key)
    if missing and directory.exists():
        shutil.rmtree(directory)
    yield missing
    mark.write_text(key)


def _install(python: str, venv: Path, log: Path) -> None:
    """
    Install Nova and gunicorn with their exact versions.
    """
    pip = [str(venv / "bin" / "pip"), "install", "--disable-pip-version-check"]
    pip += ["--no-compile", "--retries", "2", "--constraint", str(_CONSTRAINTS)]
    steps = [[python, "-m", "venv", str(venv)], [*pip, "nova", "gunicorn"]]
    for step in steps:
        if _run(step, log) != 0:
            raise CannotInstall(f"Nova can't be installed here:\n{_tail(log)}")


def _make_databases(tree: NovaTree, seed: str, log: Path) -> None:
    """
    Make the tables and enter the instances.
    """
    run = tree.databases
    run.mkdir()
    conf, plan = _write_conf(run, SECRET, 0), run / "seed.json"
    plan.write_text(seed, "utf-8")
    python = str(tree.venv / "bin" / "python")
    manage = [
        python,
        str(tree.venv / "bin" / "nova-manage"),
        "--config-file",
        str(conf),
    ]
    cell1 = ["cell_v2", "create_cell", "--name", "cell1", "--transport-url", "fake://"]
    cell1 += ["--database_connection", _CELL1]
    steps = [
        [*manage, "api_db", "sync"],
        [*manage, "cell_v2", "map_cell0", "--database_connection", _CELL0],
        [*manage, "db", "sync"],
        [*manage, *cell1],
        [python, str(_FILES / "seed.py"), str(conf), str(plan)],
    ]
    for step in steps:
        if _run(step, log) != 0:
            raise BrokenNova(f"{' '.join(step)} failed:\n{_tail(log)}")


def _run(command: Sequence[str], log: Path) -> int:
    """
    Run a command, with all that it says in a file.
    """
    with log.open("wb") as out:
        return subprocess.run(
            command, stdout=out, stderr=out, env=_environment(), check=False
        ).returncode


def _tail(log: Path) -> str:
    """
    Quote the end of a log.
    """
    if not log.is_file():
        return ""
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])


def _environment(**more: str) -> dict[str, str]:
    """
    Make an environment without what belongs to our own interpreter.
    """
    ours = ("PYTHON", "VIRTUAL_ENV")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return {**kept, "PYTHONWARNINGS": "ignore", **more}


def _write_conf(run: Path, secret: str, cache_seconds: int) -> Path:
    """
    Write Nova's configuration.
    """
    conf = run / "nova.conf"
    conf.touch(0o600)
    # Nova takes a "$" in a value for the name of another option.
    conf.write_text(
        _CONF.format(
            run=run,
            secret=secret.replace("$", "$$"),
            cache_seconds=cache_seconds,
        )
    )
    return conf


def _seed(each: Instance) -> dict[str, object]:
    """
    Describe an instance to C{seed.py}, which can't import us.
    """
    raw = each.user_data
    return {
        "number": each.number,
        "instance": each.instance,
        "project": each.project,
        "hostname": each.hostname,
        "availability_zone": each.availability_zone,
        "keys": dict(each.keys),
        "user_data": None if raw is None else base64.b64encode(raw).decode(),
        "network": each.network,
        "network_id": str(each.network_id),
        "mac": each.mac,
        "vif": str(each.vif),
        "tap": each.tap,
        "addresses": list(each.addresses),
        "cidr": f"{each.on_subnet(0)}/24",
        "gateway": each.on_subnet(1),
        "dns": each.on_subnet(2),
    }


def free_port() -> int:
    """
    Find a loopback port that nobody listens on now.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class NovaProcess:
    """
    Nova at work: a context manager around gunicorn and its children.

    @ivar host: The address that it listens on.
    @ivar port: The port that it listens on.
    """

    def __init__(
        self,
        tree: NovaTree,
        host: str = "127.0.0.1",
        port: int = 8775,
        tls: Certificates | None = None,
        *,
        server: KeyPair | None = None,
        netns: str | None = None,
        secret: str = SECRET,
        cache_seconds: int = 15,
    ) -> None:
        """
        Get ready; L{start} starts.

        @param tls: Serve TLS, and only those who hold a certificate of its CA.
        @param server: The certificate to show instead of C{tls.server}.
        @param netns: The network namespace to serve in; its loopback must be up.
        @param cache_seconds: How long Nova remembers an instance (its default: 15); 0:
            not at all.  C{OS_API__METADATA_CACHE_EXPIRATION} in the environment wins.
        """
        self.host, self.port = host, port
        self._tree, self._tls, self._netns = tree, tls, netns
        self._server = server or (tls.server if tls else None)
        self._secret, self._cache_seconds = secret, cache_seconds
        self._run: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> NovaProcess:
        """
        Start.
        """
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """
        Stop.
        """
        self.stop()

    @property
    def log(self) -> str:
        """
        Quote the end of what gunicorn and Nova logged.
        """
        run = self._directory()
        return f"{_tail(run / 'gunicorn.log')}\n{_tail(run / 'nova.log')}"

    @property
    def accesses(self) -> str:
        """
        Quote gunicorn's access log: a line for each request that was answered.
        """
        return (self._directory() / "access.log").read_text("utf-8", "replace")

    def start(self) -> None:
        """
        Start serving, and return when requests are answered.

        @raise BrokenNova: It ended, or took too long.
        """
        run = self._run = Path(tempfile.mkdtemp(prefix="mdproxy-nova-"))
        try:
            for name in _COPIED:
                shutil.copyfile(self._tree.databases / name, run / name)
            shutil.copyfile(
                self._tree.venv / "etc" / "nova" / "api-paste.ini",
                run / "api-paste.ini",
            )
            _write_conf(run, self._secret, self._cache_seconds)
            reading, writing = os.pipe()
            with os.fdopen(reading, "rb", 0) as ready:
                try:
                    self._process = self._spawn(run, writing)
                finally:
                    os.close(writing)
                # At its end without a word, all who could have written are gone.
                readable, _, _ = select.select([ready], [], [], _PATIENCE)
                if not readable or not ready.read(1):
                    raise BrokenNova(f"Nova does not start:\n{self.log}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """
        End gunicorn, which ends its children, and forget what instances posted.
        """
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._run is not None:
            shutil.rmtree(self._run)
            self._run = None

    def wait(self) -> None:
        """
        Wait until gunicorn ends by itself.
        """
        if self._process is not None:
            self._process.wait()

    def password(self, instance: str) -> str:
        """
        Look up in the database what password an instance posted.

        @param instance: The instance's id.

        @return: The password; empty: none.
        """
        with sqlite3.connect(self._directory() / "nova.db") as database:
            rows = database.execute(
                "SELECT value FROM instance_system_metadata WHERE instance_uuid = ?"
                " AND key LIKE 'password!_%' ESCAPE '!' AND deleted = 0 ORDER BY key",
                (instance,),
            ).fetchall()
        database.close()
        return "".join(value for (value,) in rows)

    def _directory(self) -> Path:
        """
        Name the directory of a process that runs.
        """
        if self._run is None:
            raise BrokenNova("Nova is not running")
        return self._run

    def _spawn(self, run: Path, ready: int) -> subprocess.Popen[bytes]:
        """
        Start gunicorn.

        @param ready: The descriptor that is written to when requests can come.
        """
        environment = _environment(
            PYTHONPATH=str(_FILES),
            OS_NOVA_CONFIG_DIR=str(run),
            MDPROXY_LAB_SEED=str(run / "seed.json"),
            MDPROXY_LAB_READY=str(ready),
        )
        with (run / "gunicorn.log").open("wb") as log:
            return subprocess.Popen(
                self._command(),
                cwd=run,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[ready],
            )

    def _command(self) -> list[str]:
        """
        Write gunicorn's command line.
        """
        command = [] if self._netns is None else ["ip", "netns", "exec", self._netns]
        command += [str(self._tree.venv / "bin" / "python")]
        command += [str(self._tree.venv / "bin" / "gunicorn")]
        command += ["--bind", f"{self.host}:{self.port}", "--no-control-socket"]
        command += ["--access-logfile", "access.log"]
        command += ["--workers", "1", "--worker-class", "gthread", "--threads", "8"]
        command += ["--keep-alive", "75", "--graceful-timeout", "3"]
        if self._tls is not None and self._server is not None:
            command += ["--certfile", str(self._server.certificate)]
            command += ["--keyfile", str(self._server.key)]
            # 2: ssl.CERT_REQUIRED.
            command += ["--ca-certs", str(self._tls.ca), "--cert-reqs", "2"]
        return [*command, "metadata_wsgi:application"]


def main(argv: Sequence[str]) -> None:
    """
    Build, or build and serve until a signal comes.
    """
    parser = ArgumentParser("python -m tests.lab.nova", description="The real Nova.")
    parser.add_argument("action", choices=["build", "serve"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8775)
    parser.add_argument(
        "--tls",
        type=Path,
        metavar="DIRECTORY",
        help="make certificates here, serve TLS",
    )
    arguments = parser.parse_args(argv)
    tree = build(say=lambda line: print(f"nova: {line}", flush=True))
    if arguments.action == "build":
        return
    tls = None
    if arguments.tls is not None:
        arguments.tls.mkdir(parents=True, exist_ok=True)
        tls = make(arguments.tls)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    with NovaProcess(tree, arguments.host, arguments.port, tls) as nova:
        scheme = "http" if tls is None else "https"
        print(f"nova: {scheme}://{nova.host}:{nova.port}", flush=True)
        nova.wait()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (CannotInstall, BrokenNova) as error:
        sys.exit(f"nova: {error}")
