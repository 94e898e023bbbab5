"""TFTP requests as phones, boot ROMs and firmware send them: what makes no sense in one never costs the file."""

from __future__ import annotations

import pytest

from slirpy.wire.tftp import RefusalError, read_request
from tests.unit.services.tftp.client import DATA, ERROR, OACK, Client, Server, folder


def answer(rest: bytes) -> tuple[int, int, bytes]:
    """Return the answer to a read request for the file "f" of 600 bytes with ``rest`` behind the name."""
    client = Client(Server({"f": bytes(600)}.get))
    client.give(b"\0\1f\0" + rest)
    return client.one()


PLAIN = [
    b"octet\0",
    b"OCTET\0",
    b"oCtEt\0",
    b"octet\0vendor_ID\0\0",
    b"octet\0multicast\0\0",
    b"octet\0blksize\0\0",
    b"octet\0blksize\0",
    b"octet\0blksize",
    b"octet\0blksize\x00512",
    b"octet\0\0",
    b"octet\0" + bytes(500),
    b"octet\0" + bytes(501),
    b"octet\0" + bytes(5000),
    b"octet\0\xff\xff\xff",
    b"octet\0\xff\xfe\x001\0",
    b"octet\0blksize\0\xb2\0",
    b"octet\0blksize\x00512x\0",
    b"octet\0blksize\0 512\0",
    b"octet\0blksize\x00512 \0",
    b"octet\0blksize\0+512\0",
    b"octet\0blksize\0-512\0",
    b"octet\0blksize\x000x200\0",
    b"octet\0blksize\x00512.0\0",
    b"octet\0blksize\x007\0",
    b"octet\0blksize\0" + b"9" * 400 + b"\0",
    b"octet\0windowsize\x000\0",
    b"octet\0windowsize\x0065536\0",
    b"octet\0timeout\x000\0",
    b"octet\0timeout\x00256\0",
    b"octet\0tsize\0-1\0",
    b"octet\0tsize\0?\0",
    b"octet\0tsize\x0099999999999999999999\0",
    b"octet\0 blksize\x001024\0",
    b"octet\0" + b"o\0v\0" * 1000,
    b"octet\0" + b"x" * 3000,
    b"octet\0" + b"x" * 3000 + b"\x001\0",
]
"""Requests without an option that is understood."""

GRANTED = [
    (b"tsize\x000\0vendor_ID\0\0", {"tsize": "600"}),
    (b"vendor_ID\0\0blksize\x001024\0", {"blksize": "1024"}),
    (b"BLKSIZE\x001024\0TSize\x000\0", {"blksize": "1024", "tsize": "600"}),
    (b"blksize\x001024\0tsize\0", {"blksize": "1024"}),
    (b"blksize\x001024\0tsize", {"blksize": "1024"}),
    (b"blksize\x001024\0" + bytes(400), {"blksize": "1024"}),
    (b"blksize\x001024\0" + bytes(401), {"blksize": "1024"}),
    (b"\0\0blksize\x001024\0", {"blksize": "1024"}),
    (b"\0blksize\x001024\0", {"blksize": "1024"}),
    (b"blksize\x001024\0\xfc\0\xdf\0", {"blksize": "1024"}),
    (b"\xfc\0x\0blksize\x001024\0", {"blksize": "1024"}),
    (b"x\0\xfc\0blksize\x001024\0", {"blksize": "1024"}),
    (b"blksize\x00001024\0", {"blksize": "1024"}),
    (b"tsize\x00000\0", {"tsize": "600"}),
    (b"tsize\x00600\0", {"tsize": "600"}),
    (b"blksize\x001024\0blksize\x00512\0", {"blksize": "1024"}),
    (b"blksize\0\0blksize\x001024\0", {"blksize": "1024"}),
    (b"blksize\x007\0BLKSIZE\x001024\0", {"blksize": "1024"}),
    (b"windowsize\0x\0blksize\x001024\0timeout\x000\0", {"blksize": "1024"}),
    (b"blksize\x0099999\0", {"blksize": "65464"}),
    (b"blksize\x001024\0" + b"o\0v\0" * 1000, {"blksize": "1024"}),
]
"""Options, and what is granted of them."""


