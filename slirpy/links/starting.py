"""The check that a link is plugged in only once."""

from __future__ import annotations

from slirpy.errors import StateError

__all__ = ["check_start", "state_of"]


def check_start(link: object, *, started: bool, closed: bool) -> None:
    """Check that a link may be started.

    Raises:
        StateError: it runs already, in this network or another, or it is closed.
    """
    if started:
        raise StateError(f"{link!r} is plugged in already; make a link for each network, or close it first")
    if closed:
        raise StateError(f"{link!r} is closed; make another link")


def state_of(*, started: bool, closed: bool) -> str:
    """Return the state of a link in a word or two, for its description."""
    return "closed" if closed else "started" if started else "not started"
