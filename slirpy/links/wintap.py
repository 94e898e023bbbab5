"""The TAP adapter of Windows: tap-windows6, the driver that OpenVPN ships.

The adapter is opened by the name of its connection, and carries Ethernet frames by overlapped I/O. A poller of
Windows waits for sockets only, so two threads read and write. Their queues are short, and a socket pair wakes the
poller.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic_ns
from typing import Any

from slirpy.config.values import as_text
from slirpy.errors import LinkError
from slirpy.fair import TURN, TURN_FRAMES
from slirpy.interfaces import READ, Frame, LinkFeatures, LinkSink, Poller
from slirpy.links.starting import check_start
from slirpy.records import NamedTuple

__all__ = ["QUEUE", "Adapter", "WindowsTapLink", "open_adapter"]

QUEUE = 256
"""Frames that wait in each direction. A full queue holds the reader, or the stack's flows, until there is room."""

_CLASS = "{4D36E972-E325-11CE-BFC1-08002BE10318}"  # network adapters
_DRIVERS = rf"SYSTEM\CurrentControlSet\Control\Class\{_CLASS}"
_CONNECTIONS = rf"SYSTEM\CurrentControlSet\Control\Network\{_CLASS}"
_COMPONENTS = ("tap0901", r"root\tap0901", "tap_ovpnconnect", r"root\tap_ovpnconnect")
"""Names of the driver, in its versions for OpenVPN and for OpenVPN Connect."""

# <tap-windows.h>: CTL_CODE(FILE_DEVICE_UNKNOWN, number, METHOD_BUFFERED, FILE_ANY_ACCESS)
_GET_MTU, _SET_MEDIA_STATUS = (0x22 << 16 | number << 2 for number in (3, 6))
# <winnt.h>, <winerror.h>
_GENERIC_READ, _GENERIC_WRITE, _OPEN_EXISTING = 0x80000000, 0x40000000, 3
_ATTRIBUTE_SYSTEM, _FLAG_OVERLAPPED = 0x4, 0x40000000
_INVALID_HANDLE = ctypes.c_void_p(-1).value
_IO_PENDING = 997
_IN_USE = (5, 31, 32)  # access denied, a device that does not work, sharing violation
_FRAME_ROOM = 65535 + 18
_JOIN_SECONDS, _ATTEMPTS = 0.02, 100


class _Overlapped(ctypes.Structure):
    """``OVERLAPPED``: the state of one operation. The driver has no offsets."""

    _fields_ = (
        ("internal", ctypes.c_void_p),
        ("internal_high", ctypes.c_void_p),
        ("offset", ctypes.c_void_p),
        ("event", ctypes.c_void_p),
    )


class Adapter:
    """An open adapter, on the functions of ``kernel32``. Each direction is used by one thread at a time.

    Args:
        guid: the adapter's identifier, with braces.
        kernel: the library, or what stands for it in tests.
        code: returns the number of the last error.

    Raises:
        OSError: the adapter cannot be opened; ``errno`` is the number of Windows' error.
    """

    def __init__(self, guid: str, kernel: Any, code: Callable[[], int]) -> None:
        self._kernel, self._code = kernel, code
        self._events: list[int] = []
        self._handle: int = kernel.CreateFileW(
            rf"\\.\Global\{guid}.tap",
            _GENERIC_READ | _GENERIC_WRITE,
            0,
            None,
            _OPEN_EXISTING,
            _ATTRIBUTE_SYSTEM | _FLAG_OVERLAPPED,
            None,
        )
        if self._handle in (None, _INVALID_HANDLE):
            self._handle = 0
            raise OSError(code(), "CreateFile")
        try:
            self._reading, self._writing, self._asking = (self._operation() for _ in range(3))
            self._buffer = ctypes.create_string_buffer(_FRAME_ROOM)
            self.mtu = self._ask(_GET_MTU, 0) or 1500
            self._ask(_SET_MEDIA_STATUS, 1)  # as if a cable were plugged in
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes:
        """Wait for a frame.

        Raises:
            OSError: the adapter has gone, or :meth:`cancel` was called.
        """
        operation = self._reading
        count = self._finish(
            self._kernel.ReadFile(self._handle, self._buffer, _FRAME_ROOM, None, ctypes.byref(operation)),
            operation,
        )
        return ctypes.string_at(self._buffer, count)

    def write(self, frame: bytes) -> None:
        """Write a frame; may wait.

        Raises:
            OSError: the adapter refuses the frame, or has gone.
        """
        operation = self._writing
        self._finish(
            self._kernel.WriteFile(self._handle, frame, len(frame), None, ctypes.byref(operation)), operation
        )

    def cancel(self) -> None:
        """End the calls of other threads."""
        self._kernel.CancelIoEx(self._handle, None)

    def close(self) -> None:
        """Close the adapter. Harmless when repeated."""
        for handle in (self._handle, *self._events):
            if handle:
                self._kernel.CloseHandle(handle)
        self._handle, self._events = 0, []

    def _operation(self) -> _Overlapped:
        event = self._kernel.CreateEventW(None, True, False, None)
        if not event:
            raise OSError(self._code(), "CreateEvent")
        self._events.append(event)
        return _Overlapped(event=event)

    def _ask(self, request: int, value: int) -> int:
        """Set or get a number of 32 bits by ``DeviceIoControl``."""
        word, operation = ctypes.c_uint32(value), self._asking
        self._finish(
            self._kernel.DeviceIoControl(
                self._handle,
                request,
                ctypes.byref(word),
                4,
                ctypes.byref(word),
                4,
                None,
                ctypes.byref(operation),
            ),
            operation,
        )
        return word.value

    def _finish(self, done: int, operation: _Overlapped) -> int:
        """Wait for an operation; returns its number of bytes."""
        if not done and (code := self._code()) != _IO_PENDING:
            raise OSError(code, "TAP adapter")
        count = ctypes.c_uint32()
        if not self._kernel.GetOverlappedResult(
            self._handle, ctypes.byref(operation), ctypes.byref(count), True
        ):
            raise OSError(self._code(), "TAP adapter")
        return count.value


