"""The package greenlet, which blocking programs need."""

from __future__ import annotations

from typing import Any

from slirpy.errors import ConfigError
from slirpy.testing.sim.place import place

__all__ = ["load"]


def load() -> Any:
    """Return the module ``greenlet``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import greenlet
    except ImportError:
        raise ConfigError(
            f"{place()}: a program that is a plain function, or a thread of a program, needs greenlet:"
            " pip install slirpy[blocking]"
        ) from None
    return greenlet
