"""The destination of an audit log, as the option ``audit`` takes it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from slirpy.errors import ConfigError
from slirpy.paths import PATH_MAX, is_unix_path
from slirpy.records import NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AuditPlace", "audit_text", "parse_audit"]

_FORMS = "name a file, or write fd:N or unix:PATH"


class AuditPlace(NamedTuple):
    """Destination of a log: exactly one of these."""

    file: Path | None = None
    descriptor: int | None = None
    socket: str = ""


def parse_audit(text: str) -> AuditPlace:
    """Read ``FILE``, ``fd:N`` or ``unix:PATH``.

    Raises:
        ConfigError: it cannot be read.
    """
    if text.startswith("fd:"):
        number = text.removeprefix("fd:")
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise ConfigError(f'audit "{text}": "{number}" is not the number of a descriptor, such as fd:3')
        return AuditPlace(descriptor=int(number))
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not is_unix_path(path):
            raise ConfigError(
                f'audit "{text}": the path of a socket has 1 to {PATH_MAX} bytes; such as unix:/run/log.sock'
            )
        return AuditPlace(socket=path)
    if not text or "\0" in text:
        raise ConfigError(f"audit {text!r} is not a path; {_FORMS}")
    from pathlib import Path

    return AuditPlace(file=Path(text))


def audit_text(value: Any) -> str:
    """Check the value of the option ``audit``, unless it is a function.

    Raises:
        ConfigError: neither text nor a path, or it cannot be read.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise ConfigError(f"audit {value!r} is neither a path nor a function; {_FORMS}")
    parse_audit(value)
    return value
