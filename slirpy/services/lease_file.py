"""Leases in a file: JSON, with times of the calendar, that people may read and programs may write.

A new file is written beside the old one and takes its place at once, so that whoever reads it sees all of the one
or all of the other, whenever slirpy or the machine may die. It is not forced to the disk: that would hold the
guests' traffic for as long as the disk takes, and what is at stake is the last second before a power cut.
"""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from slirpy.ownfile import check_own
from slirpy.rules.dhcp import LEASE_TIME_FOREVER
from slirpy.services.lease import FOREVER, Lease, LeaseState
from slirpy.units import SECOND

__all__ = ["LeaseFile"]

FORMAT = 1
_BEGINNING = re.compile(rb'\s*\{\s*"(format|leases)"\s*:')
_LONGEST_PREFIX = 200  # of 255 bytes that a name may have
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LeaseFile:
    """A :class:`~slirpy.services.lease_keeper.LeaseStore` that is a file.

    Args:
        path: the file; it need not exist, its folder must.
        wall: nanoseconds since 1970 (UTC): the calendar's time, which goes on between two runs.
    """

    def __init__(self, path: Path, wall: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._wall = wall

    def load(self, now: int) -> tuple[list[Lease], int]:
        """Read the leases. A file that is missing or empty has none.

        Raises:
            FileExistsError: it is no lease file of ours, or a damaged one. It is left as it is.
            OSError: it cannot be read.
        """
        check_own(self._path, _is_ours)
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return [], 0
        if not text:
            return [], 0
        entries = self._entries(text)
        offset = now - self._wall()
        leases = []
        lost = 0
        for entry in entries:
            try:
                leases.append(_read(entry, now, offset))
            except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
                lost += 1
        return leases, lost

    def _entries(self, text: bytes) -> list[Any]:
        try:
            content = json.loads(text)
            written = content["format"]
            entries = content["leases"]
            if not isinstance(entries, list):
                raise TypeError
        except (ValueError, TypeError, LookupError, RecursionError):
            raise FileExistsError(
                errno.EEXIST,
                "it is a damaged lease file, perhaps cut short",
                str(self._path),
            ) from None
        if written != FORMAT:
            why = f"it has format {written!r}, which this version of slirpy does not know"
            raise FileExistsError(errno.EEXIST, why, str(self._path))
        return entries

    def save(self, leases: Sequence[Lease], now: int) -> None:
        """Write the leases, in place of what was there.

        Raises:
            FileExistsError: somebody has put another file there.
            OSError: it cannot be written.
        """
        offset = self._wall() - now
        lines = ",\n".join(json.dumps(_entry(lease, offset)) for lease in leases)
        text = f'{{"format": {FORMAT}, "leases": [\n{lines}\n]}}\n'
        path = Path(os.path.realpath(self._path))  # a link stays one
        check_own(path, _is_ours)
        try:
            descriptor, name = tempfile.mkstemp(prefix=path.name[:_LONGEST_PREFIX] + ".", dir=path.parent)
            try:
                with open(descriptor, "w", encoding="ascii") as file:
                    file.write(text)
                os.replace(name, path)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:  # which names a file that nobody has heard of
            raise OSError(error.errno, error.strerror, str(self._path)) from None


def _is_ours(head: bytes) -> bool:
    """Whether a file begins as a lease file, or has only a part of the beginning of one."""
    return _BEGINNING.match(head) is not None or b'{"format": '.startswith(head)


def _entry(lease: Lease, offset: int) -> dict[str, Any]:
    until = (
        None if lease.expires == FOREVER else _EPOCH + timedelta(microseconds=(lease.expires + offset) // 1000)
    )
    return {
        "address": ".".join(map(str, lease.address)),
        "mac": lease.mac.hex(":"),
        "client_id": None if lease.client_id is None else lease.client_id.hex(":"),
        "hostname": lease.hostname,
        "state": lease.state.value,
        "expires": None if until is None else until.isoformat().replace("+00:00", "Z"),
        "seconds": lease.seconds,
        "firmware": lease.firmware,
    }


def _read(entry: Any, now: int, offset: int) -> Lease:
    """One lease.

    A clock that was set back between two runs makes no lease longer than it was given.

    Raises:
        ValueError, TypeError, LookupError, AttributeError, OverflowError: it is none.
    """
    state = LeaseState(entry["state"])
    seconds = entry["seconds"]
    address = bytes(map(int, entry["address"].split(".")))
    mac = bytes.fromhex(entry["mac"].replace(":", ""))
    client_id, hostname = entry["client_id"], entry["hostname"]
    if (
        len(address) != 4
        or len(mac) != 6
        or not 0 <= seconds <= LEASE_TIME_FOREVER
        or isinstance(seconds, float)
    ):
        raise ValueError
    if hostname is not None and not (hostname.isascii() and hostname.isprintable()):
        raise ValueError
    if entry["expires"] is None:
        expires = FOREVER
    else:
        until = datetime.fromisoformat(entry["expires"]) - _EPOCH
        expires = until // timedelta(microseconds=1) * 1000 + offset
        expires = min(expires, now + max(seconds, 600) * SECOND)  # 600: a declined one
    return Lease(
        address,
        mac,
        None if client_id is None else bytes.fromhex(client_id.replace(":", "")),
        hostname,
        expires,
        state,
        bool(entry["firmware"]),
        seconds,
    )
