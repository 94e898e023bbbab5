"""The Linux TAP link, with virtio-net headers, checksum and segmentation offload.

Each frame on the descriptor follows a header (``struct virtio_net_hdr`` of the Virtio 1.2 specification, section
5.1.6) by which the guest's kernel and slirpy save each other work: neither computes checksums on a path within one
machine's memory, and TCP data crosses in pieces of up to 64 KiB instead of 1500 bytes. Most of the speed comes from
this.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Callable, Sequence
from io import FileIO
from time import monotonic_ns
from typing import Final

from slirpy.checks import descriptor, switch
from slirpy.config.values import as_text, function
from slirpy.errors import LinkError
from slirpy.errortext import strerror
from slirpy.fair import PAUSE, TURN, TURN_FRAMES, TURN_LOOK
from slirpy.interfaces import READ, WRITE, Frame, LinkFeatures, LinkSink, Poller
from slirpy.links.starting import check_start, state_of
from slirpy.reprs import never_raises

__all__ = ["TapLink", "open_tap"]

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

# <linux/if_tun.h>
_TUNSETIFF: Final = 0x400454CA
_TUNGETIFF: Final = 0x800454D2
_TUNSETOFFLOAD: Final = 0x400454D0
_TUNGETVNETHDRSZ: Final = 0x800454D7
_TUNSETVNETHDRSZ: Final = 0x400454D8
_IFF_TAP: Final = 0x0002
_IFF_MULTI_QUEUE: Final = 0x0100
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_TUN_F_CSUM: Final = 1
_TUN_F_TSO4: Final = 2
_TUN_F_TSO6: Final = 4
_TUN_F_TSO_ECN: Final = 8
_TUN_F_USO: Final = 0x60
_OFFLOADS: Final = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN
_NAME_LENGTH: Final = 15
_UDP_CSUM_OFFSET: Final = 6
_ETHERTYPE_IPV6: Final = 0x86  # first byte of the EtherType

_FRAME_ROOM: Final = 65535 + 14 + 4 + 64
"""Bytes of the longest frame with its header."""
_ARENA: Final = 16 * _FRAME_ROOM
"""Bytes of the read buffer: a MiB, which stays in the processor's cache until the flush."""


def open_tap(name: str, *, existing: bool = False, offloads: bool = True) -> tuple[int, str]:
    """Create or open a TAP interface in the current network namespace.

    An existing interface (``ip tuntap add tap0 mode tap user me``) can be opened by its user without privileges; its
    addresses and state stay as they are.

    Args:
        name: name of the interface, up to 15 characters; it may contain ``%d`` for the first free number.
        existing: do not create one; it is an error if there is none of this name.
        offloads: use checksum and segmentation offload, where most of the speed comes from; False for an interface
            whose frames have to be as on a wire.

    Returns:
        The descriptor, non-blocking, for :class:`TapLink`, and the interface's name. An interface created by this
        call is down, and disappears with the descriptor.

    Raises:
        ConfigError: an argument of another type.
        LinkError: there is no ``/dev/net/tun``, no right to use it, or no such interface; the text says what to do.
    """
    as_text("name", name)
    switch("existing", existing)
    switch("offloads", offloads)
    if sys.platform != "linux":
        raise LinkError(f"TAP links need Linux; this is {sys.platform}")
    import fcntl
    import socket

    if not 0 < len(name.encode()) <= _NAME_LENGTH:
        raise LinkError(f'TAP interface "{name}": a name has 1 to {_NAME_LENGTH} characters, such as tap0')
    if existing:
        try:
            socket.if_nametoindex(name)
        except OSError:
            raise LinkError(
                f'there is no interface "{name}" here; make it with: sudo ip tuntap add {name} mode tap user $USER'
            ) from None
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise LinkError("/dev/net/tun does not exist; load the module with: sudo modprobe tun") from None
    except OSError as error:
        raise LinkError(
            f"cannot open /dev/net/tun: {_reason(error)}; allow it with: sudo chmod 666 /dev/net/tun"
        ) from None
    flags = _IFF_TAP | _IFF_NO_PI | (_IFF_VNET_HDR if offloads else 0)
    try:
        try:
            given = fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # An interface made for several queues can only be opened as such.
            request = struct.pack("16sH22x", name.encode(), flags | _IFF_MULTI_QUEUE)
            given = fcntl.ioctl(fd, _TUNSETIFF, request)
        if offloads:
            fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", _VNET.size))
    except OSError as error:
        os.close(fd)
        advice = {
            errno.EPERM: "; it takes CAP_NET_ADMIN in this network namespace, or an interface made for this user",
            errno.EBUSY: "; it is in use, choose another name",
            errno.EINVAL: "; there is one of this name that is no TAP interface, choose another",
        }.get(error.errno or 0, "")
        raise LinkError(f'cannot set up the TAP interface "{name}": {_reason(error)}{advice}') from None
    return fd, given[:16].rstrip(b"\0").decode()


def _probe(fd: int) -> tuple[int, bool, bool]:
    """Detect the header of each frame on a descriptor and the supported offloads, which are then turned on.

    Returns:
        The size of the virtio-net header, 0 for none; whether checksum and segmentation offload are on; and whether
        the kernel also does UDP segmentation.

    Raises:
        LinkError: the descriptor is not that of a TAP interface, or of one that cannot be used.
    """
    if sys.platform != "linux":
        raise LinkError(f"TAP links need Linux; this is {sys.platform}")
    import fcntl

    try:
        name, flags = struct.unpack("16sH22x", fcntl.ioctl(fd, _TUNGETIFF, bytes(40)))
    except OSError as error:
        raise LinkError(
            f"descriptor {fd} is not that of a TAP interface: {_reason(error)}; get one from open_tap()"
        ) from None
    if not flags & _IFF_TAP:
        shown = name.rstrip(b"\0").decode(errors="replace")
        raise LinkError(
            f"descriptor {fd} ({shown}) is that of a TUN interface, without Ethernet; open it with IFF_TAP"
        )
    os.set_blocking(fd, False)
    if not flags & _IFF_VNET_HDR:
        try:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, 0)  # an earlier user of the interface may have left them on
        except OSError:
            pass  # such an interface has none
        return 0, False, False
    (size,) = struct.unpack("i", fcntl.ioctl(fd, _TUNGETVNETHDRSZ, bytes(4)))
    cuts_udp = True
    try:
        # Only to see whether the kernel supports it (6.2 and newer); accepting such frames needs no setting here.
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _OFFLOADS | _TUN_F_USO)
    except OSError:
        cuts_udp = False
    try:
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _OFFLOADS)
    except OSError:
        return size, False, False
    return size, True, cuts_udp


def _reason(error: OSError) -> str:
    return strerror(error.errno or 0).lower()


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
        size, offloads, cuts_udp = _probe(fd)
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
        """True if the last batch was one frame, or none."""
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
        # After one frame and a pause there is one frame again, as a rule. The poller reports more, which are then
        # read together. Asking for a second one here would cost a small exchange a system call.
        if self._single and now - self._read_at > PAUSE:
            frames = 1
        self._read_at = now
        end = now + TURN
        start = number = 0
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
            if number >= frames:
                break
            if (slow or not number & TURN_LOOK) and monotonic_ns() >= end:
                break  # the rest stays in the kernel's queue until the next poll
            if number == 1:
                arena = self._arena
            elif over > _ARENA - _FRAME_ROOM:
                break
            start = over
        self._single = number <= 1

    def send(self, frames: Sequence[Frame]) -> int:
        """Write each frame; the kernel takes one at a time."""
        fd, writev, plain = self._fd, os.writev, self._plain
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

    abandon = close
