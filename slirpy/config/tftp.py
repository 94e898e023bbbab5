"""Sources of files for TFTP: a folder of the host, or a Python callable."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from slirpy.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TftpSource", "check_tftp"]

TftpSource: TypeAlias = Callable[[str], bytes | BinaryIO | None]
"""Callable that opens a file by its name as the guest sent it.

It returns the content, a binary file, or None for "no such file". A binary file is read from its current position in
pieces while the network waits, and closed at the end of the transfer. The callable may raise
:class:`FileNotFoundError`, :class:`PermissionError` or another :class:`OSError`; the guest gets the matching error.
"""


def check_tftp(
    given: Path | TftpSource | None,
    *,
    write: bool = False,
    ignore_case: bool = False,
    single_port: bool = False,
) -> Path | TftpSource | None:
    """Return a folder as an absolute path after checking that it can be served, or a callable unchanged.

    Args:
        given: the folder, a callable, or None for no TFTP.
        write: whether guests may write.
        ignore_case: whether the case of names is ignored.
        single_port: whether all answers come from port 69.

    Raises:
        ConfigError: the folder is missing, is not a folder, or cannot be read, or written if that is wanted; or
            another option has no use without a folder, or without TFTP.
    """
    if given is None or callable(given):
        advice = "give tftp=/srv/tftp, say" if given is None else "give that instead of a callable"
        if write:
            raise ConfigError(f"tftp_write needs a folder to write to; {advice}")
        if ignore_case:
            raise ConfigError(f"tftp_ignore_case needs a folder to find files in; {advice}")
        if single_port and given is None:
            raise ConfigError(f"tftp_single_port is for TFTP, which is off; {advice}")
        return given
    from pathlib import Path

    folder = Path(os.path.abspath(given))
    if not folder.exists():
        raise ConfigError(f'tftp "{folder}" does not exist; make it with: mkdir {folder}')
    if not folder.is_dir():
        raise ConfigError(f'tftp "{folder}" is not a folder; give the one that the files lie in')
    for right, flag in (("read", os.R_OK | os.X_OK), *((("written to", os.W_OK),) if write else ())):
        if not os.access(folder, flag):
            raise ConfigError(f'tftp "{folder}" may not be {right} by this user; change its mode or its owner')
    return folder
