"""libslirp without QEMU, which has no syntax for some of what the library can do: a program that drives it by ctypes.

``python -m tests.system.oracle_library FRAMES CONTROL`` takes two descriptors of sockets. A packet of FRAMES is a
frame. One of CONTROL is a request in JSON, answered by one: ``["forward", HOST, PORT, GUEST, PORT]`` and
``["unforward", HOST, PORT]``, for TCP over IPv6, and ``["flows"]``.
"""

from __future__ import annotations

import ctypes
import json
import select
import socket
import sys
import time
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_void_p,
)
from ipaddress import IPv4Address, IPv6Address
from typing import Any

LIBRARY = "libslirp.so.0"
IN, OUT, PRI, ERR, HUP = 1, 2, 4, 8, 16
"""Events of libslirp."""
EVENTS = {IN: select.POLLIN, OUT: select.POLLOUT, PRI: select.POLLPRI, ERR: select.POLLERR, HUP: select.POLLHUP}

Address4, Address6 = c_uint32 * 1, c_uint32 * 4  # their alignment matters
SendPacket = CFUNCTYPE(c_ssize_t, POINTER(c_char), c_size_t, c_void_p)
GuestError = CFUNCTYPE(None, c_char_p, c_void_p)
ClockGetNs = CFUNCTYPE(c_int64, c_void_p)
TimerCallback = CFUNCTYPE(None, c_void_p)
TimerNew = CFUNCTYPE(c_void_p, TimerCallback, c_void_p, c_void_p)
TimerFree = CFUNCTYPE(None, c_void_p, c_void_p)
TimerMod = CFUNCTYPE(None, c_void_p, c_int64, c_void_p)
PollFd = CFUNCTYPE(None, c_int, c_void_p)
Notify = CFUNCTYPE(None, c_void_p)
AddPoll = CFUNCTYPE(c_int, c_int, c_int, c_void_p)
GetEvents = CFUNCTYPE(c_int, c_int, c_void_p)


class Callbacks(Structure):
    """``SlirpCb`` of version 1."""

    _fields_ = (
        ("send_packet", SendPacket), ("guest_error", GuestError), ("clock_get_ns", ClockGetNs),
        ("timer_new", TimerNew), ("timer_free", TimerFree), ("timer_mod", TimerMod),
        ("register_poll_fd", PollFd), ("unregister_poll_fd", PollFd), ("notify", Notify),
    )  # fmt: skip


class Configuration(Structure):
    """``SlirpConfig`` of version 1."""

    _fields_ = (
        ("version", c_uint32), ("restricted", c_int), ("in_enabled", c_bool), ("vnetwork", Address4),
        ("vnetmask", Address4), ("vhost", Address4), ("in6_enabled", c_bool), ("vprefix_addr6", Address6),
        ("vprefix_len", c_uint8), ("vhost6", Address6), ("vhostname", c_char_p), ("tftp_server_name", c_char_p),
        ("tftp_path", c_char_p), ("bootfile", c_char_p), ("vdhcp_start", Address4), ("vnameserver", Address4),
        ("vnameserver6", Address6), ("vdnssearch", c_void_p), ("vdomainname", c_char_p), ("if_mtu", c_size_t),
        ("if_mru", c_size_t), ("disable_host_loopback", c_bool), ("enable_emu", c_bool),
    )  # fmt: skip


class SocketAddress6(Structure):
    """``struct sockaddr_in6``."""

    _fields_ = (
        ("family", c_uint16), ("port", c_uint8 * 2), ("flowinfo", c_uint32), ("address", Address6),
        ("scope", c_uint32),
    )  # fmt: skip


def _ip4(text: str) -> Any:
    return Address4.from_buffer_copy(IPv4Address(text).packed)


def _ip6(text: str) -> Any:
    return Address6.from_buffer_copy(IPv6Address(text).packed)


def _place(address: str, port: int) -> SocketAddress6:
    return SocketAddress6(socket.AF_INET6, (c_uint8 * 2)(*port.to_bytes(2, "big")), 0, _ip6(address), 0)


