"""
Tests for L{mdproxy.inventory.domains}.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.domains import (
    Domain,
    Ports,
    Surroundings,
    ports_of,
    read_bridge,
    read_domain,
)
from mdproxy.model import Malformed, Port

SAMPLES = Path(__file__).parent / "data" / "libvirt"
LIVE = SAMPLES / "run-libvirt-qemu--instance-0000002a.xml"
UUID = "32d0524b-314d-4594-b3a3-607e3f2354f8"
PROJECT = "28a490a0f8b28800181ce490a74df8d2"
#: One listener, one libvirt network whose bridge is known, and one plain domain that
#: somebody said whose it is.
AROUND = Surroundings(
    {"br-red": "red"}, {"red-net": "br-red"}.get, {"i-plain": "p-plain"}.get
)
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"

PORTS = """
<n:ports>
  <n:port uuid="567a4527-b0e4-4d0a-bcc2-71fda37897f7">
    <n:ip type="fixed" address="10.0.0.1" ipVersion="4"/>
    <n:ip type="fixed" address="FE80::0:1" ipVersion="6"/>
    <n:ip type="floating" address="192.0.2.1" ipVersion="4"/>
  </n:port>
  <n:port uuid="99999999-b0e4-4d0a-bcc2-71fda37897f7">
    <n:ip type="fixed" address="10.0.0.2" ipVersion="4"/>
  </n:port>
</n:ports>
"""


def interface_xml(
    mac: str = "fa:16:3e:00:00:01",
    source: str = "<source bridge='br-red'/>",
    device: str = "tap567a4527-b0",
) -> str:
    """
    Write an interface as libvirt does.
    """
    return (
        f"<interface type='bridge'><mac address='{mac}'/>{source}"
        f"<target dev='{device}'/></interface>"
    )


def domain_xml(
    interfaces: str | None = None,
    ports: str = PORTS,
    uuid: str = UUID,
    project: str = PROJECT,
    namespace: str = NOVA,
    name: str = "web1",
) -> str:
    """
    Write a running domain as libvirt does, with Nova's metadata.
    """
    return f"""
