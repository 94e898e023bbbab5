"""Host ports that are forwarded to guests."""

from __future__ import annotations

import errno
from collections.abc import Callable

from slirpy.config.hostfwd import HostForward
from slirpy.config.text import with_port
from slirpy.core.flows import FlowInfo
from slirpy.errors import ForwardError
from slirpy.errortext import strerror
from slirpy.interfaces import (
    AcceptedStream,
    BoundDatagramPeer,
    HostNetwork,
    IcmpReport,
    IPProtocol,
    StreamOwner,
    StreamPeer,
)
from slirpy.nat.inside import Handover, LoopbackForwards, UdpDetour
from slirpy.nat.udp import UdpNat
from slirpy.records import Protocol
from slirpy.wire.scope import with_interface

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import replace
else:
    from dataclasses import replace

    from slirpy.nat.tcpflow import NatTcpFlow

__all__ = ["Forwards"]


class _Active(Protocol):
    """Listeners of one rule."""

    @property
    def address(self) -> tuple[bytes, int]:
        """Address to listen on."""

    def close(self) -> None:
        """Function that stops listening."""


class Forwards:
    """All port forwards of one network.

    Args:
        open_inbound: see :meth:`slirpy.nat.tcp.TcpNat.open_inbound`.
        guest_address: returns the current destination of rules without a guest address.
    """

    def __init__(
        self,
        host: HostNetwork,
        open_inbound: Callable[[StreamPeer, bytes, int, bytes, int], NatTcpFlow],
        udp: UdpNat,
        guest_address: Callable[[], bytes],
    ) -> None:
        self.udp = udp
        self._host = host
        self._open_inbound = open_inbound
        self._guest_address = guest_address
        self._active: dict[HostForward, list[_Active]] = {}
        self._loopbacks: dict[bytes, LoopbackForwards] = {}
        self._outward: dict[int, LoopbackForwards] = {}
        self._detours: dict[tuple[bytes, int], list[UdpDetour]] = {}

    def lead_inside(self, loopback: LoopbackForwards) -> None:
        """From now on, retry on that guest's own loopback what the guest of ``loopback`` refuses."""
        previous = self._loopbacks.get(loopback.inside.guest)
        if previous is not None:
            previous.close()
        self._loopbacks[loopback.inside.guest] = loopback
        self.udp.on_refused = self._udp_refused

    def loopback_of(self, guest: bytes) -> LoopbackForwards | None:
        """The loopback on which to retry what ``guest`` refuses; None if there is none."""
        return self._loopbacks.get(guest)

    def detour(self, loopback: LoopbackForwards, guest_port: int) -> UdpDetour:
        """Make the detour of a UDP forward to a guest's port."""
        detour = UdpDetour(loopback, guest_port)
        self._detours.setdefault((detour.guest, guest_port), []).append(detour)
        return detour

    def _udp_refused(self, guest: bytes, port: int) -> None:
        for detour in self._detours.get((guest, port), ()):
            if not detour.local:
                detour.refused()

    def forget_detour(self, detour: UdpDetour) -> None:
        """Remove the detour of a forward that has ended."""
        key = detour.guest, detour.port
        same = self._detours[key]
        same.remove(detour)
        if not same:
            del self._detours[key]

    @property
    def flow_count(self) -> int:
        """Number of flows between loopbacks."""
        return sum(loopback.flow_count for loopback in self._all_loopbacks())

    def _all_loopbacks(self) -> list[LoopbackForwards]:
        return [*self._loopbacks.values(), *self._outward.values()]

    def outward(self, size: int, make: Callable[[], LoopbackForwards]) -> LoopbackForwards:
        """The flows from guests' loopbacks to the host's, of the family of addresses with ``size`` bytes."""
        if size not in self._outward:
            self._outward[size] = make()
        return self._outward[size]

    def flows(self) -> list[FlowInfo]:
        """Flows between loopbacks, which no other table contains."""
        return [flow for loopback in self._all_loopbacks() for flow in loopback.flows()]

    def add(self, rule: HostForward) -> HostForward:
        """Start a forward. The returned rule contains the chosen port where the rule has 0.

        Raises:
            ForwardError: no guest can have the guest address, or an address, port or path of the host is not
                available; the text says why. Nothing is forwarded then.
        """
        self._check_guest(rule)
        active: list[_Active] = []
        for index in range(rule.count):
            try:
                active.append(self._listen(rule, index))
            except OSError as error:
                for each in active:
                    each.close()
                raise ForwardError(_explain(rule, index, error)) from error
        chosen = replace(rule, host_port=active[0].address[1]) if rule.path is None else rule
        self._active[chosen] = active
        self._note(chosen, active, self.udp.router.own_ports.add)
        return chosen

    @staticmethod
    def _note(rule: HostForward, active: list[_Active], note: Callable[[IPProtocol, bytes, int], None]) -> None:
        """Note where a forward listens, or no longer does, so that guests are not led back to it."""
        if rule.path is None:
            protocol = IPProtocol.TCP if rule.protocol == "tcp" else IPProtocol.UDP
            for each in active:
                note(protocol, *each.address)

    def _check_guest(self, rule: HostForward) -> None:
        network = self.udp.network
        config, guest = network.config, rule.guest_address
        if guest is None or network.may_be_guest(guest.packed):
            return
        where = f'hostfwd "{rule}": guest address {guest}'
        if not (config.ipv4 if guest.version == 4 else config.ipv6):
            raise ForwardError(f"{where}: this network has no IPv{guest.version}")
        if guest.packed in network.addresses:
            raise ForwardError(f"{where} is one of the virtual servers, not a guest")
        net = config.net if guest.version == 4 else config.net6
        last = net[-2] if guest.version == 4 else net[-1]
        raise ForwardError(f"{where} is not one of {net}; choose one from {net[1]} to {last}")

    def _listen(self, rule: HostForward, index: int) -> _Active:
        guest_port = rule.guest_port + index

        def accept(accepted: AcceptedStream) -> StreamOwner:
            guest = self.guest(rule)
            peer = accepted.peer
            if not self.udp.router.admits:
                peer.abort()
                return Handover(None)
            if rule.proxy_header:
                from slirpy.nat.preceded import PrecededStream
                from slirpy.wire import proxyheader

                place = with_interface(rule.host_address), rule.host_port + index
                peer = PrecededStream(peer, proxyheader.build((accepted.address, accepted.port), place))
            return self.open(peer, (accepted.address, accepted.port), guest, guest_port)

        if rule.path is not None:
            return self._host.listen_unix(rule.path, accept)
        address, port = with_interface(rule.host_address), rule.host_port + index
        if rule.protocol == "tcp":
            return self._host.listen_tcp(address, port, accept)
        forward = _UdpForward(self, rule, guest_port)
        forward.bind(self._host.bind_udp(address, port, forward))
        return forward

    def open(
        self,
        peer: StreamPeer,
        place: tuple[bytes, int],
        guest: bytes,
        guest_port: int,
        outcome: Callable[[int], None] | None = None,
    ) -> StreamOwner:
        """Connect ``peer``, a client at ``place``, to a guest's port, or to the guest's loopback if that refuses it.

        Args:
            peer: the client's stream.
            place: the client's address and port; port 0: chosen.
            guest: the guest's address.
            guest_port: its port.
            outcome: called with 0 once the guest has accepted the connection, and with an ``errno`` value if it
                resets it. Without such a call before ``peer.abort``, the guest's loopback has refused it.

        Returns:
            The owner of ``peer``.
        """
        loopback = self.loopback_of(guest)
        if loopback is not None and loopback.takes(place[0]):
            handover = Handover(None)
            loopback.splice(handover, peer, place, guest_port, outcome)
            return handover
        flow = self._open_inbound(peer, *place, guest, guest_port)
        flow.on_outcome = outcome
        if loopback is None or loopback.local:
            return flow
        handover = Handover(flow)
        flow.on_refused = lambda client: loopback.splice(handover, client, place, guest_port, outcome)
        return handover

    def remove(self, rule: HostForward) -> None:
        """Stop a forward. Open connections stay.

        Raises:
            ForwardError: there is no such forward.
        """
        active = self._active.pop(rule, None)
        if active is None:
            known = ", ".join(map(str, self._active)) or "none"
            raise ForwardError(f'hostfwd "{rule}": no such forward; active are: {known}')
        self._note(rule, active, self.udp.router.own_ports.remove)
        for each in active:
            each.close()

    def active(self) -> list[HostForward]:
        """Active forwards, with the chosen ports."""
        return list(self._active)

    def close(self) -> None:
        """Stop all forwards."""
        for active in self._active.values():
            for each in active:
                each.close()
        self._active.clear()
        for loopback in self._all_loopbacks():
            loopback.close()

    def guest(self, rule: HostForward) -> bytes:
        """The guest address of a rule."""
        return rule.guest_address.packed if rule.guest_address is not None else self._guest_address()


