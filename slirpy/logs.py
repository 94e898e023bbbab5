"""Warnings to the program's log. :mod:`logging` is imported with the first one, since that takes 5 ms."""

from __future__ import annotations

__all__ = ["warn"]


def warn(text: str, *values: object) -> None:
    """Log a warning of ``slirpy``, with ``values`` for the ``%s`` in the text."""
    import logging

    logging.getLogger("slirpy").warning(text, *values)
