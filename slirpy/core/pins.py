"""Pins: the names that an address stands for, for one guest.

An address counts for a name only if an answer that our DNS server gave to that guest for that name contained it. It
does so for as long as the answer lives, while a flow uses it, and for a grace time after that: clients keep addresses
for longer than they should. That is no right to the address. A new flow goes to an address to which the name resolves
now, so a pin whose answer has expired only says which name to resolve.

Addresses that no answer from outside should contain (:func:`slirpy.config.special.is_pinnable`) are never opened by a
name, or the owner of an allowed name could open the host's own network (DNS rebinding). Such pins count for rules
that refuse the name, and for nothing else. Records of the operator, such as ``dns_records``, may name any address.

A guest is a MAC address behind a link. When a link is detached, the pins of its guests wait for the same MAC address
behind another link, so that a guest that reconnects keeps them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from slirpy.config.special import is_pinnable
from slirpy.units import SECOND

__all__ = ["GUESTS_MAX", "PINS_MAX", "Pin", "Pins"]

GUESTS_MAX: Final = 1024
"""Guests with pins; beyond it, the one that has asked for no name longest is forgotten."""
PINS_MAX = 8192
"""Pins of one guest; beyond it, the oldest without a flow is forgotten."""
TTL_MIN: Final = 1
TTL_MAX: Final = 86_400
"""Bounds of the seconds for which an answer lives: one is needed to use it at all."""


class Pin:
    """One address of one name, for one guest. Times are monotonic nanoseconds.

    Attributes:
        address: the address as the host knows it, or that of a virtual host.
        name: the name, in lower case, without a full stop at the end.
        fresh_until: time until which the answer lives.
        until: time until which the address counts for the name, apart from its use.
        opens: False if the address is one that no answer from outside may open.
        trusted: True if the operator's own record said so, which may open any address.
        uses: flows that use it.
    """

    __slots__ = ("address", "fresh_until", "name", "opens", "trusted", "until", "uses")

    def __init__(self, address: bytes, name: str) -> None:
        self.address = address
        self.name = name
        self.fresh_until = self.until = self.uses = 0
        self.opens = self.trusted = False


class _Guest:
    """The pins of one guest."""

    __slots__ = ("by_address", "by_name", "pins")

    def __init__(self) -> None:
        self.pins: OrderedDict[tuple[bytes, str], Pin] = OrderedDict()  # the latest answer last
        self.by_address: dict[bytes, dict[str, Pin]] = {}
        self.by_name: dict[str, dict[bytes, Pin]] = {}

    def put(self, pin: Pin) -> None:
        """Add a pin, or note that it is in the latest answer."""
        self.pins[pin.address, pin.name] = pin
        self.pins.move_to_end((pin.address, pin.name))
        self.by_address.setdefault(pin.address, {})[pin.name] = pin
        self.by_name.setdefault(pin.name, {})[pin.address] = pin

    def drop(self, pin: Pin) -> None:
        """Remove a pin."""
        del self.pins[pin.address, pin.name]
        names, addresses = self.by_address[pin.address], self.by_name[pin.name]
        del names[pin.name], addresses[pin.address]
        if not names:
            del self.by_address[pin.address]
        if not addresses:
            del self.by_name[pin.name]

    def make_room(self) -> None:
        """Forget the oldest pin that no flow uses, or else the oldest."""
        pin = next((pin for pin in self.pins.values() if not pin.uses), None)
        self.drop(pin if pin is not None else next(iter(self.pins.values())))


class Pins:
    """The pins of all guests of one network.

    Args:
        grace: seconds for which a pin outlives its answer.
        is_own: reports whether an address is one of the host's own.
    """

    def __init__(self, grace: float, is_own: Callable[[bytes], bool]) -> None:
        self._grace = int(grace * SECOND)
        self._is_own = is_own
        self._guests: OrderedDict[tuple[object, bytes], _Guest] = OrderedDict()

    def __len__(self) -> int:
        """The number of guests with pins."""
        return len(self._guests)

    def _guest(self, link: object, mac: bytes) -> _Guest | None:
        guest = self._guests.get((link, mac))
        if guest is None and (None, mac) in self._guests:
            guest = self._guests[link, mac] = self._guests.pop((None, mac))
        return guest

    def lost(self, link: object) -> None:
        """Keep the pins of guests behind a link that is detached, for their MAC addresses."""
        for key in [key for key in self._guests if key[0] is link]:
            self._guests[None, key[1]] = self._guests.pop(key)

    def note(
        self,
        link: object,
        mac: bytes,
        name: str,
        length: int,
        addresses: Iterable[tuple[bytes, int]],
        now: int,
        *,
        trusted: bool,
    ) -> tuple[bytes, ...]:
        """Record an answer to a guest: all addresses of ``length`` bytes of a name, each with its seconds to live.

        Args:
            trusted: True: a record of the operator, which may open any address.

        Returns:
            The addresses that the name may open.
        """
        found = tuple(addresses)
        guest = self._guest(link, mac)
        if guest is None:
            if not found:
                return ()
            if len(self._guests) >= GUESTS_MAX:
                self._guests.popitem(last=False)
            guest = self._guests[link, mac] = _Guest()
        self._guests.move_to_end((link, mac))
        for pin in guest.by_name.get(name, {}).values():
            if len(pin.address) == length:
                pin.fresh_until = min(pin.fresh_until, now)  # the name resolves to others now
        for address, ttl in found:
            known = guest.pins.get((address, name))
            if known is None and len(guest.pins) >= PINS_MAX:
                guest.make_room()
            pin = known or Pin(address, name)
            pin.fresh_until = now + min(max(ttl, TTL_MIN), TTL_MAX) * SECOND
            pin.until = max(pin.until, pin.fresh_until + self._grace)
            pin.trusted = trusted
            pin.opens = trusted or is_pinnable(address)
            guest.put(pin)
        return tuple(address for address, _ in found if trusted or self.may_open(address))

    def may_open(self, address: bytes) -> bool:
        """Report whether an answer from outside may open an address."""
        return is_pinnable(address) and not self._is_own(address)

    def _opens(self, pin: Pin) -> bool:
        return pin.trusted or (pin.opens and not self._is_own(pin.address))

    def names(self, link: object, mac: bytes, address: bytes, now: int) -> tuple[str, ...]:
        """Return the names that an address stands for, the latest answer first."""
        return tuple(pin.name for pin in self._known(link, mac, address, now) if self._opens(pin))

    def unpinned(self, link: object, mac: bytes, address: bytes, now: int) -> tuple[str, ...]:
        """Return the names whose answers contained an address that they may not open, the latest answer first."""
        return tuple(pin.name for pin in self._known(link, mac, address, now) if not self._opens(pin))

    def _known(self, link: object, mac: bytes, address: bytes, now: int) -> Sequence[Pin]:
        """The pins of an address, the latest answer first."""
        guest = self._guest(link, mac)
        pins = None if guest is None else guest.by_address.get(address)
        if guest is None or not pins:
            return ()
        found = []
        for pin in list(pins.values()):
            if not pin.uses and now >= pin.until:
                guest.drop(pin)
            else:
                found.append(pin)
        if len(found) > 1:
            found.sort(key=_by_freshness, reverse=True)
        return found

    def current(self, link: object, mac: bytes, name: str, length: int, now: int) -> list[bytes]:
        """Return the addresses, of ``length`` bytes, in answers for a name that live now; empty: ask again."""
        guest = self._guest(link, mac)
        pins = None if guest is None else guest.by_name.get(name)
        if not pins:
            return []
        return [
            pin.address
            for pin in pins.values()
            if now < pin.fresh_until and len(pin.address) == length and self._opens(pin)
        ]

    def use(self, link: object, mac: bytes, name: str, address: bytes) -> Pin | None:
        """Keep a pin for a flow, until :meth:`release`. None if there is no such pin."""
        guest = self._guest(link, mac)
        pin = None if guest is None else guest.pins.get((address, name))
        if pin is not None:
            pin.uses += 1
        return pin

    def release(self, pin: Pin, now: int) -> None:
        """End the use of a pin by one flow. It counts for the grace time from now on."""
        pin.uses -= 1
        pin.until = max(pin.until, now + self._grace)


def _by_freshness(pin: Pin) -> int:
    return pin.fresh_until
