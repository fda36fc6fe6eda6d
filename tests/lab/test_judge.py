"""
Tests for L{tests.lab.judge}: what is not complete is never taken for it.
"""

from __future__ import annotations

import base64
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.lab.cloud import make_machines
from tests.lab.faults import DOWN, SAYS, Asked, Phase, Record, Script
from tests.lab.judge import Boot, Verdict, ec2_tree, judge, line, merge, missing
from tests.lab.matrix import BAD, GOOD, Row

[MACHINE] = make_machines(1)
QUIET = Row("quiet", vms=1)


def openstack(**changes: Any) -> Boot:
    """
    Make a complete boot from the OpenStack data source.

    @param changes: What differs from it.
    """
    crawl = {
        "complete": True,
        "instance": MACHINE.instance,
        "hostname": MACHINE.hostname,
        "keys": list(MACHINE.keys.values()),
        "user_data": base64.b64encode(MACHINE.user_data or b"").decode(),
        "metadata": {"project_id": MACHINE.project},
        "ec2": ec2_tree(MACHINE, 1),
        "network": {"links": [{"ethernet_mac_address": MACHINE.mac}]},
        "seconds": 1.5,
    }
    return Boot(MACHINE, 1, {**crawl, **changes})


def ec2(**changes: Any) -> Boot:
    """
    Make a complete boot from the Ec2 data source.

    @param changes: What differs from it.
    """
    tree = ec2_tree(MACHINE, 1)
    parts = {"instance": tree["instance-id"], "metadata": tree, "ec2": None}
    return openstack(**{**parts, "network": None, **changes})


def asked(at: float = 0.0, fate: str = "served", **details: str) -> Asked:
    """
    Make a request that a Nova saw.
    """
    usual = {"instance": MACHINE.instance, "method": "GET", "target": "/", "body": ""}
    return Asked(at=at, connection=1, fate=fate, **{**usual, **details})


def record(*seen: Asked, returns: tuple[float, ...] = ()) -> Record:
    """
    Make what a Nova saw.
    """
    return Record(seen, returns, ())


def judged(*records: Record, row: Row = QUIET) -> Verdict:
    """
    Judge a complete boot.
    """
    return judge(row, "OpenStack", [openstack()], records)


class MissingTests(SynchronousTestCase):
    """
    A boot is complete only if every datum is there, to the byte.
    """

    def test_complete(self) -> None:
        """
        A boot that has everything is complete, from either source.
        """
        self.assertEqual(missing(openstack(), "OpenStack"), [])
        self.assertEqual(missing(ec2(), "Ec2"), [])

    def test_nothing(self) -> None:
        """
        A crawl that found no data source lacks everything.
        """
        boot = Boot(MACHINE, 1, {"complete": False, "seconds": 10.0})
        self.assertEqual(missing(boot, "OpenStack"), ["everything"])

    def test_each(self) -> None:
        """
        Each single datum that is another's, or gone, is missed.
        """
        cases: dict[str, dict[str, Any]] = {
            "instance-id": {"instance": "another"},
            "hostname": {"hostname": "another"},
            "keys": {"keys": []},
            "user-data": {"user_data": ""},
            "EC2 tree": {"ec2": {}},
            "network data": {"network": None},
            "project": {"metadata": {}},
        }
        for name, changes in cases.items():
            self.assertEqual(missing(openstack(**changes), "OpenStack"), [name])

    def test_each_of_ec2(self) -> None:
        """
        So it is in the Ec2 data source, whose tree must have every leaf.
        """
        tree = ec2_tree(MACHINE, 1)
        del tree["placement"]
        self.assertEqual(missing(ec2(metadata=tree), "Ec2"), ["EC2 tree"])
        self.assertEqual(missing(ec2(instance="i-00000002"), "Ec2"), ["instance-id"])


class JudgeTests(SynchronousTestCase):
    """
    What a boot cost Nova is counted, and what may never happen is found.
    """

    def test_counts(self) -> None:
        """
        A VM's requests count over all Novas, whatever became of them.
        """
        row = evolve(QUIET, lost=1)
        verdict = judged(record(asked(), asked(fate="503")), record(asked()), row=row)
        self.assertEqual((verdict.upstream, verdict.lost), ((3,), (1,)))
        self.assertEqual((verdict.complete, verdict.faults), (1, ()))

    def test_too_many(self) -> None:
        """
        More good answers than an undisturbed boot takes are too many.
        """
        self.assertEqual(judged(record(*[asked()] * 28)).faults, ())
        [fault] = judged(record(*[asked()] * 29)).faults
        self.assertIn("29 times", fault)

    def test_in_vain(self) -> None:
        """
        So are more questions in vain than the row allows.
        """
        [fault] = judged(record(asked(fate="reset before the head"))).faults
        self.assertIn("1 times in vain", fault)

    def test_post_twice(self) -> None:
        """
        A POST that reaches Novas twice is a fault, even if nothing else is wrong.
        """
        post = asked(method="POST", body="digest", instance="another")
        [fault] = judged(record(post), record(post)).faults
        self.assertIn("POST reached Nova 2 times", fault)

    def test_refused(self) -> None:
        """
        A signature that Nova does not accept is a fault.
        """
        faults = judged(record(asked(fate="refused", instance="another"))).faults
        self.assertEqual(len(faults), 1)

    def test_reload(self) -> None:
        """
        A good configuration that has no effect is a fault, and a bad one that has.
        """
        for reload, after in ((GOOD, record()), (BAD, record(asked()))):
            row = evolve(QUIET, reload=reload)
            [fault] = judged(record(), after, row=row).faults
            self.assertIn(reload, fault)

    def test_nothing_was_wrong(self) -> None:
        """
        A Nova that answers though its script says that it is away proves nothing.
        """
        for kind in (DOWN, SAYS):
            row = Row("away", ((Phase(kind, seconds=3),),), vms=1)
            [fault] = judged(record(asked(4.0), returns=(5.0,)), row=row).faults
            self.assertIn("answered while", fault)
            self.assertEqual(
                judged(record(asked(6.0), returns=(5.0,)), row=row).faults, ()
            )

    def test_nothing_happened(self) -> None:
        """
        Nor does a boot that was over before anything went wrong.
        """
        row = Row("late", ((Phase(DOWN, seconds=3, after=9),),), vms=1)
        [fault] = judged(record(asked()), row=row).faults
        self.assertIn("never came back", fault)

    def test_first_second(self) -> None:
        """
        What a Nova sees in the first second after its return is told.
        """
        seen = [asked(at) for at in (4.9, 5.0, 5.9, 6.0)]
        verdict = judged(Record(tuple(seen), (5.0,), (5.5,)))
        self.assertEqual(verdict.returns, ((2, 1),))

    def test_merge(self) -> None:
        """
        Several seeds make one line of the table.
        """
        verdict = merge([judged(record(asked())), judged(record(asked()))])
        self.assertIn(
            "| quiet | OpenStack | 2/2 | 1.5 (1.5) | 1 (1) | 0 |", line(verdict)
        )


class ScriptTests(SynchronousTestCase):
    """
    A script reaches the Nova's process as it was written.
    """

    def test_round_trip(self) -> None:
        """
        What is written down is read as the same.
        """
        phases = (Phase(DOWN, seconds=2, after=4), Phase(SAYS, 503, 3, 1.5))
        script = Script(phases, 8, "secret", "192.0.2.2", 8775, "192.0.2.1", 3)
        self.assertEqual(Script.load(script.dump()), script)
