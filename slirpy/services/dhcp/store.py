"""Saving leases, so that they outlive the program.

:class:`LeaseKeeper` decides when the tables are saved, and a :class:`LeaseStore` saves it. The store used by
:class:`slirpy.Slirp` is :class:`LeaseFile`: JSON with calendar times, which people can read and programs can
write.

Each save writes a new file beside the old one and then replaces that, so a reader sees all of the old file or all
of the new one, even if slirpy or the machine dies. There is no fsync: it would stall the guests' traffic for as
long as the disk takes, and only the last second before a power failure is at stake.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from slirpy.config.dhcp import LEASE_TIME_FOREVER
from slirpy.errors import ConfigError
from slirpy.interfaces import ServiceNetwork, Timer
from slirpy.ownfile import check_own
from slirpy.records import Protocol
from slirpy.services.dhcp.lease import FOREVER, Lease, LeaseState
from slirpy.services.dhcp.leases import LeaseTable
from slirpy.units import MS, SECOND

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LeaseFile", "LeaseKeeper", "LeaseStore"]

FORMAT = 1
_BEGINNING = rb'\s*\{\s*"(format|leases)"\s*:'
_LONGEST_PREFIX = 200
"""Characters of the file's name in the temporary file's; a name has at most 255 bytes."""


class LeaseStore(Protocol):
    """Keeps leases across restarts.

    Times are monotonic nanoseconds of the current run; the store converts them to and from times that last.
    """

    def load(self, now: int) -> tuple[list[Lease], int]:
        """Load the saved leases; returns them and the number of entries that could not be read.

        Raises:
            OSError: the store cannot be used.
        """

    def save(self, leases: Sequence[Lease], now: int) -> None:
        """Replace the saved leases by these, all or none of them.

        Raises:
            OSError: saving failed; the previous leases are still there.
        """


class LeaseKeeper:
    """Saves the tables soon after one of them has changed.

    The first change after a quiet time is saved in the same batch. The next save waits for a second, plus a
    millisecond per lease, so saving takes a few per cent of the time at most, however often leases change. A client
    whose lease is lost in between requests the same address when it renews, and gets it.
    """

    def __init__(self, tables: Sequence[LeaseTable], network: ServiceNetwork, store: LeaseStore) -> None:
        """Load the saved leases into the tables, one for each IP family.

        Raises:
            ConfigError: the store cannot be used.
        """
        self._tables = tables
        self._network = network
        self._store = store
        self._saved = self._changes()
        self._not_before = now = network.now
        self._timer: Timer | None = None
        try:
            leases, lost = store.load(now)
            lost += self._restore(leases, now)
            store.save(self._kept(now), now)  # fails now, not at the first lease, if the store is read-only
        except OSError as error:
            other = ", or repair this one or move it away" if isinstance(error, FileExistsError) else ""
            raise ConfigError(
                f'lease_file "{error.filename}": {error.strerror}; name a file to write to{other}'
            ) from None
        network.stats.dhcp_leases_lost += lost

    def _changes(self) -> int:
        return sum(table.changes for table in self._tables)

    def _kept(self, now: int) -> list[Lease]:
        return [lease for table in self._tables for lease in table.kept(now)]

    def _restore(self, leases: Sequence[Lease], now: int) -> int:
        """Give each table the leases of its family; returns the number of those that none of them took."""
        refused = len(leases)
        for table in self._tables:
            own = [lease for lease in leases if len(lease.address) == len(table.pool.first)]
            refused += table.restore(own, now) - len(own)
        return refused

    def check(self) -> None:
        """Schedule a save if a table has changed."""
        if self._timer is None and self._saved != self._changes():
            self._timer = self._network.call_at(max(self._network.now, self._not_before), self._save)

    def _save(self) -> None:
        now = self._network.now
        self._timer = None
        self._not_before = now + SECOND + sum(map(len, self._tables)) * MS
        try:
            self._store.save(self._kept(now), now)
            self._saved = self._changes()
        except OSError:  # such as a full disk, which is no reason to stop serving guests
            self._network.stats.dhcp_save_failures += 1
            self.check()

    def close(self) -> None:
        """Save the changes that are not saved yet."""
        if self._timer is not None:
            self._timer.cancel()
        if self._saved != self._changes():
            self._save()


class LeaseFile:
    """A :class:`LeaseStore` in a JSON file.

    Args:
        path: the file, which need not exist; its folder must.
        wall: returns nanoseconds since 1970 (UTC), the time that continues between two runs.
    """

    def __init__(self, path: Path, wall: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._wall = wall

    def load(self, now: int) -> tuple[list[Lease], int]:
        """Read the leases; none if the file is missing or empty.

        Raises:
            FileExistsError: the file is not a lease file, or a damaged one. It is left as it is.
            OSError: the file cannot be read.
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
        import json

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
        """Replace the file by one with these leases.

        Raises:
            FileExistsError: the file is not a lease file any more; somebody has replaced it.
            OSError: the file cannot be written.
        """
        import json
        import tempfile
        from pathlib import Path

        offset = self._wall() - now
        lines = ",\n".join(json.dumps(_entry(lease, offset)) for lease in leases)
        text = f'{{"format": {FORMAT}, "leases": [\n{lines}\n]}}\n'
        path = Path(os.path.realpath(self._path))  # replaces the target of a symbolic link, not the link
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
        except OSError as error:
            # The error names the temporary file, which the user does not know.
            raise OSError(error.errno, error.strerror, str(self._path)) from None


