# -*- test-case-name: tests.test_broker -*-
"""
Opening sockets in network namespaces; as a program, the broker that does so as root.

The service sheds its privileges, but namespaces come later: it asks the broker, a small
process that was started before, and gets open sockets by C{SCM_RIGHTS}.  The broker
is told by root what it may open, and opens nothing else: sockets that listen where
instances ask, and routing netlink sockets, with which nobody can change anything who
has no privilege of his own (net/netlink/af_netlink.c, C{__netlink_ns_capable}, wants it
of the opener and of the sender).

Whoever wants to know what is done as root reads this file and no other: it uses nothing
but Python's own library.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar

#: Where instances ask (Nova's documentation, metadata service).
IPV4: Final = "169.254.169.254"
IPV6: Final = "fe80::a9fe:a9fe"
#: Where C{ip netns} keeps the names of namespaces (ip-netns(8)).
DIRECTORY: Final = "/run/netns"
#: The namespaces of Neutron's routers, and their devices towards instances
#: (neutron/agent/l3/namespaces.py).
ROUTER: Final = "qrouter-"
ROUTER_DEVICE: Final = "qr-"
#: What Linux itself puts into a namespace: loopback, and for each kind of tunnel whose
#: module is loaded its template (net/core/sysctl_net_core.c,
#: C{fb_tunnels_only_for_init_net}).
_OF_LINUX: Final = frozenset(
    {"", "lo", "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0"}
    | {"ip6tnl0", "ip6gre0", "ip6_vti0"}
)

#: The kinds of sockets: TCP over IPv4 and IPv6, and routing netlink.
TCP4: Final = "tcp4"
TCP6: Final = "tcp6"
ROUTE: Final = "route"

#: How large a question and an answer may be, and how many sockets one may ask for.
LONGEST: Final = 4096
MOST: Final = 16

_TCP_SAVE_SYN: Final = 27
_WITH_FRAME: Final = 2
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78
_BACKLOG: Final = 1024
#: C{TCP_NOTSENT_LOWAT}, and how much the kernel takes of an answer beyond what the
#: instance has room for (it would be some megabytes); accepted sockets inherit it.
#: C{TCP_USER_TIMEOUT} is not for us: it breaks connections of readers that are slow but
#: steady.
_TCP_NOTSENT_LOWAT: Final = 25
_UNSENT: Final = 131072
_CLONE_NEWNET: Final = 0x40000000
#: C{EX_SOFTWARE} of sysexits.h.
_LOST: Final = 70

#: What the broker must be able to do: enter namespaces, listen at port 80, and on
#: kernels before 5.7 bind to a device (C{CAP_SYS_ADMIN}, C{CAP_NET_BIND_SERVICE},
#: C{CAP_NET_RAW} of linux/capability.h).
_KEPT: Final = 1 << 21 | 1 << 10 | 1 << 13
_CAPABILITY_VERSION: Final = 0x20080522
_PR_SET_NAME: Final = 15
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

#: What tells one namespace from another while it exists: device and inode.
Identity = tuple[int, int]
Done = TypeVar("Done")


class Rule(NamedTuple):
    """
    What may be opened in some namespaces.

    @ivar name: Whose rule it is: a listener's name.
    @ivar globs: Which namespaces, by their names.
    @ivar port: Where to listen; C{None}: nowhere, only netlink is wanted.
    @ivar router_port: Where to listen in the namespace of a router, to which it
        redirects what is meant for port 80.
    """

    name: str
    globs: tuple[str, ...]
    port: int | None = None
    router_port: int | None = None

    def fits(self, namespace: str) -> bool:
        """
        Tell whether it is about a namespace.
        """
        return any(fnmatchcase(namespace, glob) for glob in self.globs)


class Want(NamedTuple):
    """
    A socket that somebody wants.

    @ivar kind: L{TCP4}, L{TCP6} or L{ROUTE}.
    @ivar device: For TCP, the device that connections must come in by.
    """

    kind: str
    device: str = ""


def is_router(namespace: str) -> bool:
    """
    Tell whether a namespace is a router's.
    """
    return namespace.startswith(ROUTER)


def is_served(namespace: str, device: str) -> bool:
    """
    Tell whether instances can ask by a device of a namespace.

    In a router's they are behind its C{qr-} devices; the others lead to other routers
    and outside.  Linux itself puts loopback and the templates of tunnels into each.
    """
    if is_router(namespace):
        return device.startswith(ROUTER_DEVICE)
    return device not in _OF_LINUX


def place_of(rules: Sequence[Rule], namespace: str, want: Want) -> tuple[str, int]:
    """
    Decide where a socket may listen.

    @return: Address and port.

    @raise PermissionError: If no rule lets it.
    """
    port = next((r.port for r in rules if r.port and r.fits(namespace)), None)
    address = {TCP4: IPV4, TCP6: IPV6}.get(want.kind)
    if is_router(namespace):
        # The router's redirection puts an address of its device in place of ours.
        address = {TCP4: "0.0.0.0", TCP6: "::"}.get(want.kind)
        ports = (r.router_port for r in rules if r.router_port and r.fits(namespace))
        port = next(ports, None)
    if address is None or port is None or not is_served(namespace, want.device):
        raise PermissionError(errno.EACCES, "no rule of root's lets it")
    return address, port


def check_name(rules: Sequence[Rule], namespace: str) -> None:
    """
    Refuse namespaces that no rule is about, and what is no name.

    @raise PermissionError: If it is refused.
    """
    is_name = "/" not in namespace and "\0" not in namespace and namespace.strip(".")
    if not is_name or not any(rule.fits(namespace) for rule in rules):
        raise PermissionError(errno.EACCES, "no rule of root's lets it")


def open_wanted(rules: Sequence[Rule], namespace: str, want: Want) -> socket.socket:
    """
    Open a socket in the namespace that this thread is in.

    @param rules: What may be opened.
    @param namespace: What that namespace is called.

    @raise OSError: If the kernel or root does not let us.
    """
    if want.kind == ROUTE:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        return socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    address, port = place_of(rules, namespace, want)
    return listen(address, port, want.device)


def listen(address: str, port: int, device: str | None = None) -> socket.socket:
    """
    Open a socket that listens, keeps the opening frames, and needs no address yet.

    @param device: The device that connections must come in by; C{None}: any.

    @raise OSError: If the port is taken, the device is gone, or we may not.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    opened = socket.socket(family, kind)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        scope = 0
        if device is not None:
            opened.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode()
            )
            scope = _index_of(device)
        prepare(opened)
        if family is socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            opened.bind((address, port, 0, scope))
        else:
            opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            opened.bind((address, port))
        opened.listen(_BACKLOG)
    except BaseException:
        opened.close()
        raise
    return opened


