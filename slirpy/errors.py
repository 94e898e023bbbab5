"""Exceptions for mistakes of callers.

Network input never raises an exception: a bad frame is dropped and counted (see :mod:`slirpy.stats`). These
exceptions report mistakes of the program or the person that uses slirpy. Their text says what was given, what is
allowed and what to do.
"""

__all__ = ["ConfigError", "ForwardError", "LinkError", "SlirpyError", "StateError"]


class SlirpyError(Exception):
    """Base class of all exceptions that slirpy raises on purpose."""


class ConfigError(SlirpyError, ValueError):
    """A configuration value that cannot be used."""


class ForwardError(SlirpyError):
    """A port forward that cannot be set up: a malformed rule, a port in use, or no permission."""


class LinkError(SlirpyError):
    """A link that cannot be opened or used."""


class StateError(SlirpyError, RuntimeError):
    """A call at the wrong moment, such as polling a closed network."""
