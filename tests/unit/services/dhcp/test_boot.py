"""The boot file that a client is given, and options from text."""

from __future__ import annotations

from typing import Any

import dpkt
import pytest

from slirpy.config import Config
from slirpy.config.boot import BootChoice, parse_bootfile
from slirpy.config.dhcp import DhcpAnswer
from slirpy.config.dhcpoption import OPTIONS, DhcpOption, parse_dhcp_option
from slirpy.errors import ConfigError
from tests.unit.services.dhcp.world import ACK, DISCOVER, GATEWAY, INFORM, REQUEST, Reply, World, ip, mac

URL = "http://10.0.2.2:8000/x.efi"
PXE = (60, b"PXEClient:Arch:00007:UNDI:003001")
HTTP = (60, b"HTTPClient:Arch:00016:UNDI:003001")
IPXE = (77, b"iPXE")
ASKS = (55, bytes((1, 3, 66, 67)))


def file_of(reply: Reply) -> str:
    name: bytes = reply.header.file
    return name.rstrip(b"\0").decode()


def boot(bootfile: Any, *options: tuple[int, bytes], kind: int | None = DISCOVER) -> str:
    """The file that a client with these options is given, the same in both places if it asks for option 67."""
    reply = World(Config(bootfile=bootfile)).reply(kind, 1, *options)
    asked = dict(options).get(55, b"")
    assert reply.options.get(67, b"").decode() == (file_of(reply) if 67 in asked else "")
    return file_of(reply)


# ---------------------------------------------------------------------------------- where it stands


@pytest.mark.parametrize("kind", [DISCOVER, REQUEST, INFORM, None])
def test_boot_names_go_into_the_header_unless_options_are_requested(kind: int | None) -> None:
    world = World(Config(bootfile="pxelinux.0", tftp_server_name="boot.example"))
    reply = world.reply(kind, 1, (55, bytes((1, 3))), (50, ip("10.0.2.15")), ciaddr=ip("10.0.2.15"))
    assert (file_of(reply), reply.header.sname.rstrip(b"\0")) == ("pxelinux.0", b"boot.example")
    assert not {66, 67} & set(reply.options)


def test_text_in_options_ends_with_a_zero_byte_that_is_not_its_own() -> None:
    """A boot ROM reads it as a C string."""
    given = ["17=nfs:/root", "209=menu.cfg", "210=/boot/"]
    world = World(Config(bootfile="pxelinux.0", tftp_server_name="boot.example", dhcp_options=given))
    for wanted in (bytes((66, 67, 17, 209, 210)), bytes((210, 209, 17, 67, 66)), bytes((67,))):
        payload = world.reply(DISCOVER, 1, (55, wanted)).sent.payload
        for text in (b"pxelinux.0", b"boot.example", b"nfs:/root", b"menu.cfg", b"/boot/"):
            at = payload.find(bytes((len(text),)) + text, 240)
            if at > 0:
                assert payload[at + 1 + len(text)] == 0
        assert payload[108:119] == b"pxelinux.0\0"


def test_a_name_that_the_field_has_no_room_for_goes_into_the_option_unasked() -> None:
    long, server = "x" * 128, "s" * 64
    reply = World(Config(bootfile=long, tftp_server_name=server)).reply(DISCOVER)
    assert (reply.options[67], reply.options[66]) == (long.encode(), server.encode())
    assert (file_of(reply), reply.header.sname.rstrip(b"\0")) == ("", b"")
    longest = World(Config(bootfile=long[1:], tftp_server_name=server[1:])).reply(DISCOVER)
    assert (file_of(longest), longest.header.sname.rstrip(b"\0")) == (long[1:], server[1:].encode())


def test_a_server_name_that_stands_nowhere_else_does_not_make_room() -> None:
    config = Config(
        bootfile="b",
        tftp_server_name="t" * 60,
        hostname=".".join(["h" * 49] * 4),
        domainname="d" * 60,
        dnssearch=["s" * 60] * 4,
    )
    reply = World(config).reply(DISCOVER, 1, (55, bytes((12, 15, 119))))
    assert reply.header.sname.rstrip(b"\0") == b"t" * 60
    assert 52 not in reply.options


