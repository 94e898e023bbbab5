"""The check of what a policy returns."""

from __future__ import annotations

from slirpy.errors import ConfigError
from slirpy.interfaces import Verdict

__all__ = ["checked_verdict"]


def checked_verdict(given: object) -> Verdict:
    """Check a policy's verdict.

    Raises:
        ConfigError: not a Verdict.
    """
    if not isinstance(given, Verdict):
        raise ConfigError(
            f"the policy gave {given!r}; it must give a slirpy.Verdict, such as Verdict(Action.ALLOW)"
        )
    return given
