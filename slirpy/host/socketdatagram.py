"""Sockets that send and receive packets one by one: UDP, and the base of :mod:`slirpy.host.ping`.

A UDP socket bound to all addresses answers from the address of the request (RFC 1122, section 4.1.3.5). By default
the system chooses the source address by the route of the answer. On a host with several addresses it may differ
from the one that the client sent to, and connected sockets and resolvers drop such an answer. Linux reports the
destination of each datagram that it receives (``IP_PKTINFO``, see ip(7)) and lets the sender choose a source. On
other systems a :class:`WildcardDatagram` behaves like any other socket.
"""

from __future__ import annotations

import abc
import errno
import socket
import sys
from collections.abc import Sequence
from struct import Struct
from time import monotonic_ns
from typing import Final

from slirpy.fair import PAUSE
from slirpy.host.addresses import Name, name_of, place_of
from slirpy.host.ipoptions import (
    LOCAL_ROOM,
    Control,
    hear_ttl,
    local_of,
    queued_errors,
    send_from,
    set_dont_fragment,
    set_ttl,
)
from slirpy.host.opensockets import OpenSocket, OpenSockets
from slirpy.interfaces import READ, Buffer, DatagramOwner, DatagramPeer, IcmpReport
from slirpy.mypyc import mypyc_attr
from slirpy.wire.udp import run_length

__all__ = ["DATAGRAM_MAX", "AnsweringDatagram", "PacketSocket", "SocketDatagram", "WildcardDatagram"]

LOCALS_MAX: Final = 256
"""Local addresses that a socket remembers; all of 127.0.0.0/8 is local."""
_BATCH: Final = 128  # packets taken from one socket before others get their turn
DATAGRAM_MAX: Final = 65535
_ATTEMPTS: Final = 8  # to send a packet while errors about others arrive
# <linux/udp.h>: the system cuts one large datagram into many, which is faster than many calls.
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UINT16: Final = Struct("=H")
_can_segment: Final = sys.platform == "linux"