class Connection(NamedTuple):
    """A TAP adapter that the registry knows."""

    name: str
    guid: str


def connections(registry: Any) -> list[Connection]:
    """Find the TAP adapters and the names of their connections.

    Args:
        registry: the module ``winreg``, or what stands for it in tests.
    """
    found = []
    for number in _subkeys(registry, _DRIVERS):
        if str(_value(registry, rf"{_DRIVERS}\{number}", "ComponentId")).lower() in _COMPONENTS:
            guid = _value(registry, rf"{_DRIVERS}\{number}", "NetCfgInstanceId")
            name = _value(registry, rf"{_CONNECTIONS}\{guid}\Connection", "Name")
            if guid and name:
                found.append(Connection(name, guid))
    return found


def _subkeys(registry: Any, path: str) -> Iterable[str]:
    try:
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, path) as key:
            for index in range(registry.QueryInfoKey(key)[0]):
                yield registry.EnumKey(key, index)
    except OSError:
        return  # there are no network adapters


def _value(registry: Any, path: str, name: str) -> str:
    try:
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, path) as key:
            return str(registry.QueryValueEx(key, name)[0])
    except OSError:
        return ""  # some keys need more rights, and others have no such value


def open_adapter(
    name: str, *, registry: Any = None, kernel: Any = None, code: Callable[[], int] | None = None
) -> Adapter:
    """Open the TAP adapter of a connection. The last three arguments stand for Windows in tests.

    Args:
        name: the connection's name, as "Network Connections" shows it, in any case.
        registry: the module ``winreg``.
        kernel: the library ``kernel32``.
        code: returns the number of its last error.

    Raises:
        ConfigError: ``name`` is no text.
        LinkError: there is no such adapter, or it cannot be opened; the text says what to do.
    """
    as_text("name", name)
    if registry is None or kernel is None or code is None:
        if os.name != "nt":
            raise LinkError(f"TAP adapters of Windows need Windows; this is {sys.platform}")
        registry, kernel, code = _windows()
    there = connections(registry)
    guid = next((each.guid for each in there if each.name.lower() == name.lower()), None)
    if guid is None:
        names = ", ".join(f'"{each.name}"' for each in there)
        advice = f"there are {names}" if there else "install tap-windows6, which comes with OpenVPN"
        raise LinkError(f'there is no TAP adapter "{name}" here; {advice}')
    try:
        return Adapter(guid, kernel, code)
    except OSError as error:
        number = error.errno or 0
        why = "it is in use, or its user has no right to it" if number in _IN_USE else f"Windows error {number}"
        raise LinkError(
            f'the TAP adapter "{name}" cannot be opened: {why}; end what uses it, or run as Administrator'
        ) from None


