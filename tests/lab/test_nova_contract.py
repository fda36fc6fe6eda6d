"""
The stand-in for Nova is held to the real one: the same requests, the same answers.

Both serve C{instances.yaml} on the loopback interface.  Compared are the status, the
Content-Type and the whole body, but for what Nova makes up anew for each answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
import subprocess
import sys
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.devnova_tree import EC2_VERSIONS, OPENSTACK_VERSIONS, read_instances
from tests.lab.nova import (
    INSTANCES,
    SECRET,
    NovaProcess,
    free_port,
)
from tests.lab.test_nova import built

_KNOWN = read_instances(INSTANCES)
_A, _B = _KNOWN[0], _KNOWN[2]
_NOBODY = "00000000-dead-4000-8000-000000000000"


def _sign(identifier: str) -> str:
    """
    Sign as Nova does.
    """
    return hmac.new(SECRET.encode(), identifier.encode(), hashlib.sha256).hexdigest()


def _as(instance: str, project: str, address: str = "10.0.0.11") -> dict[str, str]:
    """
    Make the identity headers that a proxy sends.
    """
    return {
        "X-Instance-ID": instance,
        "X-Tenant-ID": project,
        "X-Instance-ID-Signature": _sign(instance),
        "X-Forwarded-For": address,
    }


_AS_A = _as(_A.instance, _A.project)


def _without(*names: str) -> dict[str, str]:
    """
    Leave some of the identity headers out.
    """
    return {name: value for name, value in _AS_A.items() if name not in names}


@frozen
class Question:
    """
    A request that both are sent.

    @ivar name: What it shows.
    @ivar target: The target.
    @ivar headers: The header lines.
    @ivar method: The method.
    @ivar body: The body.
    """

    name: str
    target: str
    headers: dict[str, str] | list[tuple[str, str]]
    method: str = "GET"
    body: bytes | None = None

    def wire(self) -> bytes:
        """
        Write it as it goes over the wire; a chunked one is cut into two.
        """
        fields = list(
            self.headers.items() if isinstance(self.headers, dict) else self.headers
        )
        body = self.body or b""
        if ("Transfer-Encoding", "chunked") in fields:
            body = b"1\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (
                body[:1],
                len(body) - 1,
                body[1:],
            )
        elif self.body is not None:
            fields.append(("Content-Length", str(len(body))))
        lines = [
            f"{self.method} {self.target} HTTP/1.1",
            "Host: nova",
            "Connection: close",
        ]
        lines += [f"{name}: {value}" for name, value in fields]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@frozen
class Reply:
    """
    What is compared of an answer.

    @ivar status: The status line, without the version.
    @ivar content_type: The Content-Type.
    @ivar length: The Content-Length.
    @ivar body: The body; JSON is parsed, and random bytes give way to their number.
    """

    status: str
    content_type: str | None
    length: str | None
    body: Any


def _reply(raw: bytes) -> Reply:
    """
    Read an answer.
    """
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    content_type = fields.get("content-type")
    return Reply(
        status.partition(" ")[2],
        content_type,
        fields.get("content-length"),
        _comparable(body),
    )


def _comparable(body: bytes) -> Any:
    """
    Parse what is JSON, and take out what is random.
    """
    if not body.startswith(b"{"):
        return body
    data = json.loads(body)
    if "random_seed" in data:
        data["random_seed"] = len(base64.b64decode(data["random_seed"], validate=True))
    # As pairs: the order of the keys counts.
    return list(data.items())


def _ask(port: int, question: Question) -> Reply:
    """
    Send a request to a loopback port and read the answer to its end.
    """
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(question.wire())
        raw = b""
        while piece := connection.recv(65536):
            raw += piece
    return _reply(raw)


def _trees() -> list[Question]:
    """
    Ask for every page of every version, for one instance with everything and for one
    without key and user-data.
    """
    rogue = _KNOWN[4]
    files = ["", "/meta_data.json", "/password", "/vendor_data.json"]
    files += ["/vendor_data2.json", "/network_data.json", "/user_data"]
    pages = [
        f"/{version}/{page}"
        for version in (*EC2_VERSIONS, "latest")
        for page in ("meta-data/", "meta-data/instance-type", "user-data")
    ]
    pages += [
        f"/openstack/{version}{name}"
        for version in (*OPENSTACK_VERSIONS, "latest")
        for name in files
    ]
    bare = _as(rogue.instance, rogue.project)
    pages_of_rogue = "/latest /latest/meta-data /latest/user-data /openstack/latest"
    pages_of_rogue += " /openstack/latest/meta_data.json /openstack/latest/user_data"
    pages_of_rogue += " /latest/meta-data/public-keys/"
    return [
        *(Question(f"page {page}", page, _AS_A) for page in pages),
        *(Question(f"bare {page}", page, bare) for page in pages_of_rogue.split()),
    ]


def _leaves() -> list[Question]:
    """
    Ask for every leaf of the EC2 tree, as cloud-init does; and for more than there is.
    """
    names = "ami-id ami-launch-index ami-manifest-path block-device-mapping/"
    names += " block-device-mapping/ami block-device-mapping/root hostname"
    names += " instance-action instance-id instance-type local-hostname local-ipv4"
    names += " placement/ placement/availability-zone public-hostname public-ipv4"
    names += " public-keys/ public-keys/0 public-keys/0/ public-keys/0/openssh-key"
    names += " reservation-id security-groups"
    names += " nothere hostname/below ami-launch-index/below hostname/far/below"
    names += " public-keys/1 public-keys/0/_name"
    files = "latest/user-data openstack/2018-08-27/user_data"
    files += " openstack/2018-08-27/meta_data.json openstack/latest/network_data.json"
    targets = [f"/latest/meta-data/{name}" for name in names.split()]
    targets += [f"/{name}" for name in files.split()]
    return [
        Question(f"{each.hostname} {target}", target, who)
        for each in _KNOWN[:4]
        for who in (_as(each.instance, each.project, each.addresses[0]),)
        for target in targets
    ]


def _paths() -> list[Question]:
    """
    Ask for paths in odd spellings.
    """
    targets = "/ // /// /. /latest /latest/ /latest/user-data /latest/user-data/x /ec2"
    targets += " /ec2/latest/meta-data/instance-id /openstack /openstack/ /openstack//"
    targets += " //latest//meta-data//instance-id /latest/../openstack/latest/user_data"
    targets += (
        " /latest/%2e%2e/openstack/latest/user_data /%6Fpenstack /latest%2Fmeta-data"
    )
    targets += " /latest/meta-data/instance-id?x=1&y=2 /openstack?x /?x=1 /../../latest"
    targets += " /1999-01-01/meta-data/ /2016-09-02/meta-data/instance-id"
    targets += " /openstack/1999-01-01 /openstack/latest/nothere /nothere"
    targets += " /openstack/latest/meta_data.json/below /openstack/latest/version"
    targets += " /openstack/content /latest/dynamic/instance-identity/document"
    targets += " http://elsewhere/latest/meta-data/instance-id /%C3%A9 /%ff"
    return [Question(f"path {each}", each, _AS_A) for each in targets.split()]


def _refusals() -> list[Question]:
    """
    Ask with wrong identity headers.
    """
    page = "/latest/meta-data/instance-id"
    signature = _AS_A["X-Instance-ID-Signature"]
    rows: list[tuple[str, dict[str, str] | list[tuple[str, str]]]] = [
        ("no header", {}),
        ("no id", _without("X-Instance-ID")),
        ("no signature", _without("X-Instance-ID-Signature")),
        ("no tenant", _without("X-Tenant-ID")),
        ("id only", {"X-Instance-ID": _A.instance}),
        ("signature only", {"X-Instance-ID-Signature": signature}),
        ("no address", _without("X-Forwarded-For")),
        ("wrong signature", {**_AS_A, "X-Instance-ID-Signature": _sign("other")}),
        ("upper case", {**_AS_A, "X-Instance-ID-Signature": signature.upper()}),
        ("no ASCII", {**_AS_A, "X-Instance-ID-Signature": "\xe9"}),
        ("empty signature", {**_AS_A, "X-Instance-ID-Signature": ""}),
        ("empty id", {**_AS_A, "X-Instance-ID": ""}),
        ("empty tenant", {**_AS_A, "X-Tenant-ID": ""}),
        ("unknown", _as(_NOBODY, _A.project)),
        ("not an id", _as("nobody", _A.project)),
        ("wrong tenant", _as(_A.instance, _B.project)),
        ("space behind", {**_AS_A, "X-Instance-ID-Signature": f"  {signature} "}),
        ("two ids", [*_AS_A.items(), ("X-Instance-ID", _B.instance)]),
        ("two addresses", [*_AS_A.items(), ("X-Forwarded-For", "1.2.3.4")]),
        ("underscores", {**_AS_A, "X_Instance_ID": _B.instance}),
        ("no identity but underscores", {"X_Instance_ID": _A.instance}),
        ("lower case names", {k.lower(): v for k, v in _AS_A.items()}),
        ("provider", {**_AS_A, "X-Metadata-Provider": "p"}),
        ("empty provider", {**_AS_A, "X-Metadata-Provider": ""}),
        (
            "provider, in HTML",
            {
                **_AS_A,
                "Accept": "text/html",
                "X-Metadata-Provider": "<p>'&",
                "X-Metadata-Provider-Signature": _sign("<p>'&"),
            },
        ),
        (
            "provider without address",
            {**_without("X-Forwarded-For"), "X-Metadata-Provider": "p"},
        ),
        (
            "provider and signature",
            {
                **_AS_A,
                "X-Metadata-Provider": "<p>&",
                "X-Metadata-Provider-Signature": _sign("<p>&"),
            },
        ),
    ]
    return [Question(name, page, headers) for name, headers in rows]


def _accepts() -> list[Question]:
    """
    Ask for error pages in all the forms there are.
    """
    accepts = ["*/*", "text/html", "application/json", "text/plain", "text/*"]
    accepts += ["application/*;q=0.5, text/html;q=0.4", "*/*;q=0.1, application/json"]
    accepts += ["text/html;q=0, */*", "", "image/png", "application/json, text/html"]
    accepts += [
        "garbage",
        "text/html;q=2",
        "application/json ,, text/plain,",
        "TEXT/HTML ; Q=1",
    ]
    accepts += ["text/html;level=1", "*/*;q=0.2, text/*;q=0.1", "*", "a/b;c=d;q=1"]
    return [
        Question(f"accept {accept!r} {path}", path, {**who, "Accept": accept})
        for accept in accepts
        for path, who in (("/nothere", _AS_A), ("/latest", {}))
    ]


def _methods() -> list[Question]:
    """
    Ask with other methods; the password comes last, because it stays.
    """
    leaf, password = "/latest/meta-data/instance-id", "/openstack/latest/password"
    chunked = {**_AS_A, "Transfer-Encoding": "chunked"}
    return [
        Question("HEAD", leaf, _AS_A, "HEAD"),
        Question("HEAD of JSON", "/openstack/latest/network_data.json", _AS_A, "HEAD"),
        Question("HEAD of nothing", "/nothere", _AS_A, "HEAD"),
        Question("HEAD and Accept", "/nothere", {**_AS_A, "Accept": "*/*"}, "HEAD"),
        Question("HEAD by nobody", leaf, {}, "HEAD"),
        Question("POST to a leaf", leaf, _AS_A, "POST", b"x=1"),
        Question("PUT for a token", "/latest/api/token", _AS_A, "PUT", b""),
        Question("DELETE", leaf, _AS_A, "DELETE"),
        Question("OPTIONS", leaf, _AS_A, "OPTIONS"),
        Question("Range", leaf, {**_AS_A, "Range": "bytes=0-4"}),
        Question("gzip", leaf, {**_AS_A, "Accept-Encoding": "gzip"}),
        Question("GET no password", password, _AS_A),
        Question("HEAD of the password", password, _AS_A, "HEAD"),
        Question("PUT password", password, _AS_A, "PUT", b"x"),
        Question("POST too long", password, _AS_A, "POST", b"p" * 1021),
        Question("POST chunked", password, chunked, "POST", b"chunked"),
        Question("POST no UTF-8", password, _AS_A, "POST", b"\xff\xfe"),
        Question("POST nothing", password, _AS_A, "POST", b""),
        Question("still no password", password, _AS_A),
        Question("POST password", password, _AS_A, "POST", b"p" * 1020),
        Question("GET password", password, _AS_A),
        Question("POST again", password, _AS_A, "POST", b"another"),
        Question("POST again too long", password, _AS_A, "POST", b"p" * 1021),
        Question("GET the first", password, _AS_A),
        Question("older version", "/openstack/2013-04-04/password", _AS_A),
    ]


PAGES = _refusals() + _paths() + _trees() + _leaves() + _accepts()


class NovaContractTests(SynchronousTestCase):
    """
    C{python -m mdproxy.devnova} and the real Nova.
    """

    def setUp(self) -> None:
        """
        Serve the stand-in on the loopback interface.
        """
        self.tree = built()
        self.stand_in_port = self._start_stand_in()

    def _start_stand_in(self) -> int:
        """
        Start the stand-in on a free port.
        """
        command = [sys.executable, "-m", "mdproxy.devnova", str(INSTANCES)]
        command += ["--secret", SECRET, "--listen", "tcp:0:interface=127.0.0.1"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        line = process.stdout.readline().decode()
        self.assertIn("NOT FOR PRODUCTION", line)
        port = re.search(r"port=(\d+)", line)
        assert port is not None
        return int(port[1])

    def _start_nova(self, cache_seconds: int) -> None:
        """
        Serve Nova on the loopback interface.
        """
        self.nova = NovaProcess(
            self.tree, port=free_port(), cache_seconds=cache_seconds
        )
        self.nova.start()
        self.addCleanup(self.nova.stop)

    def _compare(self, questions: list[Question]) -> None:
        """
        Ask both, and show where they differ.
        """
        differences = []
        for question in questions:
            ours = _ask(self.stand_in_port, question)
            novas = _ask(self.nova.port, question)
            if ours != novas:
                differences.append(f"{question.name}:\n  ours {ours}\n  Nova {novas}")
        self.assertEqual([], differences, "\n".join(["", *differences]))

    def test_pages_are_novas(self) -> None:
        """
        Every page and every refusal of the stand-in is Nova's.
        """
        self._start_nova(cache_seconds=15)
        self._compare(PAGES)

    def test_methods_are_novas(self) -> None:
        """
        So is what it does with other methods, and with the password; Nova's cache is
        off, so that both know a posted password at once.
        """
        self._start_nova(cache_seconds=0)
        self._compare(_methods())

    def test_real_nova_has_the_instances_of_the_lab(self) -> None:
        """
        Each instance gets its own user-data and key from Nova, byte for byte.
        """
        self._start_nova(cache_seconds=15)
        for each in _KNOWN:
            key = next((key.encode() for key in each.keys.values()), None)
            for page, wanted in (
                ("/openstack/latest/user_data", each.user_data),
                ("/latest/user-data", each.user_data),
                ("/latest/meta-data/public-keys/0/openssh-key", key),
            ):
                who = _as(each.instance, each.project, each.addresses[0])
                reply = _ask(self.nova.port, Question("own", page, who))
                if wanted is None:
                    self.assertEqual("404 Not Found", reply.status)
                else:
                    self.assertEqual(("200 OK", wanted), (reply.status, reply.body))

    def test_posted_password_reaches_the_database(self) -> None:
        """
        The lab can look up what password Nova keeps.
        """
        self._start_nova(cache_seconds=15)
        question = Question("p", "/openstack/latest/password", _AS_A, "POST", b"secret")
        _ask(self.nova.port, question)
        self.assertEqual("secret", self.nova.password(_A.instance))
        self.assertEqual("", self.nova.password(_B.instance))