@mypyc_attr(allow_interpreted_subclasses=True)
class PacketSocket(OpenSocket):
    """The common part of UDP sockets and ping sockets."""

    __slots__ = ("_dont_fragment", "_read_at", "_single", "_sock", "_sockets", "_ttl", "mtu")

    def __init__(self, sockets: OpenSockets, sock: socket.socket) -> None:
        self._sockets = sockets
        self._sock: socket.socket | None = sock
        self._ttl = 0
        self._single = False  # the last batch had one packet
        self._read_at = 0  # its time
        self._dont_fragment: bool | None = None
        self.mtu = 0
        """See :attr:`slirpy.interfaces.DatagramPeer.mtu`."""
        sockets.poller.register(sock.fileno(), READ, self._ready)

    def _transmit(
        self,
        payload: Buffer,
        name: Name,
        ttl: int = 0,
        dont_fragment: bool | None = None,
        control: Control = (),
    ) -> int:
        sock = self._sock
        if sock is None:
            return errno.EBADF
        if (ttl and ttl != self._ttl) or (
            dont_fragment is not None and dont_fragment is not self._dont_fragment
        ):
            self._shape(sock, ttl, dont_fragment)
        try:
            if control:
                sock.sendmsg((payload,), control, 0, name)
            else:
                sock.sendto(payload, name)
        except BlockingIOError:
            return errno.EAGAIN
        except OSError as error:
            return self._transmit_again(payload, name, error.errno or errno.EIO, control)
        return 0

    def _transmit_again(self, payload: Buffer, name: tuple[str, int], error: int, control: Control) -> int:
        """Send a refused packet again: the error may have been about an earlier packet, before this one was tried.

        Each error is reported once. But meanwhile routers may report the next: then that report is taken, and the
        packet is tried again.
        """
        for attempt in range(_ATTEMPTS):
            if error == errno.EMSGSIZE:
                self.mtu = 0
            told = self._read_errors()
            if (error == errno.EMSGSIZE and self.mtu) or (attempt and not told):
                break
            sock = self._sock
            if sock is None:
                return errno.EBADF
            try:
                if control:
                    sock.sendmsg((payload,), control, 0, name)
                else:
                    sock.sendto(payload, name)
            except BlockingIOError:
                return errno.EAGAIN
            except OSError as again:
                error = again.errno or errno.EIO
            else:
                return 0
        return error

    def _transmit_run(
        self,
        payloads: Sequence[Buffer],
        name: tuple[str, int],
        ttl: int,
        dont_fragment: bool | None,
        control: Control,
    ) -> int | None:
        """Send several datagrams of one size by one call; None if this system or this path cannot."""
        sock = self._sock
        if sock is None or not _can_segment:
            return None
        if (ttl and ttl != self._ttl) or (
            dont_fragment is not None and dont_fragment is not self._dont_fragment
        ):
            self._shape(sock, ttl, dont_fragment)
        try:
            cut = _SOL_UDP, _UDP_SEGMENT, _UINT16.pack(len(payloads[0]))
            sock.sendmsg(payloads, (cut, *control), 0, name)
        except BlockingIOError:
            return errno.EAGAIN
        except OSError:
            return None  # too long for the path, or about an earlier packet: sending one by one will show which
        return 0

    def _shape(self, sock: socket.socket, ttl: int, dont_fragment: bool | None) -> None:
        """Set header fields of the next packets; unsupported ones are ignored."""
        try:
            if ttl and ttl != self._ttl:
                if not self._ttl:
                    hear_ttl(sock)  # an owner that counts hops also needs those of the way back
                set_ttl(sock, ttl, inet6=sock.family == socket.AF_INET6)
                self._ttl = ttl
            if dont_fragment is not None and dont_fragment is not self._dont_fragment:
                set_dont_fragment(sock, dont_fragment)
                self._dont_fragment = dont_fragment
        except OSError:
            self._ttl, self._dont_fragment = ttl or self._ttl, dont_fragment

    def _ready(self, mask: int) -> None:
        # After one packet and a pause there is one packet again, as a rule. The poller reports more, which are then
        # read together. Asking for a second one here would cost a small exchange a system call and an exception.
        now = monotonic_ns()
        single = self._single and now - self._read_at > PAUSE
        self._read_at = now
        count = self._take_packets(1 if single else _BATCH)
        self._single = count <= 1

    def _take_packets(self, limit: int) -> int:
        """Take packets, and report errors about earlier ones, at most ``limit`` together; returns their number."""
        for count in range(limit):
            sock = self._sock
            if sock is None:
                return count
            try:
                self._receive(sock)
            except BlockingIOError:
                if not count:  # a spurious wake-up: it was for an error
                    self._read_errors()
                return count
            except OSError as error:
                if not self._read_errors():
                    self._failed(error.errno or errno.EIO, None)
        return limit

    def _read_errors(self) -> bool:
        """Report queued errors about earlier packets to the owner; False if there were none."""
        told = False
        sock = self._sock
        if sock is not None:
            for error, report, mtu in queued_errors(sock):
                told = True
                if mtu:
                    self.mtu = mtu
                else:
                    self._failed(error, report)
                if self._sock is None:
                    break
        return told

    @abc.abstractmethod
    def _receive(self, sock: socket.socket) -> None:
        """Take one packet and pass it to the owner."""

    @abc.abstractmethod
    def _failed(self, error: int, report: IcmpReport | None) -> None:
        """Report an error to the owner."""

    def close(self) -> None:
        """Release the socket; see :meth:`slirpy.interfaces.DatagramPeer.close`."""
        sock = self._sock
        if sock is None:
            return
        self._sock = None
        self._sockets.poller.unregister(sock.fileno())
        sock.close()
        self._sockets.released(self)


