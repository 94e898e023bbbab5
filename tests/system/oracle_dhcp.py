"""Scripts for both networks: DHCP and BOOTP."""

from __future__ import annotations

from tests.system.oracle import GATEWAY, GUEST, MAC, Talk
from tests.system.oracle_compare import Script
from tests.system.oracle_frames import arp_frame, dhcp, udp_frame

DISCOVER, REQUEST, DECLINE, RELEASE, INFORM = 1, 3, 4, 7, 8
OTHER = bytes.fromhex("525400aaaaaa")
STRANGER = bytes((10, 0, 2, 77))


def wants(address: bytes) -> tuple[int, bytes]:
    """Option 50."""
    return 50, address


def server(address: bytes = GATEWAY) -> tuple[int, bytes]:
    """Option 54."""
    return 54, address


def lease(talk: Talk) -> None:
    """The life of a lease."""
    talk.step("discover", dhcp(DISCOVER, xid=1))
    talk.step("request", dhcp(REQUEST, wants(GUEST), server(), xid=2))
    talk.step("hello", arp_frame(GATEWAY))
    talk.step("renew", dhcp(REQUEST, xid=3, ciaddr=GUEST, source=GUEST, destination=GATEWAY))
    talk.step("rebind", dhcp(REQUEST, xid=4, ciaddr=GUEST, source=GUEST))
    talk.step("inform", dhcp(INFORM, xid=5, ciaddr=GUEST, source=GUEST))
    talk.step("release", dhcp(RELEASE, server(), xid=6, ciaddr=GUEST, source=GUEST, destination=GATEWAY))
    talk.step("again", dhcp(DISCOVER, xid=7))


def two(talk: Talk) -> None:
    """Two guests, and what one of them may not have."""
    talk.step("first", dhcp(DISCOVER, xid=1))
    talk.step("first-request", dhcp(REQUEST, wants(GUEST), server(), xid=2))
    talk.step("second", dhcp(DISCOVER, xid=3, mac=OTHER))
    talk.step("taken", dhcp(REQUEST, wants(GUEST), server(), xid=4, mac=OTHER))
    talk.step("taken-reboot", dhcp(REQUEST, wants(GUEST), xid=5, mac=OTHER))
    talk.step("second-request", dhcp(REQUEST, wants(bytes((10, 0, 2, 16))), server(), xid=6, mac=OTHER))
    talk.step("wish", dhcp(DISCOVER, wants(STRANGER), xid=7, mac=bytes.fromhex("525400bbbbbb")))


def reboot(talk: Talk) -> None:
    """Requests without a DISCOVER before (INIT-REBOOT)."""
    talk.step("reboot", dhcp(REQUEST, wants(GUEST), xid=1))
    talk.step("far", dhcp(REQUEST, wants(bytes((192, 168, 1, 5))), xid=2))
    talk.step("gateway", dhcp(REQUEST, wants(GATEWAY), xid=3, mac=OTHER))
    talk.step("another-server", dhcp(REQUEST, wants(GUEST), server(STRANGER), xid=4))
    talk.step("nothing", dhcp(REQUEST, xid=5, mac=bytes.fromhex("525400bbbbbb")))
    talk.step("beyond", dhcp(REQUEST, wants(STRANGER), xid=6, mac=bytes.fromhex("525400cccccc")))


def decline(talk: Talk) -> None:
    """An address that somebody has already."""
    talk.step("discover", dhcp(DISCOVER, xid=1))
    talk.step("request", dhcp(REQUEST, wants(GUEST), server(), xid=2))
    talk.step("decline", dhcp(DECLINE, wants(GUEST), server(), xid=3))
    talk.step("again", dhcp(DISCOVER, xid=4))


