"""
One run: every case, in interleaved rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from attrs import define, field, frozen

from bench.accounting import await_quiet, await_rest
from bench.backend import Backend, start_backend
from bench.cases import Case
from bench.figures import Sample, clean
from bench.idle import Memory, hold
from bench.load import ask, calls_per_request, check, take
from bench.places import Bridge, Place
from bench.system import System
from bench.systems import STARTERS, missing

#: Makes each place; told where the proxy's source is.
PLACES: dict[str, Callable[[str], Place]] = {
    "loopback": lambda source: Place("loopback", source=source),
    "tls": lambda source: Place("tls", tls=True, source=source),
    "bridge": lambda source: Bridge("bridge", source=source),
}


@frozen
class Plan:
    """
    How much is measured.

    @ivar rounds: How many good rounds there should be of each system.
    @ivar seconds: How long a round is.
    @ivar most_foreign: How many cores others may use before a round is thrown away.
    @ivar patience: How many seconds to wait, before each round, for others to be quiet.
    @ivar systems: Who is measured, of those that a case has.
    @ivar source: The checkout with the proxy to measure; empty: this one.
    @ivar trace: Whether system calls are counted too.
    @ivar say: Told how it goes.
    """

    rounds: int
    seconds: int
    most_foreign: float
    patience: float
    systems: tuple[str, ...]
    source: str
    trace: bool
    say: Callable[[str], None]

    @property
    def most_rounds(self) -> int:
        """
        How many rounds are tried before the machine is found too busy.
        """
        return 2 * self.rounds

    @property
    def least_rounds(self) -> int:
        """
        How many good rounds there must be for a figure.
        """
        return min(self.rounds, 3)


@define
class Outcome:
    """
    What was measured of one case.

    @ivar rounds: All rounds of each system, by its name.
    @ivar calls: System calls per request of each system, by its name.
    @ivar memory: What each system holds, by its name.
    """

    case: Case
    rounds: dict[str, dict[int, Sample]] = field(factory=dict)
    calls: dict[str, dict[str, float]] = field(factory=dict)
    memory: dict[str, Memory] = field(factory=dict)


@define
class _Scene:
    """
    A place with its backend and the systems that were needed so far.
    """

    place: Place
    backend: Backend
    started: dict[str, System] = field(factory=dict)

    def system(self, name: str) -> System:
        """
        Find a system; start it when it is first asked for.
        """
        if name not in self.started:
            self.started[name] = STARTERS[name](self.place, self.backend)
        return self.started[name]


def run(cases: Iterable[Case], plan: Plan) -> list[Outcome]:
    """
    Measure cases; those at the same place share their systems.
    """
    outcomes = []
    with ExitStack() as cleanup:
        scenes: dict[str, _Scene] = {}
        for case in cases:
            if case.place not in scenes:
                place = cleanup.enter_context(PLACES[case.place](plan.source))
                scenes[case.place] = _Scene(place, start_backend(place))
            outcomes.append(_measure(scenes[case.place], case, plan))
    return outcomes


def _measure(scene: _Scene, case: Case, plan: Plan) -> Outcome:
    """
    Measure one case.
    """
    plan.say(f"{case.name}: {case.title}")
    names = []
    for name in case.systems:
        if name not in plan.systems:
            continue
        reason = missing(name, plan.source)
        if reason:
            plan.say(f"  {name} is left out: {reason}")
        else:
            names.append(name)
    outcome = Outcome(case)
    if case.idle:
        _measure_memory(scene, names, plan, outcome)
    else:
        _measure_speed(scene, names, plan, outcome)
    return outcome


def _measure_memory(
    scene: _Scene, names: list[str], plan: Plan, outcome: Outcome
) -> None:
    """
    Start each system anew, and see what it holds.
    """
    case = outcome.case
    for name in names:
        system = STARTERS[name](scene.place, scene.backend)
        try:
            check(scene.place, system, case.target)
            memory = hold(scene.place, system, case.connections)
        finally:
            system.stop()
        plan.say(f"  {name}: {memory.rest:.1f} MB, {memory.each:.2f} kB each")
        outcome.memory[name] = memory


def _measure_speed(
    scene: _Scene, names: list[str], plan: Plan, outcome: Outcome
) -> None:
    """
    Measure round after round, all systems in each, until enough of them are good.
    """
    place, case = scene.place, outcome.case
    systems = [scene.system(name) for name in names]
    for system in systems:
        check(place, system, case.target)
        ask(place, system, case, 1)  # to get warm
        outcome.rounds[system.name] = {}
    for number in range(plan.most_rounds):
        if _enough(outcome, plan):
            break
        # Nobody always comes after the same other one.
        turn = number % len(systems)
        for system in systems[turn:] + systems[:turn]:
            await_rest(system.roots)
            await_quiet(plan.most_foreign, plan.patience)
            sample = take(place, system, case, plan.seconds)
            outcome.rounds[system.name][number] = sample
            plan.say(f"  {number + 1}. {system.name}: {describe(sample)}")
    if plan.trace:
        for system in systems:
            outcome.calls[system.name] = calls_per_request(place, system, case, 1)


def _enough(outcome: Outcome, plan: Plan) -> bool:
    """
    Tell whether each system has all the good rounds that it should have.
    """
    return all(
        len(clean(rounds, plan.most_foreign)) >= plan.rounds
        for rounds in outcome.rounds.values()
    )


def describe(sample: Sample) -> str:
    """
    Write a round on a line.
    """
    answers = sample.answers
    text = (
        f"{answers.rate:.0f}/s, p50 {answers.p50 / 1000:.2f} ms,"
        f" p99 {answers.p99 / 1000:.2f} ms, {sample.cost:.1f} us CPU,"
        f" others {sample.foreign:.2f} cores"
    )
    if answers.bad or answers.broken:
        text += f"; {answers.bad} bad, {answers.broken} broken"
    return text
