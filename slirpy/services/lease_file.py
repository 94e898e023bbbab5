"""Leases in a file: JSON, with times of the calendar, that people may read and programs may write.

A new file is written beside the old one and takes its place at once, so that whoever reads it sees all of the one
or all of the other, whenever slirpy or the machine may die. It is not forced to the disk: that would hold the
guests' traffic for as long as the disk takes, and what is at stake is the last second before a power cut.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from slirpy.rules.dhcp import LEASE_TIME_FOREVER
from slirpy.services.lease import FOREVER, Lease, LeaseState

__all__ = ["LeaseFile"]

FORMAT = 1
_SECOND = 1_000_000_000
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
        """Read the leases. A file that is none of ours is put aside, as ``NAME.corrupt``, and counts as one lost."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return [], 0
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise ValueError
            entries = list(content["leases"])
        except (ValueError, TypeError, LookupError, RecursionError):
            os.replace(self._path, self._path.with_name(self._path.name + ".corrupt"))
            return [], 1
        offset = now - self._wall()
        leases = []
        lost = 0
        for entry in entries:
            try:
                leases.append(_read(entry, now, offset))
            except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
                lost += 1
        return leases, lost

    def save(self, leases: Sequence[Lease], now: int) -> None:
        """Write the leases, in place of what was there."""
        offset = self._wall() - now
        lines = ",\n".join(json.dumps(_entry(lease, offset)) for lease in leases)
        text = f'{{"format": {FORMAT}, "leases": [\n{lines}\n]}}\n'
        path = Path(os.path.realpath(self._path))  # a link stays one
        descriptor, name = tempfile.mkstemp(prefix=path.name + ".", dir=path.parent)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(text)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


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
        expires = min(expires, now + max(seconds, 600) * _SECOND)  # 600: a declined one
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
