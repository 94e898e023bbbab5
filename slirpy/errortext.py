"""Names and texts of ``errno`` values, the same on every system."""

from __future__ import annotations

import errno
import os
import sys

__all__ = ["errno_name", "strerror"]

# On Windows, errors of sockets have numbers of their own, of which os.strerror knows none.
_WINSOCK = {
    "EACCES": "Permission denied",
    "EADDRINUSE": "Address already in use",
    "EADDRNOTAVAIL": "Cannot assign requested address",
    "EAFNOSUPPORT": "Address family not supported by protocol",
    "EALREADY": "Operation already in progress",
    "ECONNABORTED": "Software caused connection abort",
    "ECONNREFUSED": "Connection refused",
    "ECONNRESET": "Connection reset by peer",
    "EDESTADDRREQ": "Destination address required",
    "EHOSTDOWN": "Host is down",
    "EHOSTUNREACH": "No route to host",
    "EINPROGRESS": "Operation now in progress",
    "EISCONN": "Transport endpoint is already connected",
    "EMFILE": "Too many open files",
    "EMSGSIZE": "Message too long",
    "ENETDOWN": "Network is down",
    "ENETRESET": "Network dropped connection on reset",
    "ENETUNREACH": "Network is unreachable",
    "ENOBUFS": "No buffer space available",
    "ENOPROTOOPT": "Protocol not available",
    "ENOTCONN": "Transport endpoint is not connected",
    "ENOTSOCK": "Socket operation on non-socket",
    "EOPNOTSUPP": "Operation not supported",
    "EPROTONOSUPPORT": "Protocol not supported",
    "EPROTOTYPE": "Protocol wrong type for socket",
    "ESHUTDOWN": "Cannot send after transport endpoint shutdown",
    "ETIMEDOUT": "Connection timed out",
    "EWOULDBLOCK": "Resource temporarily unavailable",
}
_TEXTS: dict[int, str] = {}
if sys.platform == "win32":
    for _name, _text in _WINSOCK.items():
        for _form in (f"WSA{_name}", _name):
            if hasattr(errno, _form):
                _TEXTS[getattr(errno, _form)] = _text


def strerror(number: int) -> str:
    """Return the text of an ``errno`` value, such as "Connection refused"."""
    return _TEXTS.get(number) or os.strerror(number)


def errno_name(number: int) -> str:
    """Return the name of an ``errno`` value, such as ``ECONNREFUSED``; of an unknown one, the number as text."""
    return errno.errorcode.get(number, str(number)).removeprefix("WSA")
