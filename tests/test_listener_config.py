"""
Tests for L{mdproxy.listener_config}.
"""

from __future__ import annotations

import os
import pwd
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from mdproxy.config import ListenerConfig, NamespacesConfig, SocketConfig
from mdproxy.listener_config import _Places
from tests.test_config import ConfigCase


def _clash(one: ListenerConfig, other: ListenerConfig) -> bool:
    """
    Tell whether two listeners can't both be.
    """
    if one.port == other.port:
        if (one.device, one.address) == (other.device, other.address):
            return True
        if {one.address, other.address} & {"0.0.0.0", "::"}:
            return True
    devices = {one.device, other.device} - {None}
    return one.network == other.network and len(devices) > 1


class ListenerTests(ConfigCase):
    """
    Tests for the listeners.
    """

    def test_there_must_be_one(self) -> None:
        """
        Without a listener nobody could ask, which is a fault.
        """
        [fault] = self.faults(rest="")
        self.assertIn("there is no [listener:NAME]", fault)

    def test_wrong_listeners(self) -> None:
        """
        What a listener can't be is a fault at its option.
        """
        for lines, option, words in (
            ("kind = devices", "kind", "there is no 'devices': did you mean device?"),
            ("device = a/b", "device", "'a/b' can't name a network device"),
            ("device = abcdefghijklmnop", "device", "up to 15 characters"),
            ("network = a b", "network", "'a b' can't name a network"),
            ("network = a@b", "network", "'a@b' can't name a network"),
            ("address = 10.0.0.1", "address", "is for kind = address, and this"),
            ("router_port = 1", "router_port", "is for kind = namespaces, and this"),
            ("namespaces = a-*", "namespaces", "is for kind = namespaces and socket"),
            ("kind = socket\npath = /x\nport = 81", "port", "is for kind = device and"),
            ("kind = namespaces\nmode = all", "mode", "is for kind = socket, and this"),
            ("kind = address", "address", "is empty: kind = address needs one"),
            ("kind = address\naddress = x", "address", "'x' is no IP address"),
            ("kind = address\naddress = 10.0.0.0/8", "address", "is no IP address"),
            ("kind = address\naddress = 224.0.0.1", "address", "no plain address"),
            ("kind = address\naddress = fe80::1%lo", "address", "no plain address"),
            (
                "kind = address\naddress = 10.0.0.1\ndevice = x",
                "device",
                "is for kind = device",
            ),
            ("port = 65536", "port", "is not a whole number from 1 to 65535"),
            ("identify_by = name", "identify_by", "is not one of mac, lease, address"),
        ):
            fault = self.faults(rest=f"[listener:br0]\n{lines}\n")[0]
            self.assertTrue(fault.startswith(f"[listener:br0] {option}: "), fault)
            self.assertIn(words, fault)

    def test_wrong_namespaces(self) -> None:
        """
        A pattern that does not say what stands before the id is a fault, as is none,
        and anything but the MAC to identify by.
        """
        for lines, option, words in (
            ("namespaces = *", "namespaces", "'*' is no pattern for namespaces"),
            ("namespaces = qdhcp*", "namespaces", "its hyphen, like qdhcp-*"),
            ("namespaces = q?-*", "namespaces", "is no pattern"),
            ("namespaces = qdhcp-", "namespaces", "is no pattern"),
            ("namespaces = qdhcp-*/x", "namespaces", "is no pattern"),
            ("namespaces =", "namespaces", "is empty: name at least one"),
            ("router_port = 0", "router_port", "a whole number from 1 to 65535"),
            ("identify_by = address", "identify_by", "is mac for kind = namespaces"),
            ("identify_by = lease", "identify_by", "is mac for kind = namespaces"),
        ):
            rest = f"[listener:a]\nkind = namespaces\n{lines}\n"
            [fault] = self.faults(rest=rest)
            self.assertTrue(fault.startswith(f"[listener:a] {option}: "), fault)
            self.assertIn(words, fault)

    def test_wrong_sockets(self) -> None:
        """
        A UNIX socket needs a path that the kernel takes, users that there are, and a
        way to identify that it has.
        """
        for lines, option, words in (
            ("", "path", "is empty: name the socket that Neutron's haproxies ask at"),
            ("path = x", "path", "'x' is no absolute path"),
            (f"path = /{'x' * 107}", "path", "is longer than 107 bytes"),
            ("path = /x\nmode = 0666", "mode", "one of deduce, user, group, all"),
            (
                "path = /x\nallowed_uids = root, no-such-user",
                "allowed_uids",
                "'no-such-user' is no user of this host",
            ),
            ("path = /x\nallowed_uids = 4294967295", "allowed_uids", "is no user"),
            ("path = /x\nallowed_uids = -1", "allowed_uids", "is no user"),
            ("path = /x\nidentify_by = lease", "identify_by", "is mac or address"),
            ("path = /x\nnamespaces = *", "namespaces", "is no pattern"),
        ):
            [fault] = self.faults(rest=f"[listener:a]\nkind = socket\n{lines}\n")
            self.assertTrue(fault.startswith(f"[listener:a] {option}: "), fault)
            self.assertIn(words, fault)

    def test_namespaces(self) -> None:
        """
        Without a word a listener in namespaces serves all of Neutron's.
        """
        config = self.load("inventories = ovn\n", "[listener:a]\nkind = namespaces\n")
        patterns = ("qdhcp-*", "qrouter-*", "ovnmeta-*")
        self.assertEqual(config.listeners, (NamespacesConfig("a", patterns, 80, 9697),))
        self.assertEqual(config.notes, ())

    def test_sockets(self) -> None:
        """
        Users are given by number or by name, once each; whom the names mean is found
        out when the configuration is read.
        """
        me = pwd.getpwuid(os.getuid())
        rest = (
            "[listener:a]\nkind = socket\npath = /x\nnamespaces = ovnmeta-*\n"
            f"mode = user\nallowed_uids = {me.pw_name}, 7, {me.pw_uid}\n"
        )
        self.assertEqual(
            self.load(rest=rest).listeners,
            (SocketConfig("a", "/x", "user", (me.pw_uid, 7), ("ovnmeta-*",), "mac"),),
        )

    def test_weaker_sockets_are_noted(self) -> None:
        """
        A socket that everybody may open, or that identifies as Neutron does, is noted;
        so is one that only our own user may ask at.
        """
        rest = (
            "[listener:a]\nkind = socket\npath = /x\nnamespaces = ovnmeta-*\n"
            "allowed_uids ="
        )
        [note] = self.load(rest=f"{rest}\n").notes
        self.assertIn("[listener:a] allowed_uids: is empty: nobody but root", note)
        rest += " 7\n"
        self.assertEqual(self.load(rest=rest).notes, ())
        [note] = self.load(rest=f"{rest}mode = all\n").notes
        self.assertIn("[listener:a] mode: all is weaker than group", note)
        [note] = self.load(rest=f"{rest}identify_by = address\n").notes
        self.assertIn("[listener:a] identify_by: address is weaker than mac", note)

    def test_addresses(self) -> None:
        """
        Addresses of either family are listened on, in their canonical form.
        """
        for text, address in (
            ("10.0.0.1", "10.0.0.1"),
            ("0.0.0.0", "0.0.0.0"),
            ("FE80::A9FE:A9FE", "fe80::a9fe:a9fe"),
            ("[::]", "::"),
        ):
            config = self.load(
                rest=f"[listener:a]\nkind = address\naddress = {text}\n"
                "identify_by = address\n"
            )
            self.assertEqual(
                config.listeners,
                (ListenerConfig("a", "address", None, address, 80, "a", "address"),),
            )

    def test_listeners_do_not_clash(self) -> None:
        """
        Two listeners that want the same port, or make one network of two, are a fault.
        """
        address = "kind = address\naddress = 127.0.0.1\nidentify_by = address"
        anywhere = "kind = address\naddress = 0.0.0.0\nidentify_by = address"
        for one, other, words in (
            ("device = br0", "device = br0", "listens on br0 port 80, as [listener:a]"),
            (address, address, "listens on 127.0.0.1 port 80, as [listener:a] does"),
            (address, anywhere, "takes it on every address"),
            (anywhere, "device = br0", "takes it on every address"),
            (
                "device = br0\nnetwork = n",
                "device = br1\nnetwork = n",
                "[listener:a] on br0: a network is one device",
            ),
        ):
            [fault] = self.faults(rest=f"[listener:a]\n{one}\n[listener:b]\n{other}\n")
            self.assertTrue(fault.startswith("[listener:b]: "), fault)
            self.assertIn(words, fault)

    def test_listeners_side_by_side(self) -> None:
        """
        What differs in device, address or port stands side by side.
        """
        config = self.load(
            rest="[listener:a]\n[listener:b]\n[listener:c]\ndevice = a\nport = 81\n"
            "[listener:d]\nkind = address\naddress = 10.0.0.1\nidentify_by = address\n"
            "[listener:e]\nkind = address\naddress = 0.0.0.0\nport = 82\nnetwork = d\n"
            "identify_by = address\n"
        )
        self.assertEqual([each.name for each in config.listeners], list("abcde"))

    def test_namespaces_have_one_listener(self) -> None:
        """
        Patterns of two listeners that may match the same namespace are a fault,
        whatever their ports.
        """
        for one, other in (
            ("qdhcp-*", "qdhcp-*"),
            ("ovnmeta-*, qdhcp-1*", "qdhcp-*"),
            ("qdhcp-*", "ovnmeta-*, qdhcp-1?"),
            ("qdhcp-1*", "qdhcp-1"),
            ("qdhcp-[ab]*", "qdhcp-a*"),
        ):
            [fault] = self.faults(
                rest=f"[listener:a]\nkind = namespaces\nnamespaces = {one}\n"
                f"[listener:b]\nkind = namespaces\nnamespaces = {other}\nport = 81\n"
            )
            self.assertTrue(fault.startswith("[listener:b]: has namespaces"), fault)
            self.assertIn("as [listener:a] may", fault)

    def test_namespaces_side_by_side(self) -> None:
        """
        Patterns that can't match the same namespace, also those of one listener that
        can, and those of UNIX sockets stand side by side; so does an address.
        """
        config = self.load(
            rest="[listener:a]\nkind = namespaces\nnamespaces = qdhcp-a*, qdhcp-ab*\n"
            "[listener:b]\nkind = namespaces\nnamespaces = qdhcp-b*, ovnmeta-*\n"
            "[listener:c]\nkind = socket\npath = /c\n"
            "[listener:d]\nkind = socket\npath = /d\n"
            "[listener:e]\nkind = address\naddress = 0.0.0.0\nidentify_by = address\n"
        )
        self.assertEqual([each.name for each in config.listeners], list("abcde"))

    def test_sockets_do_not_clash(self) -> None:
        """
        Two UNIX sockets of one path are a fault.
        """
        socket = "kind = socket\npath = /x\n"
        [fault] = self.faults(rest=f"[listener:a]\n{socket}[listener:b]\n{socket}")
        self.assertIn("[listener:b]: has the path of [listener:a]", fault)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["br0", "br1", "10.0.0.1", "0.0.0.0", "::"]),
                st.sampled_from([80, 81]),
                st.sampled_from(["m", "n", "o"]),
            ),
            max_size=6,
        )
    )
    def test_clashes(self, places: list[tuple[str, int, str]]) -> None:
        """
        Among any listeners on devices and addresses the first has a fault that can't be
        beside one that was named before it, and none that can.
        """
        listeners = [
            ListenerConfig(
                str(number),
                "device" if where[:2] == "br" else "address",
                where if where[:2] == "br" else None,
                None if where[:2] == "br" else where,
                port,
                network,
                "address",
            )
            for number, (where, port, network) in enumerate(places)
        ]
        found, has_fault = _Places(), False
        for number, listener in enumerate(listeners):
            expected = any(_clash(listener, other) for other in listeners[:number])
            clashes = bool(list(found.clashes(listener)))
            self.assertFalse(clashes and not expected)
            has_fault = has_fault or clashes
            self.assertFalse(expected and not has_fault)

    @given(
        st.lists(st.text("ab*?[]!-", min_size=1, max_size=5), min_size=2, max_size=2),
        st.text("ab-", max_size=5),
    )
    def test_shared_namespaces(self, ends: list[str], name: str) -> None:
        """
        Where any namespace is matched by patterns of two listeners they clash.
        """
        found = _Places()
        clashes = [
            list(found.clashes(NamespacesConfig(word, (f"q-{end}",), 80, 81)))
            for word, end in zip("ab", ends, strict=True)
        ]
        self.assertEqual(clashes[0], [])
        if all(fnmatchcase(f"q-{name}", f"q-{end}") for end in ends):
            self.assertNotEqual(clashes[1], [])

    def test_many_listeners(self) -> None:
        """
        Each of a few thousand listeners is looked at once.
        """
        found = _Places()
        for number in range(5000):
            name = f"br{number}"
            listener = ListenerConfig(name, "device", name, None, 80, name, "mac")
            self.assertEqual(list(found.clashes(listener)), [])
        self.assertLess(len(found._taken), 3 * 5000)

    def test_weaker_listeners_are_noted(self) -> None:
        """
        What identifies less surely than the frame is noted with the reason.
        """
        notes = self.load(
            rest="[listener:a]\nidentify_by = lease\n[listener:b]\n"
            "identify_by = address\n[listener:c]\n[leases]\nsources = dnsmasq:/x@a\n"
        ).notes
        self.assertEqual(len(notes), 2)
        self.assertIn("[listener:a] identify_by: lease is weaker than mac", notes[0])
        self.assertIn("[listener:b] identify_by: address is weaker", notes[1])

    def test_an_address_has_no_frames_of_its_network(self) -> None:
        """
        A listener on an address can't identify by MAC, be that said or the default:
        connections come to it from every device.
        """
        for line in ("", "identify_by = mac\n"):
            for address in ("127.0.0.1", "10.0.0.1", "::"):
                [fault] = self.faults(
                    rest=f"[listener:a]\nkind = address\naddress = {address}\n{line}"
                )
                self.assertTrue(fault.startswith("[listener:a] identify_by: "), fault)
                self.assertIn("identify_by = lease or address, or kind = device", fault)
