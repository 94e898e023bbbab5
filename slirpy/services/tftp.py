"""The TFTP server of the virtual network (RFC 1350, 2347 to 2349, 7440), at port 69 of the gateway.

As RFC 1350 demands, each transfer has a port of its own. It belongs to that transfer alone, told by all four of
addresses and ports: the other ports of the gateway lead to the host's loopback, and what other programs of the guest
send there must still arrive. Guests whose firewall lets only answers from port 69 in, or who sit behind a NAT of
their own, need the other way, which libslirp and QEMU always go: ``Config.tftp_single_port``. Then transfers are told
apart by the guest's address and port alone, and that is enough for every client.

What guests can make grow is bounded: transfers, for each guest and in all, and the window of each. Transfers that
have something to send take turns: first the guests, then the transfers of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from slirpy.config import Config
from slirpy.fair import RoundRobin
from slirpy.interfaces import Datagram, ServiceNetwork, Timer
from slirpy.services.tftp_files import Sink, Source, open_callable, open_read, open_write
from slirpy.services.tftp_message import (
    ERROR,
    HEADER,
    MAX_REQUEST,
    RRQ,
    WRQ,
    Code,
    RefusalError,
    Request,
    codec,
    error,
    read_request,
)
from slirpy.services.tftp_netascii import NetasciiSink, NetasciiSource
from slirpy.services.tftp_options import negotiate
from slirpy.services.tftp_reading import Reading
from slirpy.services.tftp_transfer import Transfer
from slirpy.services.tftp_writing import Writing
from slirpy.stats import Stats
from slirpy.units import SECOND

__all__ = ["PORT", "TftpService"]

PORT = 69
TRANSFERS_MAX = 256
TRANSFERS_OF_GUEST_MAX = 16
BUDGET = 128 << 10
"""Bytes sent before other things of the network have their turn."""
QUANTUM = 64 << 10
"""Bytes that a transfer sends in its turn."""
_ERROR = ERROR.to_bytes(2, "big")
REPEATED = SECOND
"""A request that comes again so soon is the same one; later it is from a guest that was started anew."""


class TftpService:
    """A :class:`~slirpy.interfaces.Service`.

    Args:
        config: says what is served; its ``tftp`` is not None.
        network: where guests are.
    """

    def __init__(self, config: Config, network: ServiceNetwork) -> None:
        assert config.tftp is not None
        codec()
        self._source = config.tftp
        self._write = config.tftp_write
        self._ignore_case = config.tftp_ignore_case
        self._single_port = config.tftp_single_port
        self._mtu = config.mtu
        self._address = config.gateway_address
        self._network = network
        self._transfers: dict[tuple[bytes, int], Transfer] = {}  # by the guest's address and port
        self._ready: RoundRobin[Transfer] = RoundRobin()  # those that have something to send, by guest
        self._turn_at = -1
        self._budget = 0
        self._next_turn: Timer | None = None

    def close(self) -> None:
        """End all transfers; files that are not complete are gone."""
        for transfer in list(self._transfers.values()):
            self.remove(transfer)
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None

    # ------------------------------------------------------------------------------------ input

    def datagram(self, datagram: Datagram) -> None:
        """Take a packet, for port 69 or for a transfer's own port."""
        stats = self._network.stats
        payload = datagram.payload
        if datagram.source == b"\0\0\0\0" or not datagram.source_port:
            stats.drop_tftp_malformed += 1
            return
        if len(payload) < HEADER.size:
            stats.drop_tftp_malformed += 1
            known = (datagram.source, datagram.source_port) in self._transfers
            if datagram.destination_port == PORT and not known and bytes(payload[:2]) != _ERROR:
                why = RefusalError(Code.ILLEGAL, "malformed packet")
                self._send_error(datagram.source, datagram.source_port, why)
            return
        opcode, number = HEADER.unpack_from(payload)
        if opcode in (RRQ, WRQ) and datagram.destination_port == PORT:
            self._request(datagram.source, datagram.source_port, bytes(payload[:MAX_REQUEST]), datagram.sink)
            return
        transfer = self._transfers.get((datagram.source, datagram.source_port))
        if transfer is not None and transfer.port == datagram.destination_port:
            if opcode == ERROR:
                transfer.aborted()
            else:
                transfer.block(opcode, number, payload)
                if self._ready:
                    self._take_turns()
            return
        stats.drop_tftp_unknown += 1
        if opcode != ERROR:  # which is never answered (RFC 1350, section 7)
            known = HEADER.unpack_from(payload)[0] in range(RRQ, ERROR)
            code = Code.UNKNOWN_ID if known else Code.ILLEGAL
            self._send_error(datagram.source, datagram.source_port, RefusalError(code, "no such transfer"))

    def _request(self, guest: bytes, guest_port: int, payload: bytes, link: object) -> None:
        stats = self._network.stats
        old = self._transfers.get((guest, guest_port))
        if old is not None:
            if (
                not old.done
                and old.request == payload
                and (not old.answered or self.now - old.started < REPEATED)
            ):
                stats.drop_tftp_duplicate += 1
                if not old.answered and self.now > old.active:
                    old.active = self.now
                    old.again()
                    self._take_turns()
                return
            self.remove(old)
        try:
            transfer = self._open(guest, guest_port, payload)
            transfer.link = link
        except RefusalError as why:
            if why.code == Code.ILLEGAL:
                stats.drop_tftp_malformed += 1
            stats.tftp_refused += 1
            self._send_error(guest, guest_port, why)
            return
        self._transfers[guest, guest_port] = transfer
        self.enqueue(transfer)
        self._take_turns()

    def _open(self, guest: bytes, guest_port: int, payload: bytes) -> Transfer:
        """Begin what is asked for.

        Raises:
            RefusalError: it cannot be, and the guest is to be told why.
        """
        request = read_request(payload)
        if request.mode not in ("octet", "netascii"):
            raise RefusalError(Code.ILLEGAL, "the mode must be octet or netascii")
        source = None if request.write else self._open_source(request)
        sink = None
        try:
            size = None if source is None else source.size
            terms = negotiate(request.options, mtu=self._mtu, size=size, write=request.write)
            if source is None:
                sink = self._open_sink(request, terms.size)
        except RefusalError:
            if source is not None:
                source.close()
            raise
        self._make_room(guest)
        port = PORT
        if not self._single_port:
            port = self._network.open_port(self._address, guest, guest_port, self)
        if source is not None:
            self._network.stats.tftp_reads += 1
            return Reading(self, guest, guest_port, port, payload, terms, source)
        assert sink is not None
        self._network.stats.tftp_writes += 1
        return Writing(self, guest, guest_port, port, payload, terms, sink)

    def _open_source(self, request: Request) -> Source:
        source: Source
        if isinstance(self._source, Path):
            source = open_read(self._source, request.name, self._ignore_case)
        else:
            source = open_callable(self._source, request.name)
        return NetasciiSource(source) if request.mode == "netascii" else source

    def _open_sink(self, request: Request, size: int | None) -> Sink:
        if not self._write or not isinstance(self._source, Path):
            raise RefusalError(Code.ACCESS, "writing is not allowed")
        sink = open_write(self._source, request.name, self._network.random, size, self._ignore_case)
        return NetasciiSink(sink) if request.mode == "netascii" else sink

    def _make_room(self, guest: bytes) -> None:
        """See that there is room for one more transfer: of the guest that has too many, the idlest goes.

        At the bound of all it is one of the link that has most: a guest can show many addresses, and is behind one
        link all the same.
        """
        own = [transfer for transfer in self._transfers.values() if transfer.guest == guest]
        if len(own) < TRANSFERS_OF_GUEST_MAX:
            if len(self._transfers) < TRANSFERS_MAX:
                return
            of_link = Counter(transfer.link for transfer in self._transfers.values())
            most = max(of_link.values())
            behind = [transfer for transfer in self._transfers.values() if of_link[transfer.link] == most]
            of_guest = Counter(transfer.guest for transfer in behind)
            most = max(of_guest.values())
            own = [transfer for transfer in behind if of_guest[transfer.guest] == most]
        victim = min(own, key=lambda transfer: (not transfer.done, transfer.active))
        if not victim.done:
            self._network.stats.tftp_evicted += 1
            victim.fail(RefusalError(Code.UNDEFINED, "too many transfers"))
        self.remove(victim)

    def _send_error(self, guest: bytes, guest_port: int, why: RefusalError) -> None:
        self._network.send_datagram(self._address, PORT, guest, guest_port, error(why.code, why.text))

    # ------------------------------------------------------------------------------------ turns

    def _take_turns(self) -> None:
        """Let transfers send, a guest after the other, as far as the budget of this moment goes."""
        ready, now = self._ready, self._network.now
        if self._turn_at != now:
            self._turn_at = now
            self._budget = BUDGET
        while ready and self._budget > 0:
            self._budget -= ready.next().turn(QUANTUM)  # which may ask for another turn
        if ready and self._next_turn is None:
            self._next_turn = self._network.call_at(now + 1, self._continue)

    def _continue(self) -> None:
        self._next_turn = None
        self._take_turns()

    # ------------------------------------------------------------------- what transfers ask for

    @property
    def now(self) -> int:
        """Nanoseconds of the present batch."""
        return self._network.now

    @property
    def stats(self) -> Stats:
        """The network's counters."""
        return self._network.stats

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call back, and then let transfers send what follows from it."""

        def ring() -> None:
            callback()
            self._take_turns()

        return self._network.call_at(when, ring)

    def transmit(self, transfer: Transfer, payloads: Sequence[bytes]) -> None:
        """See :class:`~slirpy.services.tftp_transfer.TransferOwner`."""
        self._network.send_datagrams(
            self._address, transfer.port, transfer.guest, transfer.guest_port, payloads
        )

    def enqueue(self, transfer: Transfer) -> None:
        """See :class:`~slirpy.services.tftp_transfer.TransferOwner`."""
        if transfer not in self._ready:
            self._ready.add(transfer, transfer.guest)

    def remove(self, transfer: Transfer) -> None:
        """See :class:`~slirpy.services.tftp_transfer.TransferOwner`."""
        transfer.forget()
        self._ready.remove(transfer)
        if self._transfers.get((transfer.guest, transfer.guest_port)) is transfer:
            del self._transfers[transfer.guest, transfer.guest_port]
            if transfer.port != PORT:
                self._network.close_port(self._address, transfer.port, transfer.guest, transfer.guest_port)
