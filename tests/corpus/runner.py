"""
Send the corpus through a proxy and tell how each case went.

To try a proxy that is running, with its upstream at the port that is named::

    python -m tests.corpus.runner --proxy 18080 --nova 18775 [--mode bytes] [--only X]

It must know the client 127.0.0.1 as the instance of L{Instance}.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from attrs import define, frozen

from tests.corpus.cases import Case, load
from tests.corpus.client import Conversation, Mode, Outcome, Patience
from tests.corpus.judge import Fault, Observation, Verdict, faults_of, verdict_of
from tests.corpus.recorder import Recorder


@frozen
class Instance:
    """
    Who all clients of the corpus are.

    @ivar instance_id: The instance.
    @ivar project_id: Its project.
    @ivar secret: What the proxy signs with.
    @ivar address: Where it asks from.
    """

    instance_id: str = "11111111-2222-4333-8444-555555555555"
    project_id: str = "0123456789abcdef0123456789abcdef"
    secret: str = "s3cret"
    address: str = "127.0.0.1"

    def headers(self) -> dict[str, str]:
        """
        Tell which identity headers Nova must see.

        @return: The headers, names in lower case.
        """
        return {
            "x-instance-id": self.instance_id,
            "x-tenant-id": self.project_id,
            "x-forwarded-for": self.address,
            "x-instance-id-signature": hmac.new(
                self.secret.encode(), self.instance_id.encode(), hashlib.sha256
            ).hexdigest(),
        }


@frozen
class Result:
    """
    How a case went.

    @ivar case: The case.
    @ivar faults: What is wrong.
    @ivar outcome: What the client saw.
    """

    case: Case
    faults: list[Fault]
    outcome: Outcome

    @property
    def verdict(self) -> Verdict:
        """
        The worst of the faults.
        """
        return verdict_of(self.faults)

    def __str__(self) -> str:
        """
        Tell what is wrong, in one line.
        """
        faults = "; ".join(f"{one.verdict.value} {one.text}" for one in self.faults)
        statuses = [answer.status for answer in self.outcome.answers]
        end = "closed" if self.outcome.closed else "open"
        return f"{self.case.name} ({self.case.severity}): {faults} [{statuses} {end}]"


@define
class Runner:
    """
    One run of the corpus.

    @ivar _proxy: The proxy's port on loopback.
    @ivar _nova: What stands in Nova's place.
    @ivar _mode: How requests are cut into writes.
    @ivar _instance: Who asks.
    """

    _proxy: int
    _nova: Recorder
    _mode: Mode
    _instance: Instance

    def run(self, cases: Iterable[Case]) -> Iterator[Result]:
        """
        Send cases, one after the other.

        @param cases: The cases.

        @return: How each went, as it ends.
        """
        for number, case in enumerate(cases):
            yield self._one(case, f"/canary/{number}")

    def _one(self, case: Case, canary: str) -> Result:
        """
        Send one case, and a good request behind it on a connection of its own.
        """
        start = len(self._nova.events)
        outcome = self._converse(
            case.raw,
            self._mode,
            wanted=case.count,
            half_close=case.half_close,
            expect_close=case.must_close,
            bodiless=case.is_head,
        )
        # What was sent on without waiting for an answer gets this long to arrive.
        time.sleep(0.02)
        middle = len(self._nova.events)
        canary_outcome = self._converse(
            f"GET {canary} HTTP/1.1\r\nHost: 169.254.169.254\r\n"
            "Connection: close\r\n\r\n".encode(),
            Mode.WHOLE,
        )
        seen = Observation(
            case=case,
            identity=self._instance.headers(),
            outcome=outcome or Outcome(b"", False, []),
            events=self._nova.events[start:middle],
            canary=canary,
            canary_outcome=canary_outcome,
            late=self._nova.events[middle:],
        )
        return Result(case, faults_of(seen), seen.outcome)

    def _converse(
        self,
        raw: bytes,
        mode: Mode,
        *,
        wanted: int = 1,
        half_close: bool = False,
        expect_close: bool = False,
        bodiless: bool = False,
    ) -> Outcome | None:
        """
        Open a connection and send something.

        @return: What came; C{None} where there was no connection.
        """
        conversation = Conversation(
            ("127.0.0.1", self._proxy),
            mode.cut(raw),
            wanted,
            Patience(),
            half_close,
            expect_close,
            bodiless,
        )
        try:
            return conversation.hold()
        except OSError:
            return None


def main() -> int:
    """
    Judge a proxy that is running.

    @return: 0 where every case passes.
    """
    parser = argparse.ArgumentParser(description="Send the corpus through a proxy.")
    parser.add_argument("--proxy", type=int, required=True, help="its port on loopback")
    parser.add_argument("--nova", type=int, required=True, help="its upstream's port")
    parser.add_argument("--mode", choices=[m.value for m in Mode], default="whole")
    parser.add_argument("--only", default="", help="a part of the cases' names")
    parser.add_argument("--json", action="store_true", help="print verdicts as JSON")
    options = parser.parse_args()
    cases = [case for case in load() if options.only in case.name]
    verdicts = {}
    with Recorder(options.nova) as nova:
        threading.Thread(target=nova.serve_forever, daemon=True).start()
        runner = Runner(options.proxy, nova, Mode(options.mode), Instance())
        for result in runner.run(cases):
            verdicts[result.case.name] = result.verdict.value
            if result.faults and not options.json:
                print(result.verdict.value, result, flush=True)
        nova.shutdown()
    print(
        json.dumps(verdicts, indent=1) if options.json else Counter(verdicts.values())
    )
    return 0 if set(verdicts.values()) <= {Verdict.PASS.value} else 1


if __name__ == "__main__":
    sys.exit(main())