def prepare(opened: socket.socket) -> None:
    """
    Have a listening socket keep the opening frames, and what it accepts send without
    delay, and no more than the instance has room for.
    """
    opened.setsockopt(socket.IPPROTO_TCP, _TCP_SAVE_SYN, _WITH_FRAME)
    opened.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT)
    # What it accepts has this from it (tcp_create_openreq_child copies the socket).
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _index_of(device: str) -> int:
    """
    Find the index of a device.

    @raise OSError: With a number, which not every Python gives it.
    """
    try:
        return socket.if_nametoindex(device)
    except OSError as error:
        raise OSError(errno.ENODEV, str(error)) from None


def open_home() -> int:
    """
    Open the namespace that this thread is in, to be able to come back to it.
    """
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def in_namespace(
    path: str, identity: Identity, home: int, work: Callable[[], Done]
) -> Done:
    """
    Do something in a network namespace, and come back; if we can't, the process ends.

    Nothing else may run on this thread meanwhile.

    @param path: The namespace's name, as a file.
    @param identity: Which namespace it must be.
    @param home: Where to come back to (L{open_home}).

    @raise OSError: If the name is gone or another's (C{ESTALE}), we may not enter it
        (C{EPERM}), or whatever the work raises.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        # All namespaces are files of the one nsfs, ours too; a name that is not mounted
        # yet is a plain file of another file system.
        is_one = status.st_dev == os.fstat(home).st_dev
        if not is_one or (status.st_dev, status.st_ino) != identity:
            raise OSError(errno.ESTALE, "the name is not that namespace's")
        is_home = False
        try:
            try:
                _set_namespace(descriptor)
            except OSError:
                # Who may not enter has not left, and could not come back.
                is_home = True
                raise
            return work()
        finally:
            if not is_home:
                _go_home(home)
    finally:
        os.close(descriptor)


def _go_home(home: int) -> None:
    """
    Come back, or end: in somebody's namespace nothing may go on.
    """
    try:
        _set_namespace(home)
    except BaseException:
        os.write(2, b"mdproxy: can't leave a network namespace; ending\n")
        os._exit(_LOST)


def _set_namespace(descriptor: int) -> None:
    """
    Take this thread into a network namespace (setns(2)).
    """
    if sys.version_info >= (3, 12):
        os.setns(descriptor, _CLONE_NEWNET)
    elif _libc().setns(descriptor, _CLONE_NEWNET) != 0:
        raise _last_error()


@cache
def _libc() -> Any:
    """
    Get at what Python's own library does not offer.
    """
    return ctypes.CDLL(None, use_errno=True)


def _last_error() -> OSError:
    """
    Make an exception of what the C library said.
    """
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def open_all(
    rules: Sequence[Rule],
    directory: str,
    namespace: str,
    identity: Identity,
    home: int,
    wanted: Sequence[Want],
) -> list[socket.socket | OSError]:
    """
    Open some sockets in one namespace.

    @param directory: Where the names of the namespaces are.
    @param namespace: The name of the one.

    @return: For each, it or why there is none.

    @raise OSError: If none could be opened, as L{check_name} and L{in_namespace} do.
    """
    check_name(rules, namespace)

    def work() -> list[socket.socket | OSError]:
        return [_try_to_open(rules, namespace, want) for want in wanted]

    return in_namespace(os.path.join(directory, namespace), identity, home, work)


def _try_to_open(
    rules: Sequence[Rule], namespace: str, want: Want
) -> socket.socket | OSError:
    """
    Open a socket, or say why not.
    """
    try:
        return open_wanted(rules, namespace, want)
    except (OSError, ValueError) as error:
        return _as_error(error)


def encode_question(
    number: int, namespace: str, identity: Identity, wanted: Sequence[Want]
) -> bytes:
    """
    Write what the broker is asked.

    @param number: Comes back with the answer.
    """
    return json.dumps([number, namespace, identity, wanted]).encode()


def _decode_question(data: bytes) -> tuple[int, str, Identity, list[Want]]:
    """
    Read what the broker is asked, by somebody who may be anybody by now.

    @raise ValueError: If it is no question.
    """
    try:
        number, namespace, (device, inode), wanted = json.loads(data)
        wants = [Want(kind, name) for kind, name in wanted]
    except (TypeError, RecursionError) as error:
        raise ValueError(f"no question: {error}") from None
    texts = [namespace, *(text for want in wants for text in want)]
    if not all(type(text) is str and len(text) <= 255 for text in texts):
        raise ValueError("a name is no text")
    if not all(type(each) is int for each in (number, device, inode)):
        raise ValueError("a number is none")
    if len(wants) > MOST:
        raise ValueError("so many sockets")
    return number, namespace, (device, inode), wants


def answer(
    data: bytes, rules: Sequence[Rule], directory: str, home: int
) -> tuple[bytes, list[socket.socket]]:
    """
    Answer one question.

    @return: The number of the question, and for each socket wanted 0 or C{errno}; and
        the sockets that are open.
    """
    try:
        number, namespace, identity, wants = _decode_question(data)
    except ValueError:
        return json.dumps([0, []]).encode(), []
    try:
        opened = open_all(rules, directory, namespace, identity, home, wants)
    except (OSError, ValueError) as error:
        opened = [_as_error(error)] * len(wants)
    sockets = [each for each in opened if isinstance(each, socket.socket)]
    numbers = [each.errno if isinstance(each, OSError) else 0 for each in opened]
    return json.dumps([number, numbers]).encode(), sockets


def _as_error(error: OSError | ValueError) -> OSError:
    """
    Say by a number what is wrong; names can hold what no file's can.
    """
    if isinstance(error, OSError) and error.errno:
        return error
    return OSError(errno.EINVAL, str(error))


def serve(channel: socket.socket, rules: Sequence[Rule], directory: str) -> None:
    """
    Answer questions until whoever asks them is gone.

    @param channel: A C{SOCK_SEQPACKET} socket.
    @param directory: Where the names of the namespaces are.
    """
    home = open_home()
    channel.send(b"ready")
    while True:
        data = channel.recv(LONGEST)
        if not data:
            return
        said, opened = answer(data, rules, directory, home)
        descriptors = [each.fileno() for each in opened]
        socket.send_fds(channel, [said], descriptors)
        for each in opened:
            each.close()


def shed_capabilities(kept: int = _KEPT) -> None:
    """
    Give up for good all that root may and the broker need not.

    @param kept: The capabilities that stay, as bits.

    @raise OSError: If the kernel does not let us.
    """
    libc = _libc()
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(64):
        if not kept & 1 << number:
            # Those that this kernel does not know it refuses.
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(head, sets) != 0:
        raise _last_error()
    # Effective, permitted, inheritable; then the same of the capabilities from 32 on.
    permitted = sets[1] & kept
    sets = (ctypes.c_uint32 * 6)(permitted, permitted, 0, 0, 0, 0)
    if libc.capset(head, sets) != 0:
        raise _last_error()


def main(arguments: Sequence[str]) -> None:
    """
    Be the broker.

    @param arguments: The descriptor to be asked by, where the names of the namespaces
        are, and the rules in JSON.
    """
    descriptor, directory, said = arguments
    rules = [
        Rule(name, tuple(globs), port, router_port)
        for name, globs, port, router_port in json.loads(said)
    ]
    # It ends when whoever asks has ended, and not before: that one may have work left.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _libc().prctl(_PR_SET_NAME, b"mdproxy-broker", 0, 0, 0)
    os.chdir("/")
    shed_capabilities()
    with suppress(BrokenPipeError, ConnectionResetError):
        serve(socket.socket(fileno=int(descriptor)), rules, directory)


if __name__ == "__main__":
    main(sys.argv[1:])
