"""Neighbor Discovery messages and their options."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.testing.strategies.neighbors import (
    lifetimes,
    nat64_options,
    prefix_options,
    search_options,
    server_options,
)
from slirpy.wire import icmpv6, ipv6, ndp
from slirpy.wire.ipv6 import ALL_NODES, ALL_ROUTERS, UNSPECIFIED, IPv6Header
from slirpy.wire.ndpoption import (
    OPTIONS_MAX,
    Dnssl,
    Mtu,
    NdpOption,
    Options,
    Pref64,
    PrefixInformation,
    Rdnss,
    read_options,
)


def address(text: str) -> bytes:
    return IPv6Address(text).packed


ROUTER, GUEST, FAR = address("fe80::2"), address("fe80::15"), address("2001:db8::1")
MAC = bytes.fromhex("525600000002")


def header(source: bytes = ROUTER, destination: bytes = ALL_NODES, hop_limit: int = 255) -> IPv6Header:
    found = ipv6.parse(ipv6.build(source, destination, ipv6.ICMPV6, 0, hop_limit))
    assert found is not None
    return found


@given(
    st.lists(prefix_options, max_size=3), st.lists(server_options, max_size=2),
    st.lists(search_options, max_size=2),
    st.lists(nat64_options, max_size=2), st.none() | st.integers(1280, 65535),
    st.tuples(st.booleans(), st.booleans()),
    st.tuples(st.integers(0, 255), st.integers(0, 65535), lifetimes, lifetimes),
)  # fmt: skip
def test_a_router_advertisement_comes_back(
    prefixes: list[PrefixInformation],
    rdnss: list[Rdnss],
    dnssl: list[Dnssl],
    pref64: list[Pref64],
    mtu: int | None,
    flags: tuple[bool, bool],
    numbers: tuple[int, int, int, int],
) -> None:
    options: list[NdpOption] = [*prefixes, *rdnss, *dnssl, *pref64]
    if mtu is not None:
        options.insert(0, Mtu(mtu))
    hop_limit, lifetime, reachable, retransmit = numbers
    message = ndp.router_advertisement(
        ROUTER, ALL_NODES, MAC, managed=flags[0], other=flags[1], lifetime=lifetime, hop_limit=hop_limit,
        reachable=reachable, retransmit=retransmit, options=options,
    )  # fmt: skip
    assert icmpv6.checksum_ok(ROUTER, ALL_NODES, message)
    assert len(message) % 8 == 0
    found = ndp.read_router_advertisement(header(), memoryview(message))
    assert found == ndp.RouterAdvertisement(
        hop_limit, *flags, lifetime, reachable, retransmit,
        Options(MAC, None, mtu, tuple(prefixes), tuple(rdnss), tuple(dnssl), tuple(pref64)),
    )  # fmt: skip


@pytest.mark.rfc("8106", "5.1 servers")
@pytest.mark.rfc("8106", "5.2 domains")
@pytest.mark.rfc("8106", "5.2 padding")
def test_the_bytes_of_options() -> None:
    """The layouts of RFC 4861 section 4.6, RFC 8106 section 5 and RFC 8781 section 4."""
    prefix = PrefixInformation(address("fec0::"), 64, valid=86400, preferred=14400)
    assert prefix.pack().hex() == "030440c0000151800000384000000000fec0" + 14 * "00"
    assert PrefixInformation(FAR, 126, True, False).pack()[2:4].hex() == "7e80"
    assert Mtu(65520).pack().hex() == "050100000000fff0"
    assert Rdnss(600, (address("fec0::3"),)).pack().hex() == "1903000000000258fec0" + 13 * "00" + "03"
    assert Dnssl(600, ("lan",)).pack().hex() == "1f02000000000258036c616e00000000"
    assert Pref64(1800, address("64:ff9b::"), 96).pack().hex() == "260207080064ff9b" + 8 * "00"
    assert Pref64(1801, address("2001:db8::"), 32).pack().hex() == "2602071520010db8" + 8 * "00"
    assert Pref64(65535, address("64:ff9b::"), 96).pack()[2:4].hex() == "fff8"


def test_the_bytes_of_a_solicitation_and_an_advertisement() -> None:
    solicitation = ndp.neighbor_solicitation(GUEST, ipv6.solicited_node(ROUTER), ROUTER, MAC)
    assert solicitation[:2].hex() == "8700"
    assert solicitation[4:].hex() == "00000000" + ROUTER.hex() + "0101" + MAC.hex()
    advertisement = ndp.neighbor_advertisement(ROUTER, GUEST, ROUTER, MAC, solicited=True)
    assert advertisement[:2].hex() == "8800"
    assert advertisement[4:].hex() == "e0000000" + ROUTER.hex() + "0201" + MAC.hex()


@pytest.mark.rfc("4861", "7.1.2 solicited")
@given(st.booleans(), st.booleans(), st.booleans())
def test_neighbor_messages_come_back(solicited: bool, router: bool, override: bool) -> None:
    asking = ndp.neighbor_solicitation(GUEST, ROUTER, ROUTER, MAC)
    found = ndp.read_neighbor_solicitation(header(GUEST, ROUTER), memoryview(asking))
    assert found == ndp.NeighborSolicitation(ROUTER, MAC)
    answer = ndp.neighbor_advertisement(
        ROUTER, GUEST, ROUTER, MAC, solicited=solicited, router=router, override=override
    )
    read = ndp.read_neighbor_advertisement(header(ROUTER, GUEST), memoryview(answer))
    assert read == ndp.NeighborAdvertisement(ROUTER, MAC, router, solicited, override)
    to_all = ndp.read_neighbor_advertisement(header(), memoryview(answer))
    assert (to_all is None) == solicited


@pytest.mark.rfc("4861", "6.1.1 unspecified")
def test_router_solicitations_come_back() -> None:
    with_mac = ndp.router_solicitation(GUEST, ALL_ROUTERS, MAC)
    without = ndp.router_solicitation(UNSPECIFIED, ALL_ROUTERS, None)
    assert ndp.read_router_solicitation(header(GUEST), memoryview(with_mac)) == (MAC,)
    assert ndp.read_router_solicitation(header(UNSPECIFIED), memoryview(without)) == (None,)
    assert ndp.read_router_solicitation(header(UNSPECIFIED), memoryview(with_mac)) is None


def redirect(target: bytes = FAR, destination: bytes = FAR, options: bytes = b"\2\1" + MAC) -> memoryview:
    return memoryview(icmpv6.build(ROUTER, GUEST, ndp.REDIRECT, 0, 0, target + destination + options))


def test_redirects() -> None:
    assert ndp.read_redirect(header(ROUTER, GUEST), redirect()) == (FAR, FAR, MAC)
    assert ndp.read_redirect(header(ROUTER, GUEST), redirect(GUEST, options=b"")) == (GUEST, FAR, None)
    assert ndp.read_redirect(header(ROUTER, GUEST), redirect(address("fec0::9"))) is None
    assert ndp.read_redirect(header(ROUTER, GUEST), redirect(ALL_NODES, ALL_NODES)) is None
    assert ndp.read_redirect(header(FAR, GUEST), redirect()) is None


MESSAGES: list[tuple[Callable[[IPv6Header, memoryview], object], bytes, bytes]] = [
    (ndp.read_router_solicitation, ndp.router_solicitation(GUEST, ALL_ROUTERS, MAC), GUEST),
    (ndp.read_router_advertisement, ndp.router_advertisement(ROUTER, ALL_NODES, MAC), ROUTER),
    (ndp.read_neighbor_solicitation, ndp.neighbor_solicitation(GUEST, ROUTER, ROUTER, MAC), GUEST),
    (
        ndp.read_neighbor_advertisement,
        ndp.neighbor_advertisement(ROUTER, GUEST, ROUTER, MAC, solicited=True),
        ROUTER,
    ),
    (ndp.read_redirect, bytes(redirect()), ROUTER),
]
EACH = pytest.mark.parametrize(
    ("read", "message", "source"), MESSAGES, ids=["RS", "RA", "NS", "NA", "redirect"]
)


@pytest.mark.rfc("4861", "4.6 zero")
@pytest.mark.rfc("4861", "6.1.1 hop limit")
@pytest.mark.rfc("4861", "6.1.1 code")
@pytest.mark.rfc("4861", "6.1.1 length")
@pytest.mark.rfc("4861", "6.1.1 option")
@pytest.mark.rfc("4861", "7.1.1 hop limit")
@pytest.mark.rfc("4861", "7.1.1 code")
@pytest.mark.rfc("4861", "7.1.1 length")
@pytest.mark.rfc("4861", "7.1.1 option")
@pytest.mark.rfc("4861", "7.1.2 common")
@pytest.mark.rfc("4862", "5.4.1")
@EACH
def test_messages_that_must_be_discarded(
    read: Callable[[IPv6Header, memoryview], object], message: bytes, source: bytes
) -> None:
    """RFC 4861 sections 6.1.1, 6.1.2, 7.1.1, 7.1.2, 8.1."""
    good = header(source, GUEST)
    assert read(good, memoryview(message)) is not None
    assert read(good._replace(hop_limit=254), memoryview(message)) is None
    assert read(good._replace(fragment_at=40), memoryview(message)) is None
    assert read(good._replace(reassembled=True), memoryview(message)) is None
    assert read(good, memoryview(message[:1] + b"\1" + message[2:])) is None
    # Without the option the message is as short as it may be.
    assert read(good, memoryview(message[:-8])) is not None
    assert all(read(good, memoryview(message[:length])) is None for length in range(4, len(message) - 8))
    assert read(good, memoryview(message[:-7] + b"\0" + message[-6:])) is None
    assert read(good, memoryview(message[:-7] + b"\2" + message[-6:])) is None
    assert read(good, memoryview(message[:-1])) is None


RESERVED = {
    133: b"\xff\xff\xff\xff",
    134: b"\0\x3f",
    135: b"\xff\xff\xff\xff",
    136: b"\x1f\xff\xff\xff",
    137: b"\xff" * 4,
}
"""Bits of the bytes after the checksum."""


@pytest.mark.rfc("4861", "4 reserved")
@pytest.mark.rfc("4861", "4.6.1 others")
@pytest.mark.rfc("4861", "6.1.1 ignored")
@pytest.mark.rfc("4861", "7.1.1 ignored")
@pytest.mark.rfc("4861", "9 unknown")
@EACH
def test_reserved_fields_and_unknown_options_are_ignored(
    read: Callable[[IPv6Header, memoryview], object], message: bytes, source: bytes
) -> None:
    good = header(source, GUEST)
    reserved = RESERVED[message[0]]
    assert all(not byte & bit for byte, bit in zip(message[4:], reserved, strict=False))
    changed = bytearray(message)
    for at, bits in enumerate(reserved, 4):
        changed[at] |= bits
    known = read(good, memoryview(message))
    assert read(good, memoryview(changed)) == known
    for unknown in (b"\xfe\1abcdef", b"\4\2" + bytes(14), b"\xfd\3" + bytes(22)):
        assert read(good, memoryview(message[:-8] + unknown + message[-8:] + unknown)) == known


@pytest.mark.rfc("4861", "4 reserved")
@pytest.mark.rfc("8106", "5.1 reserved")
def test_reserved_fields_of_options_are_ignored() -> None:
    prefix, mtu = PrefixInformation(FAR, 64), Mtu(1400)
    rdnss, dnssl = Rdnss(600, (FAR,)), Dnssl(600, ("lan",))
    whole = bytearray(prefix.pack() + mtu.pack() + rdnss.pack() + dnssl.pack())
    for at, bits in (
        (3, 0x3F),
        (12, 0xFF),
        (15, 0xFF),
        (34, 0xFF),
        (35, 0xFF),
        (42, 0xFF),
        (43, 0xFF),
        (66, 0xFF),
    ):
        assert not whole[at] & bits
        whole[at] |= bits
    assert read_options(whole) == Options(None, None, 1400, (prefix,), (rdnss,), (dnssl,))


def test_router_advertisements_need_a_link_local_source() -> None:
    message = memoryview(ndp.router_advertisement(ROUTER, ALL_NODES, MAC))
    for source, well in (("fe80::2", True), ("febf::1", True), ("fec0::2", False), ("2001:db8::1", False)):
        assert (ndp.read_router_advertisement(header(address(source)), message) is not None) == well


@pytest.mark.rfc("4861", "4.3 target")
@pytest.mark.rfc("4861", "7.1.1 target")
@pytest.mark.rfc("4861", "7.1.1 unspecified")
@pytest.mark.rfc("4861", "7.1.1 link address")
@pytest.mark.rfc("4862", "5.4.1")
def test_solicitations_for_duplicates() -> None:
    target = address("fec0::15")
    message = memoryview(ndp.neighbor_solicitation(UNSPECIFIED, ipv6.solicited_node(target), target, None))
    assert ndp.read_neighbor_solicitation(header(UNSPECIFIED, ipv6.solicited_node(target)), message) == (
        target,
        None,
    )
    assert ndp.read_neighbor_solicitation(header(UNSPECIFIED, ALL_NODES), message) is None
    with_mac = memoryview(ndp.neighbor_solicitation(UNSPECIFIED, ROUTER, target, MAC))
    assert ndp.read_neighbor_solicitation(header(UNSPECIFIED, ipv6.solicited_node(target)), with_mac) is None
    group = memoryview(ndp.neighbor_solicitation(GUEST, ROUTER, ALL_NODES, MAC))
    assert ndp.read_neighbor_solicitation(header(GUEST, ROUTER), group) is None


@pytest.mark.rfc("4861", "9 unknown")
@pytest.mark.rfc("8106", "5.3.1 valid")
def test_unreadable_options_are_left_out() -> None:
    """The message is valid all the same (RFC 4861 section 6.1.2)."""
    odd = [
        b"\5\2" + bytes(14),  # MTU of 16 bytes
        b"\3\1" + bytes(6),  # prefix information of 8 bytes
        PrefixInformation(FAR, 200).pack(),
        b"\x19\1" + bytes(6),  # RDNSS without an address
        b"\x19\2" + bytes(14),  # RDNSS with half of one
        b"\x1f\1" + bytes(6),  # DNSSL without a name
        b"\x1f\2" + bytes(6) + b"\xc0\0" + bytes(6),  # DNSSL with compression
        b"\x26\1" + bytes(6),
        b"\x26\2\0\6" + bytes(12),  # an unknown prefix length
        b"\x26\3" + bytes(22),
        b"\xfe\1" + bytes(6),
    ]
    assert read_options(b"".join(odd)) == Options()
    assert read_options(b"".join(odd) + Mtu(1500).pack()) == Options(mtu=1500)


@pytest.mark.rfc("4861", "9 order")
@given(st.permutations(range(5)))
def test_options_come_in_any_order(order: list[int]) -> None:
    prefix, rdnss = PrefixInformation(FAR, 64), Rdnss(600, (FAR,))
    packed = [b"\1\1" + MAC, Mtu(1400).pack(), prefix.pack(), rdnss.pack(), b"\xfe\1abcdef"]
    found = read_options(b"".join(packed[number] for number in order))
    assert found == Options(MAC, None, 1400, (prefix,), (rdnss,))


def test_of_several_the_first_is_taken() -> None:
    data = b"\1\1" + MAC + b"\1\1" + bytes(6) + Mtu(1400).pack() + Mtu(1500).pack()
    assert read_options(data) == Options(MAC, mtu=1400)


def test_no_more_options_than_fit_into_the_least_mtu() -> None:
    assert read_options((b"\xfe\1" + bytes(6)) * OPTIONS_MAX) == Options()
    assert read_options((b"\xfe\1" + bytes(6)) * (OPTIONS_MAX + 1)) is None
    assert read_options(b"") == Options()


def test_an_option_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"option 31: \d+ bytes do not fit"):
        Dnssl(1, ("a" * 63,) * 40).pack()


@given(st.binary(max_size=120), st.integers(0, 2))
def test_garbage(data: bytes, hops: int) -> None:
    for kind, (read, _, _) in enumerate(MESSAGES):
        message = bytes((133 + kind, 0, 0, 0)) + data
        read(header(hop_limit=253 + hops), memoryview(message))


@EACH
@given(st.data())
def test_near_valid_messages(
    read: Callable[[IPv6Header, memoryview], object], message: bytes, source: bytes, data: st.DataObject
) -> None:
    extra = data.draw(st.lists(prefix_options | server_options | search_options | nat64_options, max_size=3))
    changed = bytearray(message + b"".join(option.pack() for option in extra))
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(2, len(changed) - 1))] = data.draw(st.integers(0, 255))
    read(header(source, GUEST), memoryview(changed))
