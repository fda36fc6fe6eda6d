"""
Tests for the ways in which mdproxy reaches a host: each install goes into a clean
virtual environment, from a copy of the checkout, and is tried from another directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

from attrs import frozen
from packaging.requirements import Requirement
from twisted.trial.unittest import SkipTest, SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
#: Every dependency as a wheel, so that no install here needs a network.
WHEELS = ROOT / ".cache" / "wheels"
#: What is in a checkout and not of the project.
LITTER = shutil.ignore_patterns(
    ".*", "build", "dist", "*.egg-info", "__pycache__", "_trial_temp*", "dropin.cache"
)


def run(*command: str | Path, cwd: Path) -> str:
    """
    Run a command with nothing of this checkout, and no package index, in reach.

    @param command: The program and its arguments.
    @param cwd: The directory to run it in.

    @return: Its output.

    @raise AssertionError: If it failed; the text has what it said.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": WHEELS.as_uri(),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stdout}")
    return done.stdout


@frozen
class Host:
    """
    A clean virtual environment and an empty directory to run things in.

    @ivar _venv: The environment.
    @ivar _cwd: The directory.
    """

    _venv: Path
    _cwd: Path

    def call(self, program: str, *arguments: str | Path) -> str:
        """
        Run one of the environment's programs.

        @param program: Its name.
        @param arguments: Its arguments.

        @return: Its output.
        """
        return run(self._venv / "bin" / program, *arguments, cwd=self._cwd)

    def plugins(self) -> list[str]:
        """
        Ask C{twistd} which services it knows.

        @return: The first word of each line of its help that may name one.
        """
        return [
            line.split()[0]
            for line in self.call("twistd", "--help")
            .partition("Commands:")[2]
            .split("\n")
            if line.strip()
        ]


class PackagingTests(SynchronousTestCase):
    """
    Tests for what pip makes of the checkout.
    """

    def setUp(self) -> None:
        """
        Copy the checkout.
        """
        if not WHEELS.is_dir():
            raise SkipTest("no .cache/wheels; run script/setup wheels")
        self.tree = Path(self.mktemp()).resolve() / "mdproxy"
        shutil.copytree(ROOT, self.tree, ignore=LITTER)

    def host(self) -> Host:
        """
        Make a clean environment that is thrown away with the test.

        @return: The environment.
        """
        directory = Path(self.mktemp()).resolve()
        self.addCleanup(shutil.rmtree, directory)
        cwd = directory / "elsewhere"
        cwd.mkdir(parents=True)
        run(sys.executable, "-m", "venv", directory / "venv", cwd=cwd)
        return Host(directory / "venv", cwd)

    def build(self, *what: str) -> Path:
        """
        Build a distribution.

        @param what: Arguments that say which; without any, a wheel from an sdist.

        @return: The last file that was built.
        """
        run(sys.executable, "-m", "build", *what, self.tree, cwd=self.tree.parent)
        return max(self.tree.glob("dist/*"), key=lambda path: path.stat().st_mtime_ns)

    def assert_works(self, host: Host) -> None:
        """
        Assert that both commands are there and know their options.

        @param host: Where mdproxy was installed.
        """
        self.assertIn("mdproxy", host.plugins())
        self.assertIn("mdproxy-epoll", host.call("twistd", "--help-reactors"))
        self.assertIn("--config-file", host.call("twistd", "mdproxy", "--help"))
        self.assertIn("check-config", host.call("mdproxyctl", "--help"))

    def test_plain(self) -> None:
        """
        After C{pip install .} both commands work, type checkers find our types, and
        uninstalling takes the plugin away and leaves Twisted whole.
        """
        host = self.host()
        host.call("pip", "install", self.tree)
        self.assert_works(host)
        package = host.call(
            "python", "-c", "import mdproxy; print(mdproxy.__path__[0])"
        )
        self.assertTrue(Path(package.strip(), "py.typed").is_file())
        host.call("pip", "uninstall", "--yes", "mdproxy")
        left = host.plugins()
        self.assertIn("web", left)
        self.assertNotIn("mdproxy", left)

    def test_editable(self) -> None:
        """
        After C{pip install -e .} both commands work: the checkout is on the path as
        the directory that Twisted looks for, not behind an import hook.
        """
        host = self.host()
        host.call("pip", "install", "--editable", self.tree)
        self.assert_works(host)

    def test_wheel(self) -> None:
        """
        A wheel that was built from the sdist installs and works, and holds nothing
        but our package and the plugins.
        """
        wheel = self.build()
        host = self.host()
        host.call("pip", "install", wheel)
        self.assert_works(host)
        with zipfile.ZipFile(wheel) as archive:
            tops = {
                name if name.startswith("twisted/") else name.partition("/")[0]
                for name in archive.namelist()
            }
        version = wheel.name.split("-")[1]
        plugins = {
            f"twisted/plugins/{p.name}" for p in self.tree.glob("twisted/*/*.py")
        }
        self.assertEqual(tops, {"mdproxy", f"mdproxy-{version}.dist-info"} | plugins)

    def test_sdist(self) -> None:
        """
        The sdist holds every file of C{etc/}, the documents and the tests.
        """
        with tarfile.open(self.build("--sdist")) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        wanted = [
            path
            for pattern in ("etc/**/*", "*.md", "LICENSE", "tests/**/*", "script/*")
            for path in self.tree.glob(pattern)
            if path.is_file()
        ]
        missing = {str(path.relative_to(self.tree)) for path in wanted} - names
        self.assertEqual(missing, set())


class BoundsTests(SynchronousTestCase):
    """
    Tests for the lower bounds of what mdproxy depends on.
    """

    def test_oldest(self) -> None:
        """
        C{tests/oldest.txt} pins just the lower bounds of setup.py, so that what
        script/test tries is what the package promises.
        """
        [metadata] = ROOT.glob("mdproxy.egg-info/PKG-INFO")
        promised = Parser().parsestr(metadata.read_text()).get_all("Requires-Dist", [])
        pinned = [
            line
            for line in (ROOT / "tests" / "oldest.txt").read_text().splitlines()
            if not line.startswith("#")
        ]
        self.assertEqual(
            {one.name: str(one.specifier) for one in map(Requirement, pinned)},
            {
                one.name: str(one.specifier).replace(">=", "==")
                for one in map(Requirement, promised)
            },
        )


class NewsTests(SynchronousTestCase):
    """
    Tests for how news is collected.
    """

    def test_title(self) -> None:
        """
        The news of a release stands under its heading in NEWS.md, by the right name.
        """
        news = run(
            *(sys.executable, "-m", "towncrier", "build", "--draft"),
            *("--version", "1.2.3", "--date", "2000-01-01"),
            cwd=ROOT,
        )
        self.assertIn("\n## mdproxy 1.2.3 (2000-01-01)\n", news)
