"""The names that allow a flow, and what a client has to say about them."""

from __future__ import annotations

from collections.abc import Sequence

from slirpy.interfaces import Refused
from slirpy.wire.tls import ClientHello

__all__ = ["Demand"]


class Demand:
    """Decides about the name that a client said.

    Args:
        names: the names that allow the flow, in lower case.
        mode: see :attr:`slirpy.interfaces.Verdict.tls`; not ``"off"``.
    """

    __slots__ = ("_mode", "_names")

    def __init__(self, names: Sequence[str], mode: str) -> None:
        self._names = frozenset(names)
        self._mode = mode

    @property
    def optional(self) -> bool:
        """True if a client may say no name."""
        return self._mode == "sni-optional"

    def refuse_hello(self, hello: ClientHello, kind: str, answer: bytes = b"") -> Refused | None:
        """Return why a hello is refused; None: it is not."""
        said = () if hello.server_name is None else (hello.server_name,)
        if hello.ech and self._mode != "ech":
            return Refused("ECH may hide the name (browsers need tls=ech)", said, kind, answer)
        if hello.server_name is None:
            return None if self.optional else Refused("no SNI", said, kind, answer)
        if hello.server_name not in self._names:
            return Refused(
                f"SNI {hello.server_name} is not an allowed name of this address", said, kind, answer
            )
        return None

    def refuse_host(self, host: str) -> str:
        """Return why a request for ``host`` is refused; empty: it is not."""
        if not host:
            return "" if self.optional else "no Host"
        return "" if host in self._names else f"Host {host} is not an allowed name of this address"
