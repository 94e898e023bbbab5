"""The TFTP server: transfers as the RFCs have them, loss, duplicates, timeouts, bounds."""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import pytest
from tftpy.TftpPacketFactory import TftpPacketFactory

from slirpy.services.tftp import transfer as tftp_module
from slirpy.services.tftp.transfer import negotiate
from tests.unit.services.tftp.client import (
    ACK,
    DATA,
    ERROR,
    OACK,
    OTHER,
    Client,
    Server,
    folder,
    packet,
    request,
)

SECOND = 1_000_000_000


def served(**files: bytes) -> Server:
    """A server of what is in memory."""
    return Server(files.get)


def pattern(size: int) -> bytes:
    """Bytes in which no two blocks are alike."""
    return b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(size // 32 + 1))[:size]


def retransmits(client: Client, seconds: float) -> list[float]:
    """Times at which packets arrive at the client, in seconds from now."""
    net = client.server.net
    start, times = net.now, []
    while net.now < start + seconds * SECOND:
        net.run(0.125)
        times += [(net.now - start) / SECOND] * len(client.take())
    return times


# ------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, 5000])
def test_a_file_in_blocks(size: int) -> None:
    """A last block is a short one, and be it empty (RFC 1350, section 6)."""
    data = pattern(size)
    server = served(f=data)
    client = Client(server)
    assert client.read("f") == data
    assert (server.stats.tftp_reads, server.stats.tftp_done, server.stats.tftp_retransmits) == (1, 1, 0)
    assert server.stats.dropped() == 0


def test_files_of_a_folder(tmp_path: Path) -> None:
    root = folder(tmp_path)
    big = pattern(300_001)
    (root / "big").write_bytes(big)
    client = Client(Server(root))
    assert client.read("small") == b"hello"
    assert client.read("full") == (root / "full").read_bytes()
    assert client.read("empty") == b""
    assert client.read("big", {"blksize": 1428}) == big
    assert client.read("big", {"blksize": 1000, "windowsize": 7}) == big


def test_each_transfer_has_its_port(tmp_path: Path) -> None:
    """RFC 1350, section 4. The port belongs to the transfer, and is free again some time after it."""
    server = served(f=bytes(600))
    one, two = Client(server, 2000), Client(server, 2001)
    for client in (one, two):
        client.ask("f")
        assert client.one()[:2] == (DATA, 1)
    assert one.to != two.to
    assert 69 not in (one.to, two.to)
    two.to, away = one.to, two.to  # not its own
    two.ack(1)
    two.silence()
    two.to = away
    for client in (one, two):
        client.ack(1)
        assert client.one()[:2] == (DATA, 2)
        client.ack(2)
    assert len(server.net.conversations) == 2
    server.net.run(10)
    assert server.net.conversations == {}
    assert server.net.pending == 0


def test_port_69_is_no_transfers() -> None:
    """An acknowledgement that goes there, from where a transfer is, is not that transfer's."""
    client = Client(served(f=bytes(600)))
    client.ask("f")
    client.take()
    client.to = 69
    client.ack(1)
    assert client.refused() == 5


def test_one_port_for_all() -> None:
    server = Server({"f": bytes(600)}.get, tftp_single_port=True)
    one, two = Client(server, 2000), Client(server, 2001)
    for client in (one, two):
        client.ask("f")
        assert client.one()[:2] == (DATA, 1)
        assert client.to == 69
    for client in (one, two):
        client.ack(1)
        assert client.one()[:2] == (DATA, 2)
    assert server.net.conversations == {}
    server.service.close()


def test_block_numbers_roll_over_to_zero() -> None:
    data = bytes(8) * 65_535 + pattern(8 * 3 + 2)
    assert Client(served(f=data)).read("f", {"blksize": 8, "windowsize": 200}) == data


def test_netascii() -> None:
    text = b"one\ntwo\r\nthree\rfour\n\n" * 100 + b"\r"
    sent = text.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
    server = served(f=text)
    client = Client(server)
    assert client.read("f", mode="netascii") == sent
    assert client.read("f", {"blksize": 8}, mode="NetASCII") == sent
    client.ask("f", {"tsize": 0}, mode="netascii")
    assert client.one()[:2] == (DATA, 1), "its size is not known before, so there is nothing to acknowledge"


@pytest.mark.parametrize("block", [8, 9, 10, 512])
def test_netascii_that_is_written(tmp_path: Path, block: int) -> None:
    root = folder(tmp_path)
    text = b"one\ntwo\r\nthree\rfour\n\n" * 7 + b"\r"
    sent = text.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
    client = Client(Server(root, tftp_write=True))
    client.write("new", sent, {"blksize": block}, mode="netascii")
    assert (root / "new").read_bytes() == text
    client.write("lenient", b"a\rb\r", mode="netascii")
    assert (root / "lenient").read_bytes() == b"a\rb\r"


@pytest.mark.parametrize("mode", ["mail", "binary", "", "octetx"])
def test_other_modes(mode: str) -> None:
    client = Client(served(f=b"x"))
    client.ask("f", mode=mode)
    assert client.refused() == 4


def test_a_missing_file() -> None:
    server = served()
    client = Client(server)
    client.ask("nothing")
    assert client.refused() == 1
    assert client.to == 69
    assert (server.stats.tftp_refused, server.stats.tftp_reads) == (1, 0)
    assert server.net.pending == 0


def test_tftpy_reads_the_answers() -> None:
    """An independent reader of what is on the wire."""
    server = Server({"f": pattern(600)}.get)
    factory = TftpPacketFactory()
    server.give(request("f", {"blksize": 300, "tsize": 0}))
    (sent,) = server.net.take()
    assert factory.parse(sent.payload).options == {"blksize": "300", "tsize": "600"}
    server.give(packet(ACK, 0), to=sent.source_port)
    (sent,) = server.net.take()
    block = factory.parse(sent.payload)
    assert (block.blocknumber, block.data) == (1, pattern(600)[:300])
    logging.disable()
    server.give(request("missing"), port=2001)
    (sent,) = server.net.take()
    found = factory.parse(sent.payload)
    logging.disable(logging.NOTSET)
    assert (found.errorcode, found.errmsg) == (1, b"file not found")


# ------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ({"blksize": 8}, {"blksize": "8"}),
        ({"blksize": 65464}, {"blksize": "65464"}),
        ({"blksize": 65465}, {"blksize": "65464"}),
        ({"blksize": 10**12}, {"blksize": "65464"}),
        ({"BlkSize": 1428}, {"blksize": "1428"}),
        ({"timeout": 1}, {"timeout": "1"}),
        ({"timeout": 255}, {"timeout": "255"}),
        ({"tsize": 0}, {"tsize": "100000"}),
        ({"windowsize": 1}, {"windowsize": "1"}),
        ({"windowsize": 64}, {"windowsize": "64"}),
        ({"windowsize": 65535}, {"windowsize": "150"}),
        ({"windowsize": 65535, "blksize": 65464}, {"blksize": "65464", "windowsize": "2"}),
        ({"windowsize": 65535, "blksize": 1428}, {"blksize": "1428", "windowsize": "84"}),
        ({"blksize": 600, "unknown": "x", "tsize": 0}, {"blksize": "600", "tsize": "100000"}),
        ({"blksize": 7, "tsize": 0}, {"tsize": "100000"}),
    ],
)
def test_valid_options_are_granted(asked: dict[str, object], granted: dict[str, str]) -> None:
    client = Client(served(f=bytes(100_000)))
    client.ask("f", asked)
    assert client.granted() == granted