class Driver:
    """One network with the addresses that it has by default, and the loop around it."""

    def __init__(self, frames: socket.socket, control: socket.socket) -> None:
        self.frames, self.control = frames, control
        self.timers: dict[int, tuple[Any, Any]] = {}
        self.due: dict[int, int] = {}
        """Milliseconds at which timers run out."""
        self.library = ctypes.CDLL(LIBRARY)
        self.library.slirp_new.restype = c_void_p
        self.library.slirp_connection_info.restype = c_char_p
        self.kept = Callbacks(
            SendPacket(self._send), GuestError(lambda text, opaque: None),
            ClockGetNs(lambda opaque: time.monotonic_ns()), TimerNew(self._timer_new),
            TimerFree(lambda timer, opaque: None), TimerMod(self._timer_mod), PollFd(lambda fd, opaque: None),
            PollFd(lambda fd, opaque: None), Notify(lambda opaque: None),
        )  # fmt: skip
        configuration = Configuration(
            1, 0, True, _ip4("10.0.2.0"), _ip4("255.255.255.0"), _ip4("10.0.2.2"), True, _ip6("fec0::"), 64,
            _ip6("fec0::2"), None, None, None, None, _ip4("10.0.2.15"), _ip4("10.0.2.3"), _ip6("fec0::3"), None, None,
            0, 0, False, False,
        )  # fmt: skip
        made = self.library.slirp_new(ctypes.byref(configuration), ctypes.byref(self.kept), None)
        self.slirp = c_void_p(made)

    def _send(self, data: Any, length: int, opaque: Any) -> int:
        self.frames.send(data[:length])
        return length

    def _timer_new(self, callback: Any, opaque: Any, ours: Any) -> int:
        number = len(self.timers) + 1
        self.timers[number] = callback, opaque
        return number

    def _timer_mod(self, timer: int, when: int, opaque: Any) -> None:
        self.due[timer] = when

    def run(self) -> None:
        """Go on until the other end of a socket is closed."""
        while True:
            poll, watched = select.poll(), []
            timeout = c_uint32(1000)

            def add(fd: int, events: int, opaque: Any) -> int:
                watched.append(fd)  # noqa: B023 # called at once
                mask = sum(EVENTS[event] for event in EVENTS if events & event)
                poll.register(fd, mask)  # noqa: B023
                return len(watched) - 1  # noqa: B023

            self.library.slirp_pollfds_fill(self.slirp, ctypes.byref(timeout), AddPoll(add), None)
            for own in (self.frames, self.control):
                poll.register(own, select.POLLIN)
            now = time.monotonic_ns() // 1_000_000
            wait = min([timeout.value, *(max(when - now, 0) for when in self.due.values())])
            ready = dict(poll.poll(wait))

            def events(index: int, opaque: Any) -> int:
                got = ready.get(watched[index], 0)  # noqa: B023
                return sum(event for event, mask in EVENTS.items() if got & mask)

            self.library.slirp_pollfds_poll(self.slirp, 0, GetEvents(events), None)
            now = time.monotonic_ns() // 1_000_000
            for timer in [timer for timer, when in self.due.items() if when <= now]:
                del self.due[timer]
                callback, opaque = self.timers[timer]
                callback(opaque)
            if self.frames.fileno() in ready:
                frame = self.frames.recv(1 << 17)
                if not frame:
                    return
                self.library.slirp_input(self.slirp, frame, len(frame))
            if self.control.fileno() in ready:
                request = self.control.recv(1 << 16)
                if not request:
                    return
                self.control.send(json.dumps(self._answer(*json.loads(request))).encode())

    def _answer(self, what: str, *arguments: Any) -> Any:
        if what == "flows":
            return self.library.slirp_connection_info(self.slirp).decode()
        host = _place(arguments[0], arguments[1])
        size = ctypes.sizeof(host)
        if what == "unforward":
            return self.library.slirp_remove_hostxfwd(self.slirp, ctypes.byref(host), size, 0)
        guest = _place(arguments[2], arguments[3])
        return self.library.slirp_add_hostxfwd(
            self.slirp, ctypes.byref(host), size, ctypes.byref(guest), size, 0
        )


if __name__ == "__main__":
    Driver(*(socket.socket(fileno=int(each)) for each in sys.argv[1:3])).run()
