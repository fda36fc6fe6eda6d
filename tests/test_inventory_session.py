"""
Tests for L{mdproxy.inventory.session}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.api import Garbled, Refused, Trouble, Unreachable
from mdproxy.inventory.keystone import NoEndpoint
from mdproxy.inventory.session import (
    LONGEST,
    NotAccepted,
    NoToken,
    Session,
    query_text,
)
from tests.neutron_stub import (
    APPLICATION_SECRET,
    PASSWORD,
    TOKEN,
    TOKEN_LIFE,
    Stub,
    mac_of,
    only_keystone,
    only_neutron,
    port_json,
    session_with,
    silent,
    torn,
    with_body,
    with_status,
)

PORTS = "/v2.0/ports"


class SessionTests(SynchronousTestCase):
    """
    Tests for L{Session}, with the stub of Keystone and Neutron.
    """

    def setUp(self) -> None:
        """
        Have a Neutron with a port.
        """
        self.clock = Clock()
        self.stub = Stub(self.clock)
        self.stub.put(port_json(1))
        self.session = session_with(self.stub, self.clock)

    def get(self, session: Session | None = None) -> Deferred[Any]:
        """
        Ask for ports.
        """
        asked = (session or self.session).get(PORTS, [("fields", "id")])
        return Deferred.fromCoroutine(asked)

    def trouble(self, kind: type[Trouble], session: Session | None = None) -> Any:
        """
        Ask, and take what goes wrong.
        """
        return self.failureResultOf(self.get(session), kind).value

    def test_asks(self) -> None:
        """
        A token is had first, and then used for all questions.
        """
        for _ in range(3):
            value = self.successResultOf(self.get())
            self.assertEqual(value, {"ports": [{"id": port_json(1)["id"]}]})
        self.assertEqual(len(self.stub.logins), 1)
        self.assertEqual(len(self.stub.asked), 3)

    def test_application_credential(self) -> None:
        """
        An application credential opens the door as well.
        """
        session = session_with(
            self.stub,
            self.clock,
            auth_type="v3applicationcredential",
            application_credential_id="a1",
            application_credential_secret=APPLICATION_SECRET,
        )
        self.successResultOf(self.get(session))

    def test_renewed_before_its_end(self) -> None:
        """
        A token is renewed before it ends, and not sooner than need be.
        """
        self.successResultOf(self.get())
        self.clock.advance(TOKEN_LIFE - 121)
        self.successResultOf(self.get())
        self.assertEqual(len(self.stub.logins), 1)
        self.clock.advance(1)
        self.successResultOf(self.get())
        self.assertEqual(len(self.stub.logins), 2)

    def test_revoked(self) -> None:
        """
        Where Neutron does not accept the token another one is had, once.
        """
        self.successResultOf(self.get())
        self.stub.revoke()
        self.successResultOf(self.get())
        self.assertEqual(len(self.stub.logins), 2)

    def test_never_accepted(self) -> None:
        """
        Where Neutron does not accept a fresh token either that is told; nobody tries
        without end.
        """
        self.stub.fault = only_neutron(with_status(401))
        error = self.trouble(NotAccepted)
        self.assertFalse(error.is_away)
        self.assertEqual(len(self.stub.logins), 2)

    def test_together(self) -> None:
        """
        Many who come at once have one token asked for, and only four ask at a time.
        """
        self.stub.fault = only_keystone(silent)
        waiting = [self.get() for _ in range(10)]
        self.clock.advance(5)
        for asked in waiting[:4]:
            self.failureResultOf(asked, NoToken)
        self.assertEqual(self.session.tokens, 1)
        for asked in waiting[4:]:
            self.assertNoResult(asked)
        self.clock.advance(5)
        self.clock.advance(5)
        for asked in waiting[4:]:
            self.failureResultOf(asked, NoToken)

    def test_wrong_password(self) -> None:
        """
        Where Keystone does not accept us that is told, without what we said.
        """
        session = session_with(self.stub, self.clock, password="not-" + PASSWORD)
        error = self.trouble(NotAccepted, session)
        self.assertEqual(str(error), "Keystone does not accept who we say we are")
        self.assertFalse(error.is_away)

    def test_keystone_away(self) -> None:
        """
        Where Keystone does not work nobody knows whether Neutron does.
        """
        for fault, text in (
            (with_status(503, Retry_After="9"), "Keystone answered with status 503"),
            (with_status(404), "Keystone answered with status 404"),
            (with_body(b"<html>"), "what Keystone answers is no JSON"),
            (with_body(b"{}"), "what Keystone answers is no token"),
        ):
            self.stub.fault = only_keystone(fault)
            error = self.trouble(NoToken)
            self.assertEqual(str(error), text)
            self.assertFalse(error.is_away)
            self.assertEqual(error.rest, 9 if "503" in text else 0)
        self.stub.fault = None
        self.successResultOf(self.get())

    def test_neutrons_troubles(self) -> None:
        """
        What is wrong with Neutron is told as it is.
        """
        for fault, kind in (
            (with_status(500), Refused),
            (with_status(403), Refused),
            (with_body(b"{"), Garbled),
        ):
            self.stub.fault = only_neutron(fault)
            self.trouble(kind)
        self.assertEqual(len(self.stub.logins), 1)

    def test_no_endpoint(self) -> None:
        """
        Without an address of Neutron there is no question.
        """
        session = session_with(self.stub, self.clock, region_name="RegionNine")
        self.trouble(NoEndpoint, session)
        self.assertEqual(self.stub.asked, [])

    def test_places_are_given_back(self) -> None:
        """
        However questions end, the next ones are asked.
        """
        self.stub.fault = only_neutron(silent)
        waiting = [self.get() for _ in range(8)]
        for asked in waiting:
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
        self.stub.fault = only_keystone(silent)
        self.session._token = None
        waiting = [self.get() for _ in range(8)]
        for asked in waiting:
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
        self.stub.fault = None
        for _ in range(8):
            self.successResultOf(self.get())

    def test_nothing_secret_is_told(self) -> None:
        """
        Neither the description, nor a representation, nor an error has the password or
        the token.
        """
        self.successResultOf(self.get())
        self.stub.fault = only_neutron(with_status(500))
        texts = [
            json.dumps(self.session.describe()),
            repr(self.session),
            repr(self.session._token),
            repr(self.session._config),
            repr(self.trouble(Refused)),
            self.failureResultOf(self.get()).getTraceback(detail="verbose"),
        ]
        for text in texts:
            self.assertNotIn(PASSWORD, text)
            self.assertNotIn(TOKEN, text)

    def test_describe(self) -> None:
        """
        The operator is told where Keystone and Neutron are, and how often the latter
        was asked.
        """
        empty: dict[str, Any] = {
            "keystone": "http://keystone:5000/v3",
            "endpoint": None,
            "token_renewed_in": None,
            "roles": [],
            "tokens": 0,
            "queries": 0,
        }
        self.assertEqual(self.session.describe(), empty)
        self.successResultOf(self.get())
        self.clock.advance(80)
        self.assertEqual(
            self.session.describe(),
            {
                "keystone": "http://keystone:5000/v3",
                "endpoint": "http://neutron:9696",
                "token_renewed_in": 3400.0,
                "roles": ["service"],
                "tokens": 1,
                "queries": 1,
            },
        )

    def test_room(self) -> None:
        """
        As many MACs as fit into one address are counted, whatever its host.
        """
        each = [("mac_address", mac_of(1))]
        fixed = [("network_id", "n")]
        room = self.session.room(PORTS, fixed, each)
        query = query_text([*fixed, *each * room])
        self.assertLessEqual(len(f"{'e' * 200}{PORTS}?{query}"), LONGEST)
        self.assertGreaterEqual(room, 250)

    def test_torn(self) -> None:
        """
        An answer that breaks off is none.
        """
        self.stub.fault = only_neutron(torn)
        asked = self.get()
        agent: Any = self.session._api._agent
        agent.flush()
        self.failureResultOf(asked, Unreachable)
