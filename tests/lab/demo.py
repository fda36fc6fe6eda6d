"""
The main job, to watch: VMs on two networks with the same addresses get their metadata.

C{script/demo} calls this.  As root it runs in the lab's namespaces; without root, on
loopback, where source addresses stand for VMs.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import textwrap
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import ExitStack

from attrs import define, evolve, field

from tests.lab import nova
from tests.lab.guest import Answer, Guest
from tests.lab.machines import Machine, load_machines
from tests.lab.proxy import NOVA_PORT, Proxy, signed, start_devnova
from tests.lab.rogue import Attacker
from tests.lab.stage import LabError, Stage
from tests.lab.world import World, missing

META_DATA = "/openstack/latest/meta_data.json"
USER_DATA = "/openstack/latest/user_data"
HOSTNAME = "/latest/meta-data/hostname"
KEY = "/latest/meta-data/public-keys/0/openssh-key"
#: Asks as a VM: a target, further header lines, and whose address to use.
Ask = Callable[..., Answer]


def shorten(data: bytes) -> str:
    """
    Write bytes so that they fit on a line and can't disturb a terminal.
    """
    text = data.decode("ascii", "backslashreplace").replace("\n", "\\n")
    text = "".join(each if each.isprintable() else "." for each in text)
    return textwrap.shorten(text, 48, placeholder="...") or repr(data[:12])


@define
class Script:
    """
    What is shown, and whether it was right.

    @ivar ask: By host name, how to ask as that VM.
    @ivar wrong: How many answers were not as they should be.
    """

    ask: dict[str, Ask]
    wrong: int = field(default=0, init=False)

    def show(self, what: str, got: str, right: bool) -> None:
        """
        Print one thing that a VM did and what came of it.
        """
        self.wrong += not right
        print(f"  {'ok   ' if right else 'WRONG'}  {what:<52} {got}", flush=True)

    def play(self, machine: Machine) -> None:
        """
        Have a VM ask for all that it needs to boot.
        """
        print(
            f"\n{machine.hostname}: {machine.ipv4} on {machine.network}, "
            f"MAC {machine.mac}, instance {machine.instance}",
            flush=True,
        )
        ask = self.ask[machine.hostname]
        answer = ask(META_DATA)
        uuid = str(answer.json()["uuid"]) if answer.status == 200 else ""
        got = f"{answer.status} {uuid}"
        self.show(f"GET {META_DATA}", got, uuid == machine.instance)
        answer = ask(HOSTNAME)
        name = answer.body.decode("ascii", "replace")
        right = name.partition(".")[0] == machine.hostname
        self.show(f"GET {HOSTNAME}", f"{answer.status} {name}", right)
        [key] = machine.keys.values() or [None]
        self.compare(ask(KEY), KEY, None if key is None else key.encode())
        self.compare(ask(USER_DATA), USER_DATA, machine.user_data)

    def compare(self, answer: Answer, target: str, wanted: bytes | None) -> None:
        """
        Show an answer whose body must be known bytes, or a 404 where there are none.
        """
        got = f"{answer.status} {len(answer.body)} bytes: {shorten(answer.body)}"
        if wanted is None:
            self.show(
                f"GET {target}", f"{answer.status}: it has none", answer.status == 404
            )
        else:
            right = answer.status == 200 and answer.body == wanted
            self.show(f"GET {target}", got, right)

    def lie(self, liar: Machine, other: Machine) -> None:
        """
        Have a VM say that it is another.
        """
        print(f"\n{liar.hostname} says that it is {other.hostname}:", flush=True)
        answer = self.ask[liar.hostname](META_DATA, *signed(other))
        uuid = str(answer.json()["uuid"]) if answer.status == 200 else ""
        got = f"{answer.status} {uuid} (its own)"
        self.show(
            "... with X-Instance-ID and a right signature", got, uuid == liar.instance
        )

    def steal(self, attacker: Attacker) -> None:
        """
        Have a VM take the address of another on its network.
        """
        thief, victim = attacker.rogue, attacker.victim
        print(f"\n{thief.hostname} takes {victim.hostname}'s address:", flush=True)
        with attacker.having_the_address():
            answer = self.ask[thief.hostname](HOSTNAME, source=victim.ipv4)
        right = (
            answer.status in (0, 404, 503)
            and victim.hostname.encode() not in answer.raw
        )
        got = f"{answer.status or 'nothing'}, after {answer.seconds:.0f} s of waiting"
        self.show(f"GET {HOSTNAME}", got, right)


def serve_nova(cleanup: ExitStack, stage: Stage, real: bool, port: int) -> None:
    """
    Start Nova, or the stand-in for it.
    """
    if not real:
        print("Nova: devnova, the stand-in (--real-nova uses the real one)")
        start_devnova(stage, port)
        return
    tree = nova.build(say=lambda line: print(f"  {line}", flush=True))
    namespace = stage.hypervisor.name or None
    process = nova.NovaProcess(tree, "127.0.0.1", port, netns=namespace)
    cleanup.enter_context(process)
    print("Nova: the real Nova 34, on SQLite")


def in_namespaces(cleanup: ExitStack, real: bool) -> tuple[Script, str]:
    """
    Play on the lab's two networks.

    @return: The script, and how to go on by hand.
    """
    world = cleanup.enter_context(World(load_machines()))
    print(
        f"In namespaces: a hypervisor with bridges {' and '.join(world.networks)},\n"
        "both 10.0.0.0/24 with a dnsmasq each, and VMs that have a lease from it."
    )
    serve_nova(cleanup, world, real, NOVA_PORT)
    Proxy(world, world.machines).start()
    script = Script({name: Guest(vm).ask for name, vm in world.vms.items()})
    for machine in world.machines:
        script.play(machine)
    by_name = {m.hostname: m for m in world.machines}
    script.lie(by_name["red-rogue"], by_name["blue-one"])
    script.steal(Attacker(world, by_name["red-rogue"], by_name["red-one"]))
    vm, hypervisor = world.vms["red-one"].name, world.hypervisor.name
    by_hand = (
        f"as a VM:        ip netns exec {vm} curl http://169.254.169.254{META_DATA}\n"
        f"  (the others: {' '.join(sorted(world.vms))})\n"
        f"as its operator: ip netns exec {hypervisor} .venv/bin/mdproxyctl whois"
        f" 10.0.0.11 --config-file {world.directory}/mdproxy.conf\n"
        f"its files, log:  {world.directory}/mdproxy.conf, mdproxy.log\n"
    )
    return script, by_hand


def free_ports(count: int) -> list[int]:
    """
    Find ports that nobody listens on.
    """
    with ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]


def on_loopback(machine: Machine) -> Machine:
    """
    Give a VM a loopback address in place of its own: 127.0.0.11 for 10.0.0.11.
    """
    return evolve(machine, addresses=(machine.ipv4.replace("10.", "127.", 1),))


def without_root(cleanup: ExitStack, real: bool) -> tuple[Script, str]:
    """
    Play on loopback: each network is a port, and VMs are told apart by address.

    @return: The script, and how to go on by hand.
    """
    stage = cleanup.enter_context(Stage())
    machines = [on_loopback(m) for m in load_machines()]
    networks = list(dict.fromkeys(m.network for m in machines))
    nova_port, introspection, *ports = free_ports(2 + len(networks))
    listening = dict(zip(networks, ports, strict=True))
    print("On loopback: each network is a port, each VM a source address.")
    serve_nova(cleanup, stage, real, nova_port)
    listeners = {
        f"listener:{network}": {
            "kind": "address",
            "address": "127.0.0.1",
            "port": port,
            "identify_by": "address",
        }
        for network, port in listening.items()
    }
    Proxy(
        stage,
        machines,
        listeners,
        networks=(),
        nova_port=nova_port,
        introspection_port=introspection,
    ).start()
    script = Script({m.hostname: _asker(stage, m, listening) for m in machines})
    for machine in machines:
        script.play(machine)
    script.lie(machines[0], machines[2])
    url = f"http://127.0.0.1:{ports[0]}{META_DATA}"
    by_hand = (
        f"as a VM:        curl --interface {machines[0].ipv4} {url}\n"
        f"as its operator: .venv/bin/mdproxyctl whois {machines[0].ipv4}"
        f" --config-file {stage.directory}/mdproxy.conf\n"
        f"  (or with a browser: http://127.0.0.1:{introspection}/)\n"
        f"its files, log:  {stage.directory}/mdproxy.conf, mdproxy.log\n"
    )
    return script, by_hand


def _asker(stage: Stage, machine: Machine, ports: dict[str, int]) -> Ask:
    """
    Make the way to ask as a VM on loopback.
    """
    port, source = ports[machine.network], machine.ipv4

    def ask(target: str, *fields: str) -> Answer:
        guest = Guest(stage.hypervisor)
        return guest.ask(target, *fields, host="127.0.0.1", port=port, source=source)

    return ask


def main() -> int:
    """
    Play, and perhaps stay.

    @return: The exit code: 1 if anything was wrong.
    """
    parser = ArgumentParser("script/demo", description=__doc__)
    parser.add_argument(
        "--real-nova", action="store_true", help="use the real Nova, from PyPI"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave it running until Ctrl-C"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    reasons = missing()
    if reasons and os.geteuid() == 0:
        sys.exit(f"demo: {'; '.join(reasons)}")
    with ExitStack() as cleanup:
        if reasons:
            print(f"Not in namespaces: {'; '.join(reasons)}.")
        play = without_root if reasons else in_namespaces
        script, by_hand = play(cleanup, arguments.real_nova)
        print(f"\n{script.wrong or 'nothing'} was wrong", flush=True)
        if arguments.keep:
            print(
                f"\nIt is still running:\n{by_hand}"
                f"Ctrl-C, or kill {os.getpid()}, ends it.",
            )
            sys.stdout.flush()
            ends = {signal.SIGINT, signal.SIGTERM}
            signal.pthread_sigmask(signal.SIG_BLOCK, ends)
            signal.sigwait(ends)
    return 1 if script.wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (LabError, nova.BrokenNova, nova.CannotInstall) as error:
        sys.exit(f"demo: {error}")
