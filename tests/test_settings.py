"""
Tests for L{mdproxy.settings}.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.settings import Settings, closest

#: As Debian 12 ships it (package neutron-metadata-agent, 2:21.0.0-7+deb12u1).
NEUTRON = Path(__file__).parent / "data" / "metadata_agent.ini"


class WordsTests(SynchronousTestCase):
    """
    Tests for L{closest}.
    """

    def test_a_close_word_is_offered(self) -> None:
        """
        Of what exists the closest is named, and all of it where nothing is close.
        """
        self.assertEqual(closest("STATC", ["static", "hold"]), "did you mean static?")
        self.assertEqual(closest("xyz", ["static", "hold"]), "there is static, hold")


class SettingsTests(SynchronousTestCase):
    """
    Tests for L{Settings}.
    """

    def settings(self, *texts: str) -> Settings:
        """
        Load one file for each text; they are called 0, 1, …
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        for number, text in enumerate(texts):
            (directory / str(number)).write_text(text, "utf-8")
        files = [f"{directory}/{number}" for number in range(len(texts))]
        settings = Settings.load(files, [])
        for findings in (settings.faults, settings.notes):
            findings[:] = [each.replace(f"{directory}/", "") for each in findings]
        return settings

    def test_defaults_hold_where_nothing_is_set(self) -> None:
        """
        Without any file there are the defaults, and no faults.
        """
        settings = self.settings()
        self.assertEqual(settings.faults, [])
        self.assertEqual(settings.value("DEFAULT", "nova_metadata_port"), 8775)
        self.assertEqual(settings.value("hold", "openstack"), 8.0)

    def test_the_last_file_counts(self) -> None:
        """
        Of what several files set, the last counts; the others keep the rest.
        """
        settings = self.settings(
            "[DEFAULT]\nnova_metadata_port = 1\n[hold]\nother = 2\n",
            "[DEFAULT]\nnova_metadata_port = 2\n",
        )
        self.assertEqual(settings.value("DEFAULT", "nova_metadata_port"), 2)
        self.assertEqual(settings.value("hold", "other"), 2.0)
        self.assertEqual((settings.faults, settings.notes), ([], []))

    def test_values_have_types(self) -> None:
        """
        Values are read by the type that oslo.config has for them.
        """
        settings = self.settings(
            "[DEFAULT]\nnova_metadata_host = a, b,\n  c\nnova_metadata_insecure = yes\n"
        )
        self.assertEqual(
            settings.value("DEFAULT", "nova_metadata_host"), ["a", "b", "c"]
        )
        self.assertIs(settings.value("DEFAULT", "nova_metadata_insecure"), True)

    def test_wrong_values_say_what_would_be_right(self) -> None:
        """
        A value of the wrong type is a fault with its place, and the default holds.
        """
        for section, option, value, right in (
            ("DEFAULT", "nova_metadata_port", "0", "a whole number from 1 to 65535"),
            ("DEFAULT", "nova_metadata_port", "80a", "a whole number from 1 to 65535"),
            ("DEFAULT", "nova_metadata_port", "$x", "a whole number from 1 to 65535"),
            ("DEFAULT", "nova_metadata_insecure", "perhaps", "true or false"),
            ("DEFAULT", "nova_metadata_protocol", "HTTPS", "one of http, https"),
            ("hold", "other", "-1", "a number of seconds above 0, at most 86400"),
            (
                *("upstream", "check_interval", "-1"),
                "a number of seconds from 0, which is never, at most 86400",
            ),
            ("limits", "max_head", "9", "a whole number from 1024 to 1073741824"),
        ):
            settings = self.settings(f"[{section}]\n{option} = {value}\n")
            self.assertEqual(
                settings.faults,
                [f"0 line 2: [{section}] {option}: '{value}' is not {right}"],
            )
            self.assertTrue(settings.is_faulty(section, option))
            default = self.settings().value(section, option)
            self.assertEqual(settings.value(section, option), default)

    def test_empty_numbers(self) -> None:
        """
        A number, a time or a yes or no that is empty is a fault, and the default holds.
        """
        for section, option in (
            ("DEFAULT", "nova_metadata_port"),
            ("DEFAULT", "nova_metadata_insecure"),
            ("hold", "other"),
            ("limits", "max_connections"),
        ):
            settings = self.settings(f"[{section}]\n{option} =\n")
            [fault] = settings.faults
            self.assertIn(f"{option}: is empty: ", fault)
            default = self.settings().value(section, option)
            self.assertEqual(settings.value(section, option), default)

    def test_nonsense_without_end(self) -> None:
        """
        Of a file that holds nothing but nonsense the first hundred faults are told.
        """
        lines = "".join(f"[limits]\nnonsense{number} = 1\n" for number in range(5000))
        settings = self.settings(lines)
        self.assertEqual(len(settings.faults), 101)
        self.assertIn("the rest of the file was not looked at", settings.faults[-1])

    def test_comments_behind_values_are_explained(self) -> None:
        """
        What looks like a comment behind a value is a fault that says what to do.
        """
        for value in ("8775  # port", "8775 ;port", "8775\t# port"):
            [fault] = self.settings(f"[DEFAULT]\nnova_metadata_port = {value}\n").faults
            self.assertIn("a comment needs a line of its own", fault)

    def test_continued_lines_are_explained(self) -> None:
        """
        An indented line that was no part of the value is a fault that says so.
        """
        [fault] = self.settings(
            "[DEFAULT]\nnova_metadata_port = 8775\n  # the port\n"
        ).faults
        self.assertIn("a line that begins with a space continues", fault)

    def test_dollars_are_oslos(self) -> None:
        """
        Two dollars are one; one and the name of an option is that option's value.
        """
        settings = self.settings(
            "[DEFAULT]\nmetadata_proxy_shared_secret = a$$b\n"
            "[static]\npath = /x/$nova_metadata_protocol/${hold.other}\n"
        )
        secret = settings.value("DEFAULT", "metadata_proxy_shared_secret")
        self.assertEqual(secret, "a$b")
        self.assertEqual(settings.value("static", "path"), "/x/http/4.0")

    def test_dollars_without_an_option_are_faults(self) -> None:
        """
        A reference to nothing, to a section, or to itself is a fault that tells of $$.
        """
        for value in ("$nothing", "${no.thing}", "$static", "$state_path/x", "$path"):
            settings = self.settings(f"[libvirt]\npath = {value}\n")
            self.assertEqual(settings.value("libvirt", "path"), "/run/libvirt/qemu")
            [fault] = settings.faults
            self.assertIn("0 line 2: [libvirt] path: ", fault)
            self.assertIn("$$", fault)

    def test_endless_references_are_faults(self) -> None:
        """
        Options that refer to each other are a fault and not an endless search.
        """
        settings = self.settings(
            "[DEFAULT]\nauth_ca_cert = $nova_client_cert\n"
            "nova_client_cert = $auth_ca_cert\n"
        )
        self.assertEqual(settings.value("DEFAULT", "auth_ca_cert"), "")
        self.assertEqual(len(settings.faults), 1)

    def test_the_secret_stays_where_it_is(self) -> None:
        """
        No other option may refer to the secret: its value may be shown.
        """
        for reference in (
            "$metadata_proxy_shared_secret",
            "x${metadata_proxy_shared_secret}x",
            "$DEFAULT.metadata_proxy_shared_secret",
        ):
            settings = self.settings(
                "[DEFAULT]\nmetadata_proxy_shared_secret = s3cret\n"
                f"[static]\npath = {reference}\n"
            )
            self.assertNotIn("s3cret", settings.value("static", "path"))
            [fault] = settings.faults
            self.assertIn("must not refer to", fault)

    def test_unknown_options_are_faults(self) -> None:
        """
        An option that does not exist is a fault that says what was meant.
        """
        for section, option, text in (
            ("DEFAULT", "nova_metadata_hots", "did you mean nova_metadata_host?"),
            ("DEFAULT", "Nova_Metadata_Host", "did you mean nova_metadata_host?"),
            ("DEFAULT", "sources", "it belongs into [leases]"),
            ("DEFAULT", "identify_by", "it belongs into [listener:NAME]"),
            ("DEFAULT", "nova_metadata_ip", "is called nova_metadata_host now"),
            ("DEFAULT", "config_file", "no such option"),
            ("listener:a", "prot", "did you mean port?"),
            ("limits", "interface", "no such option"),
            ("neutron", "interface", "is called valid_interfaces now"),
            ("static", "zzz", "there is path"),
        ):
            [fault] = self.settings(f"[{section}]\n{option} = 1\n").faults
            self.assertTrue(
                fault.startswith(f"0 line 2: [{section}] {option}: "), fault
            )
            self.assertIn(text, fault)

    def test_unknown_sections_are_faults(self) -> None:
        """
        A section that does not exist is one fault, whatever stands in it.
        """
        for section, text in (
            ("lease", "did you mean leases?"),
            ("listener", "did you mean listener:NAME?"),
            ("listener:", "is written [listener:NAME]"),
            ("xyz", "there is DEFAULT, "),
        ):
            [fault] = self.settings(f"[{section}]\nport = 1\nb = 2\n").faults
            self.assertTrue(fault.startswith(f"0 line 1: [{section}]: "), fault)
            self.assertIn(text, fault)

    def test_sections_have_no_case(self) -> None:
        """
        As with oslo.config, the case of a section does not matter; that of a
        listener's name does.
        """
        settings = self.settings(
            "[Hold]\nother = 1\n[default]\nnova_metadata_port = 2\n"
            "[Listener:Br0]\nport = 3\n[listener:br0]\n"
        )
        self.assertEqual(settings.faults, [])
        self.assertEqual(settings.value("hold", "other"), 1.0)
        self.assertEqual(settings.value("DEFAULT", "nova_metadata_port"), 2)
        self.assertEqual(settings.listeners, ["Br0", "br0"])
        self.assertEqual(settings.value("listener:Br0", "port"), 3)
        self.assertEqual(settings.value("listener:br0", "port"), 80)

    def test_doubled_options_are_noted(self) -> None:
        """
        An option that one file sets twice is noted; the last one counts.
        """
        settings = self.settings("[hold]\nother = 1\n[hold]\nother = 2\n")
        self.assertEqual(settings.value("hold", "other"), 2.0)
        [note] = settings.notes
        self.assertIn("0 line 4: [hold] other: stands more than once", note)

    def test_neutrons_file_is_accepted(self) -> None:
        """
        Neutron's own file has no faults, as it is and with everything in it set.
        """
        text = NEUTRON.read_text("utf-8")
        self.assertEqual(self.settings(text).faults, [])
        # Every line that is an option, but those that are ours as well.
        active = re.sub(
            "(?m)^#(?!nova_|auth_ca|metadata_proxy_shared)([a-z_]+ =)", r"\1", text
        )
        settings = self.settings(active)
        self.assertEqual(settings.faults, [])
        self.assertEqual(len(settings.notes), 3)
        self.assertIn("0: [DEFAULT] Neutron's, without a meaning", settings.notes[0])
        for option in ("metadata_workers", "metadata_proxy_socket", "debug"):
            self.assertIn(option, settings.notes[0])
        self.assertIn("[agent]", settings.notes[1])
        self.assertIn("[cache]", settings.notes[2])

    def test_neutrons_options_are_accepted_anywhere(self) -> None:
        """
        What Neutron's agents know is noted in our own files too, in any case.
        """
        settings = self.settings(
            "[DEFAULT]\nmetadata_workers = 2\n[AGENT]\nx = 1\n[oslo_anything]\ny = 2\n"
            "[OVN]\novn_nb_connection = $z\n[metadata_rate_limiting]\n"
        )
        self.assertEqual(settings.faults, [])
        self.assertEqual(len(settings.notes), 4)

    def test_the_environment_does_not_count(self) -> None:
        """
        oslo.config's environment variables change nothing.
        """
        os.environ["OS_DEFAULT__NOVA_METADATA_PORT"] = "1"
        self.addCleanup(os.environ.pop, "OS_DEFAULT__NOVA_METADATA_PORT")
        settings = self.settings("[DEFAULT]\n")
        self.assertEqual(settings.value("DEFAULT", "nova_metadata_port"), 8775)

    def test_two_configurations_do_not_meet(self) -> None:
        """
        Nothing is kept outside of the settings themselves.
        """
        self.settings("[hold]\nother = 1\n[listener:a]\n")
        settings = self.settings()
        self.assertEqual(settings.value("hold", "other"), 4.0)
        self.assertEqual(settings.listeners, [])