@pytest.mark.parametrize(
    "asked",
    [
        {"blksize": 7}, {"blksize": "x"}, {"blksize": "-1"}, {"blksize": "1" * 400}, {"timeout": 0}, {"timeout": 256},
        {"windowsize": 0}, {"windowsize": 65536}, {"multicast": ""}, {"blksize": "٤٤"}, {"blksize": "8 "},
    ],
)  # fmt: skip
def test_invalid_options_get_no_oack(asked: dict[str, Any]) -> None:
    """Without any option there is no OACK, and the transfer begins as in RFC 1350 (RFC 2347)."""
    client = Client(served(f=bytes(600)))
    client.ask("f", asked)
    opcode, number, data = client.one()
    if opcode == ERROR:
        assert number == 4
        assert not all(str(value).isascii() and str(value) for value in asked.values())
    else:
        assert (opcode, number, len(data)) == (DATA, 1, 512)


@pytest.mark.parametrize(("mtu", "window"), [(65521, 2), (1500, 2), (576, 2), (68, 1)])
def test_windows_fit_a_guests_socket(mtu: int, window: int) -> None:
    """A block that is many frames takes more room there."""
    client = Client(Server({"f": bytes(100)}.get, mtu=mtu))
    client.ask("f", {"windowsize": 64, "blksize": 65464})
    assert client.granted()["windowsize"] == str(window)


