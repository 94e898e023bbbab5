"""A connection driven by hand: :class:`slirpy.testing.tcp.Script`, with short names, and established connections."""

from __future__ import annotations

from typing import Any, Self

from slirpy.tcp import Settings, State
from slirpy.tcp.segment import Emit, as_segments
from slirpy.testing import Sent, flag_bits, tcp
from slirpy.units import MS, SECOND

__all__ = ["IRS", "ISS", "MS", "SECOND", "Script", "Sent", "active", "flag_bits", "passive"]

ISS = 0xFFFFFF00  # wraps soon
IRS = 0xFFFFFFF0


class Script(tcp.Script):
    """The peer sends by ``recv``, the connection by ``send``."""

    def recv(self, *args: Any, **kwargs: Any) -> Self:
        return self.inject(*args, **kwargs)

    send = tcp.Script.expect

    @property
    def _emit(self) -> Emit:
        """For tests that call ``output`` by themselves, one round at a time."""
        return as_segments(self.take)


def passive(settings: Settings | None = None, *, wnd: int = 65535, mss: int = 1460, **opts: Any) -> Script:
    """Established by the peer's SYN."""
    s = Script(settings)
    s.conn.listen(s.now)
    s.recv("S", 0, wnd=wnd, mss=mss, **opts)
    s.send("SA", 0, 1)
    s.recv("A", 1, 1, wnd=wnd, timestamps=opts.get("timestamps"))
    return s.silence().state(State.ESTABLISHED)


def active(settings: Settings | None = None, *, wnd: int = 65535, mss: int = 1460) -> Script:
    """Established by our SYN, without options but MSS."""
    s = Script(settings)
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.recv("SA", 0, 1, wnd=wnd, mss=mss)
    s.send("A", 1, 1)
    return s.silence().state(State.ESTABLISHED)
