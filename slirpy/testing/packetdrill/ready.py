"""``poll`` and ``epoll``: readiness of sockets."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from slirpy.tcp import State
from slirpy.testing.packetdrill.arguments import argument, inner, names, number, structure, words
from slirpy.testing.packetdrill.descriptors import WAITING, Descriptors, Outcome
from slirpy.testing.packetdrill.host import FailureError
from slirpy.testing.packetdrill.script import Call, UnsupportedError, Value
from slirpy.units import MS

__all__ = ["Epolls", "poll"]

_ALWAYS = {"POLLHUP", "POLLERR"}
_SAME = {"POLLRDNORM": "POLLIN", "POLLWRNORM": "POLLOUT"}
_POLL = "[{fd=..., events=..., revents=...}]"
_EPOLL = "{events=EPOLLIN, fd=4}"
_CHANGES = {"EPOLL_CTL_ADD", "EPOLL_CTL_MOD", "EPOLL_CTL_DEL"}


def _events(own: Descriptors, fd: Value) -> set[str]:
    """Return the events that a descriptor is ready for."""
    conn = own.conn
    if fd == own.listener:
        return {"POLLIN"} if own.acceptable() else set()
    if fd != own.fd:
        return {"POLLNVAL"}
    if not own.opened:
        return {"POLLOUT", "POLLHUP"}
    found = set()
    closed = conn.state is State.CLOSED
    if conn.fin_received or closed or own.read_shut:
        found |= {"POLLIN", "POLLRDHUP"}
    if conn.rcv_pending:
        found.add("POLLIN")
    if closed or ((conn.fin_received or own.read_shut) and conn.fin_queued):
        found.add("POLLHUP")
    if own.user.error:
        found.add("POLLERR")
    unsent = conn.snd_buf.length - conn.snd_buf.sent
    room = conn.snd_buf.length < conn.settings.snd_buffer
    if own.notsent_lowat:
        room = room and unsent * (2 if own.host.system.doubled else 1) < own.notsent_lowat
    if conn.state not in WAITING and room:
        found.add("POLLOUT")
    return found


def _same(events: set[str]) -> set[str]:
    return {_SAME.get(name, name) for name in events}


def _compared(call: Call, found: set[str], expected: set[str]) -> None:
    if found != expected:
        have, want = ("|".join(sorted(events)) or "nothing" for events in (found, expected))
        raise FailureError(f"{call.name}() reports {have}, not {want}")


def _waits(own: Descriptors, call: Call, index: int) -> bool:
    """Report whether a call that found nothing has to wait longer."""
    timeout = number(call, index) * MS
    if not timeout or call.until is None:
        return False
    return timeout < 0 or own.host.now < own.user.blocked_at + timeout


def poll(own: Descriptors, call: Call) -> Outcome:
    """Wait until one of some descriptors is ready."""
    items = argument(call, 0)
    if not isinstance(items, list) or not items:
        raise FailureError(f"poll() needs {_POLL}")
    ready = 0
    wanted: list[tuple[set[str], set[str]]] = []
    for item in items:
        if not isinstance(item, dict):
            raise FailureError(f"poll() needs {_POLL}")
        asked, expected = (_same(names(item.get(key))) for key in ("events", "revents"))
        now = _events(own, item.get("fd")) & (asked | _ALWAYS | {"POLLNVAL"})
        ready += bool(now)
        wanted.append((now, expected))
    if not ready and _waits(own, call, 2):
        return None
    for now, expected in wanted:
        _compared(call, now, expected)
    return ready


@dataclass(slots=True)
class _Watch:
    """A descriptor in an epoll."""

    asked: set[str]
    edge: bool
    once: bool
    data: Value
    reported: set[str] = field(default_factory=set)
    """Events reported and unchanged since: not reported again when edge-triggered."""
    received: int = 0
    """Bytes that had arrived by then."""


class Epolls:
    """The epoll descriptors of a script."""

    def __init__(self, own: Descriptors) -> None:
        self._own = own
        self._sets: dict[int, dict[int, _Watch]] = {}

    @property
    def descriptors(self) -> set[int]:
        """Return all open epoll descriptors."""
        return set(self._sets)

    def create(self, call: Call) -> Outcome:
        """Create an epoll descriptor."""
        if call.result is None or call.result < 0:
            raise FailureError(f"{call.name}() needs the descriptor that it returns, such as = 5")
        self._sets[call.result] = {}
        return call.result

    def close(self, fd: int) -> None:
        """Close an epoll descriptor, or a watched one."""
        self._sets.pop(fd, None)
        for watches in self._sets.values():
            watches.pop(fd, None)

    def observe(self) -> None:
        """Note changes: an event that is no longer ready makes a new edge when it becomes ready again."""
        for watches in self._sets.values():
            for fd, watch in watches.items():
                if watch.edge and watch.reported:
                    watch.reported &= _events(self._own, fd)

    def control(self, call: Call) -> Outcome:
        """Add, modify or remove a descriptor."""
        watches, fd = self._sets[number(call, 0)], number(call, 2)
        what = words(call, 1)
        if fd not in self._own.sockets:
            return -errno.EBADF
        if not what & _CHANGES:
            raise UnsupportedError(call.line, "this epoll_ctl()")
        if "EPOLL_CTL_ADD" in what and fd in watches:
            return -errno.EEXIST
        if "EPOLL_CTL_ADD" not in what and fd not in watches:
            return -errno.ENOENT
        if "EPOLL_CTL_DEL" in what:
            del watches[fd]
            return 0
        value = structure(call, 3, _EPOLL)
        asked = {name.removeprefix("E") for name in names(value.get("events"))}
        edge, once = "POLLET" in asked, "POLLONESHOT" in asked
        watches[fd] = _Watch(_same(asked - {"POLLET", "POLLONESHOT"}), edge, once, self._data(value))
        return 0

    @staticmethod
    def _data(value: dict[str, Value]) -> Value:
        return next((value[key] for key in ("fd", "ptr", "u32", "u64") if key in value), None)

    def wait(self, call: Call) -> Outcome:
        """Wait until a descriptor is ready."""
        most = number(call, 2)
        found = self._ready(self._sets[number(call, 0)])[:most]
        if not found and _waits(self._own, call, 3):
            return None
        expected = inner(argument(call, 1))
        items = expected if isinstance(expected, list) else [expected]
        for (watch, events), item in zip(found, items, strict=False):
            if not isinstance(item, dict):
                continue
            asked = _same({name.removeprefix("E") for name in names(item.get("events"))})
            _compared(call, events, asked)
            if self._data(item) not in (None, watch.data):
                raise FailureError(f"{call.name}() reports {watch.data}, not {self._data(item)}")
        for watch, events in found:
            watch.reported |= events
            watch.received = self._received()
            if watch.once:
                watch.asked = set()
        return len(found)

    def _received(self) -> int:
        conn = self._own.conn
        return (conn.rcv_nxt - conn.irs) & 0xFFFFFFFF

    def _ready(self, watches: dict[int, _Watch]) -> list[tuple[_Watch, set[str]]]:
        found = []
        for fd, watch in watches.items():
            events = _events(self._own, fd) & (watch.asked | _ALWAYS) if watch.asked else set()
            fresh = events - watch.reported
            if watch.edge and "POLLIN" in events and self._received() != watch.received:
                fresh.add("POLLIN")
            if fresh if watch.edge else events:
                found.append((watch, events))
        return found