def test_tsize_is_answered(tmp_path: Path) -> None:
    client = Client(Server(folder(tmp_path)))
    client.ask("full", {"tsize": 0})
    assert client.granted() == {"tsize": "1024"}


# ---------------------------------------------------------------------------------- loss, duplicates


def test_a_lost_block_comes_again_after_longer_and_longer() -> None:
    server = served(f=pattern(1000))
    client = Client(server)
    client.ask("f")
    assert client.one() == (DATA, 1, pattern(1000)[:512])
    times = retransmits(client, 60)
    assert times == [1, 3, 7, 15, 23, 31, 39, 47, 55]  # the last is the error
    assert server.stats.tftp_retransmits == 8
    assert server.stats.tftp_timeouts == 1
    assert server.net.pending == 0


def test_the_guests_own_interval() -> None:
    server = served(f=pattern(1000))
    client = Client(server)
    client.ask("f", {"timeout": 3})
    assert client.granted() == {"timeout": "3"}
    assert retransmits(client, 30) == [3, 6, 9, 12, 15, 18, 21, 24, 27]


def test_a_retransmission_is_identical() -> None:
    server = served(f=pattern(1000))
    client = Client(server)
    client.ask("f")
    first = client.take()
    server.net.run(1)
    assert client.take() == first
    client.ack(1)
    assert client.one() == (DATA, 2, pattern(1000)[512:])
    client.ack(2)
    assert server.stats.tftp_done == 1


def test_the_time_out_follows_the_round_trip_time() -> None:
    server = served(f=bytes(5000))
    client = Client(server)
    client.ask("f")
    server.net.run(0.125)
    client.take()
    client.ack(1)
    client.take()
    assert retransmits(client, 2) == [0.5, 1.5]


@pytest.mark.parametrize("options", [{}, {"blksize": 100}, {"windowsize": 4}])
def test_the_round_trip_time_of_a_retransmission_is_not_measured(options: dict[str, object]) -> None:
    """The answer may be to the first packet (Karn); the next that is sent once is measured."""
    server = served(f=bytes(50_000))
    client = Client(server)
    client.ask("f", options)
    server.net.run(1)
    last = client.take()[-1][1]
    server.net.run(0.125)
    client.ack(last)
    client.take()
    server.net.run(1)  # as long as at first: nothing was learned
    sent = client.take()
    assert sent
    assert retransmits(client, 1.875) == []
    server.net.run(0.125)
    client.take()
    client.ack(sent[-1][1])
    latest = client.take()[-1][1]
    server.net.run(0.125)
    client.ack(latest)
    client.take()
    assert retransmits(client, 1)[0] == 0.5


def test_a_window_that_is_sent_again_in_several_turns() -> None:
    """All of it is acknowledged in the middle of that: what follows is sent, and nothing of it once more."""
    server = served(f=bytes(1_000_000))
    client = Client(server)
    client.ask("f", {"windowsize": 80, "blksize": 1428})
    assert client.granted()["windowsize"] == "80"
    client.ack(0)
    server.net.run(1e-6)
    assert [number for _, number, _ in client.take()] == list(range(1, 81))
    server.net.run(0.099_99)
    again: list[int] = []
    while not again:
        server.net.run(1e-9)
        again = [number for _, number, _ in client.take()]
    assert again == list(range(1, len(again) + 1))
    assert len(again) < 80
    client.ack(80)
    server.net.run(1e-6)
    assert [number for _, number, _ in client.take()] == list(range(81, 161))