def ways(talk: Talk) -> None:
    """The broadcast flag, lists of wanted options, sizes, client identifiers."""
    talk.step("broadcast", dhcp(DISCOVER, xid=1, flags=0x8000))
    talk.step("list", dhcp(DISCOVER, (55, bytes((3, 1, 6, 28, 26))), xid=2))
    talk.step("small", dhcp(DISCOVER, (57, (576).to_bytes(2, "big")), xid=3))
    talk.step("large", dhcp(DISCOVER, (57, (1500).to_bytes(2, "big")), xid=4))
    talk.step("identifier", dhcp(DISCOVER, (61, b"\0guest"), xid=5, mac=OTHER))
    talk.step("name", dhcp(DISCOVER, (12, b"guest"), xid=6))
    talk.step("pxe", dhcp(DISCOVER, (60, b"PXEClient:Arch:00000:UNDI:002001"), (93, b"\0\0"), xid=7))


def bootp(talk: Talk) -> None:
    """A client without option 53, and those that are no clients."""
    talk.step("bootp", dhcp(None, xid=1))
    talk.step("bootp-again", dhcp(None, xid=2))
    talk.step("second", dhcp(None, xid=3, mac=OTHER))
    talk.step("has-one", dhcp(None, xid=4, mac=OTHER, ciaddr=bytes((10, 0, 2, 16))))


def odd(talk: Talk) -> None:
    """Messages that make no sense."""
    good = dhcp(DISCOVER, xid=1)[42:]

    def message(payload: bytes) -> bytes:
        return udp_frame(b"\xff" * 4, 68, 67, payload, source=bytes(4), to=b"\xff" * 6)

    talk.step("reply", message(b"\2" + good[1:]))
    talk.step("short", message(good[:100]))
    talk.step("empty", message(b""))
    talk.step("cookie", message(good[:236] + bytes(4) + good[240:]))
    talk.step("kind", dhcp(99, xid=5))
    talk.step("offer", dhcp(2, xid=6))
    talk.step("cut", message(good[:240] + b"\x35\x01\x01\x32\x04\x0a"))
    talk.step("endless", message(good[:240] + b"\x35\x01\x01" + bytes(60)))
    talk.step("relay", message(good[:24] + bytes((10, 0, 2, 50)) + good[28:]))
    talk.step("token-ring", message(good[:1] + b"\6" + good[2:]))
    talk.step("to-dns", udp_frame(bytes((10, 0, 2, 3)), 68, 67, good, source=GUEST))


def answer(talk: Talk) -> None:
    """All parameters that a client gets."""
    wanted = bytes((1, 3, 6, 12, 15, 26, 28, 42, 51, 58, 59, 66, 67, 119, 121))
    talk.step("discover", dhcp(DISCOVER, (55, wanted), (57, (1400).to_bytes(2, "big")), xid=1))
    talk.step("request", dhcp(REQUEST, (55, wanted), (57, (1400).to_bytes(2, "big")), wants(GUEST), xid=2))
    talk.step("inform", dhcp(INFORM, (55, wanted), xid=3, ciaddr=GUEST, source=GUEST))
    talk.step("bootp", dhcp(None, xid=4, mac=MAC))


def elsewhere(talk: Talk) -> None:
    """Another network than 10.0.2.0/24."""
    talk.step("discover", dhcp(DISCOVER, xid=1))
    talk.step("request", dhcp(REQUEST, wants(bytes((192, 168, 76, 40))), xid=2))
    talk.step("foreign", dhcp(REQUEST, wants(GUEST), xid=3))


NAMES = (
    "hostname=guest,domainname=lan.example,dnssearch=a.lan.example,dnssearch=lan.example,dnssearch=b.example"
)
BOOT = "tftp={folder},bootfile=pxe/boot.0,tftp-server-name=boot.example"
SCRIPTS = [
    Script("dhcp-lease", lease),
    Script("dhcp-two", two),
    Script("dhcp-reboot", reboot),
    Script("dhcp-decline", decline),
    Script("dhcp-ways", ways),
    Script("dhcp-bootp", bootp),
    Script("dhcp-odd", odd, isolated=True),
    Script("dhcp-names", answer, NAMES),
    Script("dhcp-boot", answer, BOOT),
    Script("dhcp-bootfile", answer, "bootfile=boot.0"),
    Script(
        "dhcp-net", elsewhere, "net=192.168.76.0/24,host=192.168.76.1,dns=192.168.76.53,dhcpstart=192.168.76.40"
    ),
]
