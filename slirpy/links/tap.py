"""The Linux TAP link, with virtio-net headers, checksum and segmentation offload.

Each frame on the descriptor follows a header (``struct virtio_net_hdr`` of the Virtio 1.2 specification, section
5.1.6) by which the guest's kernel and slirpy save each other work: neither computes checksums on a path within one
machine's memory, and TCP data crosses in pieces of up to 64 KiB instead of 1500 bytes. Most of the speed comes from
this.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from io import FileIO
from time import monotonic_ns
from typing import Final

from slirpy.checks import descriptor
from slirpy.config.values import function
from slirpy.fair import PAUSE, TURN, TURN_FRAMES, TURN_LOOK
from slirpy.interfaces import READ, WRITE, Frame, LinkFeatures, LinkSink, Poller
from slirpy.links.starting import check_start, state_of
from slirpy.links.tuntap import probe
from slirpy.mypyc import mypyc_attr
from slirpy.reprs import never_raises

__all__ = ["TapLink"]

_VNET: Final = struct.Struct("=BBHHHH")
"""Flags, segmentation type, header length, segment size, checksum start and offset; in the machine's byte order."""
_unpack_gso_size: Final = struct.Struct("=H").unpack_from
_GSO_SIZE_AT: Final = 4
_NEEDS_CSUM: Final = 1
_DATA_VALID: Final = 2
_CHECKED: Final = _NEEDS_CSUM | _DATA_VALID
"""NEEDS_CSUM: the checksum is left to the receiver, and slirpy needs none. DATA_VALID: the kernel has checked it."""
_GSO_NONE: Final = 0
_GSO_TCPV4: Final = 1
_GSO_TCPV6: Final = 4
_GSO_UDP_L4: Final = 5
_UDP_CSUM_OFFSET: Final = 6
_ETHERTYPE_IPV6: Final = 0x86  # first byte of the EtherType

_SMALL: Final = 1000
"""Bytes of the largest frame that is taken for part of a small exchange."""
_FRAME_ROOM: Final = 65535 + 14 + 4 + 64
"""Bytes of the longest frame with its header."""
_ARENA: Final = 16 * _FRAME_ROOM
"""Bytes of the read buffer: a MiB, which stays in the processor's cache until the flush."""


