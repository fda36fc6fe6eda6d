# -*- test-case-name: tests.test_docs -*-
"""
Tests for the manual in C{docs}: it is about what there is, and of all of that.

Sphinx builds it in C{script/docs}, with warnings as errors; these tests need no Sphinx.
"""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from docs.reference import WRITTEN, arguments_of, filled_in, interface, subcommands
from mdproxy.cli import parser
from mdproxy.config import ConfigError, load
from mdproxy.introspection.metrics import described
from mdproxy.introspection.tree import API, CONTRAIL, HTML, METRICS
from mdproxy.model import Reason
from mdproxy.options import LISTENER_OPTIONS, SECTIONS
from mdproxy.proxy import STATUSES
from tests.lab.certs import make

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MANUAL = ROOT / "etc" / "man"

#: A block of Markdown that says which language it is in, and what stands in it.
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Files of the source that pages speak of.
_OF_SOURCE = re.compile(r"(?<![\w/])((?:etc|script|bench|docs)/[\w./-]*\w)")
_REFERENCE = re.compile(r"{doc}`(?:[^`<]*<)?([^`>]+)>?`")
_INCLUDED = re.compile(r"^```{literalinclude} (.*)$", re.MULTILINE)


def page(name: str) -> str:
    """
    Read a page as Sphinx does.

    @param name: Its file below C{docs}, without the ending.
    """
    return filled_in((DOCS / f"{name}.md").read_text("utf-8"))


def pages() -> list[Path]:
    """
    Find all pages.
    """
    return sorted(DOCS.rglob("*.md"))


def roff(name: str) -> str:
    """
    Read a page for man(1), without its fonts and line ends.
    """
    text = (MANUAL / name).read_text("utf-8").replace("\\-", "-").replace("\\&", "")
    return re.sub(r"\s+|\\f.", " ", text)


class ReferenceTests(SynchronousTestCase):
    """
    Tests for what the pages take from the code.
    """

    def test_place(self) -> None:
        """
        A page gets what it asks for where it asks for it, and nothing else changes.
        """
        filled = filled_in("before\n\n<!-- rules -->\n\nafter <!-- rules -->\n")
        self.assertEqual(
            f"before\n\n{WRITTEN['rules']()}\n\nafter <!-- rules -->\n", filled
        )

    def test_nobody_writes(self) -> None:
        """
        A page that asks for what nobody writes is not built.
        """
        self.assertRaises(KeyError, filled_in, "<!-- poems -->")

    def test_all_asked_for(self) -> None:
        """
        Everything that is written from the code stands on some page.
        """
        text = "".join(path.read_text("utf-8") for path in pages())
        missing = [name for name in WRITTEN if f"\n<!-- {name} -->\n" not in text]
        self.assertEqual([], missing)


class WholeTests(SynchronousTestCase):
    """
    Tests that the manual leaves nothing out.
    """

    def assert_all_in(self, names: list[str], text: str) -> None:
        """
        Fail unless all names stand in a text, in a font of their own or as words.
        """
        self.assertNotEqual([], names)
        missing = [
            name
            for name in names
            if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
        ]
        self.assertEqual([], missing)

    def test_options(self) -> None:
        """
        Every option and section is in the manual and in mdproxy.conf(5).
        """
        names = [option.name for option in LISTENER_OPTIONS]
        for section, declared in SECTIONS.items():
            names += [f"[{section}]", *(option.name for option in declared)]
        self.assert_all_in(names, page("options"))
        self.assert_all_in(names, roff("mdproxy.conf.5"))

    def test_commands(self) -> None:
        """
        Every subcommand with its arguments is in the manual and in mdproxyctl(8).
        """
        names: list[str] = []
        for name, command in subcommands(parser()):
            names.append(f"mdproxyctl {name}")
            for argument in arguments_of(command):
                names += argument.option_strings
        self.assert_all_in(names, page("man/mdproxyctl"))
        self.assert_all_in(names, roff("mdproxyctl.8"))

    def test_commands_explained(self) -> None:
        """
        The chapter on tools shows every subcommand.
        """
        names = [f"mdproxyctl {name}" for name, _ in subcommands(parser())]
        self.assert_all_in(names, page("tools"))

    def test_metrics(self) -> None:
        """
        Every metric is in the manual.
        """
        self.assert_all_in([name for name, *_ in described()], page("metrics"))

    def test_reasons(self) -> None:
        """
        Every reason for a verdict is in the manual with what it means, and so is
        everything that an instance may get instead of Nova's answer.
        """
        text = page("verdicts")
        self.assert_all_in([f"`{reason.value}`" for reason in Reason], text)
        lines = {
            f"| `{cause.__name__}` | {told[0]} |" for cause, told in STATUSES.items()
        }
        self.assertEqual([], [line for line in sorted(lines) if line not in text])

    def test_refusals_have_a_way_out(self) -> None:
        """
        Every refusal can be found among the symptoms.
        """
        from mdproxy.introspection.sentences import MEANINGS

        refusals = [
            reason.value for verdict, reason in MEANINGS if verdict == "refused"
        ]
        self.assert_all_in(refusals, page("troubleshooting"))

    def test_interface(self) -> None:
        """
        Every path of the JSON interface is in the manual.
        """
        self.assert_all_in(list(interface()["paths"]), page("api"))

    def test_site(self) -> None:
        """
        Everything on the site for operators is in the manual, but what pages are made
        of.
        """
        html = sorted(each.decode() for each in HTML - {b"", b"static"})
        other = sorted(each.decode() for each in API | METRICS)
        self.assert_all_in([f"/{name}" for name in html + other], page("tools"))
        contrail = sorted(each.decode() for each in CONTRAIL)
        self.assert_all_in([f"/{name}" for name in contrail], page("install/contrail"))


