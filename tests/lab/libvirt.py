"""
The real libvirtd with real domains in QEMU, which emulates so that no KVM is needed.

Installed, its service would make networks on the machine and start what is defined
there.  So the packages are only unpacked, and it runs in namespaces of its own: of
mounts, where the unpacked files lie over the machine's and its state goes to memory; of
processes, so that whatever it started ends with it; and in the network namespace of the
hypervisor, where the bridges are.

C{python -m tests.lab.libvirt build} prepares it.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import quoteattr

from attrs import define, field, frozen

from tests.lab.machines import Machine
from tests.lab.stage import CHECKOUT, LabError, Running, Stage, run, wait_for

CACHE = CHECKOUT / ".cache" / "libvirt"
#: Debian's packages; what they depend on and is not installed comes with them.
PACKAGES = (
    "libvirt-daemon",
    "libvirt-clients",
    "libvirt-daemon-driver-qemu",
    "qemu-system-x86",
)
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"

#: The namespaces that it runs in, and where they are seen in its parent.
_NAMESPACES = (("mount", "mnt"), ("net", "net"), ("pid", "pid_for_children"))

#: Lays the unpacked files over the machine's, and starts libvirtd.  Its users are
#: known by name only; it must do without control groups and the system's message bus.
_SCRIPT = """
set -e
mount -t tmpfs tmpfs "$2"
for part in usr etc; do
    mkdir "$2/$part" "$2/$part.work"
    mount -t overlay overlay -o \
        "lowerdir=$1/$part:/$part,upperdir=$2/$part,workdir=$2/$part.work" "/$part"
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var
mkdir -p /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /var/tmp
ln -s /run /var/run
for name in libvirt-qemu kvm; do
    grep -q "^$name:" /etc/passwd || echo "$name:x:64055:64055::/:" >>/etc/passwd
    grep -q "^$name:" /etc/group || echo "$name:x:64055:" >>/etc/group
