"""The API socket of slirp4netns: one JSON request a connection, and its answer.

A request is complete when its JSON is, or when the client ends its half of the connection. It has less than 4096
bytes. Clients are independent: one that sends half a request, or nothing, or reads nothing, has its connection closed
after some seconds, and only so many are served at a time; others wait in the kernel's queue.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from slirpy.errors import LinkError, SlirpyError
from slirpy.interfaces import READ, WRITE
from slirpy.paths import PATH_MAX, bind_unix, inode_of, is_unix_path, remove_unix
from slirpy.records import NamedTuple

if TYPE_CHECKING:
    from slirpy import HostForward, Slirp

__all__ = ["ApiSocket", "Forwards"]

REQUEST_MAX = 4096
"""A request has fewer bytes."""
CLIENTS_MAX = 32
"""Largest number of connections at a time."""
SECONDS = 10.0
"""Longest time that a connection may take."""
IDLE_SECONDS = 60.0
_BACKLOG = 128
_Address: TypeAlias = IPv4Address | IPv6Address
_KINDS: dict[int, type[_Address]] = {4: IPv4Address, 6: IPv6Address}
_WILDCARDS = ("", "0.0.0.0", "::", "::0")


class BadRequestError(Exception):
    """A request that cannot be carried out. The text is the answer's description."""


class _Entry(NamedTuple):
    """A forward that a client has added."""

    proto: str
    rules: Sequence[HostForward]
    """One for each family."""

    def fields(self, number: int) -> dict[str, Any]:
        """The entry in the list, with the names and in the order of slirp4netns."""
        hosts: dict[str, Any] = {}
        guests: dict[str, Any] = {}
        for rule in self.rules:
            end = "6" if rule.host_address.version == 6 else ""
            hosts["host_addr" + end] = str(rule.host_address)
            guests["guest_addr" + end] = str(rule.guest_address)
        ports = self.rules[0].host_port, self.rules[0].guest_port
        return {
            "id": number, "proto": self.proto, **hosts, "host_port": ports[0], **guests, "guest_port": ports[1],
        }  # fmt: skip


class Forwards:
    """The requests, as functions of a network.

    Args:
        net: the network.
        guest: the guest's address where a request has none.
        guest6: its IPv6 address; None: IPv6 is off.
    """

    def __init__(self, net: Slirp, guest: IPv4Address, guest6: IPv6Address | None) -> None:
        self._net = net
        self._guest = guest
        self._guest6 = guest6
        self._entries: dict[int, _Entry] = {}
        self._next = 1

    def answer(self, data: bytes) -> bytes:
        """Carry out a request, and return the answer."""
        try:
            result = self._execute(data)
        except BadRequestError as error:
            result = {"error": {"desc": f"bad request: {error}"}}
        return json.dumps(result, separators=(",", ":")).encode()

    def _execute(self, data: bytes) -> dict[str, Any]:
        found = parse(data)
        if found is None:
            raise BadRequestError("cannot parse JSON")
        request = found[0]
        if not isinstance(request, dict):
            raise BadRequestError("json_object() failed")
        execute = request.get("execute")
        if not isinstance(execute, str):
            raise BadRequestError("no execute found")
        arguments = request.get("arguments")
        if not isinstance(arguments, dict):
            arguments = {}
        if execute == "add_hostfwd":
            return {"return": {"id": self._add(arguments)}}
        if execute == "list_hostfwd":
            return {"entries": [entry.fields(number) for number, entry in self._entries.items()]}
        if execute == "remove_hostfwd":
            self._remove(arguments)
            return {"return": {}}
        raise BadRequestError("unknown execute")

    def _add(self, arguments: dict[str, Any]) -> int:
        proto, families = self._families(arguments)
        hosts = _host_addresses(arguments, families)
        host_port = _port(arguments, "host_port")
        pairs = self._pairs(arguments, hosts)
        guest_port = _port(arguments, "guest_port")
        from slirpy import HostForward

        added: list[HostForward] = []
        try:
            for host, guest in pairs:
                added.append(self._net.add_hostfwd(HostForward(proto, host, host_port, guest, guest_port)))
        except (SlirpyError, OSError):
            for rule in added:
                self._net.remove_hostfwd(rule)
            raise BadRequestError("add_hostfwd: slirp_add_hostfwd failed") from None
        number, self._next = self._next, self._next + 1
        self._entries[number] = _Entry(proto, added)
        return number

    def _families(self, arguments: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
        """The protocol, and the families that a request names by it: 4 and 6, or fewer."""
        proto = arguments.get("proto")
        known = {"tcp": (4, 6), "udp": (4, 6), "tcp4": (4,), "udp4": (4,), "tcp6": (6,), "udp6": (6,)}
        families = known.get(proto, ()) if isinstance(proto, str) else ()
        if self._guest6 is None:
            families = families[:1] if families[:1] == (4,) else ()
        if not families:
            raise BadRequestError("add_hostfwd: bad arguments.proto")
        return str(proto)[:3], families

    def _pairs(self, arguments: dict[str, Any], hosts: Sequence[_Address]) -> list[tuple[_Address, _Address]]:
        """The host's addresses, each with the guest's."""
        text = arguments.get("guest_addr")
        if not isinstance(text, str) or not text:
            defaults = {4: self._guest, 6: self._guest6}
            return [(host, guest) for host in hosts if (guest := defaults[host.version]) is not None]
        pairs: list[tuple[_Address, _Address]] = []
        for host in hosts:
            try:
                pairs.append((host, _KINDS[host.version](text)))
            except ValueError:
                continue  # with a wildcard of both families, the guest's address decides
        if not pairs:
            raise BadRequestError("add_hostfwd: bad arguments.guest_addr")
        return pairs

    def _remove(self, arguments: dict[str, Any]) -> None:
        number = arguments.get("id")
        entry = None
        if isinstance(number, int | float) and not isinstance(number, bool):
            entry = self._entries.pop(int(number), None)
        if entry is None:
            raise BadRequestError("remove_hostfwd: bad arguments.id")
        for rule in entry.rules:
            try:
                self._net.remove_hostfwd(rule)
            except SlirpyError:
                raise BadRequestError("remove_hostfwd: slirp_remove_hostfwd failed") from None


def _host_addresses(arguments: dict[str, Any], families: Sequence[int]) -> list[_Address]:
    """The addresses on which to listen."""
    text = arguments.get("host_addr")
    if not isinstance(text, str):
        text = ""
    if text in _WILDCARDS:
        return [_KINDS[family](0) for family in families]
    for family in families:
        try:
            return [_KINDS[family](text)]
        except ValueError:
            continue
    raise BadRequestError("add_hostfwd: bad arguments.host_addr")


def _port(arguments: dict[str, Any], name: str) -> int:
    value = arguments.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 65535:
        return int(value)
    raise BadRequestError(f"add_hostfwd: bad arguments.{name}")


def parse(data: bytes) -> tuple[Any] | None:
    """Read the JSON value at the beginning of a request, in a tuple; None if it is incomplete or none.

    As for slirp4netns, a zero byte ends the request, more text after the value is ignored, and no name may appear
    twice in an object.
    """
    try:
        text = data.partition(b"\0")[0].decode().lstrip()
        return (_DECODER.raw_decode(text)[0],)
    except (ValueError, RecursionError):
        return None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_constant)