@pytest.mark.parametrize("rest", PLAIN)
def test_bad_options_do_not_prevent_the_transfer(rest: bytes) -> None:
    assert answer(rest) == (DATA, 1, bytes(512))


@pytest.mark.parametrize("rest", PLAIN)
def test_bad_options_do_not_prevent_a_write(rest: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = folder(tmp_path_factory.mktemp("tftp"))
    client = Client(Server(root, tftp_write=True))
    client.give(b"\0\2new\0" + rest)
    assert client.one() == (4, 0, b"")
    client.data(1, b"written")
    assert (root / "new").read_bytes() == b"written"


@pytest.mark.parametrize(("rest", "granted"), GRANTED)
def test_valid_options_among_others_are_granted(rest: bytes, granted: dict[str, str]) -> None:
    opcode, _, options = answer(b"octet\0" + rest)
    assert opcode == OACK
    words = options.decode().split("\0")
    assert dict(zip(words[::2], words[1::2], strict=False)) == granted
    assert len(words) == 2 * len(granted) + 1, "each is acknowledged once"


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\0", b"\0\1", b"\0\2", b"\0\1f", b"\0\1f\0", b"\0\1f\0octet", b"\0\1f\0\0", b"\0\1\0", b"\0\1\0\0",
        b"\0\1f\0mail\0", b"\0\1f\0octe\0", b"\0\1f\0octet \0", b"\0\1f\0\xefctet\0", b"\0\1" + b"f" * 3000,
        b"\0\1" + b"f" * 3000 + b"\0octet\0", b"\0\1" + bytes(65000), b"\0\7\0\0", b"\1\1f\0octet\0",
        b"\0\0\0\0", b"\3",
    ],
)  # fmt: skip
def test_malformed_requests_are_answered_by_error_4(payload: bytes) -> None:
    client = Client(Server({"f": b"x"}.get))
    client.give(payload)
    assert client.refused() == 4


def test_an_error_is_never_answered() -> None:
    """RFC 1350, section 7."""
    server = Server({"f": b"x"}.get)
    client = Client(server)
    for payload in (b"\0\5", b"\0\5\0", b"\0\5\0\0", b"\0\5\0\1none\0"):
        client.give(payload)
        client.silence()
    assert server.stats.drop_tftp_malformed == 2


def test_a_packet_cut_short_leaves_a_transfer_alone() -> None:
    client = Client(Server({"f": bytes(600)}.get, tftp_single_port=True))
    client.ask("f")
    assert client.one()[:2] == (DATA, 1)
    client.give(b"\0\4")
    client.silence()
    client.ack(1)
    assert client.one() == (DATA, 2, bytes(88))


def test_a_long_request_that_comes_again_is_the_same_one() -> None:
    server = Server({"f": bytes(600)}.get)
    client = Client(server)
    request = b"\0\1f\0octet\0" + bytes(60_000)
    client.give(request)
    assert client.one()[:2] == (DATA, 1)
    client.to = 69
    client.give(request)
    client.silence()
    assert server.stats.drop_tftp_duplicate == 1


def test_names_and_values_as_they_are_read() -> None:
    request = read_request(b"\0\2a\xffb\0NetASCII\0B\0x\0\0a\0\0")
    assert request.write
    assert request.name == "a\udcffb"
    assert request.mode == "netascii"
    assert request.options == (("b", "x"), ("a", ""))
    with pytest.raises(RefusalError):
        read_request(b"\0\1a\0octet")


def test_error_texts_are_whole() -> None:
    client = Client(Server({"f": b"x"}.get))
    client.give(b"\0\1missing\0octet\0")
    assert client.one() == (ERROR, 1, b"file not found\0")
