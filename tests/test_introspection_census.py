"""
Tests for L{mdproxy.introspection.census}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.operated import ADDRESS, BLUE, RED, A, B, Host, a_link, a_port


class NetworksTests(SynchronousTestCase):
    """
    What is listed of networks.
    """

    def setUp(self) -> None:
        """
        Make a host.
        """
        self.host = Host()

    def ask(self, *args: Any, **kwargs: Any) -> Any:
        """
        List them; what is said is ready for JSON.
        """
        return json.loads(json.dumps(self.host.view.networks(*args, **kwargs)))

    def test_counts(self) -> None:
        """
        Each link is listed with its listener and how much is known of it.
        """
        link = "qdhcp-n/tap1"
        self.host.books.networks.attach(link, RED)
        self.host.links.append(a_link(link))
        self.host.know(a_port(), a_port("i-b", B), a_port("i-c", B, network=BLUE))
        self.host.see(A)
        self.host.see(A, network=link)
        self.host.see(B, "10.0.0.6", link)
        self.host.lease(A)
        figures = ("network", "called", "ports", "leases", "neighbours")
        self.assertEqual(
            [tuple(item[name] for name in figures) for item in self.ask()["items"]],
            [(BLUE, BLUE, 1, 0, 0), (link, RED, 2, 1, 2), (RED, RED, 2, 1, 1)],
        )
        self.assertEqual(self.ask()["items"][0]["listener"]["name"], "l-blue")

    def test_search(self) -> None:
        """
        A link is found by its name, its network's and its listener's, in any case.
        """
        link = "qdhcp-1234/tap1"
        self.host.books.networks.attach(link, "1234-NET")
        self.host.links.append(a_link(link, listener="Neutron"))
        for text in ("qdhcp", "net", "neutron", "TAP1"):
            (found,) = self.ask(text)["items"]
            self.assertEqual(found["network"], link)
        self.assertEqual(self.ask("nothing"), {"items": [], "total": 0, "next": None})

    def test_pages(self) -> None:
        """
        Page by page each is listed once, two listeners of one link included.
        """
        self.host.links[:] = [a_link(f"n{n:03}") for n in range(25)]
        self.host.links += [a_link(f"n{n:03}", listener="two") for n in range(0, 25, 5)]
        after, seen = None, []
        while True:
            page = self.ask("", after, 7)
            self.assertEqual(page["total"], 30)
            seen += [(i["network"], i["listener"]["name"]) for i in page["items"]]
            after = page["next"]
            if after is None:
                break
            self.assertEqual(len(page["items"]), 7)
        self.assertEqual(len(seen), 30)
        self.assertEqual(len(set(seen)), 30)
        self.assertEqual(sorted(seen), seen)

    def test_bounded(self) -> None:
        """
        No page is longer than the longest.
        """
        self.host.links[:] = [a_link(f"n{n}") for n in range(1200)]
        self.assertEqual(len(self.ask(limit=10**9)["items"]), 1000)


class InstancesTests(SynchronousTestCase):
    """
    What is listed of instances.
    """

    def setUp(self) -> None:
        """
        Have three instances, of which one has two ports.
        """
        self.host = Host()
        self.host.know(
            a_port(),
            a_port(mac=B, network=BLUE, addresses=frozenset({"10.0.0.6"})),
            a_port("i-b", B, addresses=None, project_id="Other"),
            a_port("I-C", "fa:16:3e:00:00:0c", addresses=frozenset({"fd00::7"})),
        )
        self.host.lease(A, hostname="Web-1")

    def ask(self, *args: Any) -> Any:
        """
        List them; what is said is ready for JSON.
        """
        return json.loads(json.dumps(self.host.view.instances(*args)))

    def found(self, text: str) -> list[str]:
        """
        Tell who is found by a text.
        """
        return [item["instance"] for item in self.ask(text)["items"]]

    def test_items(self) -> None:
        """
        An instance is listed once, with all that its ports have.
        """
        listed = self.ask()
        self.assertEqual((listed["total"], listed["next"]), (3, None))
        self.assertEqual(
            listed["items"][2 - 1],
            {
                "instance": "i-a",
                "project": "p-1",
                "networks": [BLUE, RED],
                "macs": [A, B],
                "addresses": [ADDRESS, "10.0.0.6"],
                "hostnames": ["Web-1"],
                "inventories": ["memory"],
            },
        )

    def test_search(self) -> None:
        """
        An instance is found by a part of its id, project, MAC, address, network or host
        name, in any case; and is listed with all its ports.
        """
        self.assertEqual(self.found("i-"), ["I-C", "i-a", "i-b"])
        self.assertEqual(self.found("oTHer"), ["i-b"])
        self.assertEqual(self.found("00:0C"), ["I-C"])
        self.assertEqual(self.found("fd00::"), ["I-C"])
        self.assertEqual(self.found("blue"), ["i-a"])
        self.assertEqual(self.found("web-"), ["i-a"])
        self.assertEqual(self.found("nobody"), [])
        self.assertEqual(self.ask("blue")["items"][0]["networks"], [BLUE, RED])

    def test_pages(self) -> None:
        """
        Page by page each instance is listed once.
        """
        after, seen = None, []
        for _ in range(3):
            page = self.ask("", after, 1)
            seen += [item["instance"] for item in page["items"]]
            self.assertEqual(page["total"], 3)
            after = page["next"]
        self.assertEqual(seen, ["I-C", "i-a", "i-b"])
        self.assertIsNone(after)


class StoryTests(SynchronousTestCase):
    """
    One instance's story.
    """

    def setUp(self) -> None:
        """
        Make a host.
        """
        self.host = Host()

    def ask(self, instance: str = "i-a") -> Any:
        """
        Tell the story; what is said is ready for JSON.
        """
        return json.loads(json.dumps(self.host.view.instance(instance)))

    def test_story(self) -> None:
        """
        It has the ports, leases, neighbours with the kernel's word, what would be
        decided at each address, and the requests.
        """
        self.host.know(a_port(), a_port("i-b", B))
        self.host.see(A)
        self.host.see(B, "10.0.0.9")
        self.host.lease(A, 60.0, "vm-a")
        self.host.ask()
        self.host.steps.watch("i-a", 60)
        story = self.ask()
        self.assertEqual((story["instance"], story["project"]), ("i-a", "p-1"))
        self.assertEqual([port["mac"] for port in story["ports"]], [A])
        self.assertEqual([lease["hostname"] for lease in story["leases"]], ["vm-a"])
        (neighbour,) = story["neighbours"]
        self.assertEqual(
            (neighbour["address"], neighbour["state"]), (ADDRESS, "reachable")
        )
        (candidate,) = story["candidates"]
        self.assertEqual(candidate["verdict"], "allowed")
        self.assertEqual([t["instance"] for t in story["transactions"]], ["i-a"])
        self.assertEqual(story["steps"], [])

    def test_refused(self) -> None:
        """
        An address that its port doesn't have, and what was refused because of it, are
        part of its story; what others did on its address is not.
        """
        self.host.know(a_port())
        self.host.see(A, "10.0.0.66")
        self.host.ask(A, "10.0.0.66", status=404)
        self.host.see(B, "10.0.0.67")
        self.host.ask(B, "10.0.0.67", status=404)
        self.host.see(A, "10.0.0.66", BLUE)
        story = self.ask()
        self.assertEqual(
            [each["reason"] for each in story["transactions"]], ["foreign-address"]
        )
        self.assertEqual(
            [(each["facts"]["neighbour"], each["row"]) for each in story["candidates"]],
            [(None, 10), (A, 5)],
        )
        self.assertEqual([n["network"] for n in story["neighbours"]], [RED])

    def test_gone(self) -> None:
        """
        An instance that no inventory knows any more has the story of its requests.
        """
        self.host.know(a_port())
        self.host.see(A)
        self.host.ask()
        self.host.books.ports.enter("memory", f"{RED} {A} i-a", [])
        story = self.ask()
        self.assertEqual((story["ports"], story["candidates"]), ([], []))
        self.assertEqual(len(story["transactions"]), 1)

    def test_nobody(self) -> None:
        """
        Nobody has no story.
        """
        self.assertIsNone(self.host.view.instance("i-a"))