def test_a_guest_that_gives_up_amid_the_turns_of_its_transfer() -> None:
    """The rest is not sent, and once the service is closed no transfer waits for another turn."""
    server = served(f=bytes(1_000_000))
    client = Client(server)
    client.ask("f", {"windowsize": 80, "blksize": 1428})
    client.granted()
    client.ack(0)
    assert len(server.service._transfers._ready) == 1
    client.take()
    client.give(packet(ERROR, 0, b"enough\0"))
    server.service.close()
    assert len(server.service._transfers._ready) == 0
    server.net.run(60)
    client.silence()


def test_another_turn_is_taken_only_if_something_is_left() -> None:
    server = served(f=bytes(1_000_000), small=b"hello")
    client = Client(server)
    client.ask("small")
    server.net.run(1e-6)
    client.take()
    assert server.service._transfers._next_turn is None
    client.ask("f", {"windowsize": 80, "blksize": 1428})
    client.granted()
    client.ack(0)
    server.service._transfers.take_turns()
    first = server.service._transfers._next_turn
    server.service._transfers.take_turns()
    assert server.service._transfers._next_turn is first


@pytest.mark.parametrize("write", [False, True])
def test_only_a_guest_that_writes_announces_a_size(write: bool) -> None:
    assert negotiate([("tsize", "5")], mtu=1500, size=None, write=write).size == (5 if write else None)


def test_the_number_before_the_first_block_is_no_gap() -> None:
    """No block can be missing while the options have not been acknowledged."""
    server = served(f=bytes(10_000))
    client = Client(server)
    client.ask("f", {"windowsize": 8})
    client.granted()
    server.net.run(0.01)
    client.ack(0xFFFF)
    server.net.run(1e-6)
    client.silence()
    assert server.stats.drop_tftp_duplicate == 1


def test_blocks_that_come_again_are_counted(tmp_path: Path) -> None:
    server = Server(tmp_path, tftp_write=True)
    client = Client(server)
    client.ask("new", write=True)
    client.take()
    client.data(1, bytes(512))
    for count in (1, 2, 3):
        client.data(1, bytes(512))
        assert server.stats.drop_tftp_duplicate == count


def test_a_request_that_is_repeated_amid_the_data_begins_anew(tmp_path: Path) -> None:
    """Only one that was repeated before the guest had our answer is the same."""
    server = Server(tmp_path, tftp_write=True)
    client = Client(server)
    client.ask("new", write=True)
    client.ask("new", write=True)
    assert server.stats.tftp_writes == 1
    client.take()
    client.data(1, b"half" * 128)
    client.ask("new", write=True)
    assert server.stats.tftp_writes == 1, "too early"
    server.net.run(1.5)
    client.ask("new", write=True)
    assert server.stats.tftp_writes == 2


def test_a_duplicate_acknowledgement_sends_nothing() -> None:
    """The sorcerer's apprentice (RFC 1123, section 4.2.3.1)."""
    server = served(f=pattern(2000))
    client = Client(server)
    client.ask("f")
    client.take()
    for number in (1, 2, 3):
        client.ack(number)
        assert client.one()[:2] == (DATA, number + 1)
        for again in range(3):
            server.net.run(0.02 * again)
            client.ack(number)
            client.silence()
    assert server.stats.drop_tftp_duplicate == 9


@pytest.mark.parametrize("number", [3, 100, 65535])
def test_an_acknowledgement_of_an_unsent_block_is_dropped(number: int) -> None:
    server = served(f=pattern(2000))
    client = Client(server)
    client.ask("f")
    client.take()
    client.ack(number)
    client.silence()
    client.ack(1)
    assert client.one() == (DATA, 2, pattern(2000)[512:1024])
    assert server.stats.drop_tftp_duplicate == 1