class SocketDatagram(PacketSocket):
    """A :class:`~slirpy.interfaces.BoundDatagramPeer` on a UDP socket.

    Its send methods also accept ancillary data, for :class:`AnsweringDatagram`.
    """

    __slots__ = ("_address", "_name", "_owner", "_place", "_sent_name", "_sent_to", "_size")

    def __init__(self, sockets: OpenSockets, sock: socket.socket, owner: DatagramOwner) -> None:
        self._owner: DatagramOwner | None = owner
        self._address = place_of(sock.getsockname())
        self._size = len(self._address[0])
        self._name: object = None
        self._place = b"", 0
        self._sent_to: tuple[bytes, int] | None = None
        self._sent_name: Name = ()
        """Name for the system of that address and port."""
        super().__init__(sockets, sock)

    @property
    def address(self) -> tuple[bytes, int]:
        """The local address and port."""
        return self._address

    @property
    def answering(self) -> DatagramPeer:
        """See :attr:`slirpy.interfaces.BoundDatagramPeer.answering`."""
        return self

    def send(
        self,
        payload: Buffer,
        address: bytes,
        port: int,
        ttl: int = 0,
        dont_fragment: bool | None = None,
        control: Control = (),
    ) -> int:
        """Send one datagram; see :meth:`slirpy.interfaces.DatagramPeer.send`."""
        if len(address) != self._size:
            return errno.EAFNOSUPPORT if self._sock is not None else errno.EBADF
        to = address, port
        if to != self._sent_to:  # most packets go to the same peer
            self._sent_to, self._sent_name = to, name_of(address, port)
        return self._transmit(payload, self._sent_name, ttl, dont_fragment, control)

    def send_many(
        self,
        payloads: Sequence[Buffer],
        address: bytes,
        port: int,
        ttl: int = 0,
        dont_fragment: bool | None = None,
        control: Control = (),
    ) -> tuple[int, int]:
        """Send datagrams in order; see :meth:`slirpy.interfaces.DatagramPeer.send_many`."""
        if len(address) != self._size:
            return 0, errno.EAFNOSUPPORT if self._sock is not None else errno.EBADF
        name = name_of(address, port)
        sent = 0
        while sent < len(payloads):
            count = run_length(payloads, sent)
            error = None
            if count > 1:
                error = self._transmit_run(payloads[sent : sent + count], name, ttl, dont_fragment, control)
            if error is None:
                for payload in payloads[sent : sent + count]:
                    error = self._transmit(payload, name, ttl, dont_fragment, control)
                    if error:
                        return sent, error
                    sent += 1
            elif error:
                return sent, error
            else:
                sent += count
        return sent, 0

    def _receive(self, sock: socket.socket) -> None:
        payload, name = sock.recvfrom(DATAGRAM_MAX)
        if name != self._name:  # most packets come from the same peer
            self._name, self._place = name, place_of(name)
        if self._owner is not None:
            self._owner.datagram(payload, *self._place)

    def _failed(self, error: int, report: IcmpReport | None) -> None:
        if self._owner is not None:
            self._owner.datagram_error(error, report)

    def close(self) -> None:
        """Release the socket; see :meth:`slirpy.interfaces.DatagramPeer.close`."""
        super().close()
        self._owner = None


class WildcardDatagram(SocketDatagram):
    """A socket that learns the destination of each datagram (:func:`slirpy.host.ipoptions.hear_local`)."""

    __slots__ = ("_answering", "_info", "_locals")

    def __init__(self, sockets: OpenSockets, sock: socket.socket, owner: DatagramOwner) -> None:
        self._info: list[tuple[int, int, bytes]] = []
        self._answering: DatagramPeer = self
        self._locals: dict[bytes, DatagramPeer] = {b"": self}
        super().__init__(sockets, sock, owner)

    @property
    def answering(self) -> DatagramPeer:
        """See :attr:`slirpy.interfaces.BoundDatagramPeer.answering`."""
        return self._answering

    def _receive(self, sock: socket.socket) -> None:
        payload, info, _, name = sock.recvmsg(DATAGRAM_MAX, LOCAL_ROOM)
        if name != self._name:
            self._name, self._place = name, place_of(name)
        if info != self._info:  # most datagrams go to the same address
            self._info = info
            self._answering = self._answering_from(local_of(info))
        if self._owner is not None:
            self._owner.datagram(payload, *self._place)

    def _answering_from(self, local: bytes) -> DatagramPeer:
        known = self._locals.get(local)
        if known is None:
            if len(self._locals) >= LOCALS_MAX:
                self._locals = {b"": self}
            known = self._locals[local] = AnsweringDatagram(self, local)
        return known

    def close(self) -> None:
        """Release the socket; see :meth:`slirpy.interfaces.DatagramPeer.close`."""
        super().close()
        self._locals = {}
        self._answering = self


class AnsweringDatagram:
    """A :class:`~slirpy.interfaces.DatagramPeer` that sends through ``wildcard``, from the address ``local``."""

    __slots__ = ("_control", "_local", "_wildcard")

    def __init__(self, wildcard: WildcardDatagram, local: bytes) -> None:
        self._wildcard = wildcard
        self._local = local
        self._control = send_from(local)

    @property
    def address(self) -> tuple[bytes, int]:
        """Source address and port of its datagrams."""
        return self._local, self._wildcard.address[1]

    @property
    def mtu(self) -> int:
        """See :attr:`slirpy.interfaces.DatagramPeer.mtu`."""
        return self._wildcard.mtu

    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """Send one datagram; see :meth:`slirpy.interfaces.DatagramPeer.send`."""
        return self._wildcard.send(payload, address, port, ttl, dont_fragment, self._control)

    def send_many(
        self,
        payloads: Sequence[Buffer],
        address: bytes,
        port: int,
        ttl: int = 0,
        dont_fragment: bool | None = None,
    ) -> tuple[int, int]:
        """Send datagrams in order; see :meth:`slirpy.interfaces.DatagramPeer.send_many`."""
        return self._wildcard.send_many(payloads, address, port, ttl, dont_fragment, self._control)

    def close(self) -> None:
        """Do nothing: the socket belongs to ``wildcard``."""