# --------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize("url", [URL, "https://boot.example/x.efi", "HTTP://10.0.2.2/x"])
def test_a_url_is_for_http_boot_and_ipxe(url: str) -> None:
    assert boot(url, HTTP, ASKS) == url
    for options in ((IPXE,), (IPXE, PXE, ASKS), ((77, b"\4iPXE"), PXE), ((175, b"\xb1\1\1"), PXE)):
        assert boot(url, *options) == url
    for others in ((), (PXE,), (PXE, (93, b"\0\x10"), ASKS), ((60, b"MSFT 5.0"), ASKS), ((77, b"other"), PXE)):
        assert boot(url, *others) == ""
    assert boot(url, kind=None) == ""


@pytest.mark.parametrize("kind", [DISCOVER, REQUEST, INFORM])
def test_the_vendor_class_is_echoed_to_http_and_pxe_firmware(kind: int) -> None:
    world = World(Config(bootfile=URL))
    for options, word in (((HTTP,), b"HTTPClient"), ((PXE,), b"PXEClient"), ((IPXE, PXE), None), ((), None)):
        more = ((50, ip("10.0.2.15")), *options)
        assert world.reply(kind, 1, *more, ciaddr=ip("10.0.2.15")).options.get(60) == word
    assert 60 not in World(Config(bootfile="x.efi")).reply(kind, 1, HTTP, (50, ip("10.0.2.15"))).options


@pytest.mark.parametrize("bootfile", [URL, ["bios=pxelinux.0", "ipxe=x"]])
def test_pxe_without_a_matching_file_gets_a_local_boot_menu(bootfile: Any) -> None:
    """Tried with EDK2: it cancels its remote boot; without option 43 it asks for another minute."""
    menu = b"\x06\1\3\x09\x0d\0\0\x0aLocal boot\x0a\5\0Boot\xff"
    world = World(Config(bootfile=bootfile))
    options = world.reply(DISCOVER, 1, PXE).options
    assert (options[60], options[43]) == (b"PXEClient", menu)
    for others in ((), (HTTP,), (PXE, IPXE), ((60, b"MSFT 5.0"),)):
        assert 43 not in world.reply(DISCOVER, 1, *others).options
    # Another server may have an answer.
    assert not {43, 60} & set(World(Config()).reply(DISCOVER, 1, PXE).options)
    own = World(Config(bootfile=bootfile, dhcp_options=["43=hex:01"])).reply(DISCOVER, 1, PXE).options
    assert (own[43], 60 in own) == (b"\1", False)


@pytest.mark.parametrize("url", ["tftp://10.0.2.2/x", "nfs://10.0.2.2/x", "ftp://10.0.2.2/x"])
def test_other_urls_are_for_ipxe_alone(url: str) -> None:
    assert boot(url, IPXE) == url
    assert boot(url, HTTP) == boot(url, PXE) == ""


def test_boot_files_of_callables_are_not_filtered() -> None:
    world = World(Config(bootfile=lambda request: URL))
    assert file_of(world.reply(DISCOVER, 1, PXE)) == URL
    world = World(Config(lease_policy=lambda request: DhcpAnswer(bootfile=URL)))
    assert file_of(world.reply(DISCOVER, 1, PXE)) == URL


# ------------------------------------------------------------------------------------ architectures

FILES = ["bios=pxelinux.0", "efi-x64=grubx64.efi", f"efi-x64={URL}", "11=grubaa64.efi", "ipxe=boot.ipxe", "any"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "any"),
        (((60, b"PXEClient"),), "pxelinux.0"),
        (((60, b"PXEClient:Arch:00000:UNDI:002001"),), "pxelinux.0"),
        ((PXE,), "grubx64.efi"),
        ((PXE, (93, b"\0\7")), "grubx64.efi"),
        ((PXE, (93, b"\0\x09")), "grubx64.efi"),
        ((PXE, (93, b"\0\x0b")), "grubaa64.efi"),
        ((PXE, (93, b"\0\x05\0\x0b")), "grubaa64.efi"),
        ((PXE, (93, b"\0\x06")), "any"),
        ((PXE, (93, b"\0")), "grubx64.efi"),
        ((HTTP, (93, b"\0\x10")), URL),
        ((HTTP,), URL),
        ((HTTP, (93, b"\0\x13")), "any"),
        ((PXE, IPXE, (93, b"\0\7")), "boot.ipxe"),
        (((93, b"\0\0"),), "pxelinux.0"),
    ],
)
def test_a_boot_file_for_each_architecture(options: tuple[tuple[int, bytes], ...], expected: str) -> None:
    assert boot(FILES, *options) == expected
    assert boot(FILES, *options, ASKS) == expected


