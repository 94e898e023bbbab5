"""The Linux TAP link, with virtio-net headers, checksum and segmentation offload.

Each frame on the descriptor has a header before it (``struct virtio_net_hdr`` of the Virtio 1.2 specification,
section 5.1.6), by which the guest's kernel and we leave work to each other: neither computes checksums on a path
that lies in one machine's memory, and TCP data crosses in pieces of up to 64 KiB instead of 1500 bytes. This is
where most of the speed comes from.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Sequence

from slirpy.errors import LinkError
from slirpy.interfaces import READ, WRITE, Frame, LinkFeatures, LinkSink, Poller

__all__ = ["TapLink", "open_tap"]

_VNET = struct.Struct("=BBHHHH")
"""Flags, segmentation type, header length, segment size, checksum start and offset; in the machine's byte order."""
_NEEDS_CSUM, _DATA_VALID = 1, 2
_GSO_NONE, _GSO_TCPV4 = 0, 1

# <linux/if_tun.h>
_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_TSO_ECN = 1, 2, 4, 8

_BATCH = 16
"""Frames read at a time: a MiB at most, which the processor's cache holds until the flush."""
_FRAME_ROOM = 65535 + 14 + 4
_PLAIN = bytes(_VNET.size)


def open_tap(name: str) -> tuple[int, str]:
    """Make, or open, a TAP interface in the current network namespace, with all offloads on.

    Args:
        name: of the interface, up to 15 characters; it may contain ``%d`` for the first free number.

    Returns:
        The descriptor, non-blocking, and the interface's name. The interface is down, and goes with the descriptor.

    Raises:
        LinkError: there is no ``/dev/net/tun``, or no right to use it; the text says what to do.
    """
    if sys.platform != "linux":
        raise LinkError(f"TAP links need Linux; this is {sys.platform}")
    import fcntl

    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise LinkError("/dev/net/tun does not exist; load the module with: sudo modprobe tun") from None
    except OSError as error:
        raise LinkError(
            f"cannot open /dev/net/tun: {_reason(error)}; allow it with: sudo chmod 666 /dev/net/tun"
        ) from None
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        given = fcntl.ioctl(fd, _TUNSETIFF, request)
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", _VNET.size))
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN)
    except OSError as error:
        os.close(fd)
        advice = {
            errno.EPERM: "; it takes CAP_NET_ADMIN in this network namespace",
            errno.EBUSY: "; it is in use, choose another name",
        }.get(error.errno or 0, "")
        raise LinkError(f'cannot set up the TAP interface "{name}": {_reason(error)}{advice}') from None
    return fd, given[:16].rstrip(b"\0").decode()


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()


class TapLink:
    """A descriptor as :func:`open_tap` returns it, as a link. Takes it over.

    Args:
        mtu: of the interface; None: the network's.
    """

    features: LinkFeatures

    def __init__(self, fd: int, mtu: int | None = None) -> None:
        self.features = LinkFeatures(mtu=mtu, checksum_offload=True, segmentation_offload=True)
        self._fd = fd
        self._header = bytearray(_VNET.size)
        self._pool = [memoryview(bytearray(_FRAME_ROOM)) for _ in range(_BATCH)]
        self._sink: LinkSink | None = None
        self._poller: Poller | None = None
        self._waiting = False
        self._headers: dict[tuple[int, int, int, int], bytes] = {}

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Deliver what the guest sends."""
        self._sink = sink
        self._poller = poller
        poller.register(self._fd, READ, self._ready)

    def _ready(self, mask: int) -> None:
        if mask & WRITE and self._waiting and self._poller is not None and self._sink is not None:
            self._waiting = False
            self._poller.modify(self._fd, READ, self._ready)
            self._sink.writable()
        if mask & READ:
            self._read()

    def _read(self) -> None:
        """Read a batch; the buffers are used again after the flush that follows it."""
        sink, fd, header = self._sink, self._fd, self._header
        if sink is None:
            return
        readv = os.readv
        for buffer in self._pool:
            try:
                length = readv(fd, (header, buffer)) - _VNET.size
            except BlockingIOError:
                return
            except InterruptedError:
                continue
            except OSError:
                self._stop()  # the interface is gone
                return
            if length > 0:
                # NEEDS_CSUM: the sum is left to us, and we need none. DATA_VALID: the kernel has checked it.
                sink.input(buffer[:length], header[0] & (_NEEDS_CSUM | _DATA_VALID) != 0)

    def send(self, frames: Sequence[Frame]) -> int:
        """Write each frame; the kernel takes one at a time."""
        fd, writev = self._fd, os.writev
        for sent, (parts, gso_size, csum_start, csum_offset) in enumerate(frames):
            if not csum_start:
                header = _PLAIN
            else:
                key = (gso_size, len(parts[0]), csum_start, csum_offset)
                header = self._headers.get(key) or self._make_header(key)
            try:
                writev(fd, (header, *parts))
            except BlockingIOError:
                self._wait()
                return sent
            except OSError:
                if self._sink is not None:
                    self._sink.lost(1)
        return len(frames)

    def _make_header(self, key: tuple[int, int, int, int]) -> bytes:
        gso_size, header_length, csum_start, csum_offset = key
        if len(self._headers) > 256:
            self._headers.clear()
        kind = _GSO_TCPV4 if gso_size else _GSO_NONE
        packed = _VNET.pack(_NEEDS_CSUM, kind, header_length, gso_size, csum_start, csum_offset)
        self._headers[key] = packed
        return packed

    def _wait(self) -> None:
        if self._poller is not None:
            self._waiting = True
            self._poller.modify(self._fd, READ | WRITE, self._ready)

    def _stop(self) -> None:
        if self._poller is not None:
            self._poller.unregister(self._fd)
            self._poller = None

    def close(self) -> None:
        """Close the descriptor, and with it the interface."""
        if self._fd >= 0:
            self._stop()
            os.close(self._fd)
            self._fd = -1
            self._sink = None
