# -*- test-case-name: tests.test_checks_service -*-
"""
What the running service finds out about itself: whether Nova takes our signature, and
how long certificates are good for.

Each endpoint of Nova is asked in turn, for several may hold different secrets: at the
start, then every C{[upstream] check_interval} seconds, sooner while one is not known to
be right, and at once when an instance's question was refused for its signature.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final

from attrs import define, evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mdproxy.checks.asking import Asking
from mdproxy.checks.certificates import (
    NoCertificate,
    Validity,
    judge_validity,
    read_chain,
    validity_of,
)
from mdproxy.checks.finding import Finding
from mdproxy.checks.secret import (
    Secret,
    Told,
    bogus,
    judge_answer,
    judge_failure,
    summed_up,
)
from mdproxy.config import Config
from mdproxy.endpoints import Endpoint
from mdproxy.fetch import Fetch
from mdproxy.files import Unreadable, read_file
from mdproxy.http.client import UpstreamError
from mdproxy.measures import patience_of
from mdproxy.pool import make_connector
from mdproxy.proxy import ReverseProxyResource
from mdproxy.reload import Change
from mdproxy.signing import Signer
from mdproxy.sweep import NEVER, Sweep
from mdproxy.upstream import Upstream

#: Whether a check is due is looked at so often, in seconds.
_LOOK: Final = 1.0
#: After a start the first check comes within so many seconds: not all hosts of a cloud
#: that were started together ask at once.
_FIRST: Final = 2.0
#: Where an endpoint can't be reached it is tried again after so many seconds.
_SOON: Final = 10.0
#: Where it was reached, and the secret is not known to be right, after so many: when
#: that is mended it should show.
_AGAIN: Final = 30.0
#: Whatever happens, one check does not follow the other sooner than this.
_LEAST: Final = 5.0
#: Far more than any certificate.
_MOST: Final = 1 << 20

#: Puts a question to an endpoint.
Ask = Callable[[Fetch], Asking]


@frozen
class Checked:
    """
    What is checked, as the configuration has it.

    @ivar interval: How often Nova is asked, in seconds; 0: never.
    @ivar certificates: The files of certificates that we show, each by what it is for.
    """

    interval: float
    certificates: tuple[tuple[str, str], ...] = ()


@frozen
class _Heard:
    """
    What is known of one endpoint.

    @ivar told: What it said; C{None}: it was not asked yet.
    @ivar at: When, in seconds since the epoch.
    @ivar validity: When its certificate is good, once that was seen.
    """

    told: Told | None = None
    at: float | None = None
    validity: Validity | None = None

    @property
    def secret(self) -> Secret:
        """
        Tell what it says of the secret.
        """
        return "unknown" if self.told is None else self.told.secret


@define(eq=False)
class Checks(Service):
    """
    Asks each endpoint of Nova, now and then, whether the secret is right.

    @ivar _checked: What is checked.
    @ivar _endpoints: Tells the endpoints in use.
    @ivar _signer: Tells the signer in use.
    @ivar _refusals: Counts how often an instance's question was refused for its
        signature.
    @ivar _ask: Puts a question.
    @ivar _sweep: Where the time of the next look is kept.
    @ivar _clock: What time it is.
    @ivar _random: Makes intervals uneven.
    @ivar _wall: Seconds since the epoch.
    @ivar deadline: When to look next whether anything is due.
    @ivar _heard: What is known of each endpoint, by where it is.
    @ivar _validities: When our own certificates are good, by their files; a sentence
        where that can't be told.
    @ivar _said: By endpoint, what was logged last of its secret.
    @ivar _asking: The question under way.
    @ivar _is_busy: Whether a check is under way.
    @ivar _begun: When the latest check began.
    @ivar _next: When the next one is due.
    @ivar _seen: How many refusals there were when it began.
    """

    _checked: Checked
    _endpoints: Callable[[], Sequence[Endpoint]]
    _signer: Callable[[], Signer]
    _refusals: Callable[[], int]
    _ask: Ask
    _sweep: Sweep
    _clock: IReactorTime
    _random: Random
    _wall: Callable[[], float]
    deadline: float = field(default=NEVER, init=False)
    _heard: dict[str, _Heard] = field(factory=dict, init=False)
    _validities: Mapping[str, Validity | str] = field(factory=dict, init=False)
    _said: dict[str, Secret] = field(factory=dict, init=False)
    _asking: Asking | None = field(default=None, init=False)
    _is_busy: bool = field(default=False, init=False)
    _begun: float = field(default=float("-inf"), init=False)
    _next: float = field(default=NEVER, init=False)
    _seen: int = field(default=0, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Look at the certificates that were just put into use.
        """
        self._validities = _validities_of(self._checked)

    @property
    def secret(self) -> Secret:
        """
        Tell what Nova says of the secret; one endpoint that refuses us is enough.
        """
        return summed_up(self._of(endpoint).secret for endpoint in self._endpoints())

    @property
    def certificates(self) -> Mapping[str, float]:
        """
        Tell when certificates end.

        @return: Seconds since the epoch, by the file of ours, or C{nova HOST:PORT}.
        """
        ends = {
            path: validity.ends
            for path, validity in self._validities.items()
            if isinstance(validity, Validity)
        }
        for endpoint in self._endpoints():
            validity = self._of(endpoint).validity
            if validity is not None:
                ends[f"nova {place_of(endpoint)}"] = validity.ends
        return ends

    @property
    def findings(self) -> Sequence[Finding]:
        """
        Tell what was found, as of now.
        """
        return [
            *(self._finding(endpoint) for endpoint in self._endpoints()),
            *self._findings_of_certificates(),
        ]

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator what was found.

        @return: Plain values, ready for JSON; times in seconds since the epoch.
        """
        endpoints = []
        for endpoint in self._endpoints():
            heard = self._of(endpoint)
            is_right = heard.told is None or heard.secret == "right"
            endpoints.append(
                {
                    "endpoint": place_of(endpoint),
                    "secret": heard.secret,
                    "problem": None if is_right or not heard.told else heard.told.text,
                    "checked": heard.at,
                    "certificate_expires": heard.validity and heard.validity.ends,
                }
            )
        return {
            "secret": self.secret,
            "interval": self._checked.interval,
            "endpoints": endpoints,
            "certificates": dict(self.certificates),
            "findings": [finding.describe() for finding in self.findings],
        }

    def prepare(self, old: Config, new: Config) -> Change:
        """
        Be ready to follow a configuration, the same one too: the secret, or what is in
        the files of certificates, may be new.

        @param old: The configuration in force.
        @param new: The one that may be.
        """
        checked = checked_of(new)
        after = partial(self._follow, checked, _validities_of(checked))
        return Change(after, partial(self._follow, self._checked, self._validities))

    def _follow(
        self, checked: Checked, validities: Mapping[str, Validity | str]
    ) -> None:
        """
        Check something else from now on, and soon.

        @param validities: When our own certificates are good.
        """
        self._checked, self._validities = checked, validities
        if self.running:
            self._begin_to_look()

    def hurry(self) -> None:
        """
        Check as soon as may be.
        """
        if self._checked.interval:
            self._next = min(self._next, self._clock.seconds())

    def startService(self) -> None:
        """
        Begin.
        """
        super().startService()
        self._sweep.add(self)
        self._begin_to_look()

    def stopService(self) -> None:
        """
        Ask no more.
        """
        super().stopService()
        self._sweep.discard(self)
        if self._asking is not None:
            self._asking.give_up()

    def timed_out(self) -> None:
        """
        Provide C{Timed.timed_out}: look whether a check is due.
        """
        now = self._clock.seconds()
        self.deadline = now + _LOOK
        is_due = now >= self._next or self._refusals() != self._seen
        if is_due and not self._is_busy and now >= self._begun + _LEAST:
            self._is_busy, self._begun = True, now
            self._next, self._seen = NEVER, self._refusals()
            checking = Deferred.fromCoroutine(self._check())
            checking.addErrback(self._failed)

    def _begin_to_look(self) -> None:
        """
        Look from now on whether a check is due, if any is wanted.
        """
        now = self._clock.seconds()
        if self._checked.interval:
            self._next = now + self._random.uniform(0, _FIRST)
            self.deadline = now + _LOOK
        else:
            self.deadline = NEVER

    async def _check(self) -> None:
        """
        Ask all endpoints, one after the other.
        """
        endpoints = list(self._endpoints())
        for endpoint in endpoints:
            if self.running:
                await self._check_one(endpoint)
        places = {place_of(endpoint) for endpoint in endpoints}
        for known in (self._heard, self._said):
            for gone in known.keys() - places:
                del known[gone]
        told = [heard.told for heard in self._heard.values() if heard.told]
        if all(each.secret == "right" for each in told):
            self._over(self._checked.interval)
        else:
            is_reached = all(each.reached for each in told)
            self._over(_AGAIN if is_reached else _SOON)

    async def _check_one(self, endpoint: Endpoint) -> None:
        """
        Ask one endpoint.
        """
        question = bogus(self._signer(), b"mdproxy")
        asking = self._asking = self._ask(question)
        try:
            await asking.begin(endpoint)
            told = judge_answer(question)
        except UpstreamError as error:
            told = judge_failure(error)
        finally:
            self._asking = None
        if self.running:
            validity = asking.validity or self._of(endpoint).validity
            place = place_of(endpoint)
            self._heard[place] = _Heard(told, self._wall(), validity)
            self._tell(place, told)

    def _over(self, pause: float) -> None:
        """
        Set the time of the next check.
        """
        self._is_busy = False
        pause = max(_LEAST, min(pause, self._checked.interval or pause))
        now = self._clock.seconds()
        self._next = min(self._next, now + pause * self._random.uniform(0.8, 1.2))

    def _failed(self, failure: Failure) -> None:
        """
        A check met a fault of ours, which must not end all checks.
        """
        self._log.failure("the check of the secret failed", failure)
        self._over(self._checked.interval)

    def _tell(self, place: str, told: Told) -> None:
        """
        Log what an endpoint says of the secret when that changes.
        """
        before = self._said.get(place)
        if told.secret in ("unknown", before):
            # Who can't be reached is told of by the pool.
            return
        self._said[place] = told.secret
        if told.secret == "right":
            self._log.info("Nova at {place} accepts our signature", place=place)
        else:
            self._log.error(
                "Nova at {place}: {text} mdproxyctl doctor says what to do.",
                place=place,
                text=told.text,
            )

    def _of(self, endpoint: Endpoint) -> _Heard:
        """
        Tell what is known of an endpoint.
        """
        return self._heard.get(place_of(endpoint), _Heard())

    def _finding(self, endpoint: Endpoint) -> Finding:
        """
        Tell what is known of an endpoint's secret, as a finding.
        """
        place = place_of(endpoint)
        name, told = f"Nova at {place}", self._of(endpoint).told
        if not self._checked.interval:
            text = "Whether the secret is right is not checked."
            advice = "Set [upstream] check_interval to have it checked."
            return Finding(name, "note", text, advice)
        if told is None:
            return Finding(name, "note", "It was not asked yet.")
        return told.finding(name)

    def _findings_of_certificates(self) -> list[Finding]:
        """
        Judge all certificates that were seen.
        """
        now, findings = self._wall(), []
        for what, path in self._checked.certificates:
            validity = self._validities[path]
            if isinstance(validity, str):
                finding = Finding(what, "wrong", f"{path}: {validity}.")
            else:
                finding = judge_validity(what, validity, now)
                finding = evolve(finding, text=f"{path}: {finding.text}")
            findings.append(finding)
        for endpoint in self._endpoints():
            seen = self._of(endpoint).validity
            if seen is not None:
                name = f"the certificate of Nova at {place_of(endpoint)}"
                findings.append(judge_validity(name, seen, now))
        return findings


def place_of(endpoint: Endpoint) -> str:
    """
    Write where an endpoint is, as in a URL.
    """
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port}"


def _validities_of(checked: Checked) -> Mapping[str, Validity | str]:
    """
    Look when our own certificates are good, as they are when they come into use.
    """
    return {path: _validity_in(path) for _what, path in checked.certificates}


def _validity_in(path: str) -> Validity | str:
    """
    Read when the first certificate of a file is good.

    @return: A sentence's beginning where that can't be told.
    """
    try:
        data, _ = read_file(path, _MOST)
        return validity_of(read_chain(data)[0])
    except (Unreadable, NoCertificate) as error:
        return str(error)


def checked_of(config: Config) -> Checked:
    """
    Tell what is to be checked.
    """
    tls = config.upstream.tls
    certificates = []
    if tls is not None and tls.certificate is not None:
        certificates.append(("our certificate for Nova", tls.certificate))
    if config.introspection.certificate is not None:
        pages = ("the certificate of these pages", config.introspection.certificate)
        certificates.append(pages)
    return Checked(config.upstream.check_interval, tuple(certificates))


def make_checks(
    config: Config,
    proxy: ReverseProxyResource,
    upstream: Upstream,
    reactor: Any,
    sweep: Sweep,
    random: Random,
    wall: Callable[[], float] = time.time,
) -> Checks:
    """
    Make the checks of a service.

    @param config: The configuration in force.
    @param proxy: Knows the secret in use, and counts who was refused.
    @param upstream: Knows the endpoints in use.
    @param reactor: Opens connections.
    @param sweep: Keeps deadlines.
    @param random: Makes intervals uneven.
    @param wall: Seconds since the epoch.
    """
    connector = make_connector(reactor)

    def ask(question: Fetch) -> Asking:
        return Asking(question, connector, reactor, sweep, patience_of(config.upstream))

    checks = Checks(
        checked_of(config),
        lambda: upstream.endpoints,
        lambda: proxy.signer,
        partial(proxy.counts.__getitem__, "signature-refused"),
        ask,
        sweep,
        reactor,
        random,
        wall,
    )
    upstream.observe_recovery(checks.hurry)
    return checks
