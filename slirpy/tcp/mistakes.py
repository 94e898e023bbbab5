"""What to tell a user whose call makes no sense: the errors of RFC 9293, section 3.10."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from slirpy.errors import StateError
from slirpy.tcp.states import CLOSED

if TYPE_CHECKING:
    from slirpy.tcp.connection import Connection

__all__ = ["mistake"]


def mistake(conn: Connection, call: str) -> StateError:
    """The exception for a call that ``conn`` cannot do: it is not open yet, no more, or its direction has ended."""
    state = conn.state.value
    if conn.opened_at < 0:
        why = "the connection does not exist yet; connect() or listen() first"
    elif call in ("connect()", "listen()"):
        why = f"this connection ({state}) was opened before; make another one"
    elif conn.state is CLOSED:
        ended = f" by {errno.errorcode.get(conn.error, conn.error)}" if conn.error else ""
        why = f"the connection is closed{ended}; make another one"
    else:
        why = f"the connection is closing ({state}); nothing more is sent after shutdown() or close()"
    return StateError(f"{call}: {why}")
