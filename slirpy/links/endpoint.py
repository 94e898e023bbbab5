"""Addresses of socket links: a TCP or UDP address, or the path of a unix socket."""

from __future__ import annotations

import errno
import os
import socket
import sys
from ipaddress import IPv6Address
from typing import Any

from slirpy.addresses import port_number
from slirpy.checks import DESCRIPTOR_MAX, amount, instance, is_whole, switch
from slirpy.config.text import PORT_MAX, decimal, split_port, with_port
from slirpy.config.values import as_text
from slirpy.errors import ConfigError, LinkError
from slirpy.errortext import strerror
from slirpy.paths import ABSTRACT_MAX, PATH_MAX, bind_unix, inode_of, is_unix_path, remove_unix

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = [
    "Endpoint",
    "abstract",
    "adopt",
    "check_endpoint",
    "inet",
    "parse_endpoint",
    "parse_listen_address",
    "reason",
    "unix",
]

_HELP = "write unix:PATH, tcp:HOST:PORT or tcp:[ADDRESS6]:PORT"
_BACKLOG = 16
_AF_UNIX = getattr(socket, "AF_UNIX", -1)  # Windows has none


def reason(error: OSError) -> str:
    """Return the system's own text for an error."""
    return strerror(error.errno).lower() if error.errno else str(error)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address for :mod:`slirpy.links.stream` and :mod:`slirpy.links.dgram`.

    Made by :func:`unix`, :func:`abstract`, :func:`inet` and :func:`parse_endpoint`.

    Raises:
        ConfigError: an address that does not belong to the family, or a port that is out of range.
    """

    family: int
    """``socket.AF_INET``, ``AF_INET6`` or ``AF_UNIX``."""
    address: Any
    """Address in the form of the ``socket`` module: (host, port), with two more fields for IPv6; a path; or an
    abstract name of Linux, bytes that begin with a zero.
    """
    last_port: int = 0
    """Last port to try when listening; 0: only the port of the address."""

    def __post_init__(self) -> None:
        port_number("last_port", self.last_port)
        families = {"AF_INET": socket.AF_INET, "AF_INET6": socket.AF_INET6, "AF_UNIX": _AF_UNIX}
        if not is_whole(self.family) or self.family not in families.values():
            raise ConfigError(f"family {self.family!r} is none of socket.{', socket.'.join(families)}")
        address = self.address
        if self.family == _AF_UNIX:
            fits = (isinstance(address, bytes) and address.startswith(b"\0")) or is_unix_path(address)
        else:
            fits = isinstance(address, tuple) and len(address) in (2, 4) and isinstance(address[0], str)
            fits = fits and is_whole(address[1]) and 0 <= address[1] <= PORT_MAX
        if not fits:
            raise ConfigError(
                f"address {address!r} is not one of family {self.family}; make it by unix(path) or inet(host, port)"
            )

    @property
    def path(self) -> str | None:
        """Path of a unix socket; None if its name is abstract."""
        return self.address if isinstance(self.address, str) else None

    @property
    def local(self) -> bool:
        """True if it is a unix socket."""
        return isinstance(self.address, str | bytes)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        if self.local:
            return "unix:@" + os.fsdecode(self.address[1:]).rstrip("\0")
        return with_port(self._host, self.address[1])

    @property
    def _host(self) -> str:
        """The host's address, with the interface of a link-local one."""
        host, scope = str(self.address[0]).partition("%")[0], self.address[3] if len(self.address) == 4 else 0
        try:
            return f"{host}%{socket.if_indextoname(scope)}" if scope else host
        except OSError:  # the interface is gone
            return f"{host}%{scope}"

    def qemu(self, prefix: str = "addr") -> str:
        """Return the address in QEMU's syntax, such as ``addr.type=unix,addr.path=/tmp/net.sock``.

        Args:
            prefix: begins each key, such as ``remote``.

        Raises:
            ConfigError: ``prefix`` is not a word.
        """
        if not isinstance(prefix, str) or not prefix.isidentifier():
            raise ConfigError(f"prefix {prefix!r} is not a word, such as addr")
        if self.path is not None:
            return f"{prefix}.type=unix,{prefix}.path={self.path.replace(',', ',,')}"
        if self.local:
            name = os.fsdecode(self.address[1:])
            tight = "" if not name.endswith("\0") else f",{prefix}.tight=off"
            name = name.rstrip("\0").replace(",", ",,")
            return f"{prefix}.type=unix,{prefix}.path={name},{prefix}.abstract=on{tight}"
        return f"{prefix}.type=inet,{prefix}.host={self._host},{prefix}.port={self.address[1]}"

    def open(self, kind: int) -> socket.socket:
        """Open a new non-blocking socket for this family.

        Args:
            kind: ``socket.SOCK_STREAM`` or ``SOCK_DGRAM``.

        Raises:
            ConfigError: another kind.
            LinkError: the system has none left, or does not support this family.
        """
        _check_kind(kind)
        try:
            sock = socket.socket(self.family, kind)
        except OSError as error:
            raise LinkError(f"cannot open a socket for {self}: {reason(error)}") from None
        sock.setblocking(False)
        return sock

    def bind(self, kind: int) -> socket.socket:
        """Open a new socket of ``kind``, bound to this address; a stream socket listens.

        An unused unix socket at the path is replaced.

        Raises:
            ConfigError: as :meth:`open`.
            LinkError: the address is in use, or not available.
        """
        _check_kind(kind)
        if not self.local and self.address[1] < self.last_port:
            return self._bind_first(kind)
        sock = self.open(kind)
        try:
            if self.path is not None:
                bind_unix(sock, self.path)
            else:
                if kind == socket.SOCK_STREAM and os.name == "posix" and not self.local:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(self.address)
            if kind == socket.SOCK_STREAM:
                sock.listen(_BACKLOG)
        except FileExistsError:
            sock.close()
            raise LinkError(f"cannot listen on {self}: it exists and is not a socket; choose another") from None
        except OSError as error:
            sock.close()
            advice = {
                errno.EADDRINUSE: "; end the program that uses it, or choose another",
                errno.EADDRNOTAVAIL: "; this host does not have the address",
                errno.ENOENT: "; the directory does not exist",
                errno.EACCES: "; choose one where this user may",
            }.get(error.errno or 0, "")
            raise LinkError(f"cannot listen on {self}: {reason(error)}{advice}") from None
        return sock

    def _bind_first(self, kind: int) -> socket.socket:
        """Bind to the first free port."""
        host, first, *more = self.address
        for port in range(first, self.last_port):
            try:
                return Endpoint(self.family, (host, port, *more)).bind(kind)
            except LinkError as error:
                if not isinstance(error.__context__, OSError) or error.__context__.errno != errno.EADDRINUSE:
                    raise
        return Endpoint(self.family, (host, self.last_port, *more)).bind(kind)

    def inode(self) -> int | None:
        """Return the inode at the path of a unix socket; for :meth:`remove`."""
        if self.path is None:
            return None
        return inode_of(self.path)

    def remove(self, inode: int | None) -> None:
        """Remove the path of a unix socket, unless another has replaced it.

        Args:
            inode: returned by :meth:`inode`; None: there was none, and nothing is removed.

        Raises:
            ConfigError: not a number.
        """
        if inode is not None:
            amount("inode", inode)
        if self.path is not None:
            remove_unix(self.path, inode)