def test_a_client_without_a_matching_file_gets_none() -> None:
    assert boot(["efi-x64=x.efi"], (60, b"PXEClient")) == boot(["efi-x64=x.efi"]) == boot(["ipxe=x"], PXE) == ""


def test_boot_files_are_read() -> None:
    assert Config(bootfile="a/b.0").bootfile == Config(bootfile=["a/b.0"]).bootfile == "a/b.0"
    assert Config(bootfile=[]).bootfile is None
    config = Config(bootfile=["efi-x64=x", BootChoice("y")])
    assert config.bootfile == (BootChoice("x", frozenset((7, 9, 16))), BootChoice("y"))
    hash(config)
    assert Config(bootfile="bios=x").bootfile == (BootChoice("x", frozenset((0, 20))),)
    for plain in ("http://h/?a=b", "./bios=x", "a.b=c", "=x"):
        assert parse_bootfile(plain) == BootChoice(plain)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("efi-x46=x", "did you mean efi-x64"),
        ("amiga=x", "write one of bios, .*or a number"),
        ("bios=", "no file"),
        ("", "is empty"),
        ("70000=x", "not from 0 to 65535"),
        ("bios=" + "x" * 256, "at most 255 ASCII"),
    ],
)
def test_boot_files_that_cannot_be_read(rule: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Config(bootfile=[rule])


# ----------------------------------------------------------------------------------- options from text


@pytest.mark.parametrize(
    ("rule", "code", "value"),
    [
        ("42=10.0.2.2", 42, ip("10.0.2.2")),
        ("ntp-server=10.0.2.2, 10.0.2.9", 42, ip("10.0.2.2") + ip("10.0.2.9")),
        ("NTP-Server=10.0.2.2", 42, ip("10.0.2.2")),
        ("43=hex:0104c0a8", 43, b"\1\4\xc0\xa8"),
        ("43=01:04:c0:a8", 43, b"\1\4\xc0\xa8"),
        ("vendor-encap=0x0104", 43, b"\1\4"),
        ("43=text:abc", 43, b"abc"),
        ("23=64", 23, b"\x40"),
        ("mtu=1400", 26, b"\5\x78"),
        ("25=68,576", 25, b"\0\x44\2\x40"),
        ("2=-3600", 2, b"\xff\xff\xf1\xf0"),
        ("tcp-keepalive=0x10", 38, b"\0\0\0\x10"),
        ("wpad=http://10.0.2.2/wpad.dat", 252, b"http://10.0.2.2/wpad.dat"),
        ("200=10.0.2.2,10.0.2.3", 200, ip("10.0.2.2") + ip("10.0.2.3")),
        ("200=word", 200, b"word"),
        ("200=u16:5", 200, b"\0\5"),
        ("200=u8:1,2,3", 200, b"\1\2\3"),
        ("200=text:10.0.2.2", 200, b"10.0.2.2"),
        ("200=ip:10.0.2.2", 200, ip("10.0.2.2")),
        ("domain-search=a.test,b.test", 119, b"\1a\4test\0\1b\4test\0"),
        ("121=192.0.2.0/25=10.0.2.9,0.0.0.0/0=10.0.2.2", 121,
         bytes((25, 192, 0, 2, 0)) + ip("10.0.2.9") + b"\0" + ip("10.0.2.2")),
        ("3", 3, None),
        ("router", 3, None),
        ("67=a=b", 67, b"a=b"),
    ],
)  # fmt: skip
def test_options_are_read(rule: str, code: int, value: bytes | None) -> None:
    assert parse_dhcp_option(rule) == DhcpOption(code, value)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        *((f"{code}=x", "carries the protocol itself") for code in (50, 51, 52, 53, 54, 55, 57, 61, 82, 97)),
        ("53", "carries the protocol itself"),
        ("51=60", "--lease-time"),
        ("0=x", "from 1 to 254"),
        ("255=x", "from 1 to 254"),
        ("256=x", "from 1 to 254"),
        ("-1=x", "there is no option"),
        ("ntp-sever=10.0.2.2", "did you mean ntp-server"),
        ("zzz=1", "write CODE=VALUE or NAME=VALUE"),
        ("=1", "there is no option"),
        ("", "there is no option"),
        ("42=", "there is no value"),
        ("42=hex:", "there is no value"),
        ("42=10.0.2", "write addresses"),
        ("42=10.0.2.2,", "write addresses"),
        ("42=time.test", "write addresses"),
        ("43=xyz", "not hexadecimal"),
        ("23=256", "not a number from 0 to 255"),
        ("23=", "there is no value"),
        ("26=x", "not a number from 0 to 65535"),
        ("2=4294967296", "not a number from -2147483648"),
        ("200=b\u00fccher", "at most 255 ASCII"),
        ("200=" + "x" * 256, "at most 255"),
        ("200=hex:" + "00" * 256, "at most 255"),
        ("119=a..b", "not a domain name"),
        ("121=192.0.2.1/24=10.0.2.2", "write NETWORK=GATEWAY"),
    ],
)
def test_options_that_cannot_be_read(rule: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        Config(dhcp_options=[rule])
    assert str(caught.value).startswith(f'dhcp-option "{rule}": ')


def test_options_are_a_list_and_no_option_is_there_twice() -> None:
    with pytest.raises(ConfigError, match="must be a list"):
        Config(dhcp_options="42=10.0.2.2")
    with pytest.raises(ConfigError, match="given twice"):
        Config(dhcp_options=["42=10.0.2.2", "ntp-server=10.0.2.9"])
    for code, value in ((53, b"x"), (300, b"x"), (42, "x"), ("42", b"x"), (42, bytes(256))):
        with pytest.raises(ConfigError):
            DhcpOption(code, value)  # type: ignore[arg-type] # the mistake
    hash(Config(dhcp_options=["42=10.0.2.2"]))


def test_every_name_is_there_once_and_every_type_is_known() -> None:
    names = [name for name, _ in OPTIONS.values()]
    assert len(set(names)) == len(names)
    values = {"ip": "10.0.2.2", "text": "x", "hex": "00", "domains": "a.test", "routes": "10.0.0.0/8=10.0.2.2"}
    for code, (name, kind) in OPTIONS.items():
        assert parse_dhcp_option(f"{name}={values.get(kind, '1')}").code == code


@pytest.mark.parametrize("kind", [DISCOVER, REQUEST, INFORM, None])
def test_all_clients_are_given_them(kind: int | None) -> None:
    given = ["42=10.0.2.2", "6=10.0.2.9", "26", "43=hex:0102", "67=own.0"]
    world = World(Config(dhcp_options=given, bootfile="x", hostname="h" * 30))
    reply = world.reply(kind, 1, (50, ip("10.0.2.15")), (55, bytes((67,))), ciaddr=ip("10.0.2.15"))
    assert reply.options[42] == GATEWAY
    assert reply.options[6] == ip("10.0.2.9")
    assert reply.options[43] == b"\1\2"
    assert reply.options[67] == b"own.0"
    assert 26 not in reply.options
    assert file_of(reply) == "x"
    assert len(set(reply.order)) == len(reply.order)


def test_renewal_times_are_not_sent_twice() -> None:
    reply = World(Config(dhcp_options=["58=100", "rebinding-time=200"])).reply(DISCOVER)
    assert (reply.options[58], reply.options[59]) == (b"\0\0\0\x64", b"\0\0\0\xc8")


def test_options_of_the_policy_override_configured_ones() -> None:
    policy = lambda request: DhcpAnswer(options={42: ip("10.0.2.7"), 43: None}, hostname="mine")  # noqa: E731
    config = Config(dhcp_options=["42=10.0.2.2", "43=00", "12=all"], lease_policy=policy)
    options = World(config).reply(DISCOVER).options
    assert (options[42], options[12], 43 in options) == (ip("10.0.2.7"), b"mine", False)


def test_bootp_is_given_as_much_as_it_sends() -> None:
    world = World(Config(dhcp_options=["17=" + "r" * 100]))
    assert 17 not in world.reply(None).options
    reply = world.heard(bytes(dpkt.dhcp.DHCP(chaddr=mac(1), opts=()).pack_hdr()).ljust(548, b"\0"))
    assert reply is not None
    assert reply.options[17] == b"r" * 100
    assert 300 < len(reply.sent.payload) <= 548


def test_an_acknowledgement_repeats_the_offer() -> None:
    world = World(Config(bootfile=FILES, dhcp_options=["42=10.0.2.2"]))
    offer = world.reply(DISCOVER, 1, PXE, ASKS)
    ack = world.reply(REQUEST, 1, PXE, ASKS, (50, offer.yiaddr), (54, GATEWAY))
    assert ack.kind == ACK
    assert file_of(ack) == file_of(offer) == "grubx64.efi"
    assert {c: v for c, v in ack.options.items() if c != 53} == {
        c: v for c, v in offer.options.items() if c != 53
    }
