"""Ports of the host that lead to guests."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace

from slirpy.errors import ForwardError
from slirpy.interfaces import AcceptedStream, DatagramPeer, HostNetwork, IcmpReport, Listener, StreamOwner
from slirpy.nat.tcp import TcpNat
from slirpy.nat.udp import UdpNat
from slirpy.rules.hostfwd import HostForward

__all__ = ["Forwards"]


class Forwards:
    """All port forwards of one network.

    Args:
        guest_address: tells where a rule without a guest address leads at this moment.
    """

    def __init__(self, host: HostNetwork, tcp: TcpNat, udp: UdpNat, guest_address: Callable[[], bytes]) -> None:
        self.udp = udp
        self._host = host
        self._tcp = tcp
        self._guest_address = guest_address
        self._active: dict[HostForward, Listener | _UdpForward] = {}

    def add(self, rule: HostForward) -> HostForward:
        """Start to forward; the result has the port that was chosen where the rule has 0.

        Raises:
            ForwardError: the host's address or port cannot be had; the text says why.
        """
        address = rule.host_address.packed
        try:
            active: Listener | _UdpForward
            if rule.protocol == "tcp":
                active = self._host.listen_tcp(address, rule.host_port, lambda a: self._accept(rule, a))
            else:
                active = _UdpForward(self, rule)
                active.bind(self._host.bind_udp(address, rule.host_port, active))
        except OSError as error:
            raise ForwardError(_explain(rule, error)) from error
        chosen = replace(rule, host_port=active.address[1])
        self._active[chosen] = active
        return chosen

    def remove(self, rule: HostForward) -> None:
        """Stop to forward; open connections stay.

        Raises:
            ForwardError: there is no such forward.
        """
        active = self._active.pop(rule, None)
        if active is None:
            known = ", ".join(map(str, self._active)) or "none"
            raise ForwardError(f'hostfwd "{rule}": no such forward; active are: {known}')
        active.close()

    def active(self) -> list[HostForward]:
        """The forwards that are active, with the ports that were chosen."""
        return list(self._active)

    def close(self) -> None:
        """Stop all."""
        for active in self._active.values():
            active.close()
        self._active.clear()

    def guest(self, rule: HostForward) -> bytes:
        """The guest's address for a rule."""
        return rule.guest_address.packed if rule.guest_address is not None else self._guest_address()

    def _accept(self, rule: HostForward, accepted: AcceptedStream) -> StreamOwner:
        return self._tcp.open_inbound(
            accepted.peer, accepted.address, accepted.port, self.guest(rule), rule.guest_port
        )


class _UdpForward:
    """One UDP forward; owner of its socket."""

    def __init__(self, forwards: Forwards, rule: HostForward) -> None:
        self._forwards = forwards
        self._rule = rule
        self._socket: DatagramPeer | None = None

    def bind(self, socket: DatagramPeer) -> None:
        """The host's socket, once it is open."""
        self._socket = socket

    @property
    def address(self) -> tuple[bytes, int]:
        """Where it listens."""
        assert self._socket is not None
        return self._socket.address

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """From outside to the guest."""
        assert self._socket is not None
        forwards, rule = self._forwards, self._rule
        forwards.udp.forwarded(self._socket, forwards.guest(rule), rule.guest_port, payload, address, port)

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """An answer of the guest's was refused: here, on its way, or by whoever had asked."""
        forwards, rule = self._forwards, self._rule
        forwards.udp.forward_error(forwards.guest(rule), rule.guest_port, error, report)

    def close(self) -> None:
        """Release the socket."""
        if self._socket is not None:
            self._socket.close()


def _explain(rule: HostForward, error: OSError) -> str:
    where = f"{rule.host_address}:{rule.host_port}"
    advice = {
        errno.EADDRINUSE: "choose another port, or 0 to have a free one",
        errno.EACCES: "ports below 1024 need privileges, try 8080",
        errno.EADDRNOTAVAIL: "that is no address of this host; use 127.0.0.1 or 0.0.0.0",
    }.get(error.errno or 0)
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return f'hostfwd "{rule}": cannot listen on {where}: {reason}' + (f"; {advice}" if advice else "")
