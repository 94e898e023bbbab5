"""Sockets for ICMP echo of a host in virtual time: the seam of host networks."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from slirpy.errors import StateError
from slirpy.interfaces import Buffer, IcmpReport, PingOwner
from slirpy.testing.guest.icmp import Ping
from slirpy.wire.icmps import messages_of

if TYPE_CHECKING:
    from slirpy.testing.sim.stack import HostStack

__all__ = ["HostPing"]

_QUOTED_HEADER = 8


class HostPing:
    """A :class:`~slirpy.interfaces.PingPeer` on the stack of a host.

    Args:
        stack: the stack.
        owner: the receiver of replies and errors.
    """

    mtu = 0

    def __init__(self, stack: HostStack, owner: PingOwner) -> None:
        self._stack = stack
        self._owner: PingOwner | None = owner

    def send(
        self, sequence: int, payload: Buffer, address: bytes, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """See :meth:`slirpy.interfaces.PingPeer.send`."""
        try:
            ping = self._stack.icmp.ping(address, bytes(payload), ttl or 64)
        except StateError:
            return errno.ENETUNREACH
        ping.on_done = lambda ping: self._done(sequence, address, ping)
        self._stack.flush()
        return 0

    def close(self) -> None:
        """See :meth:`slirpy.interfaces.PingPeer.close`."""
        self._owner = None

    def _done(self, sequence: int, address: bytes, ping: Ping) -> None:
        owner = self._owner
        if owner is None:
            return
        if ping.reply is not None:
            owner.echo_reply(sequence, ping.reply, address, ping.ttl or 0)
        elif ping.error is not None:
            error, codec = ping.error, messages_of(address)
            quote = codec.read_quote(error.quoted)
            quoted = b"" if quote is None else bytes(quote.transport[_QUOTED_HEADER:])
            trouble = codec.read_error(error.kind, error.code, error.info)
            reporter = error.source.packed
            words = trouble.error, error.kind, error.code, error.info, reporter
            owner.echo_error(sequence, IcmpReport(*words, address, 0, quoted, 64))