done
mkdir -p /etc/libvirt
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
remember_owner = 0
END
cat >/etc/libvirt/libvirtd.conf <<END
unix_sock_group = "root"
auth_unix_rw = "none"
log_outputs = "3:stderr"
END
# The shell stays, for the first process must bury what libvirtd leaves behind.
/usr/sbin/libvirtd &
wait $!
"""


@frozen
class Plug:
    """
    An interface of a domain, as Nova asks for it.

    @ivar machine: Whose network, MAC and address it has.
    @ivar port: The id of its port.
    """

    machine: Machine
    port: str

    @property
    def xml(self) -> str:
        """
        Write it.
        """
        return (
            "<interface type='bridge'>"
            f"<mac address={quoteattr(self.machine.mac)}/>"
            f"<source bridge={quoteattr(self.machine.network)}/>"
            f"<target dev='tap{self.port[:11]}'/>"
            "<model type='virtio'/><rom enabled='no'/></interface>"
        )

    @property
    def listed(self) -> str:
        """
        Write it as it stands in Nova's metadata.
        """
        return (
            f"<port uuid='{self.port}'>"
            f"<ip type='fixed' address='{self.machine.ipv4}' ipVersion='4'/></port>"
        )


def metadata(owner: Machine, plugs: Iterable[Plug]) -> str:
    """
    Write Nova's metadata of an instance.
    """
    ports = "".join(plug.listed for plug in plugs)
    return (
        f"<instance><name>{owner.hostname}</name>"
        f"<owner><project uuid='{owner.project}'>x</project></owner>"
        f"<ports>{ports}</ports></instance>"
    )


@define
class Libvirt:
    """
    A libvirtd on the hypervisor of a stage.

    @ivar stage: Where it runs.
    @ivar root: The unpacked packages.
    """

    stage: Stage
    root: Path
    running: Running = field(init=False)

    @property
    def live(self) -> Path:
        """
        Where the files of its running domains are, as seen from outside.
        """
        return Path(f"/proc/{self.running.process.pid}/root/run/libvirt/qemu")

    def start(self) -> None:
        """
        Start it, and wait until it answers.
        """
        scratch = self.stage.directory / "libvirt"
        scratch.mkdir()
        self.running = self.stage.start(
            self.stage.hypervisor,
            "libvirtd",
            *("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"),
            *("sh", "-c", _SCRIPT, "libvirtd", str(self.root), str(scratch)),
        )
        wait_for("libvirtd", self._is_up, 30)

    def _is_up(self) -> bool:
        """
        Tell whether it answers.
        """
        code = self.running.process.poll()
        if code is not None:
            raise LabError(f"libvirtd ended with {code}: {self.running.said()[-2000:]}")
        done = self._virsh("version", check=False)
        return done.returncode == 0

    def _virsh(
        self, *argv: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """
        Give it a command.
        """
        target = f"/proc/{self.running.process.pid}/ns"
        enter = [f"--{kind}={target}/{name}" for kind, name in _NAMESPACES]
        virsh = ["virsh", "-q", "--connect", "qemu:///system", *argv]
        return run(["nsenter", *enter, *virsh], stdin.encode(), check=check, timeout=15)

    def create(self, owner: Machine, plugs: Iterable[Plug], nova: str = "") -> None:
        """
        Run an instance.

        @param nova: Nova's metadata; none where Nova did not make it.
        """
        marked = nova.replace("<", "<nova:").replace("<nova:/", "</nova:")
        marked = marked.replace(">", f" xmlns:nova='{NOVA}'>", 1)
        described = f"<metadata>{marked}</metadata>" if nova else ""
        interfaces = "".join(plug.xml for plug in plugs)
        xml = (
            f"<domain type='qemu'><name>{owner.hostname}</name>"
            f"<uuid>{owner.instance}</uuid>{described}"
            "<memory unit='MiB'>16</memory><vcpu>1</vcpu>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os>"
            "<features><acpi/></features><devices>"
            "<emulator>/usr/bin/qemu-system-x86_64</emulator>"
            f"<controller type='usb' model='none'/>{interfaces}"
            "<memballoon model='none'/></devices></domain>"
        )
        self._virsh("create", "/dev/stdin", stdin=xml)

    def describe(self, owner: Machine, nova: str) -> None:
        """
        Change Nova's metadata of a running instance, as Nova does.
        """
        argv = ("--uri", NOVA, "--key", "nova", "--live", "--set", nova)
        self._virsh("metadata", owner.hostname, *argv)

    def plug(self, owner: Machine, plug: Plug) -> None:
        """
        Give a running instance another interface.
        """
        self._virsh(
            "attach-device", owner.hostname, "/dev/stdin", "--live", stdin=plug.xml
        )

    def unplug(self, owner: Machine, number: int) -> None:
        """
        Take an interface from a running instance.

        Its system would have to let go of it; as it has none, it is reset.

        @param number: Which, counted from 0.
        """
        name = owner.hostname
        self._virsh("detach-device-alias", name, f"net{number}", "--live")
        self._virsh("reset", name)

    def destroy(self, owner: Machine) -> None:
        """
        End a running instance.
        """
        self._virsh("destroy", owner.hostname)


def build(cache: Path = CACHE) -> Path:
    """
    Unpack the packages, unless they are there already.

    What an interrupted build left behind is thrown away, and of two builds at a time
    one waits for the other.

    @param cache: Where to keep it.

    @return: The folder that stands for the root of the machine.
    """
    cache.mkdir(parents=True, exist_ok=True)
    root, complete = cache / "root", cache / "complete"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(root, ignore_errors=True)
            _fill(cache, root)
            complete.touch()
    return root


def _fill(cache: Path, root: Path) -> None:
    """
    Fill the folder.
    """
    for part in ("usr", "etc"):
        (root / part).mkdir(parents=True)
    choose = ["apt-get", "install", "--no-install-recommends", "--simulate", "-qq"]
    chosen = run([*choose, *PACKAGES]).stdout.decode().splitlines()
    missing = [line.split()[1] for line in chosen if line.startswith("Inst ")]
    names = sorted({*PACKAGES, *missing})
    packages = cache / "packages"
    shutil.rmtree(packages, ignore_errors=True)
    packages.mkdir()
    done = subprocess.run(
        ["apt-get", "download", "-qq", *names], cwd=packages, capture_output=True
    )
    if done.returncode:
        raise LabError(done.stderr.decode()[-2000:])
    for package in packages.glob("*.deb"):
        run(["dpkg", "-x", str(package), str(root)])
    shutil.rmtree(packages)
    if (root / "lib").exists():
        # On the machine this is a link to usr/lib.
        shutil.copytree(
            root / "lib", root / "usr" / "lib", symlinks=True, dirs_exist_ok=True
        )
        shutil.rmtree(root / "lib")


if __name__ == "__main__":
    if sys.argv[1:] != ["build"]:
        sys.exit("usage: python -m tests.lab.libvirt build")
    print(build())
