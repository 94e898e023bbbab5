"""DHCPv6 messages and their options."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.testing.strategies.dhcp6 import relays as relay_agents
from slirpy.wire import dhcp6
from slirpy.wire.dhcp6 import Association, Fqdn, IaAddress, Message, Relay, Status
from slirpy.wire.domainname import pack_names

XID = b"\x12\x34\x56"
MAC = bytes.fromhex("525400123456")
GUEST = IPv6Address("fec0::15").packed
NUMBERS = st.integers(0, 0xFFFFFFFF)
VALUES = st.binary(max_size=40)


def message(*options: bytes, kind: int = dhcp6.SOLICIT) -> Message:
    found = dhcp6.read_message(memoryview(dhcp6.write_message(kind, XID, options)))
    assert found is not None
    return found


@given(st.lists(st.tuples(st.integers(0, 65535), VALUES), max_size=20), st.integers(1, 11))
def test_options_come_back_in_their_order(options: list[tuple[int, bytes]], kind: int) -> None:
    found = message(*(dhcp6.pack_option(*option) for option in options), kind=kind)
    assert (found.kind, found.transaction) == (kind, XID)
    for code in {code for code, _ in options}:
        values = [value for other, value in options if other == code]
        assert found.options[code] == values
        assert found.first(code) == values[0]


ADDRESSES = st.builds(IaAddress, st.binary(min_size=16, max_size=16), NUMBERS, NUMBERS)


@given(
    st.binary(min_size=4, max_size=4), NUMBERS, NUMBERS, st.lists(ADDRESSES, max_size=3), st.none() | st.text()
)
def test_associations_come_back(
    iaid: bytes, t1: int, t2: int, addresses: list[IaAddress], text: str | None
) -> None:
    inner = [dhcp6.ia_address(*address) for address in addresses]
    status = None if text is None else Status(2, text)
    if text is not None:
        inner.append(dhcp6.pack_status(2, text))
    found = message(dhcp6.ia_na(iaid, t1, t2, *inner))
    assert found.associations == (Association(dhcp6.IA_NA, iaid, t1, t2, tuple(addresses), status),)


def test_the_bytes_of_a_solicit() -> None:
    """The layout of RFC 8415, sections 8, 21.2, 21.4 and 21.6."""
    found = dhcp6.write_message(
        dhcp6.SOLICIT, XID,
        [
            dhcp6.pack_option(dhcp6.CLIENT_ID, dhcp6.duid_of_mac(MAC)),
            dhcp6.ia_na(b"\0\0\0\1", 3600, 5400, dhcp6.ia_address(GUEST, 7200, 7500)),
        ],
    )  # fmt: skip
    assert found.hex() == (
        "01123456" "0001000a" "0003" "0001" "525400123456"
        "00030028" "00000001" "00000e10" "00001518" "00050018" + GUEST.hex() + "00001c20" "00001d4c"
    )  # fmt: skip


def test_refused_associations() -> None:
    refused = [
        dhcp6.ia_status(Association(code, b"abcd"), status, "no")
        for code, status in (
            (dhcp6.IA_NA, dhcp6.NO_ADDRESSES), (dhcp6.IA_TA, dhcp6.NO_ADDRESSES), (dhcp6.IA_PD, dhcp6.NO_PREFIX),
        )
    ]  # fmt: skip
    assert message(*refused).associations == (
        Association(dhcp6.IA_NA, b"abcd", status=Status(2, "no")),
        Association(dhcp6.IA_TA, b"abcd", status=Status(2, "no")),
        Association(dhcp6.IA_PD, b"abcd", status=Status(6, "no")),
    )


def test_options_of_a_message() -> None:
    found = message(
        dhcp6.pack_option(dhcp6.CLIENT_ID, b"\0\4" + bytes(16)),
        dhcp6.pack_option(dhcp6.SERVER_ID, dhcp6.duid_of_mac(MAC)),
        dhcp6.pack_option(dhcp6.ORO, b"\0\x17\0\x18\0"),
        dhcp6.pack_option(dhcp6.PREFERENCE, b"\xff"),
        dhcp6.pack_option(dhcp6.DNS_SERVERS, GUEST + bytes(16) + b"odd"),
        dhcp6.pack_option(dhcp6.DOMAIN_LIST, pack_names(["example.org", "lan"])),
        dhcp6.pack_option(dhcp6.USER_CLASS, b"\0\4iPXE\0\1a"),
        dhcp6.pack_option(dhcp6.VENDOR_CLASS, b"\0\0\1\x57\0\x09PXEClient"),
        dhcp6.pack_option(dhcp6.CLIENT_ARCHITECTURE, b"\0\7\0\x10"),
        dhcp6.pack_option(dhcp6.CLIENT_FQDN, b"\1\3web\3lan\0"),
        dhcp6.pack_status(0, "fine"),
    )
    assert found.client_id == b"\0\4" + bytes(16)
    assert found.server_id == bytes.fromhex("00030001") + MAC
    assert found.requested == frozenset((23, 24))
    assert found.preference == 255
    assert found.dns_servers == (GUEST, bytes(16))
    assert found.domains == ("example.org", "lan")
    assert found.user_classes == (b"iPXE", b"a")
    assert found.vendor_classes == (b"PXEClient",)
    assert found.architectures == (7, 16)
    assert found.fqdn == Fqdn(("web", "lan"), True)
    assert found.status == Status(0, "fine")


def test_defaults_of_absent_options() -> None:
    found = message()
    assert (found.client_id, found.server_id, found.requested, found.status, found.fqdn) == (None,) * 5
    assert (found.associations, found.dns_servers, found.domains, found.user_classes) == ((),) * 4
    assert (found.vendor_classes, found.architectures, found.preference) == ((), (), 0)


@pytest.mark.parametrize(("value", "expected"), [
    (b"\0\3web", Fqdn(("web",), False)),  # a name that is not complete (RFC 4704 section 4.2)
    (b"\5\3web\0", Fqdn(("web",), True)),
    (b"\0", None), (b"", None), (b"\0\0", None), (b"\1\x09web", None), (b"\1\xc0\0", None),
])  # fmt: skip
def test_names_of_clients(value: bytes, expected: Fqdn | None) -> None:
    assert message(dhcp6.pack_option(dhcp6.CLIENT_FQDN, value)).fqdn == expected


def test_a_name_in_an_answer() -> None:
    assert dhcp6.pack_fqdn(["web", "lan"]).hex() == "0027000a0103776562036c616e00"
    assert dhcp6.pack_fqdn(["web"], override=True)[4:] == b"\3\3web\0"


@pytest.mark.rfc("8415", "11.1")
@pytest.mark.parametrize(("length", "well"), [(0, False), (2, False), (3, True), (130, True), (131, False)])
def test_lengths_of_duids(length: int, well: bool) -> None:
    found = message(dhcp6.pack_option(dhcp6.CLIENT_ID, bytes(length)))
    assert found.client_id == (bytes(length) if well else None)


@pytest.mark.parametrize(("duid", "mac"), [
    (dhcp6.duid_of_mac(MAC), MAC),
    (bytes.fromhex("00010001" "2a2a2a2a") + MAC, MAC),
    (bytes.fromhex("00030006") + MAC, None),
    (bytes.fromhex("00030001") + MAC[:5], None),
    (bytes.fromhex("00030001") + bytes(6), None),
    (bytes.fromhex("00030001") + b"\x01" + MAC[1:], None),
    (bytes.fromhex("00040001") + MAC, None),
    (b"\0\1", None),
])  # fmt: skip
def test_mac_addresses_of_duids(duid: bytes, mac: bytes | None) -> None:
    assert dhcp6.mac_of_duid(duid) == mac


@pytest.mark.parametrize(
    "data", [b"", b"\1\0\0", b"\1abc\0", b"\1abc\0\1\0\5abcd", b"\1abc\0\1\xff\xff", b"\x0cabc", b"\x0dabc"]
)
def test_malformed_messages(data: bytes) -> None:
    assert dhcp6.read_message(data) is None
    assert dhcp6.read_relayed(data) is None


def test_too_many_options() -> None:
    option = dhcp6.pack_option(1, b"")
    assert dhcp6.read_message(b"\1abc" + option * dhcp6.OPTIONS_MAX) is not None
    assert dhcp6.read_message(b"\1abc" + option * (dhcp6.OPTIONS_MAX + 1)) is None


def test_options_that_cannot_be_read_are_absent() -> None:
    found = message(
        dhcp6.pack_option(dhcp6.IA_NA, bytes(11)),
        dhcp6.pack_option(dhcp6.IA_NA, bytes(12) + b"\0"),
        dhcp6.pack_option(dhcp6.IA_TA, bytes(3)),
        dhcp6.pack_option(dhcp6.USER_CLASS, b"\0\5iPXE"),
        dhcp6.pack_option(dhcp6.VENDOR_CLASS, b"\0\0"),
        dhcp6.pack_option(dhcp6.STATUS_CODE, b"\0"),
        dhcp6.pack_option(dhcp6.PREFERENCE, b""),
        dhcp6.pack_option(dhcp6.DOMAIN_LIST, b"\xc0\0"),
    )
    assert (found.associations, found.user_classes, found.vendor_classes) == ((), (), ())
    assert (found.status, found.preference, found.domains) == (None, 0, ())
    short = message(dhcp6.ia_na(b"abcd", 1, 2, dhcp6.pack_option(dhcp6.IAADDR, bytes(23))))
    assert short.associations == (Association(dhcp6.IA_NA, b"abcd", 1, 2),)


def test_lists_are_read_up_to_a_bound() -> None:
    long = message(
        dhcp6.pack_option(dhcp6.ORO, bytes(65534)),
        dhcp6.pack_option(dhcp6.USER_CLASS, bytes(65534)),
        dhcp6.pack_option(dhcp6.CLIENT_ARCHITECTURE, bytes(65534)),
    )
    assert long.user_classes == (b"",) * dhcp6.ITEMS_MAX
    assert long.architectures == (0,) * dhcp6.ITEMS_MAX
    assert long.requested == frozenset((0,))


def test_a_value_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="option 59: 65536 bytes do not fit"):
        dhcp6.pack_option(59, bytes(65536))


# ------------------------------------------------------------------------------------------ relay agents


def relayed(inner: bytes, *relays: Relay) -> bytes:
    """Wrap a message as the agents forward it; the last of them is next to the client."""
    for relay in reversed(relays):
        options = b"" if relay.interface is None else dhcp6.pack_option(dhcp6.INTERFACE_ID, relay.interface)
        if relay.mac is not None:
            options += dhcp6.pack_option(dhcp6.CLIENT_LINK_ADDRESS, b"\0\1" + relay.mac)
        head = bytes((dhcp6.RELAY_FORWARD, relay.hops)) + relay.link + relay.peer
        inner = head + options + dhcp6.pack_option(dhcp6.RELAY_MESSAGE, inner)
    return inner


@pytest.mark.rfc("8415", "18.3 relay")
@given(st.lists(relay_agents, max_size=dhcp6.HOPS_MAX))
def test_relayed_messages(relays: list[Relay]) -> None:
    inner = dhcp6.write_message(dhcp6.SOLICIT, XID, [dhcp6.pack_option(8, b"\0\0")])
    found = dhcp6.read_relayed(memoryview(relayed(inner, *relays)))
    assert found == (dhcp6.read_message(inner), tuple(relays))
    answer = dhcp6.pack_relayed(relays, b"answer")
    for relay in relays:
        assert answer[:34] == bytes((dhcp6.RELAY_REPLY, relay.hops)) + relay.link + relay.peer
        rest = answer[34:]
        if relay.interface is not None:
            option = dhcp6.pack_option(dhcp6.INTERFACE_ID, relay.interface)
            assert rest.startswith(option)
            rest = rest[len(option) :]
        assert rest[:2] == b"\0\x09"
        answer = rest[4:]
    assert answer == b"answer"


def test_relayed_messages_that_cannot_be_read() -> None:
    inner = dhcp6.write_message(dhcp6.SOLICIT, XID, [])
    relay = Relay(0, bytes(16), GUEST, None, None)
    assert dhcp6.read_relayed(relayed(inner, *[relay] * (dhcp6.HOPS_MAX + 1))) is None
    assert dhcp6.read_relayed(relayed(b"", relay)) is None
    assert dhcp6.read_relayed(relayed(inner, relay)[:-1]) is None
    assert dhcp6.read_relayed(bytes((dhcp6.RELAY_FORWARD, 0)) + bytes(32)) is None
    assert dhcp6.read_relayed(bytes((dhcp6.RELAY_REPLY, 0)) + bytes(32)) is None
    odd = (
        bytes((dhcp6.RELAY_FORWARD, 0))
        + bytes(32)
        + dhcp6.pack_option(79, b"\0\6abc")
        + dhcp6.pack_option(9, inner)
    )
    found = dhcp6.read_relayed(odd)
    assert found is not None
    assert found[1][0].mac is None


# -------------------------------------------------------------------------------------------------- fuzz


def everything(found: Message) -> None:
    """Read all that there is to read."""
    for name in dir(Message):
        if isinstance(getattr(Message, name), property):
            getattr(found, name)


@given(st.binary(max_size=200), st.integers(1, 13))
def test_garbage(data: bytes, kind: int) -> None:
    found = dhcp6.read_relayed(bytes((kind, 0, 0, 0)) + data)
    if found is not None:
        everything(found[0])


KNOWN = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 18, 23, 24, 25, 32, 39, 59, 60, 61, 62, 79]


@given(st.lists(st.tuples(st.sampled_from(KNOWN), VALUES), max_size=10))
def test_known_options_with_any_value(options: list[tuple[int, bytes]]) -> None:
    everything(message(*(dhcp6.pack_option(*option) for option in options)))


@given(st.lists(relay_agents, max_size=2), st.data())
def test_near_valid_messages(relays: list[Relay], data: st.DataObject) -> None:
    whole = bytearray(
        relayed(
            dhcp6.write_message(
                dhcp6.REQUEST, XID,
                [
                    dhcp6.pack_option(dhcp6.CLIENT_ID, dhcp6.duid_of_mac(MAC)),
                    dhcp6.ia_na(b"abcd", 1, 2, dhcp6.ia_address(GUEST, 3, 4), dhcp6.pack_status(2, "no")),
                    dhcp6.pack_option(dhcp6.USER_CLASS, b"\0\4iPXE"),
                    dhcp6.pack_option(dhcp6.CLIENT_FQDN, b"\1\3web\3lan\0"),
                ],
            ),
            *relays,
        )
    )  # fmt: skip
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = dhcp6.read_relayed(whole)
    if found is not None:
        everything(found[0])
