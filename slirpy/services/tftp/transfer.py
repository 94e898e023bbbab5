"""TFTP transfers of both directions: their options, their timeouts, their end, and the order in which they send.

**Options** are blksize (RFC 2348), tsize and timeout (RFC 2349), and windowsize (RFC 7440). An option that is
unknown, malformed or out of range is left out of the answer, and so has no effect (RFC 2347). If an option is given
twice, its first usable value counts. A guest may ask for blocks that do not fit in a packet, and receives them in
fragments: a client that asks for such blocks can reassemble them. A window is limited by the room of a socket of the
guest, because nothing else tells the sender that the reader is slow, and a loss at the end of a window is noticed by
timeout only.

**Timeouts:** a packet without an answer is sent again, each time after twice as long, or at the interval that the
guest has asked for (RFC 2349).

**Bounds:** guests can make the number of transfers grow, and the window of each. Both are limited. Transfers that
have something to send take turns: first the guests, then the transfers of each guest.

Blocks are counted without wrapping in :class:`~slirpy.services.tftp.reading.Reading` and
:class:`~slirpy.services.tftp.writing.Writing`. The 16 bits on the wire are the lower ones, so 65535 is followed by 0.
"""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Iterable, Sequence

from slirpy.fair import RoundRobin
from slirpy.interfaces import ServiceNetwork, Timer
from slirpy.records import NamedTuple
from slirpy.units import SECOND
from slirpy.wire.tftp import Code, RefusalError, error

__all__ = ["PACKET_COST", "PORT", "RTO_MAX", "RTO_MIN", "Start", "Terms", "Transfer", "Transfers", "negotiate"]

PORT = 69

DEFAULT_BLOCK = 512
BLOCK_MIN, BLOCK_MAX = 8, 65464
WINDOW_MAX = 65535
SOCKET_ROOM = 212_992 * 9 // 10
"""Bytes in the receive buffer of a Linux socket by default, less a margin for our estimate."""
FRAME_HEAD, FRAME_TAIL = 256, 426
"""Linux's overhead for a frame: a fixed part, and a part of the data buffer, whose size is a power of two."""
TSIZE_MAX = (1 << 63) - 1
DIGITS_MAX = 20
"""Digits of a number, including leading zeros."""

RTO_FIRST, RTO_MIN, RTO_MAX = SECOND, SECOND // 10, 8 * SECOND
TRIES = 9
"""Tries without an answer after which the guest is gone: half a minute or more, or nine of its intervals."""
LINGER = 5 * SECOND
"""The time for which late packets are still recognized as belonging to a transfer that is over."""

TRANSFERS_MAX = 256
TRANSFERS_OF_GUEST_MAX = 16
BUDGET = 128 << 10
"""Bytes sent before the rest of the network has its turn."""
QUANTUM = 64 << 10
"""Bytes that a transfer sends in its turn."""
PACKET_COST = 2048
"""Fixed cost of each packet, in bytes of a turn's budget. Without it blocks of 8 bytes would be free."""


# ------------------------------------------------------------------------------------------------- options


class Terms(NamedTuple):
    """The result of the negotiation."""

    block: int
    """Bytes in a full block."""
    window: int
    """Blocks per acknowledgement."""
    timeout: int | None
    """Nanoseconds until a block is sent again, if the guest has asked for an interval."""
    size: int | None
    """Bytes that the guest wants to write, if it has announced that."""
    accepted: dict[str, str]
    """The options for our OACK; if there are none, there is no OACK."""


