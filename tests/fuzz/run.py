"""
Fuzz for a while, guided by what code the bytes reach.

    script/fuzz [SECONDS]

Coverage is that of Python code: ours, and h11's, which knows the same grammar and can
be looked into as the C parser cannot.  What is found goes to a corpus for each target,
in C{.cache/fuzzing}, that begins with C{seeds.zip}; C{--keep} writes the smallest set
of inputs that covers as much back to it.

A crash is an input that breaks one of L{tests.fuzz.invariants}; it is left in
C{.cache/fuzzing}.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from tests.corpus import cases
from tests.corpus.cases import CORPUS, MORE
from tests.fuzz.seeds import TARGETS, load, save

#: Where inputs, crashes and logs go.
WORK: Final = Path(".cache/fuzzing")

#: What is looked into.
_INSTRUMENTED: Final = [
    *("mdproxy.http", "mdproxy.headers", "mdproxy.lookup", "mdproxy.inventory", "h11"),
]

_FIGURE: Final = re.compile(r"^stat::(\w+):\s+(\d+)", re.M)
_COVERED: Final = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")

#: Files that others wrote.
_SAMPLES: Final = {
    "leases": Path("tests/data/dnsmasq"),
    "domains": Path("tests/data/libvirt"),
}


@frozen
class Figures:
    """
    What a run did.

    @ivar target: Which parser.
    @ivar executions: How many inputs it was given.
    @ivar seconds: For how long.
    @ivar edges: How many edges of the code they reached.
    @ivar inputs: How many of them reached something that the others did not.
    @ivar crashes: Inputs that broke a promise.
    """

    target: str
    executions: int
    seconds: int
    edges: int
    inputs: int
    crashes: list[Path]

    def __str__(self) -> str:
        """
        Tell it in one line.
        """
        return " ".join(
            [
                f"{self.target}: {self.executions} executions in {self.seconds} s,",
                f"{self.edges} edges covered, {self.inputs} inputs,",
                f"{len(self.crashes)} crashes",
                *map(str, self.crashes),
            ]
        )


def fuzz(target: str, arguments: list[str]) -> None:
    """
    Be the fuzzer of a target, and never return.

    @param target: One of L{TARGETS}.
    @param arguments: What libFuzzer is told.
    """
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(
        include=_INSTRUMENTED, enable_loader_override=False
    ):
        targets = importlib.import_module("tests.fuzz.targets")
    # libFuzzer starts itself again, through a shell, by its first word.
    itself = f"{sys.executable} -m {__spec__.name} fuzz {target}"
    atheris.Setup([itself, *arguments], targets.CHECKS[target])
    atheris.Fuzz()


def _libfuzzer(target: str, *arguments: str) -> str:
    """
    Run the fuzzer of a target in a process of its own.

    @return: What it said.
    """
    log = WORK / f"{target}.log"
    with log.open("wb") as out:
        subprocess.run(
            [sys.executable, "-m", __spec__.name, "fuzz", target, *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return log.read_text(errors="replace")


def run(target: str, seconds: int) -> Figures:
    """
    Fuzz one target.

    @param target: One of L{TARGETS}.
    @param seconds: For how long.

    @return: What came of it.
    """
    corpus, crashes = WORK / target, WORK / f"{target}-crashes"
    for directory in (corpus, crashes):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate([*load(target), *_cases(target)]):
        (corpus / f"seed-{number}").write_bytes(seed)
    before = set(crashes.iterdir())
    words = WORK / "words"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in TARGETS[target].words))
    said = _libfuzzer(
        target,
        str(corpus),
        f"-max_total_time={seconds}",
        f"-max_len={TARGETS[target].longest}",
        f"-dict={words}",
        f"-artifact_prefix={crashes}/",
        "-print_final_stats=1",
        "-timeout=20",
        "-rss_limit_mb=1024",
    )
    figures = {name: int(value) for name, value in _FIGURE.findall(said)}
    covered = [tuple(map(int, each)) for each in _COVERED.findall(said)] or [(0, 0, 0)]
    found = sorted(set(crashes.iterdir()) - before)
    executions = figures.get("number_of_executed_units", 0)
    if not executions or found:
        print(said[-4000:])
    return Figures(target, executions, seconds, covered[-1][0], covered[-1][2], found)


def _cases(target: str) -> list[bytes]:
    """
    Make inputs of what else the tests have: hostile requests, and samples of files.
    """
    raws: list[bytes] = []
    if target in ("requests", "channel"):
        raws = [case.raw for path in (CORPUS, MORE) for case in cases.load(path)]
    elif target in _SAMPLES:
        raws = [path.read_bytes() for path in _SAMPLES[target].iterdir()]
    # No place to cut, and nothing that came before.
    return [raw + b"\0" for raw in raws if len(raw) < TARGETS[target].longest]


def keep(target: str) -> int:
    """
    Write the smallest set of inputs that reaches as much code into the seeds.

    @param target: One of L{TARGETS}.

    @return: How many they are.
    """
    smallest = WORK / f"{target}-smallest"
    smallest.mkdir(exist_ok=True)
    for path in smallest.iterdir():
        path.unlink()
    _libfuzzer(target, "-merge=1", str(smallest), str(WORK / target))
    seeds = sorted((path.read_bytes() for path in smallest.iterdir()), key=len)
    save(target, seeds)
    return len(seeds)


def _quoted(word: bytes) -> str:
    """
    Write a word as libFuzzer's dictionaries have it.
    """
    return "".join(f"\\x{octet:02x}" for octet in word)


def main() -> int:
    """
    Fuzz all targets in turn.

    @return: 0 where no promise was broken and something was tried.
    """
    parser = argparse.ArgumentParser(description="Fuzz the parsers.")
    parser.add_argument("seconds", type=int, nargs="?", default=3600)
    parser.add_argument("--only", choices=sorted(TARGETS), help="one target")
    parser.add_argument("--keep", action="store_true", help="write seeds.zip anew")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    chosen = [options.only] if options.only else list(TARGETS)
    whole = sum(TARGETS[target].share for target in chosen)
    failed = False
    for target in chosen:
        share = max(options.seconds * TARGETS[target].share // whole, 1)
        figures = run(target, share)
        failed |= bool(figures.crashes) or not figures.executions
        print(figures, flush=True)
        if options.keep:
            print(f"{target}: {keep(target)} inputs kept", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["fuzz"]:
        fuzz(sys.argv[2], sys.argv[3:])
    sys.exit(main())
