"""slirpy beside libslirp: the same frames in, and every difference in what comes out is listed with its reason.

The table is ``docs/reference/libslirp.toml``. To see what is not listed, run one script:
``pytest tests/system/test_oracle.py -k tcp-exchange``.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import pytest

from tests.system import (
    oracle_basics,
    oracle_basics6,
    oracle_dhcp,
    oracle_dhcp6,
    oracle_dns,
    oracle_guestfwd,
    oracle_hostfwd,
    oracle_restrict,
    oracle_tcp,
    oracle_tftp,
    oracle_udp,
)
from tests.system.machine import missing
from tests.system.oracle import GATEWAY, Talk
from tests.system.oracle_compare import Found, Row, Script, differences, explain, groups, read_table
from tests.system.oracle_decode import Decoder, Seen, merge_streams
from tests.system.oracle_frames import fragments, udp_packet
from tests.system.oracle_library import LIBRARY
from tests.system.oracle_networks import Libslirp, Slirpy
from tests.system.oracle_udp import program

pytestmark = pytest.mark.system

MODULES = (
    oracle_basics,
    oracle_basics6,
    oracle_dhcp,
    oracle_dhcp6,
    oracle_dns,
    oracle_udp,
    oracle_tcp,
    oracle_hostfwd,
    oracle_guestfwd,
    oracle_tftp,
    oracle_restrict,
)
SCRIPTS: dict[str, Script] = {script.name: script for module in MODULES for script in module.SCRIPTS}
GROUPS = groups(SCRIPTS.values())
TABLE = read_table()
PATIENCE = 4.0
ROWS = [row for listed in TABLE for row in listed.rows]


@pytest.fixture
def found(need: Callable[..., None]) -> Callable[[str], list[Found]]:
    """Plays a script to both, once."""
    need("qemu-system-x86_64", "unshare")
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        missing(f"needs {LIBRARY}")
    return _found


def _found(name: str) -> list[Found]:
    found = _played(GROUPS[name])[name]
    return _patiently(name) if explain(found, ROWS)[0] else found


def _patiently(name: str) -> list[Found]:
    """Once more: what seemed to be missing may only have been late."""
    return _played(GROUPS[name], PATIENCE)[name]


_played = functools.cache(differences)


@pytest.mark.long
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_difference_is_listed(name: str, found: Callable[[str], list[Found]]) -> None:
    unlisted, _ = explain(found(name), ROWS)
    assert not unlisted, "\n".join(["not in docs/reference/libslirp.toml:", *unlisted])


@pytest.mark.long
def test_everything_listed_occurs(found: Callable[[str], list[Found]]) -> None:
    _, used = explain([one for name in SCRIPTS for one in found(name)], ROWS)
    for name in SCRIPTS:
        if any(row.may_cover(name) for row in ROWS if row not in used):
            used |= explain(_patiently(name), ROWS)[1]
    gone = [f"{listed.name}: {row}" for listed in TABLE for row in listed.rows if row not in used]
    assert not gone, "\n".join(["does not occur any more; take it out of docs/reference/libslirp.toml:", *gone])


def test_scripts_without_rows_have_a_reason() -> None:
    for listed in TABLE:
        assert bool(listed.rows) != bool(listed.untested), listed.name


def test_the_last_fragment_first() -> None:
    """libslirp 4.7 would end, and QEMU with it: to slirpy alone."""
    net = Slirpy()
    try:
        talk = Talk(net)
        with program(talk) as sock:
            port = sock.getsockname()[1]
            pieces = fragments(GATEWAY, 17, udp_packet(GATEWAY, 40000, port, bytes(4000)), 1480, ident=1)
            talk.step("backwards", *reversed(pieces))
            sock.settimeout(5)
            assert sock.recv(65535) == bytes(4000)
    finally:
        net.close()


# ---------------------------------------------------------------------------------- the comparison itself


def test_a_row_covers_only_its_own_differences() -> None:
    one = Found("udp-echo.first", "udp", "ip.ttl", "64", "63")
    assert Row("udp-*", "udp", "ip.ttl|ip.tos", "64", "6?").covers(one)
    assert not Row("udp-*", "udp", "ip.ttl", "64", "64").covers(one)
    assert not Row("tcp-*").covers(one)
    unlisted, used = explain([one], [Row("tcp-*")])
    assert unlisted == [str(one)]
    assert not used


SYN = bytes.fromhex(
    "525400123456 52550a000202 0800 4500002c00004000400622ba 0a000202 0a00020f"
    "1f90 9c40 00000064 01000001 6012ffff e5d7 0000 020405b4 0000"
)


def test_sequence_numbers_are_relative_to_the_first_of_their_flow() -> None:
    decoder = Decoder()
    decoder.ports[8080] = "server"
    guest = SYN[:26] + SYN[30:34] + SYN[26:30] + SYN[36:38] + SYN[34:36] + bytes.fromhex("01000000") + SYN[42:]
    decoder.watch(guest)
    seen = decoder.decode(SYN)
    assert seen.kind == "tcp SYN"
    assert seen.fields["tcp.seq"] == "0"
    assert seen.fields["tcp.ack"] == "1"
    assert seen.fields["tcp.sport"] == "server"
    assert seen.fields["tcp.option 2"] == "1460"
    assert seen.fields["eth.padded to"] == "60"


def test_a_stream_is_one_however_it_is_cut() -> None:
    def segment(seq: int, data: bytes, kind: str = "tcp") -> Seen:
        fields = {"tcp.seq": str(seq), "tcp.ack": str(seq), "tcp.urgent": "0", "tcp.flags": ""}
        return Seen(kind, fields, stream=("flow", seq, data))

    whole = merge_streams([segment(1, b"abcdef")])
    cut = merge_streams([segment(1, b"abc"), segment(4, b"def"), segment(1, b"abc")])
    assert [one.fields["tcp.data"] for one in whole] == [one.fields["tcp.data"] for one in cut] == ["abcdef"]
    ended = merge_streams([segment(1, b"abc"), segment(4, b"def", "tcp FIN")])
    assert [one.kind for one in ended] == ["tcp", "tcp FIN"]
    assert ended[0].fields["tcp.data"] == "abcdef"
    assert ended[1].fields["tcp.seq"] == "7"


def test_qemu_that_does_not_start_says_why(need: Callable[..., None]) -> None:
    need("qemu-system-x86_64")
    with pytest.raises(RuntimeError, match="nonsense"):
        Libslirp("nonsense=1")
