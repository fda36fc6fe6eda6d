# -*- test-case-name: tests.test_reload -*-
"""
SIGHUP: the configuration is read again, and takes effect as a whole or not at all.

Everything that can fail is built first, beside what is in use; then the parts change
over, and no connection is closed for it.  With any fault the configuration in force
stays as it is.  What only a restart can change is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any, Final, TypeVar

from attrs import define, evolve, field, fields_dict, frozen
from twisted.logger import Logger

from mdproxy.config import Config, ConfigError

_Value = TypeVar("_Value")

#: The fields of L{Config} that count at the start alone; so does C{log.format}.
AT_START: Final = ("listeners", "introspection", "manhole")


def _nothing() -> None:
    """
    Do nothing.
    """


@frozen
class Change:
    """
    A part that is ready to change over.

    @ivar apply: Changes it; what can fail was done before.
    @ivar undo: Makes it what it was, whether it has changed over or not.
    @ivar finish: Lets go of what it was, when every part has changed over.
    """

    apply: Callable[[], None]
    undo: Callable[[], None]
    finish: Callable[[], None] = _nothing


#: Readies a part: told the configuration in force and the new one, it builds what the
#: new one needs.  If that can't be done it raises L{ConfigError} and leaves nothing
#: behind.
Prepare = Callable[[Config, Config], Change]


def exchanged(
    make: Callable[[Config], _Value], put: Callable[[_Value], None]
) -> Prepare:
    """
    Ready a part that is changed by giving it another value.

    @param make: Makes the value of a configuration.
    @param put: Gives it to the part.
    """

    def prepare(old: Config, new: Config) -> Change:
        before, after = make(old), make(new)
        if before == after:
            return Change(_nothing, _nothing)
        return Change(partial(put, after), partial(put, before))

    return prepare


def waiting_for_restart(running: Config, wanted: Config) -> list[str]:
    """
    Name what a configuration wants and only a restart can give.

    @param running: The configuration in force.
    @param wanted: The one that was read.

    @return: Sections and options as the operator writes them.
    """
    before = {listener.name: listener for listener in running.listeners}
    after = {listener.name: listener for listener in wanted.listeners}
    names = [
        f"[listener:{name}]"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    names += _different("introspection", running.introspection, wanted.introspection)
    if running.manhole != wanted.manhole:
        names.append("[manhole]")
    if running.log.format != wanted.log.format:
        names.append("[log] format")
    return names


def _different(section: str, one: Any, other: Any) -> Iterator[str]:
    """
    Name the options of a section that differ.
    """
    for option in fields_dict(type(one)):
        if getattr(one, option) != getattr(other, option):
            yield f"[{section}] {option}"


@frozen
class _Outcome:
    """
    How a reload ended.

    @ivar at: When, in seconds since the epoch.
    @ivar faults: Why it was refused; none: it was not.
    """

    at: float
    faults: tuple[str, ...] = ()


@define(eq=False)
class Reload:
    """
    The configuration in force, and how another takes its place.

    @ivar config: The configuration in force.
    @ivar _load: Reads the files that were given at the start.
    @ivar _parts: Ready the parts; they change over in this order.
    @ivar _wall: Seconds since the epoch.
    @ivar _since: Since when it is in force.
    @ivar _last: How the latest reload ended.
    @ivar _waiting: What the files want and only a restart can give.
    """

    config: Config
    _load: Callable[[], Config]
    _parts: Sequence[Prepare]
    _wall: Callable[[], float]
    _since: float = field(init=False)
    _last: _Outcome | None = field(default=None, init=False)
    _waiting: Sequence[str] = field(default=(), init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Take the first configuration.
        """
        self._since = self._wall()

    def also(self, prepare: Prepare) -> None:
        """
        Have one more part changed, after the others.

        @param prepare: Readies it.
        """
        self._parts = (*self._parts, prepare)

    def renew(self) -> None:
        """
        Read the configuration again and put it in force, unless anything is wrong.

        Nothing is raised; what is wrong is logged, line by line.
        """
        self._log.info("SIGHUP: reading the configuration again")
        try:
            wanted = self._load()
            self._replace(wanted)
        except ConfigError as error:
            self._refuse(error.faults)
        except Exception as error:
            self._log.failure("the reload met a fault of mdproxy itself")
            self._refuse((f"a fault of mdproxy itself: {type(error).__name__}",))

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator what is in force, and how the latest reload ended.

        @return: Plain values, ready for JSON.
        """
        last = self._last
        return {
            "since": _utc(self._since),
            "needs_restart": list(self._waiting),
            "last_reload": None
            if last is None
            else {
                "at": _utc(last.at),
                "result": "refused" if last.faults else "taken",
                "faults": list(last.faults),
            },
        }

    def _replace(self, wanted: Config) -> None:
        """
        Put a configuration in force, as far as that can be done without a restart.

        @raise ConfigError: If it can't be; the one before is in force then.
        """
        kept: dict[str, Any] = {name: getattr(self.config, name) for name in AT_START}
        kept["log"] = evolve(wanted.log, format=self.config.log.format)
        config = evolve(wanted, **kept)
        changes: list[Change] = []
        try:
            self._prepare(config, changes)
            for change in changes:
                change.apply()
        except Exception:
            for change in changes:
                self._alone(change.undo)
            raise
        notes = [note for note in config.notes if note not in self.config.notes]
        waiting = waiting_for_restart(self.config, wanted)
        self.config = config
        for change in changes:
            self._alone(change.finish)
        self._tell(notes, waiting)

    def _prepare(self, config: Config, changes: list[Change]) -> None:
        """
        Ready all parts.

        @param changes: Where they go, one by one.

        @raise ConfigError: With the faults of all parts.
        """
        faults: list[str] = []
        for prepare in self._parts:
            try:
                changes.append(prepare(self.config, config))
            except ConfigError as error:
                faults += error.faults
        if faults:
            raise ConfigError(faults)

    def _alone(self, step: Callable[[], None]) -> None:
        """
        Do something that keeps nothing else from being done.
        """
        try:
            step()
        except Exception:
            self._log.failure("a step of the reload met a fault of mdproxy itself")

    def _tell(self, notes: Sequence[str], waiting: Sequence[str]) -> None:
        """
        Say that another configuration is in force.
        """
        self._since = self._wall()
        self._last = _Outcome(self._since)
        self._waiting = waiting
        for note in notes:
            self._log.warn("{note}", note=note)
        if waiting:
            self._log.warn("needs a restart: {names}", names=", ".join(waiting))
        self._log.info("the configuration that was read is in force")

    def _refuse(self, faults: Sequence[str]) -> None:
        """
        Say that the configuration in force stays, and why.
        """
        self._last = _Outcome(self._wall(), tuple(faults))
        for fault in faults:
            self._log.error("{fault}", fault=fault)
        self._log.error(
            "the configuration is refused (faults: {count}): the one that is in force "
            "since {since} stays",
            count=len(faults),
            since=_utc(self._since),
        )


def _utc(seconds: float) -> str:
    """
    Write a time for the operator.
    """
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
