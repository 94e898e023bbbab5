"""Who waits, and whose turn it is: one of each guest after the other."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["Turns"]

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits, by the address of the guest. Its length is how many wait."""

    __slots__ = ("_guest", "_queues")

    def __init__(self) -> None:
        self._guest: dict[T, bytes] = {}
        self._queues: OrderedDict[bytes, OrderedDict[T, None]] = OrderedDict()
        """The guest whose turn it is first; none is empty."""

    def __len__(self) -> int:
        return len(self._guest)

    def add(self, item: T, guest: bytes) -> None:
        """One more of a guest; it comes after its others."""
        self._guest[item] = guest
        self._queues.setdefault(guest, OrderedDict())[item] = None

    def remove(self, item: T) -> bool:
        """It waits no more; False if it did not."""
        guest = self._guest.pop(item, None)
        if guest is None:
            return False
        queue = self._queues[guest]
        del queue[item]
        if not queue:
            del self._queues[guest]
        return True

    def next(self) -> T:
        """Take out whose turn it is; there is one."""
        guest, queue = next(iter(self._queues.items()))
        item = next(iter(queue))
        self._queues.move_to_end(guest)
        self.remove(item)
        return item

    def spare(self, guest: bytes) -> T | None:
        """What should make way for one of a guest: the newest of who has most, if that one has still more then."""
        most = max(self._queues.values(), key=len, default=None)
        if most is None or len(most) <= len(self._queues.get(guest, ())) + 1:
            return None
        return next(reversed(most))

    def clear(self) -> None:
        """Nothing waits."""
        self._guest.clear()
        self._queues.clear()
