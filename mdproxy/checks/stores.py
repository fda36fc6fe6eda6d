# -*- test-case-name: tests.test_checks_stores -*-
"""
Whether what inventories and lease sources read is there, and can be understood.
"""

from __future__ import annotations

from attrs import frozen

from mdproxy.checks.finding import Finding
from mdproxy.files import Missing, Unreadable, read_file
from mdproxy.inventory.listing import read_listing
from mdproxy.lookup.kinds import Kind
from mdproxy.lookup.stores import MAX_SIZE
from mdproxy.model import Malformed


@frozen
class Content:
    """
    What a file holds.

    @ivar path: Where it is.
    @ivar data: What it holds; C{None}: it can't be read.
    @ivar problem: Why not.
    @ivar missing: Whether there is no such file.
    """

    path: str
    data: bytes | None
    problem: str = ""
    missing: bool = False


def read(path: str, most: int = MAX_SIZE) -> Content:
    """
    Read a file.

    @param most: How large it may be, in bytes.
    """
    try:
        return Content(path, read_file(path, most)[0])
    except Missing as error:
        return Content(path, None, str(error), True)
    except Unreadable as error:
        return Content(path, None, str(error))


def judge_static(content: Content) -> Finding:
    """
    Judge the static inventory.
    """
    name = "inventory static"
    if content.data is None:
        advice = "See [static] path, and who may read it."
        return Finding(name, "wrong", f"{content.problem}.", advice)
    try:
        listing = read_listing(content.data, "static")
    except Malformed as error:
        advice = "The last good content stays in use until it is mended."
        return Finding(name, "wrong", f"{content.path}: {error}.", advice)
    verdict = "ok" if listing.ports else "note"
    text = f"{content.path} has {len(listing.ports)} ports."
    return Finding(name, "ok" if verdict == "ok" else "note", text)


def judge_libvirt(path: str, domains: int | None) -> Finding:
    """
    Judge the directory of libvirt's running domains.

    @param path: The directory.
    @param domains: How many files of domains are in it; C{None}: it can't be read.
    """
    name = "inventory libvirt"
    if domains is None:
        advice = "See [libvirt] path, and whether libvirt runs; run the doctor as root."
        return Finding(name, "wrong", f"{path} can't be read.", advice)
    return Finding(name, "ok", f"{path} has {domains} running domains.")


def judge_leases(name: str, kind: Kind, contents: list[Content]) -> Finding:
    """
    Judge a source of leases.

    @param name: The source, as the configuration has it.
    @param kind: How its files are written.
    @param contents: Its files.
    """
    name = f"leases {name}"
    if not contents:
        text = "No file has a name like that."
        return Finding(name, "wrong", text, "See [leases] sources, and the server.")
    bad: list[str] = []
    records = 0
    for content in contents:
        if content.data is None:
            bad.append(content.problem)
            continue
        reader = kind.reader()
        reader.begin()
        records += len(reader.feed(content.data))
        problem = reader.problem()
        if problem is not None:
            bad.append(f"{content.path}: {problem}")
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        advice = f"See whether {kind.name} writes it, and who may read it."
        return Finding(name, "wrong", f"{bad[0]}{more}.", advice)
    files = "1 file" if len(contents) == 1 else f"{len(contents)} files"
    return Finding(name, "ok", f"{records} records in {files}.")
