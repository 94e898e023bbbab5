"""Failures of runs in virtual time."""

from __future__ import annotations

from slirpy.errors import SlirpyError, StateError
from slirpy.testing.errors import UnmetError
from slirpy.testing.sim.place import place

__all__ = ["DeadlockError", "EscapeError", "LeftoverError", "ProgramError", "StoppedError", "escaped"]


class ProgramError(SlirpyError):
    """A program of a host failed; its exception is the cause."""


class DeadlockError(UnmetError):
    """Programs wait, and nothing is left to happen; or they never wait, and time stands still."""


class EscapeError(StateError):
    """A program asked for something that is not simulated, and that would leave the network: a thread, a process, a
    real wait, another event loop. The text names the place, the call, and what to use instead.
    """


def escaped(text: str) -> EscapeError:
    """Return an :class:`EscapeError` whose text begins with the line of the program that runs now."""
    return EscapeError(f"{place()}: {text}")


class LeftoverError(StateError):
    """A test has ended, and tasks that it has started have not. The text names them, and where they wait."""


class StoppedError(UnmetError):
    """The run was stopped at a time that somebody wants to look at."""
