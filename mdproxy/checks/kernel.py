# -*- test-case-name: tests.test_checks_kernel -*-
"""
Whether the kernel of this host is set up for what is wanted of it.

Pure: what was read comes in, a finding comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from mdproxy.checks.finding import Finding

#: Where instances ask.
IPV4: Final = "169.254.169.254"
IPV6: Final = "fe80::a9fe:a9fe"

#: As many neighbours, in all namespaces, make some hundred networks comfortable.
_NEIGHBOURS: Final = 4096
#: So many descriptors are for all that is no connection.
_BESIDES: Final = 256
#: Capabilities by their bits (linux/capability.h).
_CAPABILITIES: Final = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_SYS_ADMIN": 21,
}
#: Before this (2024) no clock can be right that runs this.
_PAST: Final = 1_704_067_200.0
_FUTURE: Final = 4_102_444_800.0


def judge_reverse_path(device: str, everywhere: int | None, own: int | None) -> Finding:
    """
    Tell whether reverse path filtering lets in what instances send.

    Of both settings the larger counts (Linux, Documentation/networking/ip-sysctl.rst).

    @param device: The device.
    @param everywhere: C{net.ipv4.conf.all.rp_filter}.
    @param own: The device's own; C{None}: it can't be read.
    """
    name = f"rp_filter of {device}"
    if everywhere is None or own is None:
        return Finding(name, "note", "It can't be read.")
    if max(everywhere, own) == 1:
        return Finding(
            name,
            "wrong",
            "It is 1 (strict): unless the host has a route to the instances by this "
            "device, what they send is dropped before anybody sees it.",
            f"sysctl -w net.ipv4.conf.{device}.rp_filter=2 (the larger of this and "
            "net.ipv4.conf.all.rp_filter counts), and the same in /etc/sysctl.d.",
        )
    return Finding(name, "ok", f"It is {max(everywhere, own)}.")


def judge_addresses(
    device: str, there: Collection[str] | None, elsewhere: Collection[str] = ()
) -> Finding:
    """
    Tell whether a listener's device answers for the address that instances ask.

    @param device: The device.
    @param there: The addresses on it; C{None}: there is no such device.
    @param elsewhere: The addresses on other devices of the host.
    """
    name = f"address on {device}"
    put = f"ip address add {IPV4}/32 dev {device} scope link"
    if there is None:
        return Finding(
            name,
            "wrong",
            f"There is no device {device}.",
            "mdproxy waits for it; make it, or see device in the listener's section.",
        )
    if IPV4 in there:
        more = "" if IPV6 in there else f" (not {IPV6}, which only IPv6 needs)"
        return Finding(name, "ok", f"{IPV4} is there{more}.")
    if IPV4 in elsewhere:
        text = f"{IPV4} is not there, but on another device of the host, which does."
        return Finding(name, "ok", text)
    if IPV6 in there:
        text = f"{IPV6} is there, and {IPV4} is not: instances with IPv4 get nothing."
        advice = f"{put}; or is there no IPv4 on this network at all?"
        return Finding(name, "wrong", text, advice)
    text = f"{IPV4} is not there: nobody answers when instances look for it."
    return Finding(name, "wrong", text, f"{put}, and make it last.")


def judge_namespaces(
    listener: str, lacking: Sequence[str], looked: int, total: int
) -> Finding:
    """
    Tell whether Neutron has put the address into namespaces.

    @param listener: The listener's name.
    @param lacking: The namespaces without it.
    @param looked: How many were looked into.
    @param total: How many there are.
    """
    name = f"address in the namespaces of {listener}"
    if not total:
        text = "No namespace on this host has a name that the listener serves."
        return Finding(name, "note", text, "See namespaces in its section.")
    if not looked:
        text = f"None of {total} namespaces may be looked into."
        return Finding(name, "note", text, "Run the doctor as root.")
    of = f"{looked} namespaces" + ("" if looked == total else f" of {total} looked at")
    if not lacking:
        return Finding(name, "ok", f"{IPV4} is in {of}.")
    names = ", ".join(lacking[:5]) + (" and others" if len(lacking) > 5 else "")
    return Finding(
        name,
        "note",
        f"{IPV4} is missing in {len(lacking)} of {of}: {names}.",
        "Neutron's agents put it there: with enable_isolated_metadata or "
        "force_metadata (DHCP agent), or as the OVN metadata agent does.",
    )


def judge_watches(
    most: int | None, instances: int | None, used: int | None, wanted: int
) -> Finding:
    """
    Tell whether inotify has room for all directories that are to be watched.

    @param most: C{fs.inotify.max_user_watches}.
    @param instances: C{fs.inotify.max_user_instances}.
    @param used: How many the running process has; C{None}: nobody may look.
    @param wanted: How many are wanted at least.
    """
    name = "inotify"
    if most is None or instances is None:
        return Finding(name, "note", "Its limits can't be read.")
    has = "" if used is None else f", of which mdproxy has {used}"
    text = f"{most} watches and {instances} instances for each user{has}."
    if max(used or 0, wanted) * 2 > most:
        advice = "Raise fs.inotify.max_user_watches (sysctl); meanwhile it polls."
        return Finding(name, "wrong", text, advice)
    if instances < 16:
        advice = "Raise fs.inotify.max_user_instances (sysctl); meanwhile it polls."
        return Finding(name, "note", text, advice)
    return Finding(name, "ok", text)


def judge_files(name: str, limit: int | None, used: int | None, most: int) -> Finding:
    """
    Tell whether a process may have as many files open as it may need.

    @param name: Whose limit it is.
    @param limit: How many it may have; C{None}: it can't be read.
    @param used: How many it has; C{None}: nobody may look.
    @param most: C{[limits] max_connections}.
    """
    if limit is None:
        return Finding(name, "note", "It can't be read.", "Run the doctor as root.")
    has = "" if used is None else f", and {used} are"
    text = f"{limit} files may be open{has}."
    if limit < most + _BESIDES or (used is not None and used * 10 > limit * 9):
        advice = (
            f"Set LimitNOFILE=65536 in the unit: {most} connections ([limits] "
            "max_connections) and what else is open must fit."
        )
        return Finding(name, "wrong", text, advice)
    return Finding(name, "ok", text)


def judge_neighbours(family: str, most: int, many: bool) -> Finding:
    """
    Tell whether the kernel's table of neighbours is large enough.

    @param family: C{ipv4} or C{ipv6}.
    @param most: Its C{gc_thresh3}.
    @param many: Whether there may be hundreds of networks.
    """
    name = f"net.{family}.neigh.default.gc_thresh3"
    if many and most < _NEIGHBOURS:
        return Finding(
            name,
            "note",
            f"It is {most}: no more neighbours than that are known in all namespaces "
            "together, and whoever is not known waits.",
            "etc/sysctl.d/mdproxy.conf has more.",
        )
    return Finding(name, "ok", f"It is {most}.")


def judge_capabilities(effective: int | None, wants: Collection[str]) -> Finding:
    """
    Tell whether the running process may do what it must.

    @param effective: Its effective capabilities (C{CapEff}); C{None}: nobody may look.
    @param wants: The names of those that it needs.
    """
    name = "capabilities"
    if effective is None:
        return Finding(name, "note", "The running process can't be looked at.")
    lacking = [w for w in sorted(wants) if not effective >> _CAPABILITIES[w] & 1]
    if lacking:
        advice = "See AmbientCapabilities in etc/mdproxy.service and its drop-ins."
        text = f"The running process lacks {', '.join(lacking)}."
        return Finding(name, "note", text, advice)
    return Finding(name, "ok", "The running process has all that it needs.")


def judge_clock(now: float, synchronised: bool | None) -> Finding:
    """
    Tell whether the clock can be right: by it leases end and certificates are good.

    @param now: Seconds since the epoch.
    @param synchronised: Whether the kernel says that it is kept right (adjtimex(2));
        C{None}: it can't be asked.
    """
    if not _PAST < now < _FUTURE:
        text = "The clock of this host is wrong: leases and certificates look ended."
        return Finding("clock", "wrong", text, "Set it, and see to its NTP client.")
    if synchronised is False:
        text = "The kernel says that nobody keeps this host's clock right."
        return Finding("clock", "note", text, "See to its NTP client (chronyd, ...).")
    return Finding("clock", "ok", "The clock looks right.")


def judge_name(
    host: str, addresses: Sequence[str], seconds: float, problem: str | None
) -> Finding:
    """
    Tell whether a name of Nova's leads anywhere, and soon enough.

    @param host: The name.
    @param addresses: What it leads to.
    @param seconds: How long that took.
    @param problem: Why it leads nowhere.
    """
    name = f"name {host}"
    if problem is not None:
        advice = "See /etc/resolv.conf, /etc/hosts and nova_metadata_host."
        return Finding(name, "wrong", f"It leads nowhere: {problem}.", advice)
    text = f"It leads to {', '.join(addresses)}; that took {seconds:.2f} s."
    if seconds > 1:
        advice = "Each new connection waits for it: see the name server, or /etc/hosts."
        return Finding(name, "note", text, advice)
    return Finding(name, "ok", text)
