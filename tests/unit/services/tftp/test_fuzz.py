"""Any input of the TFTP server: no exception, a counter, bounded state, and others are served."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tftpy.TftpPacketTypes import TftpPacketACK, TftpPacketDAT, TftpPacketOACK, TftpPacketRRQ, TftpPacketWRQ

from slirpy import Config
from slirpy.services.tftp import TftpService
from slirpy.services.tftp.transfer import TRANSFERS_MAX, TRIES
from slirpy.testing.strategies import tftp_packets
from slirpy.testing.strategies.tftp import any_names, any_options
from tests.support.fake_network import FakeNetwork, datagram

GATEWAY = b"\x0a\0\2\2"
CONTENT = bytes(range(256)) * 20


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "srv"
        (folder / "sub").mkdir(parents=True)
        (folder / "f").write_bytes(CONTENT)
        (folder / "good").write_bytes(CONTENT)
        (folder / "sub" / "g").write_bytes(b"g")
        (Path(name) / "secret").write_bytes(b"secret secret")
        (folder / "out").symlink_to("../secret")
        (folder / "dir").symlink_to("..")
        yield folder


class World:
    """A server, and what its guests see."""

    def __init__(self, root: Path, **more: Any) -> None:
        self.net = FakeNetwork()
        self.service = TftpService(Config(tftp=root, tftp_write=True, resolvers=[], **more), self.net)

    def give(self, payload: bytes, port: int = 2000, to: int = 69) -> None:
        taker = self.service
        if to != 69 and (GATEWAY, to, b"\x0a\0\2\x0f", port) not in self.net.conversations:
            return
        taker.datagram(
            datagram(
                payload, source=b"\x0a\0\2\x0f", source_port=port, destination=GATEWAY, destination_port=to
            )
        )

    def check(self) -> None:
        """Assert that neither files nor state have leaked."""
        for sent in self.net.take():
            assert len(sent.payload) <= 65468
            assert b"secret secret" not in sent.payload
            opcode, number = struct.unpack("!HH", sent.payload[:4])
            assert 3 <= opcode <= 6
            if opcode == 5:
                assert number <= 8
                assert sent.payload.endswith(b"\0")
        assert len(self.net.conversations) <= TRANSFERS_MAX

    def works(self) -> None:
        """A guest that behaves is served."""
        self.net.run(1)
        self.net.take()
        self.give(b"\0\1good\0octet\0", 999)
        self.net.run(0.001)
        sent = [sent for sent in self.net.take() if sent.destination_port == 999]
        assert sent[-1].payload == b"\0\3\0\1" + CONTENT[:512]

    def end(self) -> None:
        """All of it goes by itself, even with the longest timeout that a guest may ask for."""
        self.net.run(TRIES * 255 + 60)
        assert self.net.pending == 0
        assert not self.net.conversations


def mutated(packet: bytes, random: Random) -> bytes:
    """A packet with something wrong."""
    data = bytearray(packet)
    for _ in range(random.randrange(1, 4)):
        what = random.randrange(5)
        at = random.randrange(len(data) + 1)
        if what == 0 and at < len(data):
            data[at] = random.randrange(256)
        elif what == 1:
            del data[at:]
        elif what == 2:
            data[at:at] = random.randbytes(random.randrange(9))
        elif what == 3:
            data[at:at] = bytes(random.randrange(3))
        elif at < len(data):
            data[at] ^= 1 << random.randrange(8)
        data = data or bytearray(b"\0")
    return bytes(data)


def encoded(kind: Any, **values: Any) -> bytes:
    """A packet as tftpy writes it."""
    packet = kind()
    for name, value in values.items():
        setattr(packet, name, value)
    buffer: bytes = packet.encode().buffer
    return buffer


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(payloads=st.lists(tftp_packets("garbage") | tftp_packets("near"), max_size=12))
def test_any_bytes(root: Path, payloads: list[bytes]) -> None:
    world = World(root)
    for payload in payloads:
        world.give(payload)
        world.check()
    world.works()
    world.end()


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(
    name=any_names,
    options=any_options,
    write=st.booleans(),
    mode=st.sampled_from(["octet", "netascii", "mail", ""]),
)
def test_any_request(root: Path, name: str, options: dict[str, str], write: bool, mode: str) -> None:
    world = World(root)
    words = [name, mode, *(word for pair in options.items() for word in pair)]
    world.give(struct.pack("!H", 1 + write) + b"".join(word.encode() + b"\0" for word in words))
    world.check()
    for _, port, _, guest_port in list(world.net.conversations):
        world.give(b"\0\4\0\0", guest_port, port)
        world.give(b"\0\3\0\1data", guest_port, port)
        world.net.run(0.001)
        world.check()
    world.works()
    world.end()
    assert (root.parent / "secret").read_bytes() == b"secret secret"
    assert sorted(path.name for path in root.parent.iterdir()) == ["secret", "srv"]
    for path in root.rglob("*"):
        assert not path.name.startswith(".slirpy"), "nothing is left of what was not complete"
        if path.is_file() and not path.is_symlink() and path.name not in ("f", "g", "good"):
            path.unlink()
    (root / "f").write_bytes(CONTENT)
    (root / "good").write_bytes(CONTENT)
    (root / "sub" / "g").write_bytes(b"g")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_tftpys_packets_with_something_wrong(root: Path, seed: int) -> None:
    random = Random(seed)
    world = World(root, tftp_single_port=random.random() < 0.5)
    packets = [
        encoded(
            TftpPacketRRQ, filename="f", mode="octet", options={"blksize": 100, "tsize": 0, "windowsize": 4}
        ),
        encoded(TftpPacketRRQ, filename="sub/g", mode="octet"),
        encoded(TftpPacketWRQ, filename="w", mode="octet", options={"timeout": 3}),
        encoded(TftpPacketDAT, blocknumber=1, data=b"x" * 100),
        encoded(TftpPacketACK, blocknumber=0),
        encoded(TftpPacketACK, blocknumber=1),
        encoded(TftpPacketOACK, options={"blksize": 8}),
    ]
    for _ in range(40):
        payload = random.choice(packets)
        ports = [port for _, port, _, _ in world.net.conversations] or [69]
        to = random.choice([69, *ports])
        world.give(mutated(payload, random) if random.random() < 0.7 else payload, 2000, to)
        if random.random() < 0.3:
            world.net.run(random.choice([1e-6, 0.3, 5]))
        world.check()
    world.works()
    world.end()


@pytest.mark.parametrize(
    ("payload", "counter"),
    [
        (b"", "drop_tftp_malformed"),
        (b"\0\1", "drop_tftp_malformed"),
        (b"\0\1f", "drop_tftp_malformed"),
        (b"\0\1f\0octet", "drop_tftp_malformed"),
        (b"\0\1f\0octet\0blksize\0", "tftp_reads"),
        (b"\0\1f\0octet\0\0\0", "tftp_reads"),
        (b"\0\1f\0octet\0blksize\0008", "tftp_reads"),
        (b"\0\1" + b"f" * 3000, "drop_tftp_malformed"),
        (b"\0\1" + bytes(65000), "drop_tftp_malformed"),
        (b"\0\1f\0mail\0", "drop_tftp_malformed"),
        (b"\0\1missing\0octet\0", "tftp_refused"),
        (b"\0\4\0\1", "drop_tftp_unknown"),
        (b"\0\x09\0\1", "drop_tftp_unknown"),
    ],
)
def test_each_has_its_counter(root: Path, payload: bytes, counter: str) -> None:
    world = World(root)
    world.give(payload)
    assert getattr(world.net.stats, counter) == 1
    world.check()
    world.works()


def test_guests_without_an_address_or_a_port(root: Path) -> None:
    world = World(root)
    world.service.datagram(
        datagram(b"\0\1f\0octet\0", source=bytes(4), destination=GATEWAY, destination_port=69)
    )
    world.give(b"\0\1f\0octet\0", port=0)
    assert world.net.take() == []
    assert world.net.stats.drop_tftp_malformed == 2