def test_a_gap_in_a_window() -> None:
    """The guest acknowledges what it has; the rest comes again from there (RFC 7440, section 4)."""
    data = pattern(20_000)
    server = served(f=data)
    client = Client(server)
    client.ask("f", {"windowsize": 4})
    client.take()
    client.ack(0)
    assert [number for _, number, _ in client.take()] == [1, 2, 3, 4]
    server.net.run(0.01)
    client.ack(2)
    assert [(n, d) for _, n, d in client.take()] == [(n, data[(n - 1) * 512 : n * 512]) for n in (3, 4, 5, 6)]
    assert server.stats.tftp_retransmits == 2
    client.ack(2)  # from before what was sent last
    client.silence()
    server.net.run(0.01)
    client.ack(2)  # for each of the blocks that came behind the gap there may be one
    client.silence()
    client.ack(6)
    assert [number for _, number, _ in client.take()] == [7, 8, 9, 10]


def test_the_first_block_of_a_window_is_lost() -> None:
    """The acknowledgement of the window before comes again; once it counts."""
    server = served(f=pattern(20_000))
    client = Client(server)
    client.ask("f", {"windowsize": 4})
    client.take()
    client.ack(0)
    client.take()
    client.ack(4)
    client.ack(4)  # under way when the window was sent
    assert [number for _, number, _ in client.take()] == [5, 6, 7, 8]
    server.net.run(0.01)
    client.ack(4)
    assert [number for _, number, _ in client.take()] == [5, 6, 7, 8]
    server.net.run(0.01)
    client.ack(4)
    client.silence()
    server.net.run(0.1)
    assert [number for _, number, _ in client.take()] == [5, 6, 7, 8]


def test_late_acknowledgements_after_sending_again() -> None:
    """A window was sent again for nothing: the acknowledgement of all of it still counts."""
    server = served(f=pattern(20_000))
    client = Client(server)
    client.ask("f", {"windowsize": 4})
    client.take()
    client.ack(0)
    client.take()
    server.net.run(0.01)
    client.ack(1)
    assert [number for _, number, _ in client.take()] == [2, 3, 4, 5]
    client.ack(5)
    assert [number for _, number, _ in client.take()] == [6, 7, 8, 9]


def test_an_option_acknowledgement_is_sent_again() -> None:
    server = served(f=pattern(600))
    client = Client(server)
    client.ask("f", {"blksize": 600})
    assert client.granted() == {"blksize": "600"}
    server.net.run(1)
    assert client.granted() == {"blksize": "600"}
    client.ack(0)
    assert client.one() == (DATA, 1, pattern(600))
    client.ack(1)
    assert client.one() == (DATA, 2, b"")


def test_a_request_that_comes_again_begins_no_second_transfer() -> None:
    server = served(f=pattern(600))
    client = Client(server)
    client.ask("f")
    first = client.take()
    client.ask("f")
    client.silence()  # at the same moment: the network has doubled it
    server.net.run(0.25)
    client.ask("f")
    assert client.take() == first
    client.ack(1)
    client.take()
    server.net.run(0.25)
    port = client.to
    client.ask("f")  # late
    client.silence()
    client.to = port
    client.ack(2)
    assert (server.stats.tftp_reads, server.stats.tftp_done) == (1, 1)


def test_a_guest_that_was_started_anew() -> None:
    """A restarted guest sends the same request from the same port in the middle of a transfer."""
    server = served(f=pattern(2000))
    client = Client(server)
    client.ask("f")
    client.take()
    client.ack(1)
    client.take()
    old = client.to
    server.net.run(0.9)
    client.take()
    server.net.run(0.2)
    client.ask("f")
    assert client.take()[-1][:2] == (DATA, 1)
    assert client.to != old
    assert len(server.net.conversations) == 1
    client.ask("g")
    assert client.refused() == 1
    assert server.net.conversations == {}


def test_the_end_of_a_transfer_is_known_for_a_while() -> None:
    server = served(f=b"x")
    client = Client(server)
    assert client.read("f") == b"x"
    client.ack(1)
    client.silence()
    assert server.stats.drop_tftp_duplicate == 1
    assert client.read("f") == b"x", "the same port may ask again at once"
    assert server.stats.tftp_done == 2


def test_an_error_ends_a_transfer() -> None:
    server = served(f=pattern(2000))
    client = Client(server)
    client.ask("f", {"blksize": 100})
    client.take()
    client.give(packet(ERROR, 8, b"no such options\0"))
    server.net.run(60)
    client.silence()
    assert (server.stats.tftp_aborted, server.stats.tftp_timeouts) == (1, 0)
    assert server.net.pending == 0


