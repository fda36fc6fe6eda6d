# -*- test-case-name: tests.test_introspection_sentences -*-
"""
Verdicts in plain words: what happened, and what to do about it.

Pure.  One table, from the reason of a verdict to what it means; the rows are those of
L{mdproxy.lookup.decision}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mdproxy.model import Reason

#: The rows of the decision table.
RULES: Final = {
    1: "The MAC has one port, the address is the port's, and no lease speaks against "
    "it: allowed.",
    2: "The MAC has one port and the address is the port's; no lease tells whose it "
    "is: allowed.",
    3: "The MAC has one port and the address is the port's, but a lease gives it to "
    "another MAC: allowed unless lease_conflict = refuse.",
    4: "The MAC has one port, whose addresses no inventory knows: allowed if a lease "
    "gives the address to the MAC; without a lease only by allow_unverified_address.",
    5: "The MAC has one port, but the address is not the port's: refused.",
    6: "The MAC has no port, but the address belongs to one: refused.",
    7: "Neither MAC nor address belong to a port: refused.",
    8: "The MAC has several ports that do not agree: refused.",
    9: "The MAC has one port, and the address is link-local: allowed.",
    10: "The kernel does not know where an answer would go: refused for now (503).",
    11: "The listener does not go by MACs (identify_by): the lease, or the address "
    "alone, tells the port.",
    12: "The port fits, but the bridge has the MAC on another device: refused "
    "(check_bridge_port).",
    13: "The frame that opened the connection and the neighbour entry name different "
    "MACs, or the entry changed hands meanwhile: refused.",
    14: "The MAC's port has no instance of its own, but its trunk's parent port has: "
    "allowed as that one's.",
}

#: What a verdict means and what to do, by whether it allows and its reason.  In braces:
#: what is found under that name by L{_details}.
MEANINGS: Final = {
    ("allowed", Reason.AGREED): "It is instance {instance}: all evidence agrees.",
    ("allowed", Reason.LEASE_MISSING): "It is instance {instance}: MAC and address are "
    "its port's. No lease in force was seen for {address}, which is not needed; if "
    "this network has DHCP, see whether [leases] sources names its lease file.",
    ("allowed", Reason.LEASE_CONFLICT): "It is instance {instance}: MAC and address "
    "are its port's. But the lease of {address} belongs to {lease_mac}: the lease file "
    "is out of date, or two DHCP servers give out the same addresses. See that the "
    "lease source is live and who {lease_mac} is; lease_conflict = refuse would refuse "
    "it.",
    ("allowed", Reason.ADDRESS_UNVERIFIED): "It is instance {instance} by its MAC; "
    "nobody knows its addresses, and allow_unverified_address lets it pass. A lease "
    "source or an inventory that knows addresses would make it certain.",
    ("allowed", Reason.AAP): "It is instance {instance}: {address} is an allowed "
    "address pair of its own port.",
    ("allowed", Reason.LINK_LOCAL): "It is instance {instance} by its MAC; "
    "{address} is a link-local address.",
    ("allowed", Reason.TRUNK_PARENT): "It is instance {instance}: the port itself has "
    "no instance, but the parent port of its trunk has.",
    ("allowed", Reason.ADDRESS_ONLY): "It is instance {instance} by its address "
    "alone, because the listener says identify_by = address.",
    ("refused", Reason.LEASE_CONFLICT): "The port of instance {instance} fits, but "
    "the lease of {address} belongs to {lease_mac}. See whether the lease file is out "
    "of date (is its source live?), or another machine took the address.",
    ("refused", Reason.ADDRESS_UNVERIFIED): "The MAC {mac} is instance {instance}'s, "
    "but nobody knows the addresses of its port, and there is no lease for {address}. "
    "Name the network's lease file in [leases] sources, use an inventory that knows "
    "addresses, or set allow_unverified_address = true if the network keeps others "
    "from using the MAC.",
    ("refused", Reason.FOREIGN_ADDRESS): "The MAC {mac} is instance {instance}'s, "
    "whose port has {addresses}, not {address}. Either the instance uses an address "
    "that it was not given: have it use its own, or add {address} to its port (as a "
    "fixed address or an allowed address pair). Or the inventory is out of date: see "
    "its state below.",
    ("refused", Reason.MAC_MISMATCH): "{address} belongs to instance {owner}, whose "
    "port has the MAC {owner_mac}; but {mac} asks with it, and is nobody's port on "
    "this network. Somebody else has taken the address: find {mac} on the bridge "
    "(bridge fdb show). Or the port was made anew and the inventory is out of date: "
    "see its state below.",
    ("refused", Reason.UNKNOWN): "No inventory knows a port with the MAC {mac} or the "
    "address {address} on {called}. If it is an instance: see that an inventory of "
    "this host covers the network, that it is live, and that it calls the network "
    "{called}. If it is none, all is well.",
    ("refused", Reason.AMBIGUOUS): "One inventory has several ports with the MAC {mac} "
    "on {called}, so nobody can say which instance it is. Give the MAC to one of them "
    "only.",
    ("refused", Reason.DISAGREEMENT): "The inventories disagree on whose port the MAC "
    "{mac} on {called} is: {claims}. Find out which one is out of date.",
    ("refused", Reason.NO_NEIGHBOUR): "The kernel has no neighbour entry for {address} "
    "on {network}, so nobody knows where an answer would go. Is the instance up, on "
    "this network and on this host? If it has just asked, see whether the neighbour "
    "table is full (net.ipv4.neigh.default.gc_thresh3) and what 'ip neighbour' says "
    "of it.",
    ("refused", Reason.FRAME_MISMATCH): "The connection was opened by {mac}, but the "
    "neighbour entry of {address} points to {neighbour}, or has changed hands since. "
    "Somebody else uses the address: find both MACs on the bridge (bridge fdb show) "
    "and see that port security is on. After an address was given to another instance "
    "this passes with its next connection.",
    ("refused", Reason.PORT_MISMATCH): "The MAC {mac} is instance {instance}'s, but "
    "the bridge has it on the device {bridge_port} and not on the port's own. Another "
    "instance forges the MAC, or the instance has moved and the bridge will learn it "
    "with its next frame.",
    ("refused", Reason.NO_LEASE): "The listener goes by leases (identify_by = lease), "
    "and no lease in force gives {address} to a MAC. See that [leases] sources names "
    "the lease file of the network's DHCP server, and that this source is live.",
}

#: Nothing was heard of an address that has a port; by the verdict on its owner.
_UNHEARD_OF: Final = (
    "Nothing was heard of {address} on {network} lately, so the kernel has no "
    "neighbour entry for it. It belongs to instance {owner}, whose port has the MAC "
    "{owner_mac}: when that one asks, its own frames make the entry, and it is "
)
_UNHEARD: Final = {
    "allowed": "allowed ({reason}). If it has asked in vain a moment ago: is it up, on "
    "this network and on this host, and is the neighbour table full "
    "(net.ipv4.neigh.default.gc_thresh3)?",
    "refused": "refused ({reason}). {meaning}",
}

#: What came between an instance that was recognised and its answer, and what to do; by
#: the outcome in its record (L{mdproxy.transactions}).
OUTCOMES: Final = {
    "SecretRefused": "Nova, or what stands before it, refused our signed question "
    "(403): most likely its [neutron] metadata_proxy_shared_secret is another than "
    "ours. 'mdproxyctl doctor' asks each Nova, and says where to look.",
    "RateExceeded": "It asks more often than [limits] max_request_rate allows: see "
    "what it runs that asks so often.",
    "UpstreamUnavailable": "No Nova could be reached, or none had a connection to "
    "spare, for as long as the request could wait. 'mdproxyctl doctor' says which "
    "and why.",
    "UpstreamTlsFailed": "No TLS connection to Nova could be made: a certificate, a CA "
    "or a name is not right. 'mdproxyctl doctor' says which.",
    "UpstreamTimedOut": "Nova took the question and did not answer in time. See what "
    "keeps it: its log, and that before it, have {request_id} where they write "
    "X-Openstack-Request-Id.",
    "UpstreamBroken": "Nova's answer was no HTTP, or it closed the connection without "
    "one. See the log of what stands before Nova for {request_id}.",
    "OurFault": "mdproxy met a fault of its own: its log has it, with {request_id}. "
    "Please report it.",
    "client-gone": "The instance closed the connection before it was answered: it "
    "waits for less time than the answer took, or something between resets it.",
    "path-lost": "When the answer was to go out the neighbour entry pointed to "
    "somebody else, so it was not sent.",
    "cut-off": "Nova's answer broke off in the middle, so the connection was closed "
    "for the instance to ask again. See the log of what stands before Nova for "
    "{request_id}.",
}

#: What Nova's own answer means, by its status or the hundred that this is of.
_NOVA: Final = {
    404: "That is Nova's own answer: it has nothing at this target, or does not know "
    "the instance in any of its cells. 'mdproxyctl fetch' asks it the same.",
    400: "That is Nova's own answer.",
    500: "That is Nova's own answer: its log has the cause, near {request_id} where "
    "what stands before it writes X-Openstack-Request-Id.",
}

#: A refusal that proves nothing.
_DOUBTFUL: Final = (
    " This proves nothing yet, because {cause}: such a request waits, and is answered"
    " 503 at last, so that the instance asks again."
)
_CERTAIN: Final = (
    " Such a request waits for a changed fact, and is answered 404 at last."
)


def rule_of(row: int) -> str:
    """
    Write a row of the decision table.
    """
    return RULES[row]


def account_of(words: Mapping[str, Any], called: str) -> str:
    """
    Say what a verdict means and what to do about it.

    @param words: The verdict in words (L{mdproxy.lookup.verdicts.verdict_in_words});
        with C{facts}, C{inventories}, C{lease_sources} and C{nameless} (L{Why
        <mdproxy.introspection.why.Why>}) it says more.
    @param called: What inventories call its network.

    @return: One line; names in it come from outside and are written as they are.
    """
    text = meaning_of(words, called)
    if words["verdict"] == "allowed":
        return text
    if words["doubtful"]:
        return text + _DOUBTFUL.format(cause=_cause(words, called))
    return text + _CERTAIN


def outcome_of(words: Mapping[str, Any]) -> str:
    """
    Say what came between an instance that was recognised and its answer.

    @param words: The request in words (L{mdproxy.transactions}).

    @return: What it was and what to do; empty where all went well, or the refusal says
        it all.
    """
    form = OUTCOMES.get(words["outcome"], "")
    if words["outcome"] == "relayed":
        status = words["status"]
        form = _NOVA.get(status) or _NOVA.get(status // 100 * 100, "")
    return form.format(request_id=words["request_id"])


def unheard_of(words: Mapping[str, Any], called: str) -> str:
    """
    Say what it means that nothing was heard of an address that has a port.

    @param words: The verdict as it would be if the port's instance asked, with
        C{facts} (L{InstanceLookup.suppose<mdproxy.lookup.InstanceLookup.suppose>}).
    @param called: What inventories call its network.
    """
    found = {
        **_details(words, called),
        "reason": words["reason"],
        "meaning": meaning_of(words, called),
    }
    return (_UNHEARD_OF + _UNHEARD[words["verdict"]]).format_map(found)


def meaning_of(words: Mapping[str, Any], called: str) -> str:
    """
    Say what a verdict means, but not how it is answered.

    @param words: The verdict in words; with C{facts} it says more.
    @param called: What inventories call its network.
    """
    key = words["verdict"], Reason(words["reason"])
    return MEANINGS[key].format_map(_details(words, called))


def _details(words: Mapping[str, Any], called: str) -> Mapping[str, str]:
    """
    Find what stands in the sentences; what nobody knows is said to be so.
    """
    facts = words.get("facts") or {}
    by_mac = facts.get("ports_by_mac") or ()
    by_address = facts.get("ports_by_address") or ()
    port = words.get("port") or next(iter(by_mac), None) or {}
    owner = next(iter(by_address), None) or {}
    found = {
        "address": words["address"],
        "network": words["network"],
        "called": called,
        "mac": words["mac"],
        "neighbour": words["neighbour"],
        "lease_mac": (words["lease"] or {}).get("mac"),
        "instance": port.get("instance"),
        "addresses": ", ".join(port.get("addresses") or ()),
        "owner": owner.get("instance"),
        "owner_mac": owner.get("mac"),
        "bridge_port": facts.get("bridge_port"),
        "claims": ", ".join(f"{p['inventory']}: {p['instance']}" for p in by_mac),
    }
    return {name: value or "(unknown)" for name, value in found.items()}


def _cause(words: Mapping[str, Any], called: str) -> str:
    """
    Say why a refusal proves nothing.
    """
    if words["reason"] == Reason.NO_NEIGHBOUR.value:
        return "the entry may come in a moment"
    if words.get("nameless"):
        return f"no inventory has told yet which network {words['network']} is on"
    inventories: Sequence[Mapping[str, Any]] = words.get("inventories") or ()
    able = [each for each in inventories if each["knows"]]
    if inventories and not able:
        return f"no inventory can know the network {called}"
    leases: Sequence[Mapping[str, Any]] = words.get("lease_sources") or ()
    causes = [
        f"{each['name']} is {each['state'] if each['state'] != 'live' else 'in doubt'}"
        for each in (*able, *leases)
        if each["state"] != "live" or each.get("in_doubt")
    ]
    return " and ".join(causes) or "a source that would know is not live or in doubt"
