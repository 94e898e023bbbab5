"""Messages with a few bytes changed, lost or put in."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["damaged"]


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[bytes], *, most: int = 4, after: int = 0) -> bytes:
    """Change, remove or insert up to three bytes at up to ``most`` places of a message, or cut it.

    Args:
        messages: the messages to damage.
        most: places; examples shrink to one.
        after: bytes at the front that stay as they are, such as an opcode.
    """
    message = bytearray(draw(messages))
    for _ in range(draw(st.integers(1, most))):
        if len(message) <= after:
            break
        at = draw(st.integers(after, len(message) - 1))
        message[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(message[: draw(st.none() | st.integers(after, max(len(message), after)))])