@pytest.mark.parametrize("payload", [packet(ACK, 1), packet(DATA, 1, b"x"), packet(ERROR, 0, b"x\0")])
def test_packets_that_belong_to_no_transfer(payload: bytes) -> None:
    """Error 5, except for an error, which is never answered."""
    server = served(f=b"x")
    client = Client(server)
    client.give(payload)
    if payload[1] == ERROR:
        client.silence()
    else:
        assert client.refused() == 5
    assert server.stats.drop_tftp_unknown == 1


@pytest.mark.parametrize("payload", [packet(OACK, 0), packet(0, 0), packet(7, 1), packet(0x0101, 1)])
def test_opcodes_that_a_client_may_not_send(payload: bytes) -> None:
    client = Client(served(f=b"x"))
    client.give(payload)
    assert client.refused() == 4


def test_data_to_a_transfer_that_reads() -> None:
    server = served(f=pattern(600))
    client = Client(server)
    client.ask("f")
    client.take()
    client.data(1, b"x")
    client.data(2, b"x")
    client.give(packet(9, 1))
    client.silence()
    assert server.stats.drop_tftp_duplicate == 3
    client.ack(1)
    assert client.one()[:2] == (DATA, 2)


# ------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("size", [0, 511, 512, 5000])
@pytest.mark.parametrize("options", [None, {"blksize": 1000, "windowsize": 3, "timeout": 2}])
def test_a_file_is_written(root: Path, size: int, options: dict[str, object] | None) -> None:
    server = Server(root, tftp_write=True)
    client = Client(server)
    client.write("new", pattern(size), options)
    assert (root / "new").read_bytes() == pattern(size)
    assert (server.stats.tftp_writes, server.stats.tftp_done) == (1, 1)
    server.net.run(60)
    assert server.net.pending == 0


def test_options_of_a_write(root: Path) -> None:
    client = Client(Server(root, tftp_write=True))
    client.ask("new", {"tsize": 1234, "blksize": 65464, "windowsize": 65535, "timeout": 9}, write=True)
    assert client.granted() == {"tsize": "1234", "blksize": "65464", "windowsize": "2", "timeout": "9"}


def test_rollover_while_writing(root: Path) -> None:
    data = bytes(8) * 65_535 + pattern(20)
    Client(Server(root, tftp_write=True)).write("new", data, {"blksize": 8, "windowsize": 200})
    assert (root / "new").read_bytes() == data


def test_blocks_that_come_again_or_too_early(root: Path) -> None:
    """Blocks that are there are acknowledged again; nothing is written twice or in a wrong order."""
    data = pattern(1200)
    server = Server(root, tftp_write=True)
    client = Client(server)
    client.ask("new", write=True)
    client.take()
    client.data(1, data[:512])
    assert client.one() == (ACK, 1, b"")
    server.net.run(0.01)
    client.data(1, b"z" * 512)
    assert client.one() == (ACK, 1, b"")
    client.data(1, b"z" * 512)
    client.silence()  # at the same moment: once is enough
    server.net.run(0.01)
    client.data(3, b"z")
    assert client.one() == (ACK, 1, b"")
    client.data(2, data[512:1024])
    assert client.one() == (ACK, 2, b"")
    client.data(3, data[1024:])
    assert client.one() == (ACK, 3, b"")
    server.net.run(1)
    client.data(3, data[1024:])  # our last acknowledgement was lost
    assert client.one() == (ACK, 3, b"")
    assert (root / "new").read_bytes() == data


def test_a_gap_while_writing_in_windows(root: Path) -> None:
    data = pattern(512 * 5 + 10)
    server = Server(root, tftp_write=True)
    client = Client(server)
    client.ask("new", {"windowsize": 4}, write=True)
    client.take()

    def block(number: int) -> None:
        client.data(number, data[(number - 1) * 512 : number * 512])

    server.net.run(0.01)
    block(1)
    client.silence()
    for number in (3, 4):
        block(number)
    assert client.one() == (ACK, 1, b"")
    server.net.run(0.01)
    for number in (2, 3, 4):
        block(number)
        client.silence()
    block(5)
    assert client.one() == (ACK, 5, b"")
    block(6)
    assert client.one() == (ACK, 6, b"")
    assert (root / "new").read_bytes() == data


