"""The reader of QUIC's Initial packets, beside aioquic."""

from __future__ import annotations

import random

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from hypothesis import given
from hypothesis import strategies as st

from slirpy.wire.quic import VERSION_1, VERSION_2, InitialReader, split_datagram
from slirpy.wire.unreadable import UnreadableError
from tests.support.hellos import client_hello, extension, server_name
from tests.support.quic import DCID, crypto, initial, varint

SNI = server_name(b"q.example")


def read(*datagrams: bytes) -> InitialReader:
    """Give datagrams to one reader."""
    reader = None
    for datagram in datagrams:
        for packet in split_datagram(datagram)[0]:
            reader = reader or InitialReader(packet.version, packet.destination)
            assert reader.feed(packet)
    assert reader is not None
    return reader


def reason(*datagrams: bytes) -> str:
    """Why they are refused."""
    with pytest.raises(UnreadableError) as caught:
        read(*datagrams)
    return str(caught.value)


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
@pytest.mark.parametrize("protocols", [["h3"], [f"protocol-{n}" for n in range(200)]])
def test_aioquic(version: int, protocols: list[str]) -> None:
    config = QuicConfiguration(
        is_client=True, alpn_protocols=protocols, server_name="Q.example",
        original_version=version, supported_versions=[version],
    )  # fmt: skip
    client = QuicConnection(configuration=config)
    client.connect(("192.0.2.1", 443), now=0)
    datagrams = [datagram for datagram, _ in client.datagrams_to_send(0)]
    assert (len(datagrams) > 1) == (len(protocols) > 1)
    hello = read(*datagrams).hello
    assert hello is not None
    assert hello.server_name == "q.example"
    assert hello.alpn == tuple(name.encode() for name in protocols)
    assert read(*reversed(datagrams)).hello == hello


@given(st.randoms(use_true_random=False), st.integers(1, 80), st.sampled_from([VERSION_1, VERSION_2]))
def test_parts_in_any_order(rng: random.Random, size: int, version: int) -> None:
    hello = client_hello(extension(51, rng.randbytes(300)), SNI)
    parts = [crypto(at, hello[at : at + size]) for at in range(0, len(hello), size)]
    parts += rng.sample(parts, len(parts) // 3)
    rng.shuffle(parts)
    half = len(parts) // 2
    payloads = [b"\1" + bytes(3) + b"".join(group) for group in (parts[:half], parts[half:])]
    reader = read(*(initial(payload, number, version=version) for number, payload in enumerate(payloads)))
    assert reader.hello is not None
    assert reader.hello.server_name == "q.example"
    assert reader.size == len(hello)


def test_coalesced_packets_and_padding_of_datagrams() -> None:
    hello = client_hello(SNI)
    early = b"\xd1\0\0\0\1\x08" + DCID + b"\0" + varint(20) + bytes(20)
    datagram = initial(crypto(0, hello[:20])) + early + initial(crypto(20, hello[20:]), 1) + bytes(100)
    packets, others = split_datagram(datagram)
    assert (len(packets), others) == (2, True)
    assert read(datagram).hello is not None


@pytest.mark.parametrize(
    ("datagrams", "why"),
    [
        ((b"\xc1\xfa\xfa\xfa\xfa\0\0" + bytes(50),), "QUIC version 0xfafafafa"),
        ((b"\xc1\0\0\0\0\0\0" + bytes(50),), "QUIC version 0x0"),
        ((b"\x81\0\0\0\1\0\0" + bytes(50),), "fixed bit"),
        ((b"\xf1\0\0\0\1\0\0" + bytes(50),), "Retry"),
        ((b"\xc1\0\0\0\1\x15" + bytes(50),), "connection ID"),
        ((b"\xc1\0\0\0\1\0",), "connection ID"),
        ((b"\xc1\0\0\0\1\0\0\0",), "cut short"),
        ((b"\xc1\0\0\0\1\0\0\0\x40\x20" + bytes(9),), "cut short"),
        ((b"\xc1\0\0\0\1\0\0\0\x0a" + bytes(10),), "cut short"),
        ((initial(b"") * 9,), "too many QUIC packets"),
        ((initial(b"\x08\0"),), "forbidden"),
        ((initial(b"\1" * 600),), "too many QUIC frames"),
        ((initial(crypto(0, b"\2")),), "not a ClientHello"),
        ((initial(crypto(70000, b"x")),), "too long"),
        ((initial(crypto(0, b"\1\2\0\0")),), "too long"),
        ((initial(b"\6\x40\0\x44\0x"),), "cut short"),
        ((initial(b"\2\0\0\x7f\xff\0"),), "too many ranges"),
        ((initial(crypto(0, client_hello(SNI))), initial(crypto(50, b"changed"), 1)), "two versions"),
        ((initial(crypto(10, b"abc") + crypto(8, b"xxxb")),), "two versions"),
    ],
)
def test_refused(datagrams: tuple[bytes, ...], why: str) -> None:
    assert why in reason(*datagrams)


def test_acknowledgements_are_skipped() -> None:
    frames = b"\2\0\0\1\0\1\1" + b"\3\0\0\0\0\1\1\1" + crypto(0, client_hello(SNI))
    assert read(initial(frames)).hello is not None
    assert read(initial(b"\x1c\0\0\0" + bytes(60))).hello is None


def test_packets_under_other_keys_are_of_other_connections() -> None:
    packet = split_datagram(initial(b""))[0][0]
    assert not InitialReader(VERSION_1, b"other").feed(packet)


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(1, 255))
def test_damaged_datagrams(tail: bytes, at: int, change: int) -> None:
    for data in (tail, b"\xc1\0\0\0\1\2" + tail, damaged(initial(crypto(0, client_hello(SNI))), at, change)):
        try:
            for packet in split_datagram(data)[0]:
                assert InitialReader(packet.version, packet.destination).feed(packet) in (True, False)
        except UnreadableError:
            pass


def damaged(data: bytes, at: int, change: int) -> bytes:
    """Data with one byte changed."""
    at %= len(data)
    return data[:at] + bytes((data[at] ^ change,)) + data[at + 1 :]
