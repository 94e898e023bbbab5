"""Exceptions for mistakes of callers.

Network input never raises an exception: a bad frame is dropped and counted (see :mod:`slirpy.stats`). These
exceptions report mistakes of the program or the person that uses slirpy. Their text says what was given, what is
allowed and what to do.
"""

__all__ = ["ConfigError", "ForwardError", "LinkError", "SlirpyError", "StateError"]


class SlirpyError(Exception):
    """Base class of all exceptions that slirpy raises on purpose."""


class ConfigError(SlirpyError, ValueError):
    """A value that cannot be used anywhere: malformed text, a wrong type, a number out of range. Change the value."""


class ForwardError(SlirpyError):
    """A well-formed forward that cannot be set up or removed here and now.

    For a host port: it is in use, or this user has no permission, or no guest can have the address. For a guestfwd:
    something answers there already, a guest has the address, or the program is not installed. In both: there is no
    such forward. Choose another port or address, or make room and try again. A rule that cannot be read raises
    :class:`ConfigError`.
    """


class LinkError(SlirpyError):
    """A link that cannot be opened or used."""


class StateError(SlirpyError, RuntimeError):
    """A call at the wrong moment, such as polling a closed network."""