class _UdpForward:
    """One UDP forward, and the owner of its socket."""

    def __init__(self, forwards: Forwards, rule: HostForward, guest_port: int) -> None:
        self._forwards = forwards
        self._rule = rule
        self._guest_port = guest_port
        self._socket: BoundDatagramPeer | None = None
        self._detour: UdpDetour | None = None

    def bind(self, socket: BoundDatagramPeer) -> None:
        """Set the host socket, once it is open."""
        self._socket = socket

    @property
    def address(self) -> tuple[bytes, int]:
        """Address that the forward listens on."""
        assert self._socket is not None
        return self._socket.address

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """Relay a datagram from outside to the guest."""
        assert self._socket is not None
        forwards, rule = self._forwards, self._rule
        via, guest = self._socket.answering, forwards.guest(rule)
        loopback = forwards.loopback_of(guest)
        if loopback is not None:
            if self._detour is not None and self._detour.guest != guest:
                forwards.forget_detour(self._detour)  # the first guest is another one now
                self._detour = None
            if self._detour is None:
                self._detour = forwards.detour(loopback, self._guest_port)
            if loopback.takes(address) if loopback.local else self._detour.on:
                self._detour.send(via, payload, address, port)
                return
            if not loopback.local:
                self._detour.keep(via, payload, address, port)
        forwards.udp.from_forward(via, guest, self._guest_port, payload, address, port)

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """Report that an answer of the guest was refused: here, on its way, or by the client."""
        forwards, rule = self._forwards, self._rule
        forwards.udp.forward_error(forwards.guest(rule), self._guest_port, error, report)

    def close(self) -> None:
        """Release the socket."""
        if self._detour is not None:
            self._forwards.forget_detour(self._detour)
            self._detour = None
        if self._socket is not None:
            self._socket.close()


def _explain(rule: HostForward, index: int, error: OSError) -> str:
    where = rule.path or with_port(rule.host_address, rule.host_port + index)
    if isinstance(error, FileExistsError):
        return f'hostfwd "{rule}": cannot listen on {where}: it exists and is no socket; choose another path'
    loopback, anywhere = ("127.0.0.1", "0.0.0.0") if rule.host_address.version == 4 else ("[::1]", "[::]")
    advice = {
        errno.EADDRINUSE: "choose another port, or 0 to have a free one"
        if rule.path is None
        else "choose another",
        errno.EACCES: "ports below 1024 need privileges, try 8080"
        if rule.path is None
        else "choose another folder",
        errno.EADDRNOTAVAIL: f"that is no address of this host; use {loopback} or {anywhere}",
        errno.ENOENT: "the folder does not exist",
        errno.ENODEV: "there is no such interface",
        errno.EAFNOSUPPORT: f"this system has no {'IPv6' if rule.path is None else 'unix sockets'}",
    }.get(error.errno or 0)
    reason = strerror(error.errno).lower() if error.errno else str(error)
    return f'hostfwd "{rule}": cannot listen on {where}: {reason}' + (f"; {advice}" if advice else "")
