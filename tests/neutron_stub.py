"""
A stand-in for Keystone and Neutron that follows the references of their APIs, as far as
mdproxy asks them: tokens with a catalogue, ports and trunks with filters, C{fields},
C{limit}, C{marker} and links.  L{tests.openstack} asks the real ones the same.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

from attrs import define, evolve, field
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.testing import MemoryReactorClock
from twisted.web.http import Request
from twisted.web.iweb import IAgent, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from mdproxy.inventory.api import Api
from mdproxy.inventory.neutron import NeutronInventory
from mdproxy.inventory.page import Entries
from mdproxy.inventory.session import Session
from mdproxy.lookup.books import NetworkBook
from mdproxy.neutron_config import NeutronConfig

NETWORK = "9d83c053-b0a4-4682-ae80-c00df269ce0a"
OTHER_NETWORK = "9d83c053-b0a4-4682-ae80-c00df269ce0b"
PROJECT = "28a490a0f8b28800181ce490a74df8d2"
HOST = "compute-1"
PASSWORD = "p4ssw0rd-that-nobody-may-see"
APPLICATION_SECRET = "s3cret-of-the-application"
#: How long the stub's tokens live, in seconds.
TOKEN_LIFE = 3600.0
#: How the stub's tokens begin.
TOKEN = "gAAAAAB-t0ken-"

#: A piece of JSON that is a mapping.
Json = dict[str, Any]


def config_of(**changes: Any) -> NeutronConfig:
    """
    Make a configuration that fits the stub.
    """
    config = NeutronConfig(
        auth_url="http://keystone:5000/v3",
        auth_type="password",
        username="mdproxy",
        user_id="",
        user_domain_name="Default",
        user_domain_id="",
        password=PASSWORD,
        project_name="service",
        project_id="",
        project_domain_name="Default",
        project_domain_id="",
        application_credential_id="",
        application_credential_name="",
        application_credential_secret="",
        region_name="",
        valid_interfaces=("internal", "public"),
        endpoint_override="",
        cafile="",
        insecure=False,
        timeout=5.0,
        refresh_interval=60.0,
        max_age=10.0,
        host=HOST,
    )
    return evolve(config, **changes)


def port_json(number: int, **changes: Any) -> Json:
    """
    Write a port as Neutron does, with MAC, address and ids made from its number.

    @param changes: Attributes to write otherwise; C{binding__host_id} for
        C{binding:host_id}; C{...} (the ellipsis) leaves one out.
    """
    low, high = number % 256, number // 256
    port: Json = {
        "id": f"{number:08x}-b0e4-4d0a-bcc2-71fda37897f7",
        "network_id": NETWORK,
        "mac_address": mac_of(number),
        "fixed_ips": [
            {
                "subnet_id": "00000000-0000-4000-8000-000000000001",
                "ip_address": f"10.0.{high}.{low}",
            }
        ],
        "allowed_address_pairs": [],
        "device_id": f"{number:08x}-314d-4594-b3a3-607e3f2354f8",
        "device_owner": "compute:nova",
        "project_id": PROJECT,
        "tenant_id": PROJECT,
        "status": "DOWN",
        "binding:host_id": HOST,
        "binding:vif_type": "ovs",
    }
    for name, value in changes.items():
        port[name.replace("__", ":")] = value
    return {name: value for name, value in port.items() if value is not ...}


def mac_of(number: int) -> str:
    """
    Make a MAC from a number.
    """
    return f"fa:16:3e:00:{number // 256:02x}:{number % 256:02x}"


@define(eq=False)
class Stub(Resource):
    """
    Keystone and Neutron.

    @ivar clock: When tokens end.
    @ivar endpoint: Neutron's address in the catalogue.
    @ivar ports: All ports, by their ids.
    @ivar trunks: All trunks.
    @ivar fault: What goes wrong with each request now, if anything; tells whether it
        has taken care of it.
    @ivar asked: The questions that reached Neutron: address, and attributes asked for.
    @ivar logins: The bodies that reached Keystone.
    @ivar roles: The roles of our account.
    @ivar hidden: Attributes that our account may not see.
    @ivar most: How many ports there are on a page at most, whatever the limit.
    """

    isLeaf = True

    clock: IReactorTime
    endpoint: str = "http://neutron:9696"
    ports: dict[str, Json] = field(factory=dict)
    trunks: list[Json] = field(factory=list)
    fault: Callable[[Request], Any] | None = None
    asked: list[tuple[str, Mapping[str, list[str]]]] = field(factory=list)
    logins: list[Json] = field(factory=list)
    hidden: tuple[str, ...] = ()
    roles: tuple[str, ...] = ("service",)
    most: int = 1000
    _tokens: dict[str, float] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        """
        Be a resource.
        """
        Resource.__init__(self)

    def put(self, *ports: Json) -> None:
        """
        Have some ports.
        """
        for port in ports:
            self.ports[port["id"]] = port

    def questions(self) -> list[Mapping[str, list[str]]]:
        """
        Tell what ports Neutron was asked for: by which attributes.
        """
        return [args for path, args in self.asked if "/v2.0/ports" in path]

    def revoke(self) -> None:
        """
        Have no token be good any more.
        """
        self._tokens.clear()

    def render(self, request: Any) -> Any:
        """
        Answer.
        """
        if self.fault is not None:
            done = self.fault(request)
            if done is not None:
                return done
        path = request.path.decode()
        if path.endswith("/v3/auth/tokens"):
            return self._login(request)
        args = {
            name.decode(): [value.decode() for value in values]
            for name, values in request.args.items()
        }
        self.asked.append((request.uri.decode(), args))
        token = request.getHeader("X-Auth-Token") or ""
        if self._tokens.get(token, 0.0) <= self.clock.seconds():
            return _say(request, 401, {"error": {"code": 401, "title": "Unauthorized"}})
        if path.endswith("/v2.0/ports"):
            return _say(request, 200, self._page(args))
        if path.endswith("/v2.0/trunks"):
            wanted = [t for t in self.trunks if _passes(t, args)]
            return _say(request, 200, {"trunks": wanted})
        return _say(request, 404, {"NeutronError": {"type": "HTTPNotFound"}})

    def _login(self, request: Any) -> bytes:
        """
        Make a token (Identity API v3, C{POST /v3/auth/tokens}).
        """
        asked = json.load(request.content)
        self.logins.append(asked)
        if not _is_known(asked["auth"]["identity"]):
            return _say(request, 401, {"error": {"code": 401}})
        token = f"{TOKEN}{len(self.logins)}"
        self._tokens[token] = self.clock.seconds() + TOKEN_LIFE
        # Keystone's clock is not ours.
        now = datetime(2031, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)
        request.setHeader("X-Subject-Token", token)
        end = now + timedelta(seconds=TOKEN_LIFE)
        body = token_json(self.endpoint, _utc(now), _utc(end))
        body["token"]["roles"] = [{"id": name, "name": name} for name in self.roles]
        return _say(request, 201, body)

    def _page(self, args: Mapping[str, list[str]]) -> Json:
        """
        List ports (Networking API v2.0, C{GET /v2.0/ports}).
        """
        passing = [port for port in self.ports.values() if _passes(port, args)]
        passing.sort(key=lambda port: str(port.get("id")))
        [marker] = args.get("marker", [""])
        passing = [port for port in passing if str(port.get("id")) > marker]
        size = min(int(args.get("limit", ["0"])[0]) or self.most, self.most)
        page: Json = {"ports": [self._shown(p, args) for p in passing[:size]]}
        if len(passing) > size:
            # A link to where nobody may follow it.
            page["ports_links"] = [
                {"rel": "next", "href": "http://elsewhere/v2.0/ports?marker=x"}
            ]
        return page

    def _shown(self, port: Json, args: Mapping[str, list[str]]) -> Json:
        """
        Take the attributes that were asked for and may be seen.
        """
        wanted = args.get("fields", list(port))
        return {
            name: value
            for name, value in port.items()
            if name in wanted and name not in self.hidden
        }


_FILTERS = (
    "id",
    "network_id",
    "mac_address",
    "device_id",
    "binding:host_id",
    "project_id",
)


def _passes(entry: Json, args: Mapping[str, list[str]]) -> bool:
    """
    Tell whether an entry has one of the wanted values of each attribute.
    """
    return all(entry.get(name) in args[name] for name in _FILTERS if name in args)


def _is_known(identity: Json) -> bool:
    """
    Tell whether somebody proves to be who is known here.
    """
    if identity["methods"] == ["application_credential"]:
        return bool(identity["application_credential"]["secret"] == APPLICATION_SECRET)
    return bool(identity["password"]["user"]["password"] == PASSWORD)


def _utc(time: datetime) -> str:
    """
    Write a time as Keystone does.
    """
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def token_json(endpoint: str, issued: str, expires: str) -> Json:
    """
    Write the body of a token with a catalogue.
    """
    endpoints = [
        {
            "id": f"{number:032x}",
            "interface": interface,
            "region": region,
            "region_id": region,
            "url": endpoint + tail,
        }
        for number, (interface, region, tail) in enumerate(
            [
                ("admin", "RegionOne", "/admin"),
                ("public", "RegionOne", "/public"),
                ("internal", "RegionOne", ""),
                ("internal", "RegionTwo", "/two"),
            ]
        )
    ]
    return {
        "token": {
            "methods": ["password"],
            "issued_at": issued,
            "expires_at": expires,
            "roles": [{"id": "1", "name": "service"}],
            "catalog": [
                {"type": "compute", "name": "nova", "endpoints": []},
                {"type": "network", "name": "neutron", "endpoints": endpoints},
            ],
        }
    }


def _say(request: Any, status: int, value: Json) -> bytes:
    """
    Answer with JSON.
    """
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    return json.dumps(value).encode()


def with_status(status: int, **headers: str) -> Callable[[Any], bytes]:
    """
    Make a fault: a status.
    """

    def fault(request: Any) -> bytes:
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-"), value)
        return b"<html>the load balancer says no</html>"

    return fault


def with_body(body: bytes, **headers: str) -> Callable[[Any], bytes]:
    """
    Make a fault: another body.
    """

    def fault(request: Any) -> bytes:
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-"), value)
        return body

    return fault


def silent(request: Any) -> int:
    """
    Be a fault: no answer at all.
    """
    return NOT_DONE_YET


def dawdling(request: Any) -> int:
    """
    Be a fault: an answer that does not end.
    """
    request.setHeader("Content-Length", "100")
    request.write(b'{"ports": [')
    return NOT_DONE_YET


def torn(request: Any) -> int:
    """
    Be a fault: an answer that breaks off.
    """
    dawdling(request)
    request.transport.loseConnection()
    return NOT_DONE_YET


def packed(request: Any) -> bytes:
    """
    Be a fault: an answer that is compressed though nobody asked for it.
    """
    request.setHeader("Content-Encoding", "gzip")
    return gzip.compress(b'{"ports": []}')


def only_neutron(fault: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """
    Make a fault that Keystone does not have.
    """
    return lambda request: None if b"/auth/" in request.path else fault(request)


def only_keystone(fault: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """
    Make a fault that Keystone alone has.
    """
    return lambda request: fault(request) if b"/auth/" in request.path else None


@implementer(IAgent)
class MemoryAgent:
    """
    An agent that reaches the stub through Twisted's own client and server, in memory.
    """

    def __init__(self, stub: Stub) -> None:
        """
        Begin without connections.
        """
        self._traversal = RequestTraversalAgent(stub)

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> Deferred[IResponse]:
        """
        Provide C{IAgent.request}.
        """
        asked: Deferred[IResponse] = self._traversal.request(
            method, uri, headers, bodyProducer
        )
        self._traversal.flush()
        return asked

    def flush(self) -> None:
        """
        Carry what the server has said since.
        """
        self._traversal.flush()

    def connections(self) -> int:
        """
        Count the connections that the client has not closed.
        """
        pumps = self._traversal._pumps
        return sum(not pump.clientIO.disconnected for pump in pumps)


def api_to(stub: Stub, clock: IReactorTime, timeout: float = 5.0) -> Api:
    """
    Make what asks a stub.
    """
    return Api(MemoryAgent(stub), clock, timeout)


def session_with(stub: Stub, clock: IReactorTime, **changes: Any) -> Session:
    """
    Make a session with a stub.
    """
    return Session(api_to(stub, clock), clock, config_of(**changes))


def inventory_of(
    stub: Stub,
    reactor: MemoryReactorClock,
    book: Entries,
    networks: NetworkBook | None = None,
    **changes: Any,
) -> NeutronInventory:
    """
    Make an inventory that asks a stub.
    """
    config = config_of(**changes)
    session = Session(api_to(stub, reactor), reactor, config)
    return NeutronInventory(
        reactor, book, networks or NetworkBook(), session, config, Random(7)
    )
