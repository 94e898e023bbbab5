"""The program's log. :mod:`logging` is imported with the first message, since that takes 5 ms."""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the 2 ms that importing typing takes
if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

__all__ = ["logger", "warn"]

prepare: Callable[[Logger], object] | None = None
"""Called with the logger ``slirpy`` before each message, so that a command can add its handler to it in time."""


def logger(part: str = "") -> Logger:
    """Return the logger ``slirpy``, or that of a part of it, such as ``slirpy.tftp``."""
    import logging

    top = logging.getLogger("slirpy")
    if prepare is not None:
        prepare(top)
    return top.getChild(part) if part else top


def warn(text: str, *values: object) -> None:
    """Log a warning of ``slirpy``, with ``values`` for the ``%s`` in the text."""
    logger().warning(text, *values)