def check_endpoint(what: str, value: object) -> None:
    """Check that a value is an :class:`Endpoint`.

    Raises:
        ConfigError: it is not, such as the text of one.
    """
    instance(what, value, Endpoint, "an Endpoint, such as unix(path), inet(host, port) or parse_endpoint(text)")


def _check_kind(kind: object) -> None:
    if not is_whole(kind) or kind not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        raise ConfigError(f"kind {kind!r} is neither socket.SOCK_STREAM nor socket.SOCK_DGRAM")


def unix(path: str) -> Endpoint:
    """Make the address of a unix socket.

    Raises:
        LinkError: the path is empty or too long, or the system does not support unix sockets.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise LinkError(f'unix socket "{path}": this system has none; use TCP')
    if not is_unix_path(path):
        raise LinkError(f'the unix socket path "{path}" must have 1 to {PATH_MAX} bytes; choose a shorter one')
    return Endpoint(socket.AF_UNIX, path)


def abstract(name: str, tight: bool = True) -> Endpoint:
    """Make the address of a unix socket with an abstract name, which is not a file.

    Args:
        name: without the zero that such names begin with.
        tight: whether the name ends with its last byte; otherwise it is padded with zeros to 107 bytes.

    Raises:
        ConfigError: ``name`` is not text, or ``tight`` not a switch.
        LinkError: the name is empty or longer than 107 bytes, or the system does not support abstract names.
    """
    if sys.platform != "linux":
        raise LinkError(f'unix socket "{name}": only Linux has abstract names; leave abstract=on out')
    raw = os.fsencode(as_text("name", name))
    switch("tight", tight)
    if not 1 <= len(raw) <= ABSTRACT_MAX or "\0" in name:
        raise LinkError(f'the abstract name "{name}" of a unix socket must have 1 to {ABSTRACT_MAX} bytes')
    return Endpoint(socket.AF_UNIX, b"\0" + (raw if tight else raw.ljust(ABSTRACT_MAX, b"\0")))


def inet(
    host: str,
    port: int,
    kind: int = socket.SOCK_STREAM,
    family: int = socket.AF_UNSPEC,
    last_port: int = 0,
) -> Endpoint:
    """Make a TCP or UDP address; an empty host is 127.0.0.1, or ::1. A name is looked up now.

    Args:
        host: address or name.
        port: 0 to 65535.
        kind: ``socket.SOCK_STREAM`` or ``SOCK_DGRAM``.
        family: ``socket.AF_INET`` or ``AF_INET6`` if only that family is allowed.
        last_port: see :attr:`Endpoint.last_port`.

    Raises:
        ConfigError: an argument of another type, or out of range.
        LinkError: the host has no address.
    """
    as_text("host", host)
    port_number("port", port)
    port_number("last_port", last_port)
    _check_kind(kind)
    if not is_whole(family) or family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
        raise ConfigError(f"family {family!r} is neither socket.AF_INET nor socket.AF_INET6")
    try:
        default = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        found = socket.getaddrinfo(host or default, port, family, kind)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise LinkError(f'there is no address of "{host}": {why}; write a numeric one') from None
    chosen, _, _, _, address = found[0]
    if len(address) == 4 and not address[3] and IPv6Address(address[0]).is_link_local:
        raise LinkError(f"{host} is link-local; write the interface too, for example {host}%eth0")
    return Endpoint(int(chosen), address, last_port if last_port > port else 0)


def parse_endpoint(text: str, kind: int = socket.SOCK_STREAM) -> Endpoint:
    """Read ``unix:PATH``, ``tcp:HOST:PORT`` or ``HOST:PORT``; an IPv6 address is written in brackets.

    Raises:
        ConfigError: ``kind`` is another than ``socket.SOCK_STREAM`` and ``SOCK_DGRAM``.
        LinkError: the text has none of these forms.
    """
    if not isinstance(text, str):
        raise LinkError(f"{text!r} is not an address; {_HELP}")
    _check_kind(kind)
    if text.startswith("unix:"):
        return unix(text[5:])
    host, port = split_port(text.removeprefix("tcp:")) or ("", None)
    if port is None or not (port.isascii() and port.isdigit()):
        raise LinkError(f'"{text}" is not an address; {_HELP}')
    number = decimal(port, 0, PORT_MAX)
    if number is None:
        raise LinkError(f"port {port} is not a number from 0 to {PORT_MAX}")
    return inet(host, number, kind)


def parse_listen_address(text: str) -> Endpoint | int:
    """Read where to listen: as :func:`parse_endpoint`, or ``fd:N``, the descriptor of a listening socket.

    Raises:
        LinkError: the text has none of these forms.
    """
    if not text.startswith("fd:"):
        return parse_endpoint(text)
    number = decimal(text[3:], 0, DESCRIPTOR_MAX)
    if number is None:
        raise LinkError(f'"{text}" is not a descriptor; write fd:N with its number, such as fd:3')
    return number


def adopt(fd: int, kind: int) -> socket.socket:
    """Take over an inherited or passed socket by its descriptor, which then belongs to the result.

    Raises:
        LinkError: the descriptor is not an open socket of ``kind``; it is left alone.
    """
    word = "stream" if kind == socket.SOCK_STREAM else "datagram"
    help_text = f"pass a {word} socket, and keep it open across exec"
    try:
        if sys.platform != "win32":  # where sockets have numbers of their own
            os.fstat(fd)  # covers negative and closed descriptors, and Python's own checks of sockets
        sock = socket.socket(fileno=fd)
    except (OSError, OverflowError, ValueError, TypeError) as error:
        detail = reason(error) if isinstance(error, OSError) else str(error)
        raise LinkError(f"descriptor {fd!r} cannot be used: {detail}; {help_text}") from None
    if sock.type != kind:
        sock.detach()
        raise LinkError(f"descriptor {fd} is not a {word} socket; {help_text}")
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock
