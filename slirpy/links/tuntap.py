"""Linux's TUN/TAP device: opening an interface, and what it can do."""

from __future__ import annotations

import errno
import os
import struct
import sys

from slirpy.checks import switch
from slirpy.config.values import as_text
from slirpy.errors import LinkError
from slirpy.errortext import strerror

if sys.platform == "linux":
    import fcntl

__all__ = ["open_tap", "probe"]

# <linux/if_tun.h>
_TUNSETIFF = 0x400454CA
_TUNGETIFF = 0x800454D2
_TUNSETOFFLOAD = 0x400454D0
_TUNGETVNETHDRSZ = 0x800454D7
_TUNSETVNETHDRSZ = 0x400454D8
_IFF_TAP = 0x0002
_IFF_MULTI_QUEUE = 0x0100
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_TUN_F_CSUM = 1
_TUN_F_TSO4 = 2
_TUN_F_TSO6 = 4
_TUN_F_TSO_ECN = 8
_TUN_F_USO = 0x60
_OFFLOADS = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN
_NAME_LENGTH = 15
_HEADER_SIZE = 10
"""Bytes of ``struct virtio_net_hdr`` without a count of buffers."""


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
            fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", _HEADER_SIZE))
    except OSError as error:
        os.close(fd)
        advice = {
            errno.EPERM: "; it takes CAP_NET_ADMIN in this network namespace, or an interface made for this user",
            errno.EBUSY: "; it is in use, choose another name",
            errno.EINVAL: "; there is one of this name that is no TAP interface, choose another",
        }.get(error.errno or 0, "")
        raise LinkError(f'cannot set up the TAP interface "{name}": {_reason(error)}{advice}') from None
    return fd, given[:16].rstrip(b"\0").decode()


def probe(fd: int) -> tuple[int, bool, bool]:
    """Detect the header of each frame on a descriptor and the supported offloads, which are then turned on.

    Returns:
        The size of the virtio-net header, 0 for none; whether checksum and segmentation offload are on; and whether
        the kernel also does UDP segmentation.

    Raises:
        LinkError: the descriptor is not that of a TAP interface, or of one that cannot be used.
    """
    if sys.platform != "linux":
        raise LinkError(f"TAP links need Linux; this is {sys.platform}")
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