def test_acknowledgements_are_sent_again(root: Path) -> None:
    server = Server(root, tftp_write=True)
    client = Client(server)
    client.ask("new", write=True)
    client.take()
    assert retransmits(client, 60) == [1, 3, 7, 15, 23, 31, 39, 47, 55]
    assert (server.stats.tftp_retransmits, server.stats.tftp_timeouts) == (8, 1)
    assert not (root / "new").exists()


def test_a_block_that_is_too_long(root: Path) -> None:
    server = Server(root, tftp_write=True)
    client = Client(server)
    client.ask("new", write=True)
    client.take()
    client.data(1, bytes(513))
    assert client.refused() == 4
    server.net.run(0.1)
    client.data(1, bytes(100))
    client.silence()
    assert server.stats.drop_tftp_malformed == 1
    assert not (root / "new").exists()


# ----------------------------------------------------------------------------------------- callables


def test_a_callable_gives_files() -> None:
    class Pipe(io.RawIOBase):
        """Without a position, and with short reads."""

        def __init__(self) -> None:
            self.left = pattern(5000)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            piece, self.left = self.left[:100], self.left[100:]
            buffer[: len(piece)] = piece
            return len(piece)

    files = {"file": io.BytesIO(pattern(5000)), "pipe": Pipe()}
    files["file"].seek(1000)
    server = Server(files.get)
    client = Client(server)
    client.ask("file", {"tsize": 0})
    assert client.granted() == {"tsize": "4000"}
    client.give(packet(ERROR, 0, b"only asking\0"))
    assert files["file"].closed
    files["file"] = io.BytesIO(pattern(5000))
    assert client.read("file") == pattern(5000)
    assert files["file"].closed
    assert client.read("pipe", {"tsize": 0, "blksize": 999}) == pattern(5000)
    assert files["pipe"].closed


def test_a_callable_sees_the_name_as_it_was_sent() -> None:
    names = []

    def serve(name: str) -> bytes:
        names.append(name)
        return b"x"

    client = Client(Server(serve))
    for name in ("\\Boot\\BCD", "/a/../b", "C:\\x"):
        assert client.read(name) == b"x"
    assert names == ["\\Boot\\BCD", "/a/../b", "C:\\x"]


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (FileNotFoundError(2, "no"), 1), (PermissionError(13, "no"), 2), (OSError(5, "io"), 0), (OSError("?"), 2),
        (KeyError("x"), 0), (ZeroDivisionError(), 0),
    ],
)  # fmt: skip
def test_a_callable_that_raises(problem: Exception, code: int, caplog: pytest.LogCaptureFixture) -> None:
    """The guest hears of it, the log too if it is a mistake, and the network goes on."""

    def serve(name: str) -> bytes:
        raise problem

    client = Client(Server(serve))
    client.ask("f")
    assert client.refused() == code
    assert bool(caplog.records) == (not isinstance(problem, OSError))


