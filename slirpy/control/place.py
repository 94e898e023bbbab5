"""Places at which a network is controlled: a Unix socket, or a TCP port with a token."""

from __future__ import annotations

import os
import secrets
import socket
import stat

from slirpy.errors import ConfigError, LinkError
from slirpy.links.endpoint import Endpoint, parse_listen_address, reason

__all__ = ["bind", "check_token", "new_token", "parse_place", "read_token"]

_TOKEN_MIN = 16
"""Least characters of a token: nobody tries that many."""
_TOKEN_MAX = 4096
_TOKEN_BYTES = 24


def parse_place(text: object, what: str = "control") -> Endpoint:
    """Read ``unix:PATH`` or ``tcp:ADDRESS:PORT``; port 0 picks a free one.

    Args:
        text: the place.
        what: name of the option, for messages.

    Raises:
        ConfigError: it has neither form, the path is too long, or the host has no such address.
    """
    if not isinstance(text, str) or not text.startswith(("unix:", "tcp:")):
        shown = f'"{text}"' if isinstance(text, str) else repr(text)
        raise ConfigError(f"{what} {shown} is not a place; write unix:PATH, or tcp:ADDRESS:PORT")
    try:
        place = parse_listen_address(text)
    except LinkError as error:
        raise ConfigError(f'{what} "{text}": {error}') from None
    assert isinstance(place, Endpoint)
    return place


def bind(place: Endpoint) -> socket.socket:
    """Open a listening socket for its owner only. The socket of a program of this user that has ended is replaced.

    Raises:
        LinkError: the place is in use, is not a socket, belongs to another user, or is not available.
    """
    if place.path is not None:
        try:
            status = os.lstat(place.path)
        except OSError:
            pass  # there is nothing, or bind() says why not
        else:
            if stat.S_ISSOCK(status.st_mode) and hasattr(os, "geteuid") and status.st_uid != os.geteuid():
                raise LinkError(
                    f"cannot listen on {place}: it is the socket of another user; choose another path"
                )
    return place.bind(socket.SOCK_STREAM)


def read_token(path: str) -> str:
    """Return the token in a file. A file that does not exist is created with a new token, for its owner only.

    Raises:
        LinkError: the file cannot be read or created.
        ConfigError: it holds no token, or one that can be guessed.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _existing_token(path)
    except OSError as error:
        raise LinkError(f'control_token_file "{path}": cannot be created: {reason(error)}') from None
    token = new_token()
    with os.fdopen(fd, "w") as file:
        file.write(token + "\n")
    return token


def _existing_token(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            token = file.read(_TOKEN_MAX + 1).strip()
    except OSError as error:
        raise LinkError(f'control_token_file "{path}": cannot be read: {reason(error)}') from None
    except UnicodeDecodeError:
        token = ""
    check_token(token, f'control_token_file "{path}"')
    return token


def check_token(token: object, what: str = "token") -> None:
    """Check that a token can be sent in a header, and cannot be guessed.

    Raises:
        ConfigError: it is shorter than 16 characters, longer than 4096, or not of visible ASCII characters.
    """
    if (
        not isinstance(token, str)
        or not _TOKEN_MIN <= len(token) <= _TOKEN_MAX
        or not all("!" <= letter <= "~" for letter in token)
    ):
        raise ConfigError(
            f"{what} must hold one token of {_TOKEN_MIN} to {_TOKEN_MAX} visible ASCII characters;"
            " `openssl rand -hex 24` makes one"
        )


def new_token() -> str:
    """Return a new token, of characters that need no quoting in an address."""
    return secrets.token_urlsafe(_TOKEN_BYTES)