def _windows() -> tuple[Any, Any, Callable[[], int]]:
    import importlib

    from slirpy.winapi import last_code, library

    kernel = library("kernel32")
    pointer, word, true = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int
    for name, returned, arguments in (
        ("CreateFileW", pointer, [ctypes.c_wchar_p, word, word, pointer, word, word, pointer]),
        ("CreateEventW", pointer, [pointer, true, true, ctypes.c_wchar_p]),
        ("DeviceIoControl", true, [pointer, word, pointer, word, pointer, word, pointer, pointer]),
        ("ReadFile", true, [pointer, pointer, word, pointer, pointer]),
        ("WriteFile", true, [pointer, ctypes.c_char_p, word, pointer, pointer]),
        ("GetOverlappedResult", true, [pointer, pointer, pointer, true]),
        ("CancelIoEx", true, [pointer, pointer]),
        ("CloseHandle", true, [pointer]),
    ):
        function = getattr(kernel, name)
        function.restype, function.argtypes = returned, arguments
    return importlib.import_module("winreg"), kernel, last_code


class WindowsTapLink:
    """A TAP adapter of Windows as a link.

    Args:
        driver: the open adapter, which is taken over.
        mtu: MTU of the link; None: that of the adapter.

    Raises:
        ConfigError: no link can have this ``mtu``.
    """

    features: LinkFeatures

    def __init__(self, driver: Adapter, mtu: int | None = None) -> None:
        self.features = LinkFeatures(mtu=driver.mtu if mtu is None else mtu)
        self._driver = driver
        self._sink: LinkSink | None = None
        self._poller: Poller | None = None
        self._changed = threading.Condition()  # guards the lines below
        self._arrived: deque[bytes] = deque()
        self._leaving: deque[bytes] = deque()
        self._refused = 0
        self._waiting = False
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._wake, self._woken = socket.socketpair()
        for sock in (self._wake, self._woken):
            sock.setblocking(False)

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Deliver the guest's frames.

        Raises:
            StateError: the link is started already, or closed.
        """
        check_start(self, started=self._sink is not None, closed=self._closed)
        self._sink, self._poller = sink, poller
        poller.register(self._woken.fileno(), READ, self._ready)
        for work in (self._read, self._write):
            thread = threading.Thread(target=work, name="slirpy-tap", daemon=True)
            self._threads.append(thread)
            thread.start()

    def send(self, frames: Sequence[Frame]) -> int:
        """Queue frames for the thread that writes."""
        with self._changed:
            if self._closed:
                return len(frames)
            room = QUEUE - len(self._leaving)
            self._leaving.extend(b"".join(frame.parts) for frame in frames[:room])
            self._waiting = room < len(frames)
            self._changed.notify_all()
        return min(room, len(frames))

    def _ready(self, mask: int) -> None:
        sink, poller = self._sink, self._poller
        if sink is None or poller is None:
            return
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            pass
        with self._changed:
            frames = [self._arrived.popleft() for _ in range(min(len(self._arrived), TURN_FRAMES))]
            more = bool(self._arrived)
            refused, self._refused = self._refused, 0
            room = self._waiting and len(self._leaving) <= QUEUE // 2
            if room:
                self._waiting = False
            self._changed.notify_all()
        if more:
            poller.again(self._woken.fileno())
        if refused:
            sink.lost(refused)
        end = monotonic_ns() + TURN
        for number, frame in enumerate(frames, 1):
            if sink.input(frame) and monotonic_ns() >= end and number < len(frames):
                with self._changed:
                    self._arrived.extendleft(reversed(frames[number:]))
                poller.again(self._woken.fileno())
                break
        if room:
            sink.writable()

    def _read(self) -> None:
        while True:
            try:
                frame = self._driver.read()
            except OSError:
                return  # closed, or the adapter has gone
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._arrived) < QUEUE)
                if self._closed:
                    return
                self._arrived.append(frame)
            self._tell()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._leaving)
                if self._closed:
                    return
                frame = self._leaving.popleft()
            try:
                self._driver.write(frame)
            except OSError:
                with self._changed:
                    self._refused += 1
            if self._waiting or self._refused:
                self._tell()

    def _tell(self) -> None:
        """Wake the poller; a full socket pair will do so anyway."""
        try:
            self._wake.send(b"x")
        except OSError:
            pass

    def close(self) -> None:
        """Close the adapter, as if the cable were pulled out. Frames that are still queued are lost."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        if self._poller is not None:
            self._poller.unregister(self._woken.fileno())
        for thread in self._threads:
            for _ in range(_ATTEMPTS):
                self._driver.cancel()  # again and again: the call that it ends may not have begun yet
                thread.join(_JOIN_SECONDS)
                if not thread.is_alive():
                    break
        self._driver.close()
        self._wake.close()
        self._woken.close()
        self._sink = self._poller = None

    abandon = close
