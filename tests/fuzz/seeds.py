"""
What is fuzzed, and the inputs that a fuzzer begins with.

C{seeds.zip} holds inputs that, together, reach all code that any input is known to
reach: some were made by L{tests.fuzz.grammar} or come from the corpus of
L{tests.corpus}, the others were found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from attrs import frozen

_SEEDS: Final = Path(__file__).with_name("seeds.zip")


@frozen
class Target:
    """
    A parser of bytes from outside.

    @ivar share: Its part of the time, among all targets.
    @ivar words: What inputs are likely to be made of.
    @ivar longest: How many bytes they have at most.
    """

    share: int
    words: tuple[bytes, ...]
    longest: int = 1024


_HTTP_WORDS: Final = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b"\0", b"\t", b": ", b" :", b";"),
    *(b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"HTTP/1.1", b"HTTP/1.0", b"HEAD"),
    *(b"Host: a\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n"),
    *(
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"0\r\n\r\n",
    ),
    *(b"Expect: 100-continue\r\n", b"X-Instance-ID: e\r\n", b"X_Tenant_ID: e\r\n"),
    *(b"5\r\nhello\r\n", b';a="b"', b"Content_Length: 5\r\n", b"\x85", b"\xff", b"+1"),
    *(
        b"RTSP/1.0",
        b"HTTP/2.0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"close",
        b"CONNECT",
    ),
)
_STATUS_WORDS: Final = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 N\r\n"),
    *(b"HTTP/1.1 304 N\r\n", b"HTTP/1.1 101 S\r\n", b"Keep-Alive: 1\r\n"),
)

_LEASE_WORDS: Final = (
    *(b"0 ", b"1795292542 ", b"fa:16:3e:77:00:01 ", b"10.77.0.11 ", b"* *\n", b"06-"),
    *(
        b"duid 00:01\n",
        b"T1047986178 ",
        b"fd77::14f ",
        b"[fd77::1] ",
        b"::ffff:10.0.0.1 ",
    ),
)
_DOMAIN_WORDS: Final = (
    *(
        b"<domstatus>",
        b"</domstatus>",
        b"<domain>",
        b"</domain>",
        b"<metadata>",
        b"<uuid>",
    ),
    *(
        b"<devices>",
        b"<interface type='bridge'>",
        b"<mac address='fa:16:3e:77:00:01'/>",
    ),
    *(b"<source bridge='br-red'/>", b"<target dev='tap01234567-89'/>", b"<!DOCTYPE a>"),
    *(b"<nova:port uuid='", b"<nova:ip type='fixed' address='10.0.0.5'/>", b"&amp;"),
    *(
        b"xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'",
        b"<?xml version='1.0'",
    ),
)

#: Kinds and lengths of messages, families, and attributes with an address and a MAC.
_NETLINK_WORDS: Final = (
    *(
        b"\x1c\x00",
        b"\x1d\x00",
        b"\x02\x00",
        b"\x03\x00",
        b"\x02\x00\x00\x00",
        b"\x0a\x00",
    ),
    *(
        b"\x30\x00\x00\x00\x1c\x00",
        b"\x08\x00\x01\x00\x0a\x00\x00\x05",
        b"\x14\x00\x01\x00",
    ),
    *(b"\x0a\x00\x02\x00\xfa\x16\x3e\x00\x00\x01\x00\x00", b"\x14\x00\x02\x00\x00\x00"),
)

#: The targets.
TARGETS: Final = {
    "requests": Target(12, _HTTP_WORDS),
    "channel": Target(4, _HTTP_WORDS, 512),
    "responses": Target(5, _HTTP_WORDS + _STATUS_WORDS),
    "leases": Target(1, _LEASE_WORDS),
    "domains": Target(1, _DOMAIN_WORDS, 16384),
    "netlink": Target(1, _NETLINK_WORDS),
}


def load(target: str) -> list[bytes]:
    """
    Read the seeds of a target.

    @param target: One of L{TARGETS}.

    @return: Inputs.
    """
    if not _SEEDS.exists():
        return []
    with ZipFile(_SEEDS) as seeds:
        names = [name for name in seeds.namelist() if name.startswith(f"{target}/")]
        return [seeds.read(name) for name in names]


def save(target: str, inputs: list[bytes]) -> None:
    """
    Write the seeds of a target; those of the others stay.

    @param target: One of L{TARGETS}.
    @param inputs: Inputs.
    """
    everything = {each: load(each) for each in TARGETS} | {target: inputs}
    with ZipFile(_SEEDS, "w", ZIP_DEFLATED) as seeds:
        for each, found in everything.items():
            for number, seed in enumerate(found):
                # With the same date whenever it is written.
                seeds.writestr(ZipInfo(f"{each}/{number}"), seed, ZIP_DEFLATED)
