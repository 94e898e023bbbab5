"""Sockets that the service manager has opened for this process, as systemd passes them (sd_listen_fds(3))."""

from __future__ import annotations

import os
from collections.abc import Sequence

from slirpy.config.text import hint
from slirpy.errors import LinkError

__all__ = ["inherited", "place_of"]

FIRST = 3
"""The number of the first descriptor that is passed."""
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_MAX = 1024


def inherited() -> dict[int, str]:
    """Take the descriptors that were passed to this process: the name of each, by its number.

    The variables are taken out of the environment, so that programs started by this one do not take the sockets for
    theirs, and the descriptors are closed in such programs.

    Raises:
        LinkError: the variables make no sense.
    """
    number, count, names, _ = (os.environ.pop(name, "") for name in _VARIABLES)
    if not count or number != str(os.getpid()):
        return {}  # for another process
    if not (count.isascii() and count.isdigit() and len(count) <= 4 and int(count) <= _MAX):
        raise LinkError(f'LISTEN_FDS "{count}" is not a number from 0 to {_MAX}')
    given = names.split(":") if names else []
    found = {}
    for index in range(int(count)):
        descriptor = FIRST + index
        try:
            os.set_inheritable(descriptor, False)
        except OSError:
            raise LinkError(f"LISTEN_FDS is {count}, but descriptor {descriptor} is not open") from None
        found[descriptor] = given[index] if index < len(given) else ""
    return found


def place_of(address: str, passed: dict[int, str]) -> Sequence[str]:
    """The addresses that ``fd:NAME`` stands for: ``fd:3`` and so on, one for each socket of that name.

    Any other address, and ``fd:N``, stands for itself.

    Raises:
        LinkError: no socket of that name has been passed.
    """
    name = address.removeprefix("fd:")
    if name == address or not name or name.isdigit():
        return (address,)
    found = [f"fd:{descriptor}" for descriptor, own in passed.items() if own == name]
    if not found:
        known = sorted(set(filter(None, passed.values())))
        advice = hint(name, known, f"passed are {', '.join(known)}" if known else "write fd:N with its number")
        raise LinkError(f'"{address}": no socket of this name was passed; {advice}')
    return found