class TrueTests(SynchronousTestCase):
    """
    Tests that what the manual points at exists.
    """

    def test_pages(self) -> None:
        """
        A page that another one leads to exists.
        """
        for path in pages():
            for target in _REFERENCE.findall(path.read_text("utf-8")):
                self.assertTrue(
                    (path.parent / f"{target}.md").is_file(), f"{path}: {target}"
                )

    def test_files(self) -> None:
        """
        A file of the source that is spoken of exists.
        """
        for path in pages():
            if path.parent.name == "adr":
                continue
            text = path.read_text("utf-8")
            found = [path.parent / each for each in _INCLUDED.findall(text)]
            found += [ROOT / each for each in _OF_SOURCE.findall(text)]
            for each in found:
                there = each.exists() or list(each.parent.glob(f"{each.name}*"))
                self.assertTrue(there, f"{path}: {each}")

    def test_links_in_readme(self) -> None:
        """
        A page that README or CONTRIBUTING leads to exists.
        """
        for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
            for each in re.findall(r"docs/[\w./-]+\.md", (ROOT / name).read_text()):
                self.assertTrue((ROOT / each).is_file(), f"{name}: {each}")


@frozen
class Host:
    """
    A host on which everything is that the manual's configurations name.

    @ivar _directory: What stands for the root directory.
    """

    _directory: Path

    @classmethod
    def at(cls, directory: Path) -> Host:
        """
        Make it.
        """
        own = directory / "etc" / "mdproxy"
        own.mkdir(parents=True)
        made = make(directory)
        secret = own / "secret"
        secret.touch(0o600)
        secret.write_text("s3cret")
        (own / "instances.yaml").write_text("ports: []\n")
        (own / "manhole_authorized_keys").touch(0o600)
        clouds = own / "clouds.yaml"
        clouds.touch(0o600)
        clouds.write_text(_CLOUDS)
        for pair in ("hypervisor", "ovn", "pages"):
            (own / f"{pair}.pem").write_bytes(made.client.certificate.read_bytes())
            key = own / f"{pair}.key"
            key.touch(0o600)
            key.write_bytes(made.client.key.read_bytes())
        for authority in ("ca", "ovn-ca", "operators-ca"):
            (own / f"{authority}.pem").write_bytes(made.ca.read_bytes())
        for place in ("run/mdproxy", "var/lib/neutron", "var/log/mdproxy"):
            (directory / place).mkdir(parents=True)
        return cls(directory)

    def faults(self, block: str) -> list[str]:
        """
        Load a configuration of the manual's over one that has the least there must be.

        @return: Its faults.
        """
        base, file = self._directory / "base.conf", self._directory / "block.conf"
        base.write_text(self._here(_LEAST))
        # A user that this machine need not have.
        file.write_text(self._here(block.replace("uids = neutron", "uids = root")))
        try:
            load([str(base), str(file)], [])
        except ConfigError as error:
            return list(error.faults)
        return []

    def _here(self, text: str) -> str:
        """
        Have a configuration name files of this host.
        """
        return re.sub(
            r"(?<=[ :])/(?=(?:etc|run|var)/)", f"{self._directory.resolve()}/", text
        )


_CLOUDS = """\
clouds:
  mdproxy:
    auth:
      auth_url: https://keystone.example.org:5000/v3
      username: mdproxy
      password: correct horse battery staple
      user_domain_name: Default
      project_name: service
      project_domain_name: Default
"""

#: What a block of the manual, which is about one thing, takes for granted.
_LEAST = """\
[DEFAULT]
metadata_proxy_shared_secret_file = /etc/mdproxy/secret
[static]
path = /etc/mdproxy/instances.yaml
[listener:br-tenant1]
kind = device
[listener:br-tenant2]
kind = device
"""


class SampleTests(SynchronousTestCase):
    """
    Tests for the configurations that the manual shows.
    """

    def make_host(self) -> Host:
        """
        Make a host whose paths are no longer than a socket's may be.
        """
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return Host.at(Path(directory.name))

    def test_load(self) -> None:
        """
        Each can be used as it is.
        """
        host = self.make_host()
        blocks = [
            (path, block)
            for path in pages()
            for language, block in _BLOCK.findall(path.read_text("utf-8"))
            if language == "ini"
        ]
        self.assertGreater(len(blocks), 10)
        for path, block in blocks:
            self.assertEqual([], host.faults(block), f"{path}:\n{block}")

    def test_wrong(self) -> None:
        """
        One that could not be used would be found.
        """
        host = self.make_host()
        faults = host.faults("[DEFAULT]\nnova_metdata_host = nova\n")
        self.assertIn("did you mean nova_metadata_host?", "".join(faults))