class ApiSocket:
    """The listening socket, and its clients.

    Args:
        path: where to listen. An unused socket there is replaced.
        answer: called with each request; returns the answer.

    Raises:
        LinkError: the path is too long, in use, or cannot be bound.
    """

    def __init__(self, path: str, answer: Callable[[bytes], bytes]) -> None:
        if not is_unix_path(path):
            raise LinkError(f"the specified API socket path is too long (>= {PATH_MAX + 1})")
        self._answer = answer
        self._path = path
        self._clients: set[_Client] = set()
        self._net: Slirp | None = None
        self._accepting = False
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        try:
            bind_unix(self._sock, path)
            self._sock.listen(_BACKLOG)
        except OSError as error:
            self._sock.close()
            raise LinkError(f"API socket {path}: bind: {os.strerror(error.errno or 0)}") from None
        self._inode = inode_of(path)

    def start(self, net: Slirp) -> None:
        """Serve clients while the network is polled."""
        self._net = net
        self._accept_more()

    def close(self) -> None:
        """Remove the path, and close all connections."""
        for client in tuple(self._clients):
            client.close()
        if self._net is not None and self._accepting:
            self._net.unwatch(self._sock.fileno())
        self._net = None
        self._sock.close()
        remove_unix(self._path, self._inode)

    def look(self) -> float:
        """End connections whose time is over. Returns the seconds until the next check."""
        now = monotonic()
        for client in tuple(self._clients):
            if client.end <= now:
                client.close()
        return max(0.0, min((client.end - now for client in self._clients), default=IDLE_SECONDS))

    def _accept_more(self) -> None:
        if self._net is not None and not self._accepting and len(self._clients) < CLIENTS_MAX:
            self._accepting = True
            self._net.watch(self._sock.fileno(), self._ready)

    def _ready(self, _: int) -> None:
        assert self._net is not None
        try:
            sock, _ = self._sock.accept()
        except OSError:
            return  # it has gone, or descriptors are short, and then it waits
        sock.setblocking(False)
        self._clients.add(_Client(self._net, sock, self._answer, self._gone))
        if len(self._clients) >= CLIENTS_MAX:
            self._accepting = False
            self._net.unwatch(self._sock.fileno())

    def _gone(self, client: _Client) -> None:
        self._clients.discard(client)
        self._accept_more()


class _Client:
    """One connection."""

    def __init__(
        self,
        net: Slirp,
        sock: socket.socket,
        answer: Callable[[bytes], bytes],
        gone: Callable[[_Client], None],
    ) -> None:
        self._net = net
        self._sock = sock
        self._answer = answer
        self._gone = gone
        self._request = b""
        self._rest = memoryview(b"")
        self._answered = False
        self.end = monotonic() + SECONDS
        """Time at which the connection is closed, whatever its state."""
        net.watch(sock.fileno(), self._ready)

    def _ready(self, _: int) -> None:
        try:
            data = self._sock.recv(REQUEST_MAX)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if self._answered:  # the client sends on; read it, since closing now could take the answer from it
            if not data:
                self.close()
            return
        self._request += data
        if len(self._request) >= REQUEST_MAX:
            self._reply(b'{"error":{"desc":"bad request: too large message"}}')
        elif not data or parse(self._request) is not None:
            self._reply(self._answer(self._request))

    def _reply(self, answer: bytes) -> None:
        self._answered = True
        self._rest = memoryview(answer)
        self._net.unwatch(self._sock.fileno())
        self._send(WRITE)

    def _send(self, _: int) -> None:
        try:
            self._rest = self._rest[self._sock.send(self._rest) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        number = self._sock.fileno()
        self._net.unwatch(number)
        if self._rest:
            self._net.watch(number, self._send, WRITE)
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.end = min(self.end, monotonic() + 1.0)
        self._net.watch(number, self._ready, READ)

    def close(self) -> None:
        """Close the connection. Harmless when repeated."""
        if self._sock.fileno() >= 0:
            self._net.unwatch(self._sock.fileno())
            self._sock.close()
            self._gone(self)