@mypyc_attr(allow_interpreted_subclasses=True)
class TapLink:
    """A TAP descriptor as a link: from :func:`open_tap`, or opened by another program.

    The kernel reports whether each frame has a header, its length, and the offloads.

    Args:
        fd: the descriptor, opened with IFF_TAP and IFF_NO_PI (the latter cannot be queried); it is taken over, and
            made non-blocking.
        mtu: MTU of the interface; None: the network's.
        on_gone: called once, when the interface has disappeared: it was deleted, or its namespace has ended. The link
            carries nothing after that. Not called by ``close``.

    Raises:
        ConfigError: ``fd`` is not a descriptor, no interface can have ``mtu``, or ``on_gone`` is not a function.
        LinkError: the descriptor is not that of a usable TAP interface; it stays open.
    """

    features: LinkFeatures

    def __init__(self, fd: int, mtu: int | None = None, *, on_gone: Callable[[], object] | None = None) -> None:
        descriptor("fd", fd)
        if on_gone is not None:
            function("on_gone", on_gone, " without arguments")
        LinkFeatures(mtu=mtu)  # checked before the descriptor is changed
        size, offloads, cuts_udp = probe(fd)
        self.features = LinkFeatures(
            mtu=mtu,
            checksum_offload=offloads,
            segmentation_offload=offloads,
            udp_segmentation_offload=cuts_udp,
        )
        self._fd = fd
        self._on_gone = on_gone
        # Of all ways to read, this one takes the fewest instructions, and it needs no exception to report that there
        # is nothing to read.
        self._readinto = FileIO(fd, closefd=False).readinto
        self._size = size
        self._plain = bytes(size)
        self._arena = memoryview(bytearray(_ARENA))
        self._first = self._arena[:_FRAME_ROOM]
        """Buffer for the header and the frame that a batch begins with."""
        self._sink: LinkSink | None = None
        self._poller: Poller | None = None
        self._waiting = False
        self._read_at = 0
        """Time when the last batch was read."""
        self._single = False
        """True if the last batch was a small frame or none, as in small exchanges."""
        self._headers: dict[int, bytes] = {}
        """Headers by checksum offset and start, segment size, length of the frame's headers and EtherType: 16 bits
        each, lowest first, and the last two only where there is a segment size."""

    @never_raises
    def __repr__(self) -> str:
        state = state_of(started=self._sink is not None, closed=self._fd < 0)
        return f"<{type(self).__name__} of descriptor {self._fd}: {state}>"

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Deliver the guest's frames.

        Raises:
            StateError: the link is started already, or closed.
        """
        check_start(self, started=self._sink is not None, closed=self._fd < 0)
        self._sink = sink
        self._poller = poller
        poller.register(self._fd, READ, self._ready)

    def _ready(self, mask: int) -> None:
        if mask & WRITE and self._waiting and self._poller is not None and self._sink is not None:
            self._waiting = False
            self._poller.modify(self._fd, READ, self._ready)
            self._sink.writable()
        if mask & READ and self._sink is not None:
            self._read(self._sink)

    def _read(self, sink: LinkSink) -> None:
        """Read a batch; its memory is reused after the flush that follows."""
        readinto, size, arena, frames = self._readinto, self._size, self._first, TURN_FRAMES
        now = monotonic_ns()
        # After one small frame and a pause there is one frame again, as a rule. Asking for a second one here would
        # cost a small exchange a system call. While data passes, in either direction, all that is there is read: each
        # turn acknowledges, or sends, as much as the turn before, so reading one frame would keep turns small.
        if self._single and now - self._read_at > PAUSE:
            frames = 1
        self._read_at = now
        end = now + TURN
        start = begin = over = number = 0
        while True:
            try:
                length = readinto(arena[start:] if start else arena)
            except OSError:
                self._stop()  # the interface disappeared
                if self._on_gone is not None:
                    self._on_gone()
                break
            if not length:
                break
            number += 1
            begin, over = start + size, start + length
            if size:
                checksummed = arena[start] & _CHECKED != 0
                gso_size = _unpack_gso_size(arena, start + _GSO_SIZE_AT)[0] if arena[start + 1] else 0
                slow = sink.input(arena[begin:over], checksummed, gso_size)
            else:
                slow = sink.input(arena[begin:over])
            if number >= frames or self._fd < 0:
                break  # the latter: a frame has caused a call that closed the link
            if (slow or not number & TURN_LOOK) and monotonic_ns() >= end:
                break  # the rest stays in the kernel's queue until the next poll
            if number == 1:
                arena = self._arena
            elif over > _ARENA - _FRAME_ROOM:
                break
            start = over
        self._single = not number or (number == 1 and over - begin <= _SMALL)

    def send(self, frames: Sequence[Frame]) -> int:
        """Write each frame; the kernel takes one at a time."""
        fd, writev, plain = self._fd, os.writev, self._plain
        if len(frames) != 1 or len(frames[0].parts[-1]) > _SMALL:
            self._single = False
        for sent, (parts, gso_size, csum_start, csum_offset) in enumerate(frames):
            if not csum_start:
                header = plain
            else:
                key = csum_start << 16 | csum_offset
                if gso_size:
                    # The first byte of the EtherType distinguishes IPv6 (0x86) from IPv4 (0x08).
                    key |= (parts[0][12] << 16 | len(parts[0])) << 48 | gso_size << 32
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

    def _make_header(self, key: int) -> bytes:
        csum_offset, csum_start, gso_size, header_length, ethertype = (
            key >> bit & 0xFFFF for bit in range(0, 80, 16)
        )
        if len(self._headers) > 256:
            self._headers.clear()
        kind = _GSO_NONE
        if gso_size and csum_offset == _UDP_CSUM_OFFSET:
            kind = _GSO_UDP_L4
        elif gso_size:
            kind = _GSO_TCPV6 if ethertype == _ETHERTYPE_IPV6 else _GSO_TCPV4
        packed = _VNET.pack(_NEEDS_CSUM, kind, header_length, gso_size, csum_start, csum_offset)
        # The header may be the longer one, with a count of buffers.
        packed = packed.ljust(len(self._plain), b"\0")
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
        """Close the descriptor, and with it an interface that was created for it."""
        if self._fd >= 0:
            self._stop()
            os.close(self._fd)
            self._fd = -1
            self._sink = None

    def abandon(self) -> None:
        """Close the descriptor, in a forked child."""
        TapLink.close(self)
