"""The hosts that a UDP flow may hear from where there is a policy (RFC 4787, section 5).

Without a policy, filtering is endpoint-independent: any host that learns of the port may send to it (REQ-8), which
games and telephony need. A policy says to whom guests may talk, and the port of an allowed flow must not become a way
in for everyone else. So filtering is then address-dependent: datagrams are accepted from addresses that the guest has
sent to, from any port of theirs (TFTP servers answer from another one), and counted otherwise.
"""

from __future__ import annotations

__all__ = ["Contacts"]


class Contacts:
    """Addresses, each with the number of destinations that lead to it."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def __contains__(self, address: bytes) -> bool:
        return address in self._numbers

    def add(self, address: bytes) -> None:
        """Note one more destination at an address."""
        self._numbers[address] = self._numbers.get(address, 0) + 1

    def remove(self, address: bytes) -> None:
        """Note one destination less at an address, which must have one."""
        number = self._numbers[address] - 1
        if number:
            self._numbers[address] = number
        else:
            del self._numbers[address]