def test_a_callable_that_gives_something_else(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(Server({"text": "not bytes", "lines": io.StringIO("text")}.get))
    client.ask("text")
    assert client.refused() == 0
    assert "give bytes, a binary file or None" in caplog.text
    client.ask("lines")
    assert client.refused() == 0


def test_a_file_that_fails_in_the_middle(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 100_000:
                raise ValueError("broken")
            return super().read(min(size or 0, 60_000))

        def close(self) -> None:
            raise RuntimeError("broken too")

    server = Server(lambda name: Bad(pattern(300_000)))
    client = Client(server)
    client.ask("f", {"blksize": 60_000})
    client.take()
    client.ack(0)
    for number in (1, 2):
        assert client.one()[:2] == (DATA, number)
        client.ack(number)
    assert client.refused() == 0
    assert server.stats.tftp_failed == 2
    server.net.run(60)
    assert server.net.pending == 0


def test_a_file_that_becomes_shorter(root: Path) -> None:
    (root / "f").write_bytes(bytes(200_000))
    client = Client(Server(root))
    client.ask("f", {"blksize": 65464, "tsize": 0})
    assert client.granted()["tsize"] == "200000"
    (root / "f").write_bytes(b"short")
    client.ack(0)
    assert client.one() == (DATA, 1, b"short")


def test_a_file_that_grows(root: Path) -> None:
    """The transfer has the announced length."""
    (root / "f").write_bytes(bytes(1000))
    client = Client(Server(root))
    client.ask("f", {"blksize": 2000, "tsize": 0})
    client.take()
    with (root / "f").open("ab") as file:
        file.write(b"more")
    client.ack(0)
    assert client.one() == (DATA, 1, bytes(1000))


# -------------------------------------------------------------------------------------------- bounds


def test_a_guest_has_so_many_transfers(root: Path) -> None:
    server = Server(root)
    neighbour = Client(server, 1, OTHER)
    neighbour.ask("full")
    neighbour.take()
    clients = [Client(server, 3000 + number) for number in range(tftp_module.TRANSFERS_OF_GUEST_MAX + 1)]
    for client in clients:
        server.net.run(0.001)
        client.ask("full")
        assert client.one()[:2] == (DATA, 1)
        if client is clients[5]:
            clients[0].ack(1)  # alive
    assert server.stats.tftp_evicted == 1
    assert clients[1].refused() == 0, "the idlest one"
    neighbour.ack(1)
    assert neighbour.take()[-1][:2] == (DATA, 2), "another guest notices nothing"


@pytest.mark.long
def test_a_flood_of_requests(root: Path) -> None:
    """Requests from many ports of many guests: memory is limited, and guests with few transfers keep them."""
    server = Server(root)
    good = Client(server, 1, OTHER)
    good.ask("full")
    good.take()
    for number in range(5000):
        server.give(request("full"), guest=bytes((10, 0, 3, number % 40)), port=1024 + number)
    assert len(server.service._transfers.by_client) <= tftp_module.TRANSFERS_MAX
    assert len(server.net.conversations) == len(server.service._transfers.by_client)
    server.net.run(0.001)
    good.ack(1)
    assert good.take()[-1][:2] == (DATA, 2)
    server.net.run(120)
    assert server.net.conversations == {}
    assert server.net.pending == 0
    assert server.stats.tftp_timeouts + server.stats.tftp_evicted == 5001


def test_guests_take_turns() -> None:
    """A guest with many transfers and large windows does not keep another waiting."""
    server = served(f=bytes(5_000_000))
    greedy = [Client(server, 3000 + n) for n in range(10)]
    for client in greedy:
        client.ask("f", {"blksize": 65464, "windowsize": 16})
        client.take()
    modest = Client(server, 2000, OTHER)
    modest.ask("f", {"blksize": 1428})
    modest.take()
    server.net.run(0.01)
    for client in greedy:
        client.ack(0)
    sent = sum(len(packet.payload) for packet in server.net.sent)
    assert sent <= 2 * tftp_module.BUDGET, "in one go"
    modest.ack(0)
    server.net.run(1e-9 * 2)
    assert modest.one()[:2] == (DATA, 1), "behind one round of the other's"
    server.net.run(0.001)
    assert all(len(client.take()) == 2 for client in greedy)


def test_small_blocks_take_turns_too() -> None:
    server = served(f=bytes(100_000))
    client = Client(server)
    client.ask("f", {"blksize": 8, "windowsize": 768})
    assert client.granted()["windowsize"] == "250"
    server.net.run(0.01)
    client.ack(0)
    assert 30 < len(client.take()) < 100
    server.net.run(0.001)
    assert len(client.take()) > 150


def test_closing_ends_everything(root: Path) -> None:
    server = Server(root, tftp_write=True)
    Client(server, 2000).ask("full")
    Client(server, 2001).ask("new", write=True)
    server.service.close()
    assert server.net.pending == 0
    assert server.net.conversations == {}
    assert sorted(path.name for path in root.iterdir()) == ["empty", "full", "small", "sub"]
