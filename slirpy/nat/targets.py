"""Names that are targets of redirects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from slirpy.interfaces import NameAnswer

__all__ = ["NamedTargets"]

Done: TypeAlias = Callable[[Sequence[bytes]], object]


class NamedTargets:
    """Looks names up by the host's resolver library, anew for each flow. Flows that wait at once share an answer.

    Args:
        lookup: see :meth:`slirpy.interfaces.HostNetwork.lookup`.
    """

    def __init__(self, lookup: Callable[[str, Callable[[NameAnswer], None]], bool]) -> None:
        self._lookup = lookup
        self._waiting: dict[str, dict[object, Done]] = {}

    def find(self, name: str, done: Done) -> Callable[[], object]:
        """Call ``done`` with the addresses of a name, later, or at once with none if it cannot be looked up.

        Returns:
            A function that gives up.
        """
        waiting, token = self._waiting.setdefault(name, {}), object()
        waiting[token] = done
        if len(waiting) == 1 and not self._lookup(name, lambda answer: self._found(name, answer.addresses)):
            self._found(name, ())
        return lambda: waiting.pop(token, None)

    def _found(self, name: str, addresses: Sequence[bytes]) -> None:
        for done in list(self._waiting.pop(name, {}).values()):
            done(addresses)
