"""The seam of inspection: what a client says first, read before the far side hears it.

A flow that a name allowed is not believed to lead to that name until the client has said so. Its first bytes are kept
and go to an inspector; the far side gets them once the inspector has passed the flow. Bytes of the far side reach the
guest meanwhile, since some protocols begin with the server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from slirpy.interfaces.policies import FlowRequest, Verdict
from slirpy.records import Protocol

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["KEPT_MAX", "UNDECIDED", "Finding", "FirstBytes", "Inspector", "Passed", "Refused", "Undecided"]

KEPT_MAX = 65_536
"""Bytes of a client that are kept for an inspector. A flow that is undecided beyond that is refused."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """More bytes are needed."""


@dataclass(frozen=True, slots=True, init=False)
class Passed:
    """The flow may go on; no more bytes are inspected."""

    kind: str
    """Protocol that was recognized: ``"tls"``, ``"http/1"``, ``"h2"``, ``"quic"``, ``"ssh"``, ``"other"``."""
    names: tuple[str, ...]
    """Names that the client said, in lower case: the SNI or the host; empty if the protocol has none, or if the bytes
    of this call contained none."""
    more: bool
    """True if the inspection goes on: each request of HTTP may name another host. All later bytes are fed too, before
    they may go on, and a later answer may be :class:`Refused`."""
    held: int
    """With ``more``: number of the latest bytes that have to wait, because they are an incomplete request."""

    def __init__(self, kind: str, names: tuple[str, ...] = (), more: bool = False, held: int = 0) -> None:
        put = object.__setattr__
        put(self, "kind", kind)
        put(self, "names", names)
        put(self, "more", more)
        put(self, "held", held)


@dataclass(frozen=True, slots=True)
class Refused:
    """The flow is not what it was allowed for: it ends."""

    reason: str
    """Short text for the logs, such as ``"SNI other.example is not a name of this address"``."""
    names: tuple[str, ...] = ()
    """Names that the client said."""
    kind: str = ""
    """Protocol, as in :attr:`Passed.kind`; empty if nothing was recognized."""
    answer: bytes = b""
    """Bytes for the client, in the far side's place, before its connection ends: a TLS alert, or a response of HTTP,
    so that its program can show a reason. Empty: the connection is reset."""


UNDECIDED = Undecided()
Finding: TypeAlias = Undecided | Passed | Refused


class FirstBytes(Protocol):
    """Reads what one client says. It is dropped after :class:`Refused`, and after :class:`Passed` without ``more``.

    An implementation may have a method ``heard(data: bytes) -> None``: it is called with what the far side sends,
    from the beginning and before the guest gets it, as long as the inspection lasts; ``feed(b"")`` afterwards tells
    whether held bytes may go. It may have an attribute ``body``, the number of the next bytes that need not be fed,
    such as the rest of an upload, or None for all; and a method ``skip(count: int)``, which is called with the number
    of bytes that went on without.
    """

    def feed(self, data: bytes) -> Finding:
        """Take the next bytes of the client, in order, each byte once; for UDP one datagram a call."""

    def end(self) -> Finding:
        """The client has sent its FIN, and said nothing that decided; :class:`Undecided` counts as refused."""


Inspector: TypeAlias = Callable[[FlowRequest, Verdict], FirstBytes | None]
"""Called as a flow opens that ``verdict.names`` allowed, unless ``verdict.tls`` is ``"off"``. The names that a client
says must be among ``verdict.names``. None: the protocol and the port need no inspection."""
