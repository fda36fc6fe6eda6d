"""
Tests for L{mdproxy.inventory_config}.
"""

from __future__ import annotations

from mdproxy import inventory_config
from tests.test_config import ConfigCase

LISTENER = "[listener:br0]\n"


class InventoriesTests(ConfigCase):
    """
    Tests for the inventories.
    """

    def test_inventories(self) -> None:
        """
        There must be one, of those that this version has, and none twice.
        """
        for value, words in (
            ("", "is empty, so nobody could be recognised"),
            ("static, static", "static stands there twice"),
            ("keystone", "there is no 'keystone': there is static, libvirt, ovn, "),
            ("statc", "there is no 'statc': did you mean static?"),
        ):
            [fault] = self.faults(f"inventories = {value}\n")
            self.assertTrue(fault.startswith("[DEFAULT] inventories: "), fault)
            self.assertIn(words, fault)

    def test_treq(self) -> None:
        """
        Neutron takes a package that not everybody has installed; how it is installed
        the fault says.
        """
        self.patch(inventory_config, "find_spec", lambda name: None)
        faults = self.faults("inventories = static, neutron\n")
        self.assertIn("[DEFAULT] inventories: neutron needs treq", faults[0])
        self.assertIn("pip install mdproxy[neutron]", faults[0])
        self.assertEqual(self.load("inventories = static\n").notes, ())

    def test_default_project(self) -> None:
        """
        The project of domains that Nova did not make is an id that can be sent.
        """
        rest = f"{LISTENER}[libvirt]\ndefault_project ="
        self.assertIsNone(self.load(rest=f"{rest}\n").libvirt_project)
        self.assertEqual(self.load(rest=f"{rest} p-1\n").libvirt_project, "p-1")
        [fault] = self.faults(rest=f"{rest} a b\n")
        self.assertIn("[libvirt] default_project: 'a b' can't be the id", fault)