<domstatus state='running'><domain type='kvm' id='1'>
<name>instance-1</name><uuid>{uuid}</uuid>
<metadata><n:instance xmlns:n="{namespace}"><n:name>{name}</n:name>
<n:owner><n:user uuid="u">x</n:user><n:project uuid="{project}">y</n:project></n:owner>
{ports}</n:instance></metadata>
<devices>{interface_xml() if interfaces is None else interfaces}</devices>
</domain></domstatus>
"""


def plain_xml(interfaces: str | None = None, uuid: str = "i-plain") -> str:
    """
    Write a running domain without Nova's metadata.
    """
    interfaces = interface_xml() if interfaces is None else interfaces
    return (
        f"<domstatus><domain><uuid>{uuid}</uuid>"
        f"<devices>{interfaces}</devices></domain></domstatus>"
    )


def _ports(xml: str) -> Ports:
    """
    Read a domain and find its ports on a network.
    """
    return ports_of(read_domain(xml.encode()), AROUND, "libvirt")


def _addresses(xml: str) -> frozenset[str] | None:
    """
    Find the addresses of a domain's only port.
    """
    (port,) = _ports(xml).ports
    return port.addresses


class RealFileTests(SynchronousTestCase):
    """
    Tests on files that libvirt wrote.
    """

    def test_running_domain(self) -> None:
        """
        A running domain has a port on the bridge of its libvirt network; its other
        interface may be on any bridge, and identifies nobody.
        """
        domain = read_domain(LIVE.read_bytes())
        port = Port(
            "default",
            "fa:16:3e:99:00:01",
            UUID,
            PROJECT,
            frozenset({"192.168.122.50"}),
            inventory="libvirt",
            port_id="567a4527-b0e4-4d0a-bcc2-71fda37897f7",
            device="tap567a4527-b0",
        )
        self.assertEqual(
            ports_of(domain, Surroundings({"virbr0": "default"}), "libvirt"),
            Ports((port,), lost=1),
        )

    def test_other_prefix(self) -> None:
        """
        The same after Nova has changed its metadata, and libvirt the prefix.
        """
        name = "run-libvirt-qemu--after-setmetadata.xml"
        domain = read_domain((SAMPLES / name).read_bytes())
        (port,) = ports_of(domain, Surroundings({"virbr0": "default"}), "libvirt").ports
        self.assertEqual((port.instance_id, port.project_id), (UUID, PROJECT))

    def test_definition(self) -> None:
        """
        A definition, as in /etc/libvirt/qemu, identifies nobody.
        """
        for path in SAMPLES.glob("etc-*.xml"):
            domain = read_domain(path.read_bytes())
            self.assertFalse(domain.is_live)
            self.assertEqual(
                ports_of(domain, Surroundings({"virbr0": "x"}), "libvirt"), Ports()
            )

    def test_torn(self) -> None:
        """
        A real file that is cut anywhere is refused; none of it is believed.
        """
        data = LIVE.read_bytes().rstrip()
        for length in range(0, len(data), 97):
            with self.assertRaises(Malformed):
                read_domain(data[:length])


class PortsOfTests(SynchronousTestCase):
    """
    Tests for L{read_domain} and L{ports_of} on what libvirt may write.
    """

    def test_addresses_of_linked_port(self) -> None:
        """
        A port that the device's name points to has that port's fixed addresses only.
        """
        self.assertEqual(_addresses(domain_xml()), frozenset({"10.0.0.1", "fe80::1"}))

    def test_addresses_of_unlinked_port(self) -> None:
        """
        Where the device's name points to no port all of the instance's addresses count.
        """
        everything = frozenset({"10.0.0.1", "fe80::1", "10.0.0.2"})
        for device in ("vnet0", "tap567a4527-b", "tap567a4527-b0e", ""):
            xml = domain_xml(interface_xml(device=device))
            self.assertEqual(_addresses(xml), everything, device)

    def test_unknown_addresses(self) -> None:
        """
        An old Nova's metadata does not list ports: the addresses are not known.
        """
        self.assertIsNone(_addresses(domain_xml(ports="")))
        self.assertEqual(_addresses(domain_xml(ports="<n:ports/>")), frozenset())

    def test_old_namespace(self) -> None:
        """
        The older version of Nova's namespace is read too, and no other.
        """
        xml = domain_xml(namespace=NOVA.replace("1.1", "1.0"))
        self.assertEqual(len(_ports(xml).ports), 1)
        for namespace in ("http://example.org/", NOVA + "/x", ""):
            xml = domain_xml(namespace=namespace or "urn:x")
            self.assertEqual(_ports(xml), Ports(unowned=1))

    def test_networks(self) -> None:
        """
        The bridge of the interface, of its actual connection or of its libvirt network
        tells the network; one without a listener is elsewhere; where no bridge is told
        it may be anywhere.
        """
        red = (
            "<source bridge='br-red'/>",
            "<source network='x' bridge='br-red'/>",
            "<source network='red-net' portid='y'/>",
            "<source network='x'/><actual><source bridge='br-red'/></actual>",
            "<source bridge='br-x'/><actual><source bridge='br-red'/></actual>",
            "<actual><source bridge='br-red'/></actual><source bridge='br-x'/>",
            "<actual type='bridge'/><actual><source network='red-net'/></actual>",
        )
        elsewhere = (
            "<source bridge='br-blue'/>",
            "<source bridge='br-red'/><actual><source bridge='br-x'/></actual>",
        )
        anywhere = (
            "",
            "<source bridge=''/>",
            "<source network='red'/>",
            "<source dev='br-red'/>",
            "<source bridge='br-red'/><actual><source/></actual>",
            "<source bridge='br-red'/><actual/>",
            "<backend><source bridge='br-red'/></backend>",
        )
        for sources, counts in ((red, (1, 0, 0)), (elsewhere, (0, 1, 0))):
            for source in sources:
                self.assert_counts(counts, source)
        for source in anywhere:
            self.assert_counts((0, 0, 1), source)

    def assert_counts(
        self, counts: tuple[int, int, int], source: str, **domain: str
    ) -> None:
        """
        An interface with some elements, and nothing else, is a port, is elsewhere, or
        may be anywhere.
        """
        found = _ports(domain_xml(interface_xml(source=source), **domain))
        self.assertEqual(
            (len(found.ports), found.strangers, found.lost), counts, source
        )

    def test_macvtap(self) -> None:
        """
        A macvtap is on the network of its lower device, as asked for or in effect.
        """
        asked = interface_xml(source="<source dev='br-red' mode='vepa'/>")
        actual = (
            "<source network='x'/>"
            "<actual type='direct'><source dev='br-red' mode='bridge'/></actual>"
        )
        for xml in (
            asked.replace("'bridge'", "'direct'", 1),
            interface_xml(source=actual),
        ):
            self.assertEqual(len(_ports(domain_xml(xml)).ports), 1, xml)
        undone = asked.replace("'bridge'", "'direct'", 1).replace(
            "<target", "<actual type='bridge'><source dev='br-red'/></actual><target"
        )
        self.assertEqual(_ports(domain_xml(undone)), Ports(lost=1))

    def test_tags(self) -> None:
        """
        An interface with a tag of its own may be anywhere but on its bridge's network.
        """
        for source in (
            "<source bridge='br-red'/><vlan><tag id='5'/></vlan>",
            "<source network='x'/><actual><source bridge='br-red'/><vlan/></actual>",
        ):
            self.assert_counts((0, 0, 1), source)

    def test_open_vswitch(self) -> None:
        """
        Of an Open vSwitch Nova's instances may be on any network; what is plugged in
        by hand is on that of its bridge.
        """
        switch = "<virtualport type='openvswitch'><parameters/></virtualport>"
        for source in (
            f"<source bridge='br-red'/>{switch}",
            f"<source bridge='br-int'/>{switch}",
            f"<actual><source bridge='br-red'/>{switch}</actual>",
        ):
            self.assert_counts((0, 0, 1), source)
        xml = interface_xml(source=f"<source bridge='br-red'/>{switch}")
        self.assertEqual(len(_ports(plain_xml(xml)).ports), 1)
        self.assert_counts((1, 0, 0), "<source bridge='br-red'/><virtualport/>")

    def test_hybrid_bridges(self) -> None:
        """
        A bridge between one instance and Open vSwitch is no network, unless somebody
        listens on that very one.
        """
        source = "<source bridge='qbr567a4527-b0'/>"
        self.assert_counts((0, 0, 1), source)
        domain = read_domain(domain_xml(interface_xml(source=source)).encode())
        around = Surroundings({"qbr567a4527-b0": "one"})
        (port,) = ports_of(domain, around, "libvirt").ports
        self.assertEqual(port.network, "one")

    def test_port_and_device(self) -> None:
        """
        A port has its device, and the id that the device's name points to.
        """
        (port,) = _ports(domain_xml()).ports
        self.assertEqual(port.device, "tap567a4527-b0")
        self.assertEqual(port.port_id, "567a4527-b0e4-4d0a-bcc2-71fda37897f7")
        (port,) = _ports(domain_xml(interface_xml(device="vnet0"))).ports
        self.assertEqual((port.device, port.port_id), ("vnet0", None))

    def test_several_interfaces(self) -> None:
        """
        Each interface is a port of its own; the same MAC twice is two.
        """
        second = interface_xml("fa:16:3e:00:00:02", device="tap99999999-b0")
        xml = domain_xml(interface_xml() + second + second)
        ports = _ports(xml).ports
        self.assertEqual([port.mac[-1] for port in ports], ["1", "2", "2"])
        self.assertEqual(ports[1].addresses, frozenset({"10.0.0.2"}))

    def test_plain_domain(self) -> None:
        """
        A domain that Nova did not make is an instance by its own id, of whose addresses
        nothing is known, if somebody says whose it is.
        """
        (port,) = _ports(plain_xml()).ports
        self.assertEqual((port.instance_id, port.project_id), ("i-plain", "p-plain"))
        self.assertIsNone(port.addresses)
        self.assertEqual((port.device, port.port_id), ("tap567a4527-b0", None))

    def test_nobodys_domain(self) -> None:
        """
        If nobody does it is none, and is counted where somebody listens.
        """
        self.assertEqual(_ports(plain_xml(uuid="i-other")), Ports(unowned=1))
        elsewhere = interface_xml(source="<source bridge='br-blue'/>")
        found = _ports(plain_xml(elsewhere, "i-other"))
        self.assertEqual(found, Ports(strangers=1))

    def test_projects_are_for_plain_domains(self) -> None:
        """
        Nova's own word on the project is the only one on Nova's instances, even if it
        says none.
        """
        (port,) = _ports(domain_xml(uuid="i-plain")).ports
        self.assertEqual(port.project_id, PROJECT)
        bare = domain_xml(uuid="i-plain").replace("n:project", "n:prospect")
        found = _ports(bare)
        self.assertEqual((found.ports, found.problem), ((), "'' is no id"))

    def test_bad_values(self) -> None:
        """
        What can't be an id, MAC or address makes no port, and the reason is told.
        """
        cases = {
            "no id": domain_xml(project="a&#10;X-Evil: 1"),
            "'' is no id": domain_xml(project=""),
            "is no id": domain_xml(uuid="a b"),
            "x' is no id": domain_xml(uuid="/" + "x" * 100000),
            "no MAC": domain_xml(interface_xml(mac="fa:16")),
            "'' is no MAC": domain_xml(interface_xml().replace("<mac", "<cam")),
            "no IP": domain_xml(ports=PORTS.replace("10.0.0.1", "10.0.0.300")),
        }
        for reason, xml in cases.items():
            found = _ports(xml)
            self.assertEqual(found.ports, (), reason)
            self.assertIn(reason, found.problem or "")

    def test_bad_interface_costs_itself(self) -> None:
        """
        The good interfaces of such a domain are ports.
        """
        found = _ports(domain_xml(interface_xml(mac="x") + interface_xml()))
        self.assertEqual(len(found.ports), 1)
        self.assertIn("no MAC", found.problem or "")


class ReadBridgeTests(SynchronousTestCase):
    """
    Tests for L{read_bridge}.
    """

    def test_bridge(self) -> None:
        """
        The file of an active network tells its bridge; a definition tells nothing.
        """
        network = "<network><name>x</name>{}</network>"
        active = f"<networkstatus><floor sum='0'/>{network}</networkstatus>"
        bridge = "<bridge name='virbr7' stp='on' delay='0'/>"
        self.assertEqual(read_bridge(active.format(bridge).encode()), "virbr7")
        for text in (
            active.format(""),
            active.format("<bridge/>"),
            active.format(bridge * 2),
            active.format(f"<ip>{bridge}</ip>"),
            network.format(bridge),
        ):
            self.assertIsNone(read_bridge(text.encode()), text)
        with self.assertRaises(Malformed):
            read_bridge(active.encode()[:-5])


class HostileTests(SynchronousTestCase):
    """
    Tests for L{read_domain} on what libvirt would not write.
    """

    def test_names_in_metadata(self) -> None:
        """
        What a tenant may write into names is text and stays text.
        """
        name = "&lt;/n:name&gt;&lt;n:owner&gt;&#60;n:project uuid='evil'/&#62;"
        domain = read_domain(domain_xml(name=name).encode())
        self.assertEqual(domain.project, PROJECT)

    def test_elements_elsewhere(self) -> None:
        """
        Elements that have the right name in the wrong place mean nothing.
        """
        fakes = (
            "<uuid>evil</uuid>",
            f"<n:instance xmlns:n='{NOVA}'><n:owner><n:project uuid='evil'/></n:owner>"
            "</n:instance>",
            interface_xml("fa:16:3e:66:66:66"),
        )
        for fake in fakes:
            xml = domain_xml(interface_xml() + f"<x>{fake}</x>")
            (port,) = _ports(xml).ports
            self.assertEqual(port.mac, "fa:16:3e:00:00:01")
            self.assertEqual((port.instance_id, port.project_id), (UUID, PROJECT))

    def test_refused(self) -> None:
        """
        Entities, document types, depth, crowds and what is no XML are refused.
        """
        good = domain_xml().strip()
        instance = f"<n:instance xmlns:n='{NOVA}'/>"
        cases = {
            "entity": "<!DOCTYPE x [<!ENTITY a 'b'>]>" + good,
            "external": "<!DOCTYPE x SYSTEM 'file:///etc/passwd'>" + good,
            "bare doctype": "<!DOCTYPE domstatus>" + good,
            "unknown entity": domain_xml(name="&a;"),
            "depth": "<a>" * 1000 + "</a>" * 1000,
            "long tag": f"<{'a' * 1000}/>",
            "two domains": good.replace("</domstatus>", "<domain/></domstatus>"),
            "two instances": good.replace("</metadata>", f"{instance}</metadata>"),
            "many interfaces": domain_xml("<interface/>" * 257),
            "many addresses": domain_xml(
                ports="<n:ports><n:port uuid='x'>"
                + "".join(f"<n:ip type='fixed' address='{n}'/>" for n in range(5000))
                + "</n:port></n:ports>"
            ),
            "unbound prefix": good.replace("xmlns:n", "xmlns:m"),
            "two roots": good + good,
            "empty": "",
            "text": "hello",
            "strange encoding": "<?xml version='1.0' encoding='x-evil'?>" + good,
        }
        for name, xml in cases.items():
            with self.assertRaises(Malformed, msg=name):
                read_domain(xml.encode())

    def test_declared_encodings(self) -> None:
        """
        A file is refused where the parser can't read the encoding that it declares.
        """
        for name in ("utf-7", "shift_jis", "gb18030", "utf-16", "x-evil", "hex"):
            xml = f'<?xml version="1.0" encoding="{name}"?><domstatus/>'
            with self.assertRaises(Malformed, msg=name) as raised:
                read_domain(xml.encode())
            self.assertIn("it is no XML", str(raised.exception))

    def test_reasons_are_told(self) -> None:
        """
        What is wrong with XML of a strange kind is said in its own words.
        """
        with self.assertRaises(Malformed) as raised:
            read_domain(b"<!DOCTYPE domstatus><domstatus/>")
        self.assertEqual(str(raised.exception), "it declares a document type")

    @given(st.binary(max_size=100))
    def test_any_bytes(self, data: bytes) -> None:
        """
        Any bytes are a domain without a port or refused; nothing else happens.
        """
        try:
            domain = read_domain(data)
        except Malformed:
            return
        self.assertEqual(domain, Domain())

    @given(st.integers(0, len(domain_xml())), st.binary(min_size=1, max_size=3))
    def test_any_damage(self, at: int, damage: bytes) -> None:
        """
        A damaged file gives ports that are properly made, or none, or is refused.
        """
        data = domain_xml().encode()
        try:
            domain = read_domain(data[:at] + damage + data[at + len(damage) :])
        except Malformed:
            return
        found = ports_of(domain, Surroundings({"br-red": "red"}), "libvirt")
        self.assertLessEqual(len(found.ports) + found.strangers + found.lost, 1)
