"""Domain names without compression."""

from __future__ import annotations

import pytest
from dnslib import DNSLabel
from dnslib.label import DNSBuffer
from hypothesis import example, given
from hypothesis import strategies as st

from slirpy.testing.strategies.names import names
from slirpy.wire.domainname import labels_of, pack_names, read_names


@given(st.lists(names, max_size=4), st.integers(0, 9))
def test_names_come_back(several: list[str], filling: int) -> None:
    packed = pack_names(several)
    assert read_names(memoryview(packed + bytes(filling))) == tuple(several)


@given(names)
def test_dnslib_writes_the_same(name: str) -> None:
    buffer = DNSBuffer()
    buffer.encode_name(DNSLabel(name))
    assert pack_names([name, name + "."]) == bytes(buffer.data) * 2


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64, ".a", "é", ".".join(["a" * 63] * 4)])
def test_names_that_dns_cannot_carry(name: str) -> None:
    with pytest.raises(ValueError, match=r"^$|.*"):
        labels_of(name)


def test_the_longest_name() -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    packed = pack_names([name])
    assert len(packed) == 255
    assert read_names(packed) == (name,)
    assert read_names(packed[:-1] + b"\1c\0") is None


@pytest.mark.parametrize("data", [b"\3ab", b"\3abc", b"\1", b"\xc0\0", b"\x40" + bytes(80), b"\1a\0\5"])
def test_unreadable(data: bytes) -> None:
    assert read_names(data) is None


def test_special_characters_are_escaped() -> None:
    assert read_names(b"\4a\x1b.b\0\0\0") == ("a\\027\\046b",)


@given(st.binary(max_size=400))
@example(b"")
def test_garbage(data: bytes) -> None:
    found = read_names(data)
    if found is not None:
        assert all(name.isprintable() and name for name in found)