def _is_ours(head: bytes) -> bool:
    """Report whether a file starts like a lease file, or contains only a part of such a start."""
    return re.match(_BEGINNING, head) is not None or b'{"format": '.startswith(head)


def _entry(lease: Lease, offset: int) -> dict[str, Any]:
    until = None
    if lease.expires != FOREVER:
        from datetime import UTC, datetime, timedelta

        until = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=(lease.expires + offset) // 1000)
    return {
        "address": str(ip_address(lease.address)),
        "mac": lease.mac.hex(":"),
        "client_id": None if lease.client_id is None else lease.client_id.hex(":"),
        **({"iaid": lease.iaid.hex()} if lease.iaid else {}),
        "hostname": lease.hostname,
        "state": lease.state.value,
        "expires": None if until is None else until.isoformat().replace("+00:00", "Z"),
        "seconds": lease.seconds,
        "firmware": lease.firmware,
    }


def _read(entry: Any, now: int, offset: int) -> Lease:
    """Read one lease.

    If the clock was set back between two runs, the lease still ends within its lease time from now.

    Raises:
        ValueError, TypeError, LookupError, AttributeError, OverflowError: the entry is not a lease.
    """
    state = LeaseState(entry["state"])
    seconds = entry["seconds"]
    address = _address(entry["address"])
    mac = bytes.fromhex(entry["mac"].replace(":", ""))
    client_id, hostname = entry["client_id"], entry["hostname"]
    if len(mac) != 6 or not 0 <= seconds <= LEASE_TIME_FOREVER or isinstance(seconds, float):
        raise ValueError
    if hostname is not None and not (hostname.isascii() and hostname.isprintable()):
        raise ValueError
    if entry["expires"] is None:
        expires = FOREVER
    else:
        from datetime import UTC, datetime, timedelta

        until = datetime.fromisoformat(entry["expires"]) - datetime(1970, 1, 1, tzinfo=UTC)
        expires = until // timedelta(microseconds=1) * 1000 + offset
        expires = min(expires, now + max(seconds, 600) * SECOND)  # 600 is for declined addresses
    return Lease(
        address,
        mac,
        None if client_id is None else bytes.fromhex(client_id.replace(":", "")),
        hostname,
        expires,
        state,
        bool(entry["firmware"]),
        seconds,
        iaid=bytes.fromhex(entry.get("iaid", "")),
    )


def _address(text: Any) -> bytes:
    if not isinstance(text, str):  # a number is an address too, for ipaddress
        raise TypeError
    return ip_address(text).packed
