# -*- test-case-name: tests.test_credentials -*-
"""
The secret and the files that prove who is who: they are there, and they are private.

What is wrong with them becomes a fault of the L{Settings}; what they hold shows in
none.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Sequence

from attrs import frozen

from mdproxy.ini import printable
from mdproxy.settings import Settings
from mdproxy.tls import TlsMisconfigured, client_tls

#: The option that holds the secret, in Neutron's files as well.
SECRET = "metadata_proxy_shared_secret"

#: Far more than any secret, certificate or key.
_MOST = 1 << 20
_OTHERS = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
#: Whom an entry of an access control list is for (linux/posix_acl.h).
_ACL_USER, _ACL_GROUP_OBJ, _ACL_GROUP, _ACL_OTHER = 0x02, 0x04, 0x08, 0x20
_ACL_READ, _ACL_WRITE = 4, 2


class _Unfit(Exception):
    """
    A file can't be used; the text says why.
    """


@frozen
class _File:
    """
    A file as it was read.

    @ivar data: What it holds.
    @ivar mode: Its permissions.
    @ivar acl: Its access control list, as the kernel stores it; C{None}: none.
    """

    data: bytes
    mode: int
    acl: bytes | None


def _read(path: str) -> _File:
    """
    Read a regular file that is not empty.

    @raise _Unfit: If it is none, or can't be read.
    """
    try:
        # Not to wait for the other end if it is a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise _Unfit("is not a file")
            data = stream.read(_MOST + 1)
            acl = _acl_of(descriptor)
    except OSError as error:
        raise _Unfit(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise _Unfit("is not a file") from None
    if len(data) > _MOST:
        raise _Unfit("is larger than 1 MiB")
    if not data.strip():
        raise _Unfit("is empty")
    return _File(data, stat.S_IMODE(found.st_mode), acl)


def _acl_of(descriptor: int) -> bytes | None:
    """
    Get a file's access control list.
    """
    try:
        return os.getxattr(descriptor, "system.posix_acl_access")
    except OSError:
        return None


def is_private(mode: int, acl: bytes | None) -> bool:
    """
    Tell whether a file is closed to its group and to everybody else.

    With an access control list the group's bits of the mode are only the most that the
    list may give.  A user whom it names, and who may only read, is wanted: systemd
    gives a service its credentials in this way (C{LoadCredential}).

    @param mode: Its permissions.
    @param acl: Its access control list, if it has one.
    """
    if acl is None:
        return not mode & _OTHERS
    for tag, rights, _who in struct.iter_unpack("<HHI", acl[4:]):
        if tag == _ACL_USER and rights & _ACL_WRITE:
            return False
        shared = tag in (_ACL_GROUP_OBJ, _ACL_GROUP, _ACL_OTHER)
        if shared and rights & (_ACL_READ | _ACL_WRITE):
            return False
    return True


def check_file(
    settings: Settings, option: str, path: str, private: bool, section: str = "DEFAULT"
) -> bytes:
    """
    Make sure that a file can be used.

    @param settings: Told what is wrong with it.
    @param option: The option that names it.
    @param path: Its path; a symbolic link is judged by what it points to.
    @param private: Whether only its owner may have access to it.
    @param section: The section of the option.

    @return: What it holds; nothing if it can't be used.
    """
    name = printable(path, 1024)
    try:
        file = _read(path)
    except _Unfit as error:
        settings.fault(section, option, f"{name} {error}")
        return b""
    if private and not is_private(file.mode, file.acl):
        settings.fault(
            section,
            option,
            f"{name} is open to others than its owner (mode "
            f"{file.mode:04o}): chmod 0600 makes it private",
        )
    return file.data


def try_tls(
    settings: Settings,
    section: str,
    options: Sequence[str],
    otherwise: str,
    insecure: bool = False,
) -> None:
    """
    See whether OpenSSL takes the files of TLS.

    @param settings: Told what is wrong with them.
    @param section: The section of the options.
    @param options: Those that name who may sign the other's certificate, and our own
        and its key where there are such options.
    @param otherwise: The option that is wrong where it is none of the files.
    @param insecure: Whether any certificate of the other's will do.
    """
    paths = [settings.value(section, option) or None for option in options]
    ca, certificate, key = (*paths, None, None)[:3]
    try:
        client_tls("localhost", ca, certificate, key, insecure)
    except TlsMisconfigured as error:
        for option, path in zip(options, paths, strict=True):
            if path and str(error).startswith(path):
                settings.fault(section, option, str(error))
                return
        settings.fault(section, otherwise, str(error))


def find_secret(settings: Settings) -> bytes:
    """
    Find the secret, in its option or in its file.

    @param settings: Told what is wrong with it.

    @return: The secret as the key that Nova uses: its UTF-8 bytes.
    """
    text: str = settings.value("DEFAULT", SECRET)
    path: str = settings.value("DEFAULT", f"{SECRET}_file")
    if text and path:
        settings.fault(
            "DEFAULT",
            f"{SECRET}_file",
            f"the secret is given in {settings.place('DEFAULT', SECRET)} as well: "
            "keep one of the two",
        )
    elif path:
        return _secret_of_file(settings, path)
    elif text:
        check_text(settings, SECRET, text)
        note_readable(settings, SECRET)
    else:
        _judge_empty(settings)
    return text.encode()


def _secret_of_file(settings: Settings, path: str) -> bytes:
    """
    Read the secret's own file.
    """
    option = f"{SECRET}_file"
    data = check_file(settings, option, path, private=True)
    if not data:
        return data
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        settings.fault("DEFAULT", option, f"{printable(path, 1024)} is not UTF-8")
        return b""
    if text.strip() and text != text.strip():
        settings.note(
            "DEFAULT",
            option,
            f"the secret in {printable(path, 1024)} begins or ends with a space",
        )
    check_text(settings, option, text)
    return text.encode()


def check_text(
    settings: Settings, option: str, text: str, section: str = "DEFAULT"
) -> None:
    """
    Refuse what no line of a configuration can hold, and what anybody can guess.

    @param settings: Told what is wrong with it.
    @param option: The option that holds the secret, or names its file.
    @param text: The secret.
    @param section: The section of the option.
    """
    if not text.strip():
        settings.fault(
            section,
            option,
            "the secret is nothing but white space, which is as good as none",
        )
    if any(character in text for character in "\0\r\n"):
        settings.fault(
            section, option, "the secret must be one line, without a NUL character"
        )


def note_readable(settings: Settings, option: str, section: str = "DEFAULT") -> None:
    """
    Point out a configuration file that shows a secret to others.

    Neutron's own is commonly 0640, of group neutron, so this is no fault.

    @param settings: Told so.
    @param option: The option that holds the secret.
    @param section: The section of the option.
    """
    file = settings.file_of(section, option)
    try:
        mode = 0 if file is None else stat.S_IMODE(os.stat(file).st_mode)
    except OSError:
        return  # It vanished after it was read; it shows nothing any more.
    if mode & _OTHERS:
        apart = "clouds_file" if section == "neutron" else f"{SECRET}_file"
        settings.note(
            section,
            option,
            f"holds the secret in a file that is open to others than its owner (mode "
            f"{mode:04o}); {apart} keeps it apart",
        )


def _judge_empty(settings: Settings) -> None:
    """
    Decide whether we may do without a secret.
    """
    if settings.value("DEFAULT", "allow_empty_secret"):
        settings.note(
            "DEFAULT",
            "allow_empty_secret",
            "there is no secret, so Nova must believe anybody who reaches it",
        )
    elif not settings.is_faulty("DEFAULT", SECRET):
        settings.lack(
            "DEFAULT",
            SECRET,
            f"is empty: put Nova's secret here or into {SECRET}_file, or set "
            "allow_empty_secret = true",
        )
