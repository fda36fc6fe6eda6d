# -*- test-case-name: tests.test_manhole_ssh -*-
"""
SSH as far as the manhole needs it: a key, a terminal, a shell, and nothing beside that.

Conch can do much more.  What is not wanted is missing here rather than forbidden:
passwords, commands, subsystems, forwarding, an environment, compression.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.conch.ssh import transport
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import SSHServerTransport
from twisted.conch.ssh.userauth import (
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_PK_OK,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mdproxy.limits import Rates
from mdproxy.manhole.keys import ALGORITHMS, AuthorizedKeys, fingerprint, verifies
from mdproxy.manhole.session import Connection, Failures, shown
from mdproxy.manhole.shell import Console
from mdproxy.unix_sockets import peer_of

#: For so many seconds anybody may try to log in, and type nothing.
LOGIN: Final = 30.0
IDLE: Final = 1800.0
#: The same once the session is over: clients leave by themselves.
_LINGER: Final = 5.0
#: So many may be in at a time, and so many be trying.
MOST_IN: Final = 4
MOST_TRYING: Final = 8
#: So many may come a second, and at once: to exchange keys takes half a millisecond, in
#: which no instance is served.
ARRIVALS: Final = (2.0, 20)
#: So often one connection may try.
_ATTEMPTS: Final = 12
#: So many refusals are logged a second, and at once.
_REFUSALS: Final = (1.0, 30)

#: Of what conch offers (and its two ends agree upon by preference) what is sound.
_EXCHANGES: Final = (
    *(b"mlkem768x25519-sha256", b"curve25519-sha256"),
    b"curve25519-sha256@libssh.org",
)
_CIPHERS: Final = (b"aes256-ctr", b"aes192-ctr", b"aes128-ctr")
_MACS: Final = (b"hmac-sha2-512", b"hmac-sha2-256")

#: The message that begins an exchange of keys (RFC 4253, section 7.1).
_KEXINIT: Final = 20
#: What may come before anything is encrypted: disconnect, ignore, unimplemented, debug
#: (RFC 4253, section 11) and the exchange of keys (section 12).
_IN_CLEAR: Final = frozenset((1, 2, 3, 4, 20, 21, *range(30, 50)))

#: Whose rates are counted: everybody's together.
_ALL: Final = ("manhole", "")

_log = Logger()


class Login(SSHService):
    """
    Lets in who has a key (RFC 4252, section 7), under any name.
    """

    _log = Failures()
    name = b"ssh-userauth"
    transport: Any

    def packetReceived(self, number: int, packet: bytes) -> None:
        """
        Take an attempt to log in; nothing else may come.
        """
        if number != MSG_USERAUTH_REQUEST:
            code = transport.DISCONNECT_PROTOCOL_ERROR
            self.transport.sendDisconnect(code, b"log in first")
            return
        user, service, method, rest = getNS(packet, 3)
        if service != Connection.name:
            code = transport.DISCONNECT_SERVICE_NOT_AVAILABLE
            self.transport.sendDisconnect(code, b"there is no such service")
            return
        if method == b"publickey" and self._try_key(packet, user, rest):
            return
        if method not in (b"publickey", b"none"):
            how = f"asks to log in by {shown(method)}, which nobody can"
            self.transport.refuse(how, user)
        self.transport.attempts += 1
        if self.transport.attempts >= _ATTEMPTS:
            code = transport.DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE
            self.transport.sendDisconnect(code, b"too many attempts")
            return
        self.transport.sendPacket(MSG_USERAUTH_FAILURE, NS(b"publickey") + b"\0")

    def _try_key(self, packet: bytes, user: bytes, rest: bytes) -> bool:
        """
        Try a key.

        @param packet: All that the signature is for, but for the session and the
            number of the message, and itself at the end.
        @param rest: What is in it behind the method.

        @return: Whether that was answered.
        """
        algorithm, blob, more = getNS(rest[1:], 2)
        name = fingerprint(blob)
        key = self.transport.factory.keys.find(blob)
        if key is None or algorithm not in ALGORITHMS[key.sshType()]:
            self.transport.refuse(f"has no key that opens: {name}", user)
            return False
        if rest[:1] == b"\0":
            self.transport.sendPacket(MSG_USERAUTH_PK_OK, NS(algorithm) + NS(blob))
            return True
        signature, _nothing = getNS(more)
        signed = packet[: len(packet) - len(more)]
        data = NS(self.transport.sessionID) + bytes((MSG_USERAUTH_REQUEST,)) + signed
        if not verifies(key, algorithm, signature, data):
            self.transport.refuse(f"did not sign with {name}", user)
            return False
        self.transport.let_in(user, name)
        return True


class Transport(SSHServerTransport):
    """
    One connection.

    @ivar where: From where it came, in words.
    @ivar attempts: How many attempts to log in have failed.
    """

    _log = Failures()
    factory: Any
    transport: Any
    where = "nowhere"
    attempts = 0
    _over = False
    _exchanges = 0
    _who: str | None = None
    _deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Wait for somebody to log in, but not for long.
        """
        self.where = _where(self.transport)
        self._deadline = self.factory.clock.callLater(LOGIN, self.abort)
        if self.factory.takes(self):
            super().connectionMade()
        else:
            self.refuse("comes when too many others do")
            self.abort()

    def dataReceived(self, data: bytes) -> None:
        """
        Take what came; whoever has not logged in and sends what can't be understood is
        no fault of ours.
        """
        try:
            super().dataReceived(data)
        except Exception as error:
            if self._who is not None:
                _log.failure("manhole: the session of {who} broke", who=self._who)
            else:
                self.refuse(f"sent what is no SSH ({type(error).__name__})")
            self.abort()

    def dispatchMessage(self, number: int, payload: bytes) -> None:
        """
        Take a message, if one may come now.
        """
        if self._over:
            return
        if not self._in_order(number):
            code = transport.DISCONNECT_PROTOCOL_ERROR
            self.sendDisconnect(code, b"that may not come now")
            return
        super().dispatchMessage(number, payload)

    def _in_order(self, number: int) -> bool:
        """
        Tell whether a message may come: nothing is asked for before the keys are
        exchanged, and keys are not exchanged again before the login.
        """
        if number == _KEXINIT and self._who is None:
            self._exchanges += 1
            return self._exchanges == 1
        return number in _IN_CLEAR or self.isEncrypted("both")

    def sendExtInfo(self, extensions: Any) -> None:
        """
        Say by which algorithms who logs in may sign (RFC 8308, section 3.1); conch
        would say by which we do.
        """
        algorithms = [each for more in ALGORITHMS.values() for each in more]
        super().sendExtInfo([(b"server-sig-algs", b",".join(algorithms))])

    def sendDisconnect(self, code: int, text: bytes) -> None:
        """
        End the connection, and take nothing more.
        """
        self._over = True
        super().sendDisconnect(code, text)

    def receiveError(self, code: int, text: bytes) -> None:
        """
        The other side ends the connection: that is how clients leave.
        """

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        It has ended.
        """
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
        self.factory.went(self)
        super().connectionLost(reason)
        if self._who is not None:
            _log.info("manhole: {who} has left", who=self._who)

    def refuse(self, why: str, user: bytes | None = None) -> None:
        """
        Log that something was refused.

        @param why: What, as the rest of a sentence.
        @param user: Under which name.
        """
        who = self.where if user is None else f"{shown(user)} from {self.where}"
        self.factory.tell_refusal(self._who or who, why)

    def let_in(self, user: bytes, name: str) -> None:
        """
        Let somebody in, if there is room.

        @param name: The fingerprint of the key.
        """
        if not self.factory.took_in(self):
            code = transport.DISCONNECT_TOO_MANY_CONNECTIONS
            self.sendDisconnect(code, b"too many are in")
            self.refuse(f"finds {MOST_IN} in already", user)
            return
        self._who = f"{shown(user)} from {self.where} with {name}"
        _log.info("manhole: {who} has logged in", who=self._who)
        self.typed()
        self.sendPacket(MSG_USERAUTH_SUCCESS, b"")
        self.setService(Connection())

    def typed(self) -> None:
        """
        Somebody is there.
        """
        self._wait(IDLE)

    def linger(self) -> None:
        """
        The session is over.
        """
        self._wait(_LINGER)

    def abort(self) -> None:
        """
        Break the connection.
        """
        self._over = True
        self.transport.abortConnection()

    def _wait(self, seconds: float) -> None:
        """
        Break the connection after some time.
        """
        if self._deadline is not None and self._deadline.active():
            self._deadline.reset(seconds)


class ManholeFactory(SSHFactory):
    """
    Makes connections, and counts them.

    @ivar keys: What opens.
    @ivar clock: When to give up on somebody.
    @ivar make_console: Makes a shell for a terminal with so many columns.
    """

    _log = Failures()
    noisy = False
    protocol = Transport
    services = {Login.name: Login}
    primes = None

    def __init__(
        self,
        key: Key,
        keys: AuthorizedKeys,
        clock: IReactorTime,
        make_console: Callable[[int], Console],
    ) -> None:
        """
        Prepare the door.

        @param key: Our own key.
        """
        self.publicKeys = {key.sshType(): key.public()}
        self.privateKeys = {key.sshType(): key}
        self.keys = keys
        self.clock = clock
        self.make_console = make_console
        self._trying: dict[Transport, None] = {}
        self._in: set[Transport] = set()
        self._arrivals = Rates(*ARRIVALS)
        self._refusals = Rates(*_REFUSALS)
        self._quiet = 0

    def buildProtocol(self, addr: IAddress | None) -> Transport:
        """
        Prepare a connection: of what conch can do only what is sound, and no
        compression, with which little can become much.
        """
        made: Transport = super().buildProtocol(addr)  # type: ignore[assignment]
        made.ourVersionString = b"SSH-2.0-mdproxy"
        offered = made.supportedKeyExchanges
        made.supportedKeyExchanges = [each for each in offered if each in _EXCHANGES]
        made.supportedCiphers = list(_CIPHERS)
        made.supportedMACs = list(_MACS)
        made.supportedCompressions = [b"none"]
        return made

    def getService(self, transport: Any, service: bytes) -> Any:
        """
        Find a service that may be asked for by name: to log in, once.
        """
        return None if transport in self._in else self.services.get(service)

    def takes(self, connection: Transport) -> bool:
        """
        Take note of a connection; where too many are trying the eldest is given up.

        @return: Whether it may go on; otherwise too many have come of late.
        """
        if not self._arrivals.allows(_ALL, self.clock.seconds()):
            return False
        if len(self._trying) >= MOST_TRYING:
            eldest = next(iter(self._trying))
            del self._trying[eldest]
            eldest.abort()
        self._trying[connection] = None
        return True

    def took_in(self, connection: Transport) -> bool:
        """
        Take somebody in.

        @return: Whether there is room.
        """
        if len(self._in) >= MOST_IN:
            return False
        self._trying.pop(connection, None)
        self._in.add(connection)
        return True

    def went(self, connection: Transport) -> None:
        """
        A connection has ended.
        """
        self._trying.pop(connection, None)
        self._in.discard(connection)

    def close(self) -> None:
        """
        End all connections.
        """
        for each in [*self._trying, *self._in]:
            each.abort()

    def tell_refusal(self, who: str, why: str) -> None:
        """
        Log that something was refused, but not too often.
        """
        if not self._refusals.allows(_ALL, self.clock.seconds()):
            self._quiet += 1
            return
        quiet, self._quiet = self._quiet, 0
        _log.warn(
            "manhole: {who} {why} ({quiet} more were refused)",
            who=who,
            why=why,
            quiet=quiet,
        )


def _where(line: Any) -> str:
    """
    Say where somebody comes from.

    @param line: The transport.
    """
    peer: IAddress = line.getPeer()
    if isinstance(peer, (IPv4Address, IPv6Address)):
        return f"{peer.host} port {peer.port}"
    process = peer_of(line.getHandle()) if isinstance(peer, UNIXAddress) else None
    if process is None:
        return "somewhere"
    return f"process {process.pid} of user {process.uid}"
