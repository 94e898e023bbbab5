"""The TAP adapter of Windows, on a registry and a driver that only pretend to be."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from slirpy import Config, Slirp
from slirpy.errors import LinkError, StateError
from slirpy.interfaces import Frame
from slirpy.links.wintap import QUEUE, WindowsTapLink, connections, open_adapter
from tests.support.harness import GUEST_MAC, arp
from tests.support.platforms import WINDOWS
from tests.support.waiting import until

GUID = "{0C1B2A3D-0000-1111-2222-333344445555}"
CLASS = "{4D36E972-E325-11CE-BFC1-08002BE10318}"
DRIVERS = rf"SYSTEM\CurrentControlSet\Control\Class\{CLASS}"
NAMES = rf"SYSTEM\CurrentControlSet\Control\Network\{CLASS}"
VALUES = {
    rf"{DRIVERS}\0000": {"ComponentId": r"pci\ven_8086", "NetCfgInstanceId": "{another}"},
    rf"{DRIVERS}\0001": {"ComponentId": "TAP0901", "NetCfgInstanceId": GUID},
    rf"{DRIVERS}\0002": {"ComponentId": "tap0901", "NetCfgInstanceId": "{nameless}"},
    rf"{NAMES}\{GUID}\Connection": {"Name": "slirpy's own"},
}
GET_MTU, SET_MEDIA_STATUS = 0x22000C, 0x220018  # as tap-windows.h computes them
ARP_REQUEST = arp(1)
IO_PENDING, ABORTED, ACCESS_DENIED = 997, 995, 5


class Key:
    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> Key:
        return self

    def __exit__(self, *_: object) -> None: ...


class Registry:
    """The functions of ``winreg`` that are used."""

    HKEY_LOCAL_MACHINE = 0x80000002

    def __init__(self, values: dict[str, dict[str, str]]) -> None:
        self.values = values

    def _children(self, path: str) -> list[str]:
        return [name[len(path) + 1 :] for name in self.values if name.startswith(path + "\\")]

    def OpenKey(self, root: int, path: str) -> Key:  # noqa: N802 - Windows' name
        assert root == self.HKEY_LOCAL_MACHINE
        if path not in self.values and not self._children(path):
            raise FileNotFoundError(2, path)
        return Key(path)

    def QueryInfoKey(self, key: Key) -> tuple[int, int, int]:  # noqa: N802
        return len(self._children(key.path)) + 1, 0, 0  # the last one may not be read

    def EnumKey(self, key: Key, index: int) -> str:  # noqa: N802
        return [*self._children(key.path), "Properties"][index]

    def QueryValueEx(self, key: Key, name: str) -> tuple[str, int]:  # noqa: N802
        try:
            return self.values[key.path][name], 1
        except KeyError:
            raise FileNotFoundError(2, name) from None


class Kernel:
    """The functions of ``kernel32`` that are used, with an adapter behind them that gives and takes frames."""

    def __init__(self, refusal: int = 0) -> None:
        self.refusal = refusal
        self.error = 0
        self.opened = ""
        self.asked: list[tuple[int, int]] = []
        self.closed: list[int] = []
        self.handles = 100
        self.inward: deque[bytes] = deque()
        self.outward: list[bytes] = []
        self.refused = 0
        self.too_long = 1514
        self.changed = threading.Condition()
        self.cancelled = False
        self._pending: dict[int, Any] = {}  # by the event of the operation

    def code(self) -> int:
        return self.error

    def CreateFileW(self, path: str, access: int, share: int, *rest: object) -> int | None:  # noqa: N802
        assert (access, share) == (0xC0000000, 0)
        assert rest == (None, 3, 0x40000004, None)
        self.opened = path
        if self.refusal:
            self.error = self.refusal
            return ctypes.c_void_p(-1).value
        return 77

    def CreateEventW(self, *_: object) -> int:  # noqa: N802
        self.handles += 1
        return self.handles

    def DeviceIoControl(self, handle: int, code: int, given: Any, *rest: Any) -> int:  # noqa: N802
        assert handle == 77
        word = given._obj
        self.asked.append((code, word.value))
        if code == GET_MTU:
            word.value = 1400
        self._pending[rest[-1]._obj.event] = 4
        return 1

    def ReadFile(self, handle: int, buffer: Any, size: int, _: None, operation: Any) -> int:  # noqa: N802
        assert handle == 77
        assert size == len(buffer) > 65535
        self._pending[operation._obj.event] = buffer
        self.error = IO_PENDING
        return 0

    def WriteFile(self, handle: int, frame: bytes, size: int, _: None, operation: Any) -> int:  # noqa: N802
        assert handle == 77
        assert size == len(frame)
        if size > self.too_long:
            self.error, self.refused = 87, self.refused + 1
            return 0
        self.outward.append(frame)
        self._pending[operation._obj.event] = size
        return 1

    def GetOverlappedResult(self, handle: int, operation: Any, count: Any, wait: bool) -> int:  # noqa: N802
        assert handle == 77
        assert wait
        pending = self._pending.pop(operation._obj.event)
        if isinstance(pending, int):
            count._obj.value = pending
            return 1
        with self.changed:
            self.changed.wait_for(lambda: self.inward or self.cancelled)
            if self.cancelled:
                self.error = ABORTED
                return 0
            frame = self.inward.popleft()
        ctypes.memmove(pending, frame, len(frame))
        count._obj.value = len(frame)
        return 1

    def CancelIoEx(self, handle: int, operation: None) -> int:  # noqa: N802
        with self.changed:
            self.cancelled = True
            self.changed.notify_all()
        return 1

    def CloseHandle(self, handle: int) -> int:  # noqa: N802
        self.closed.append(handle)
        return 1

    def arrive(self, *frames: bytes) -> None:
        with self.changed:
            self.inward.extend(frames)
            self.changed.notify_all()


def opened(kernel: Kernel, name: str = "slirpy's own") -> WindowsTapLink:
    return WindowsTapLink(open_adapter(name, registry=Registry(VALUES), kernel=kernel, code=kernel.code))


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def link(kernel: Kernel) -> Iterator[WindowsTapLink]:
    link = opened(kernel)
    yield link
    link.close()
    link.close()


def test_the_registry_names_the_adapters() -> None:
    assert connections(Registry(VALUES)) == [("slirpy's own", GUID)]
    assert connections(Registry({})) == []


def test_an_adapter_is_opened_by_its_connection_name_in_any_case(kernel: Kernel) -> None:
    link = opened(kernel, "SLIRPY'S Own")
    assert kernel.opened == rf"\\.\Global\{GUID}.tap"
    assert kernel.asked == [(GET_MTU, 0), (SET_MEDIA_STATUS, 1)]
    assert link.features.mtu == 1400
    link.close()
    assert kernel.closed == [77, 101, 102, 103]


def test_a_name_that_is_not_there(kernel: Kernel) -> None:
    with pytest.raises(LinkError) as caught:
        opened(kernel, "tap0")
    assert str(caught.value) == 'there is no TAP adapter "tap0" here; there are "slirpy\'s own"'
    with pytest.raises(LinkError, match="install tap-windows6, which comes with OpenVPN"):
        open_adapter("tap0", registry=Registry({}), kernel=kernel, code=kernel.code)


def test_an_adapter_in_use() -> None:
    with pytest.raises(LinkError, match="cannot be opened: it is in use, or its user has no right to it; end"):
        opened(Kernel(ACCESS_DENIED))
    with pytest.raises(LinkError, match="Windows error 1167"):
        opened(Kernel(1167))


@pytest.mark.skipif(WINDOWS, reason="this is Windows")
def test_other_systems_are_refused() -> None:
    with pytest.raises(LinkError, match="need Windows; this is"):
        open_adapter("tap0")


def test_a_guest_behind_it(kernel: Kernel, link: WindowsTapLink) -> None:
    with Slirp(Config(resolvers=[])) as net:
        net.attach_link(link)
        kernel.arrive(ARP_REQUEST)
        until(lambda: kernel.outward, lambda: net.poll(0.01))
        assert kernel.outward[0][:6] == GUEST_MAC
        assert net.stats.frames_in == 1
    assert 77 in kernel.closed


def test_a_link_is_started_once(link: WindowsTapLink) -> None:
    with Slirp(Config(resolvers=[])) as net:
        net.attach_link(link)
        with pytest.raises(StateError):
            link.start(None, None)  # type: ignore[arg-type] # refused before they are looked at


def test_frames_that_the_driver_refuses_are_counted(kernel: Kernel, link: WindowsTapLink) -> None:
    kernel.too_long = 10
    with Slirp(Config(resolvers=[])) as net:
        net.attach_link(link)
        kernel.arrive(ARP_REQUEST)
        until(lambda: net.stats.drop_link_dead, lambda: net.poll(0.01))
        assert (net.stats.drop_link_dead, kernel.refused, kernel.outward) == (1, 1, [])


def test_the_queue_to_the_driver_is_bounded_and_says_when_there_is_room(
    kernel: Kernel, link: WindowsTapLink
) -> None:
    assert link.send([Frame((b"frame", b"%d" % number)) for number in range(QUEUE + 5)]) == QUEUE
    assert link.send([Frame((b"no room",))]) == 0

    class Sink:
        rooms = 0

        def writable(self) -> None:
            self.rooms += 1

    with Slirp(Config(resolvers=[])) as net:
        sink = Sink()
        link.start(sink, net._poller)  # type: ignore[arg-type] # it has what is called here
        until(lambda: sink.rooms, lambda: net.poll(0.01))
        until(lambda: len(kernel.outward) == QUEUE, lambda: net.poll(0.01))
        assert kernel.outward[-1] == b"frame%d" % (QUEUE - 1)
        link.close()


def test_inbound_frames_are_held_back_without_polling(kernel: Kernel, link: WindowsTapLink) -> None:
    with Slirp(Config(resolvers=[])) as net:
        net.attach_link(link)
        kernel.arrive(*[ARP_REQUEST] * (QUEUE + 50))
        until(lambda: len(kernel.inward) == 49, lambda: None)  # one is in the reader's hands
        until(lambda: net.stats.frames_in == QUEUE + 50, lambda: net.poll(0.01))
        assert not kernel.inward


def test_an_end_while_frames_wait(kernel: Kernel, link: WindowsTapLink) -> None:
    with Slirp(Config(resolvers=[])) as net:
        net.attach_link(link)
        kernel.arrive(*[ARP_REQUEST] * (QUEUE + 50))
    assert 77 in kernel.closed
    assert not any(thread.name == "slirpy-tap" for thread in threading.enumerate())
    assert link.send([Frame((b"x",))]) == 1
