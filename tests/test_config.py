"""
Tests for L{mdproxy.config}.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.config import (
    Bounds,
    Config,
    ConfigError,
    Endpoint,
    HoldConfig,
    IntrospectionConfig,
    LeaseSourceConfig,
    ListenerConfig,
    LogConfig,
    ManholeConfig,
    NamespacesConfig,
    SocketConfig,
    UpstreamConfig,
    load,
)
from mdproxy.neutron_config import NeutronConfig
from mdproxy.options import LISTENER_OPTIONS, SECTIONS
from mdproxy.ovn_config import OvnConfig
from mdproxy.ovsdb import Remote

NEUTRONS_FILE = Path(__file__).parent / "data" / "metadata_agent.ini"
SECRET = "metadata_proxy_shared_secret = s3cret\n"

#: Every option there is.
NAMES = sorted(
    {option.name for options in SECTIONS.values() for option in options}
    | {option.name for option in LISTENER_OPTIONS}
)

#: As much as inventories = neutron needs, and what becomes of it.
PASSWORD = (
    "auth_url = https://keystone/v3\nusername = u\nuser_domain_name = d\n"
    "password = s3cret\nproject_name = p\nproject_domain_name = e\n"
)
NEUTRON = NeutronConfig(
    auth_url="https://keystone/v3",
    auth_type="password",
    username="u",
    user_id="",
    user_domain_name="d",
    user_domain_id="",
    password="s3cret",
    project_name="p",
    project_id="",
    project_domain_name="e",
    project_domain_id="",
    application_credential_id="",
    application_credential_name="",
    application_credential_secret="",
    region_name="",
    valid_interfaces=("internal", "public"),
    endpoint_override="",
    cafile="",
    insecure=False,
    timeout=5.0,
    refresh_interval=300.0,
    max_age=10.0,
    host=socket.gethostname(),
)

#: What L{ConfigCase.load} makes of nothing but the secret and one listener.
PLAIN = Config(
    secret=b"s3cret",
    upstream=UpstreamConfig(
        endpoints=(Endpoint("127.0.0.1", 8775),),
        tls=None,
        max_connections=64,
        max_queue=1024,
        connect_timeout=3.0,
        first_byte_timeout=30.0,
        idle_timeout=30.0,
        max_age=300.0,
        check_interval=600.0,
    ),
    inventories=("static",),
    static_path="/etc/mdproxy/instances.yaml",
    libvirt_path="/run/libvirt/qemu",
    libvirt_project=None,
    ovn=None,
    neutron=None,
    lease_sources=(),
    lease_conflict="warn",
    allow_unverified_address=False,
    check_bridge_port=False,
    listeners=(ListenerConfig("br0", "device", "br0", None, 80, "br0", "mac"),),
    introspection=IntrospectionConfig(
        endpoint="tcp:8085:interface=127.0.0.1",
        allow_remote=False,
        allowed_hosts=(),
        certificate=None,
        private_key=None,
        client_ca=None,
        contrail=True,
        contrail_clear_by_get=False,
        transactions=1000,
    ),
    log=LogConfig("text", (("twisted", "warn"),), ""),
    manhole=None,
    drain_timeout=30.0,
    bounds=Bounds(10.0, 10.0, 75.0, 30.0, 16384, 65536, 4096, 64, 8, 0, 300, 8),
    hold=HoldConfig(8.0, 4.0, 4, 1024),
    notes=(),
)


class ConfigCase(SynchronousTestCase):
    """
    A case that writes configuration files.
    """

    def file(self, content: str, mode: int = 0o600) -> str:
        """
        Write a file.
        """
        path = Path(self.mktemp())
        path.write_text(content, "utf-8")
        path.chmod(mode)
        return str(path)

    def load(self, default: str = "", rest: str = "[listener:br0]\n") -> Config:
        """
        Load a configuration.

        @param default: What stands in C{[DEFAULT]} beside the secret.
        @param rest: The other sections.
        """
        return load([self.file(f"[DEFAULT]\n{SECRET}{default}\n{rest}")])

    def faults(self, default: str = "", rest: str = "[listener:br0]\n") -> list[str]:
        """
        Load a configuration that is wrong.

        @return: Its faults, from the section's name on, which the file and the line
            must precede.
        """
        error = self.assertRaises(ConfigError, self.load, default, rest)
        self.assertEqual(str(error), "\n".join(error.faults))
        self.assertNotIn("s3cret", str(error))
        for fault in error.faults:
            self.assertNotIn("\n", fault)
            self.assertRegex(fault, r"\A\S+( line [0-9]+)?: ")
        return [fault.partition(": ")[2] for fault in error.faults]


class LoadTests(ConfigCase):
    """
    Tests for L{load}.
    """

    def test_defaults(self) -> None:
        """
        The secret and a listener are enough; all else has a default.
        """
        self.assertEqual(self.load(), PLAIN)

    def test_everything_can_be_set(self) -> None:
        """
        Every option reaches its place in the configuration.
        """
        config = self.load(
            "nova_metadata_host = nova-a, [fd00::1]\nnova_metadata_port = 1\n"
            "inventories = libvirt, static, ovn, neutron\nlease_conflict = refuse\n"
            "allow_unverified_address = true\ncheck_bridge_port = true\n"
            "drain_timeout = 2\nhost = h\n",
            "[static]\npath = /s\n[libvirt]\npath = /l\ndefault_project = p\n"
            "[ovn]\novn_sb_connection = unix:/o\n"
            f"[neutron]\n{PASSWORD}"
            "[leases]\nsources = dnsmasq:/a@b*.leases@net, kea:/b\n"
            "kea_subnets = 1:br0\n"
            "[upstream]\nmax_connections = 3\nmax_queue = 4\nconnect_timeout = 5\n"
            "first_byte_timeout = 6\nidle_timeout = 7\nmax_age = 26\n"
            "check_interval = 0\n"
            "[limits]\nhead_timeout = 8\nbody_timeout = 9\nidle_timeout = 10\n"
            "write_timeout = 11\nmax_head = 1200\nmax_body = 13\nmax_connections = 14\n"
            "max_connections_per_instance = 15\nmax_pipeline = 16\n"
            "max_requests_per_instance = 23\nmax_request_rate = 24\n"
            "request_burst = 25\n"
            "[hold]\nopenstack = 17\nother = 18\nmax_unidentified_per_mac = 19\n"
            "max_unidentified_per_network = 20\n"
            "[introspection]\nendpoint = unix:/run/x\nallow_remote = true\n"
            "allowed_hosts = Ops:80\ncontrail = false\ncontrail_clear_by_get = true\n"
            "transactions = 16\n"
            "[log]\nformat = json\nlevels = debug\naccess_log = /a\n"
            "[manhole]\nendpoint = unix:/run/y\nauthorized_keys = /k\nhost_key = /h\n"
            "[listener:br0]\nkind = device\ndevice = eth1\nport = 21\n"
            "network = net\nidentify_by = lease\n"
            "[listener:nat]\nkind = address\naddress = [::1]\nport = 22\n"
            "network = br0\nidentify_by = address\n"
            "[listener:ns]\nkind = namespaces\nnamespaces = qdhcp-*\nport = 27\n"
            "router_port = 28\n"
            "[listener:agent]\nkind = socket\npath = /s\nmode = group\n"
            "allowed_uids = root\nnamespaces = a-*\n",
        )
        self.assertEqual(
            evolve(config, notes=()),
            Config(
                secret=b"s3cret",
                upstream=UpstreamConfig(
                    (Endpoint("nova-a", 1), Endpoint("fd00::1", 1)),
                    None,
                    3,
                    4,
                    5.0,
                    6.0,
                    7.0,
                    26.0,
                    0.0,
                ),
                inventories=("libvirt", "static", "ovn", "neutron"),
                static_path="/s",
                libvirt_path="/l",
                libvirt_project="p",
                ovn=OvnConfig((Remote("unix", "/o"),), None, None, None, "", "h"),
                neutron=evolve(NEUTRON, host="h"),
                lease_sources=(
                    LeaseSourceConfig("dnsmasq", "/a@b*.leases", "net"),
                    LeaseSourceConfig("kea", "/b", None, ((1, "br0"),)),
                ),
                lease_conflict="refuse",
                allow_unverified_address=True,
                check_bridge_port=True,
                listeners=(
                    ListenerConfig("br0", "device", "eth1", None, 21, "net", "lease"),
                    ListenerConfig("nat", "address", None, "::1", 22, "br0", "address"),
                    NamespacesConfig("ns", ("qdhcp-*",), 27, 28),
                    SocketConfig("agent", "/s", "group", (0,), ("a-*",), "mac"),
                ),
                introspection=IntrospectionConfig(
                    "unix:/run/x:mode=600",
                    True,
                    ("ops:80",),
                    None,
                    None,
                    None,
                    False,
                    True,
                    16,
                ),
                log=LogConfig("json", (("", "debug"),), "/a"),
                manhole=ManholeConfig("/run/y", "/k", "/h"),
                drain_timeout=2.0,
                bounds=Bounds(8.0, 9.0, 10.0, 11.0, 1200, 13, 14, 15, 23, 24, 25, 16),
                hold=HoldConfig(17.0, 18.0, 19, 20),
                notes=(),
            ),
        )
        self.assertEqual(len(config.notes), 3, config.notes)

    def test_the_secret_does_not_show(self) -> None:
        """
        The configuration can be logged: its representation hides the secret.
        """
        self.assertNotIn("s3cret", repr(self.load()))

    def test_every_fault_is_told(self) -> None:
        """
        All that is wrong is told at once, in the order in which it is found.
        """
        faults = self.faults(
            "nova_metadata_port = 0\nnova_metadata_hots = x\nnonsense\n"
            "nova_metadata_host = a/b\ninventories =\n",
            "[lease]\n[leases]\nsources = x\n[listener:a/b]\n[manhole]\nendpoint = y\n"
            "[introspection]\nendpoint = z\n[hold]\nother = never\n",
        )
        self.assertEqual(
            [fault.partition(": ")[0] for fault in faults],
            [
                "an option is written NAME = VALUE",
                "[DEFAULT] nova_metadata_hots",
                "[lease]",
                "[DEFAULT] nova_metadata_port",
                "[hold] other",
                "[listener:a/b] device",
                "[listener:a/b] network",
                "[DEFAULT] nova_metadata_host",
                "[DEFAULT] inventories",
                "[introspection] endpoint",
                "[leases] sources",
                "[manhole] endpoint",
            ],
        )

    def test_files_that_are_not_there_are_faults(self) -> None:
        """
        A missing file or directory is told, and not what may stand in it: a listener,
        the secret, the other half of a pair.
        """
        good, torn = self.file("[listener:br0]\n"), self.file("nonsense\n")
        half = self.file(
            "[DEFAULT]\nnova_metadata_protocol = https\nnova_client_cert = /none/c\n"
            "[listener:br0]\nidentify_by = lease\n[leases]\nsources = dnsmasq:/x@br1\n"
        )
        for files, dirs, places in (
            (["/none/a"], ["/none/b"], ["/none/b", "/none/a"]),
            (["/none/a"], [], ["/none/a"]),
            ([], ["/none/b"], ["/none/b"]),
            ([good, "/none/a"], [], ["/none/a"]),
            ([torn], [], [f"{torn} line 1"]),
            ([half, "/none/a"], [], ["/none/a", f"{half} line 3"]),
        ):
            error = self.assertRaises(ConfigError, load, files, dirs)
            found = [fault.partition(": ")[0] for fault in error.faults]
            self.assertEqual(found, places)

    def test_faults_beside_missing_files(self) -> None:
        """
        What is wrong in the other files is told beside a missing one.
        """
        path = self.file("[DEFAULT]\nnova_metadata_host = a:1\ninventories =\n")
        error = self.assertRaises(ConfigError, load, [path, "/none/a"])
        self.assertEqual(
            [fault.partition(": ")[0] for fault in error.faults],
            ["/none/a", f"{path} line 2", f"{path} line 3"],
        )

    def test_nothing_at_all(self) -> None:
        """
        Without a single file it is still told what is missing.
        """
        error = self.assertRaises(ConfigError, load, [])
        self.assertEqual(len(error.faults), 2)
        for fault in error.faults:
            self.assertTrue(fault.startswith("the configuration: "), fault)
        self.assertIn("there is no [listener:NAME]", error.faults[0])

    def test_neutrons_file_is_accepted(self) -> None:
        """
        Neutron's own file, with the secret set, is one of the files as it is.
        """
        text = NEUTRONS_FILE.read_text("utf-8")
        for option, value in (
            ("nova_metadata_host", "controller"),
            ("metadata_proxy_shared_secret", "s3cret"),
            ("metadata_workers", "4"),
            ("debug", "true"),
        ):
            text = re.sub(f"(?m)^#{option} =.*$", f"{option} = {value}", text)
        neutron = self.file(text)
        config = load([neutron, self.file("[listener:br0]\n")])
        self.assertEqual(config.secret, b"s3cret")
        self.assertEqual(config.upstream.endpoints, (Endpoint("controller", 8775),))
        [note] = config.notes
        self.assertIn("without a meaning here: metadata_workers, debug", note)

    def test_unheard_namespaces_are_noted(self) -> None:
        """
        Namespaces that no haproxy of Neutron's can speak of on a socket are noted.
        """
        text = (
            "[DEFAULT]\nmetadata_proxy_shared_secret = s\ninventories = ovn\n"
            "[listener:a]\nkind = socket\npath = /x\n"
            "namespaces = qdhcp-*, mine-*, ovnmeta-a*\n"
        )
        notes = [n for n in load([self.file(text)]).notes if "never looked" in n]
        self.assertEqual(len(notes), 1)
        self.assertIn("'mine-*' is never looked into", notes[0])

    def test_strangers_are_noted(self) -> None:
        """
        Namespaces in which no inventory can know anybody are noted.
        """
        everywhere = "[listener:a]\nkind = namespaces\n"
        for inventories, rest, words in (
            ("static", everywhere, "in namespaces of routers (qrouter-) nobody"),
            ("libvirt", everywhere, "in namespaces nobody is known: libvirt knows"),
            (
                "libvirt",
                "[listener:a]\nkind = socket\npath = /x\nallowed_uids = 7\n",
                "in namespaces nobody is known",
            ),
            ("static", f"{everywhere}namespaces = ovnmeta-*\n", None),
            ("libvirt, ovn", everywhere, None),
            ("libvirt", "[listener:br0]\n", None),
        ):
            notes = self.load(f"inventories = {inventories}\n", rest).notes
            self.assertEqual(len(notes), words is not None, notes)
            if words is not None:
                self.assertIn(f"[listener:a] namespaces: {words}", notes[0])

    def test_paths_are_not_empty(self) -> None:
        """
        An inventory without a path is a fault.
        """
        for section in ("static", "libvirt"):
            [fault] = self.faults(rest=f"[listener:br0]\n[{section}]\npath =\n")
            self.assertIn(f"[{section}] path: is empty", fault)

    @given(
        st.lists(
            st.one_of(
                st.sampled_from([f"[{section}]" for section in SECTIONS]),
                st.sampled_from(["[listener:a]", "[listener:", "[Listener:a/b]"]),
                st.builds("{} = {}".format, st.sampled_from(NAMES), st.text()),
                st.builds(
                    "{} = {}".format,
                    st.sampled_from(NAMES),
                    st.sampled_from(
                        ["1", "$path", "$$", "a,b", "http", "tcp:1", "x:y@z", "%s"]
                    ),
                ),
                st.text(),
            )
        )
    )
    def test_anything_is_read_or_refused(self, lines: list[str]) -> None:
        """
        Whatever stands in a file: there is a configuration, or there are faults.
        """
        path = self.file("")
        Path(path).write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        try:
            config = load([path])
        except ConfigError as error:
            self.assertNotEqual(error.faults, ())
        else:
            self.assertIsInstance(config, Config)

    def test_no_reactor_is_chosen(self) -> None:
        """
        Loading a configuration leaves the choice of a reactor open.
        """
        path = self.file(f"[DEFAULT]\n{SECRET}[listener:br0]\n")
        code = (
            "import sys; from mdproxy.config import load; load(sys.argv[1:]); "
            "sys.exit('twisted.internet.reactor' in sys.modules)"
        )
        found = subprocess.run([sys.executable, "-c", code, path], check=False)
        self.assertEqual(found.returncode, 0)