def negotiate(options: Sequence[tuple[str, str]], *, mtu: int, size: int | None, write: bool) -> Terms:
    """Decide on the options of a request.

    Args:
        options: names in lower case, and values, in the order of the request.
        mtu: largest IP packet in bytes on the way to the guest.
        size: size in bytes of the file that is read; None if unknown.
        write: whether the guest writes.
    """
    accepted: dict[str, str] = {}
    block = DEFAULT_BLOCK
    asked = _number(options, "blksize", BLOCK_MIN, TSIZE_MAX)
    if asked is not None:
        block = min(asked, BLOCK_MAX)
        accepted["blksize"] = str(block)
    timeout = _number(options, "timeout", 1, 255)
    if timeout is not None:
        accepted["timeout"] = str(timeout)
    announced = _number(options, "tsize", 0, TSIZE_MAX)
    if announced is not None:
        if write:
            accepted["tsize"] = str(announced)
        elif size is not None:
            accepted["tsize"] = str(size)
    window = _number(options, "windowsize", 1, WINDOW_MAX)
    if window is not None:
        # Linux accepts one more packet as long as there is any room left.
        window = min(window, 1 + SOCKET_ROOM // _room(block + 12, mtu - 20))
        accepted["windowsize"] = str(window)
    return Terms(
        block,
        window or 1,
        None if timeout is None else timeout * SECOND,
        announced if write else None,
        accepted,
    )


def _number(options: Iterable[tuple[str, str]], wanted: str, low: int, high: int) -> int | None:
    """The first value of an option that is a decimal number in its range."""
    for name, text in options:
        if name == wanted and text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX:
            number = int(text)
            if low <= number <= high:
                return number
    return None


def _room(length: int, largest: int) -> int:
    """The bytes that a datagram occupies in a Linux socket.

    Args:
        length: payload and UDP header.
        largest: payload of the largest IP packet.
    """
    fragment = min(length, largest & ~7) if length > largest else length
    buffer = 1 << (fragment + FRAME_TAIL - 1).bit_length()
    return -(-length // fragment) * (FRAME_HEAD + buffer)


# ------------------------------------------------------------------------------------------------ transfer


class Start(NamedTuple):
    """An accepted request: what every transfer begins with."""

    server: bytes
    """Address of the server."""
    guest: bytes
    guest_port: int
    port: int
    """Port of the server."""
    request: bytes
    """The packet."""
    terms: Terms


class Transfer(abc.ABC):
    """One transfer: timeouts, errors, the end.

    Attributes:
        server: our address.
        guest, guest_port: the other end.
        port: our port.
        request: the packet that began the transfer.
        started, active: when it began, and when it last made progress.
        answered: whether the guest has sent anything after its request.
        done: whether it is over, and only keeps its place for a while.
        link: the link that the guest is behind.
    """

    link: object = None

    def __init__(self, transfers: Transfers, start: Start) -> None:
        self._transfers = transfers
        self._network = transfers.network
        self._stats = transfers.network.stats
        self.server, self.guest, self.guest_port, self.port, self.request, terms = start
        self._block = terms.block
        self._window = terms.window
        self._interval = terms.timeout
        self.started = self.active = self._network.now
        self.answered = False
        self.done = False
        self._rto = RTO_FIRST
        self._tries = 0
        self._due: int | None = None
        self._timer: Timer | None = None
        self._timer_at = 0

    @abc.abstractmethod
    def block(self, opcode: int, number: int, payload: memoryview) -> None:
        """Take a DATA or ACK packet; ``payload`` is the whole packet."""

    @abc.abstractmethod
    def again(self) -> None:
        """Send the packets without an answer again."""

    @abc.abstractmethod
    def turn(self, budget: int) -> int:
        """Send up to about ``budget`` bytes, and return the number. Asks for another turn if there is more."""

    @abc.abstractmethod
    def release(self) -> None:
        """Close the file."""

    # ------------------------------------------------------------------------------------- time

    def _wait(self) -> None:
        """Wait for the answer to a packet that was sent."""
        base = self._interval or min(self._rto << self._tries, RTO_MAX)
        self._set(self._network.now + base)

    def _set(self, due: int) -> None:
        # The usual change is to a later time. It leaves the timer alone, which is set again when it rings.
        self._due = due
        if self._timer is None or due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._network.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        due = self._due
        if due is None:
            return
        if due > self._network.now:
            self._set(due)
        elif self.done:
            self._transfers.remove(self)
        else:
            self._tries += 1
            if self._tries < TRIES:
                self.again()
            else:
                self._stats.tftp_timeouts += 1
                self.fail(RefusalError(Code.UNDEFINED, "timed out"))
        self._transfers.take_turns()

    def _progress(self) -> None:
        self._tries = 0
        self.active = self._network.now

    # -------------------------------------------------------------------------------------- end

    def finish(self) -> None:
        """End the transfer. Late packets are still recognized for a while."""
        self.done = True
        self.release()
        self._set(self._network.now + LINGER)

    def fail(self, why: RefusalError) -> None:
        """End the transfer, and send the reason to the guest."""
        if not self.done:
            self._transfers.transmit(self, (error(why.code, why.text),))
            self.finish()

    def aborted(self) -> None:
        """End the transfer after an error from the guest."""
        if not self.done:
            self._stats.tftp_aborted += 1
            self.finish()

    def forget(self) -> None:
        """Release everything at once."""
        self.done = True
        self.release()
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


# ------------------------------------------------------------------------------------------- all transfers


class Transfers:
    """All transfers, and their turns.

    Args:
        network: where the guests are.

    Attributes:
        network: where the guests are.
        by_client: the transfers by the guest's address and port.
    """

    def __init__(self, network: ServiceNetwork) -> None:
        self.network = network
        self.by_client: dict[tuple[bytes, int], Transfer] = {}
        self._ready: RoundRobin[Transfer] = RoundRobin()  # those that have something to send, by guest
        self._turn_at = -1
        self._budget = 0
        self._next_turn: Timer | None = None

    def close(self) -> None:
        """End all transfers."""
        for transfer in list(self.by_client.values()):
            self.remove(transfer)
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None

    def add(self, transfer: Transfer) -> None:
        """Add a transfer, and give it a turn."""
        self.by_client[transfer.guest, transfer.guest_port] = transfer
        self.enqueue(transfer)

    def remove(self, transfer: Transfer) -> None:
        """End a transfer at once, and forget it."""
        transfer.forget()
        self._ready.remove(transfer)
        client = transfer.guest, transfer.guest_port
        if self.by_client.get(client) is transfer:
            del self.by_client[client]
            if transfer.port != PORT:
                self.network.close_port(transfer.server, transfer.port, *client)

    def make_room(self, guest: bytes) -> None:
        """Ensure that one more transfer fits. If the guest has too many, its longest idle one is ended.

        At the limit for all it is one of the link with the most transfers: a guest can show many addresses, but it is
        still behind one link.
        """
        own = [transfer for transfer in self.by_client.values() if transfer.guest == guest]
        if len(own) < TRANSFERS_OF_GUEST_MAX:
            if len(self.by_client) < TRANSFERS_MAX:
                return
            of_link = Counter(transfer.link for transfer in self.by_client.values())
            most = max(of_link.values())
            behind = [transfer for transfer in self.by_client.values() if of_link[transfer.link] == most]
            of_guest = Counter(transfer.guest for transfer in behind)
            most = max(of_guest.values())
            own = [transfer for transfer in behind if of_guest[transfer.guest] == most]
        victim = min(own, key=lambda transfer: (not transfer.done, transfer.active))
        if not victim.done:
            self.network.stats.tftp_evicted += 1
            victim.fail(RefusalError(Code.UNDEFINED, "too many transfers"))
        self.remove(victim)

    def transmit(self, transfer: Transfer, payloads: Sequence[bytes]) -> None:
        """Send packets of a transfer to its guest."""
        self.network.send_datagrams(
            transfer.server, transfer.port, transfer.guest, transfer.guest_port, payloads
        )

    def enqueue(self, transfer: Transfer) -> None:
        """Give a transfer a turn: :meth:`Transfer.turn` is called soon."""
        if transfer not in self._ready:
            self._ready.add(transfer, transfer.guest)

    def take_turns(self) -> None:
        """Let the transfers send, one guest after the other, within the budget of this moment."""
        ready = self._ready
        if not ready:
            return
        now = self.network.now
        if self._turn_at != now:
            self._turn_at = now
            self._budget = BUDGET
        while ready and self._budget > 0:
            self._budget -= ready.next().turn(QUANTUM)  # which may ask for another turn
        if ready and self._next_turn is None:
            self._next_turn = self.network.call_at(now + 1, self._continue)

    def _continue(self) -> None:
        self._next_turn = None
        self.take_turns()
