"""Scripts in packetdrill's notation: what is read, what fails, what is not supported.

The library of scripts is in tests/packetdrill.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from slirpy.cli.app import app
from slirpy.interfaces import Buffer
from slirpy.stats import Stats
from slirpy.tcp import Connection, Segment, segment_arrives
from slirpy.tcp.sendbuffer import SendBuffer
from slirpy.testing.packetdrill import ScriptError, UnsupportedError, parse, run_text
from slirpy.testing.packetdrill.calls import Sockets
from slirpy.testing.packetdrill.info import CONSTANTS, NAMES
from slirpy.testing.packetdrill.language import ACTIONS, CALLS, OPTIONS, SCRIPT_OPTIONS, SOCKET_OPTIONS
from slirpy.testing.packetdrill.script import Call, Option, Packet
from tests.support.repository import REPOSITORY
from tests.unit.testing.packetdrill.scripts import SERVER, expect

LIBRARY = REPOSITORY / "tests" / "packetdrill"
OPEN = """--open=passive
0 < S 0:0(0) win 65535 <mss 1000>
+0 > S. 0:0(0) ack 1 win 65535 <mss 1460>
+.1 < . 1:1(0) ack 1 win 65535
"""
ACCEPTED = (
    SERVER
    + OPEN.partition("\n")[2].replace("0 <", "+0 <", 1).replace("++", "+")
    + "+0 accept(3, ..., ...) = 4\n"
)


def outcome(text: str) -> tuple[str, int]:
    result = run_text(text)
    return result.outcome, result.line


failure = partial(expect, "fail")


# --------------------------------------------------------------------------------------- what fails


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("+0 > . 1:101(100) ack 1", "flags . expected, not P."),
        ("+0 > P. 2:102(100) ack 1", "sequence number 2 expected, not 1"),
        ("+0 > P. 1:100(99) ack 1", "99 bytes expected, not 100"),
        ("+0 > P. 1:102(101) ack 1", "101 bytes expected, not 100"),
        ("+0 > P. 1:101(100) ack 2", "ack 2 expected, not 1"),
        ("+0 > P. 1:101(100) ack 1 win 65534", "win 65534 expected, not 65535"),
        ("+0 > P. 1:101(100) ack 1 urg 7", "urg 7 expected"),
        ("+0 > P. 1:101(100) ack 1 <nop,nop>", "options nop,nop expected, not none"),
        ("+.005 > P. 1:101(100) ack 1", "expected at 0.105000 s, sent at 0.100000 s"),
        ("+.005~+.1 > P. 1:101(100) ack 1", "expected at 0.105000 to 0.200000 s, sent at 0.100000 s"),
        ("0~0.09 > P. 1:101(100) ack 1", "expected at 0.000000 to 0.090000 s, sent at 0.100000 s"),
    ],
)
def test_every_field_is_compared(line: str, told: str) -> None:
    result = failure(f"{OPEN}+0 write(100)\n{line}\n")
    assert result.line == 6
    assert told in result.reason
    assert "SYN,ACK" in result.ladder


@pytest.mark.parametrize(
    "line",
    [
        "+0 > P. 1:101(100) ack 1",
        "+0 > P. 1:101(100)",
        "+0 > P. 1:101(100) ack 1 win 65535",
        "+0 > P. 1:101(100) ack 1 <...>",
        "+.004 > P. 1:101(100) ack 1",
        "0.1 > P. 1:101(100) ack 1",
        "0.096 > P. 1:101(100) ack 1",
        "+0~+.1 > P. 1:101(100) ack 1",
        "0.05~0.15 > P. 1:101(100) ack 1",
        "* > P. 1:101(100) ack 1",
    ],
)
def test_lines_that_match(line: str) -> None:
    assert outcome(f"{OPEN}+0 write(100)\n{line}\n") == ("pass", 0)


def test_nothing_else_may_be_sent() -> None:
    result = failure(f"{OPEN}+0 write(100)\n")
    assert "sent, but not in the script: 0.100000 > P. 1:101(100) ack 1 win 65535" in result.reason
    assert result.line == 5


def test_silence_after_the_last_segment_of_the_script_is_a_choice() -> None:
    script = f"{OPEN}+0 write(100)\n+1 %{{ assert tcp_retransmits == 2 }}%\n"
    assert outcome(script)[0] == "fail"
    assert run_text(script, silence=False).outcome == "pass"
    assert run_text(script + "+0 > P. 1:101(99) ack 1".replace("101", "100"), silence=False).outcome == "fail"


def test_a_segment_missing_in_the_script_fails_the_next_line() -> None:
    result = failure(
        f"{OPEN}+0 < P. 1:101(100) ack 1 win 65535\n+1 < . 101:101(0) ack 1 win 65535\n+1 write(1)\n"
    )
    assert "sent, but not in the script: 0.110000 > . 1:1(0) ack 101" in result.reason
    assert result.line == 6


def test_a_retransmission_that_is_due_at_the_end_is_sent() -> None:
    script = f"{OPEN}+0 write(100)\n+0 > P. 1:101(100) ack 1\n"
    assert outcome(script + "+.2 `sleep .099`\n") == ("pass", 0)
    assert outcome(script + "+.2 `sleep .1`\n")[0] == "fail"


def test_nothing_was_sent() -> None:
    result = failure(f"{OPEN}+0 > . 1:1(0) ack 1\n")
    assert "nothing was sent by 0.104000 s; the connection is ESTABLISHED" in result.reason
    assert outcome(f"{OPEN}* > . 1:1(0) ack 1\n")[0] == "fail"


def test_times_do_not_go_backward() -> None:
    assert "this was due at 0.05 s" in failure(f"{OPEN}0.05 write(1)\n").reason


def test_a_long_segment_may_be_several() -> None:
    script = f"{OPEN}+0 write(2500)\n"
    assert outcome(script + "+0 > P. 1:2501(2500) ack 1\n") == ("pass", 0)
    assert outcome(script + "+0 > . 1:2001(2000) ack 1\n+0 > P. 2001:2501(500) ack 1\n") == ("pass", 0)
    assert "1500 bytes expected, not 1000" in failure(script + "+0 > . 1:1501(1500) ack 1\n").reason
    two = f"{OPEN}+0 write(100)\n+0 write(100)\n"
    assert "200 bytes expected, not 100" in failure(two + "+0 > P. 1:201(200) ack 1\n").reason


@pytest.mark.needs("interpreted", detail="patches a method")
def test_wrong_bytes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"{OPEN}+0 write(100)\n+0 > P. 1:101(100) ack 1\n+.3 > P. 1:101(100) ack 1\n"
    assert outcome(script) == ("pass", 0)
    take = SendBuffer.take

    def later(self: SendBuffer, count: int) -> list[Buffer]:
        return [bytes(sum(map(len, take(self, count))))]

    monkeypatch.setattr(SendBuffer, "take", later)
    assert "sends other bytes at 1 than were written there" in failure(script).reason


def test_tolerance() -> None:
    script = f"{OPEN}+0 write(100)\n+.004 > P. 1:101(100) ack 1\n"
    assert run_text(script).outcome == "pass"
    assert run_text(script, tolerance_usecs=3999).outcome == "fail"
    assert run_text("--tolerance_usecs=4000\n" + script, tolerance_usecs=0).outcome == "pass"


def test_timestamps_are_checked_where_their_unit_is_known() -> None:
    def script(val: int, ecr: int) -> str:
        return (
            "0 < S 0:0(0) win 65535 <mss 1000,nop,nop,TS val 7 ecr 0>\n"
            "+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,TS val 300 ecr 7>\n"
            "+.1 < . 1:1(0) ack 1 win 65535 <nop,nop,TS val 8 ecr 300>\n"
            f"+0 < P. 1:101(100) ack 1 win 65535 <nop,nop,TS val 8 ecr 300>\n"
            f"+.01 > . 1:1(0) ack 101 <nop,nop,TS val {val} ecr {ecr}>\n"
        )

    assert outcome("--open=passive\n" + script(410, 8)) == ("pass", 0)
    assert "TS val 420 expected, not 410" in failure("--open=passive\n" + script(420, 8)).reason
    assert outcome("--open=passive\n" + script(410, 9))[0] == "fail"
    without = SERVER + script(420, 8).replace("0 <", "+0 <", 1)
    assert outcome(without) == ("pass", 0)
    assert outcome("--tcp_ts_tick_usecs=1000\n" + without)[0] == "fail"


# -------------------------------------------------------------------------------------------- calls


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("+0 read(4, ..., 10) = 10", "read() blocks"),
        ("+0 write(4, ..., 10) = 11", "write() returns 10, not 11"),
        ("+0 write(4, ..., 10) = -1 EPIPE", "write() returns 10, not -1 EPIPE"),
        ("+0...0.2 read(4, ..., 10) = 10", "read() has not returned by 0.304000 s"),
        ("+0 poll([{fd=4, events=POLLIN, revents=POLLIN}], 1, 0) = 1", "poll() reports nothing, not POLLIN"),
        ("+0 ioctl(4, SIOCINQ, [5]) = 0", "ioctl() reports 0, not 5"),
        ("+0 getsockopt(4, SOL_SOCKET, SO_ERROR, [ECONNRESET], [4]) = 0", "SO_ERROR is 0"),
        ("+0 read(9, ..., 10) = 10", "9 is not an open connection"),
    ],
)
def test_results_are_compared(line: str, told: str) -> None:
    result = failure(f"{ACCEPTED}{line}\n")
    assert told in result.reason
    assert result.line == 8


def test_a_call_that_blocks_returns_in_its_time() -> None:
    script = "+0...{} read(4, ..., 10) = 10\n+.2 < P. 1:11(10) ack 1 win 65535\n+.01 > . 1:1(0) ack 11\n"
    assert outcome(ACCEPTED + script.format(".2")) == ("pass", 0)
    early = failure(ACCEPTED + script.format(".1"))
    assert early.line == 8
    assert "read() should return at 0.200000 s, and does at 0.300000 s" in early.reason
    assert outcome(ACCEPTED + script.format(".3")) == ("fail", 8)


def test_both_times_of_a_call_count_from_the_event_before() -> None:
    script = "+.1...{} read(4, ..., 10) = 10\n+.2 < P. 1:11(10) ack 1 win 65535\n+.01 > . 1:1(0) ack 11\n"
    assert outcome(ACCEPTED + script.format(".3")) == ("pass", 0)
    assert outcome(ACCEPTED + script.format(".4")) == ("fail", 8)


def test_read_checks_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"{OPEN}+0 < P. 1:11(10) ack 1 win 9\n+.01 > . 1:1(0) ack 11\n+0 read(10)\n"
    assert outcome(script) == ("pass", 0)

    def spoiled(conn: Connection, segment: Segment, now: int) -> None:
        segment_arrives(conn, segment._replace(payload=bytes(len(segment.payload))), now)

    monkeypatch.setattr("slirpy.testing.packetdrill.host.segment_arrives", spoiled)
    assert "the bytes from 1 on are not those that were received" in failure(script).reason


def test_read_checks_the_received_bytes() -> None:
    assert outcome(f"{OPEN}+0 read(10)\n") == ("fail", 5)
    assert outcome(f"{OPEN}+0 read(10) = 0\n") == ("pass", 0)
    assert outcome(f"{OPEN}+0 < P. 1:11(10) ack 1 win 9\n+.01 > . 1:1(0) ack 11\n+0 read() = 9\n") == (
        "fail",
        7,
    )


# ---------------------------------------------------------------------------------------- assertions


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("assert tcpi_state == TCP_ESTABLISHED", "pass"),
        ("assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd", "pass"),
        ("assert 9 < tcpi_snd_cwnd <= 10 and not error", "pass"),
        ("print(tcpi_rto)\nassert abs(-1) + min(1, 2) * max(2, 3) == 4", "pass"),
        ("assert state in ('ESTABLISHED', 'CLOSED') or 1 / 0", "pass"),
        ("assert tcp_retransmits == 0 and tcpi_options & TCPI_OPT_SACK == 0", "pass"),
        ("assert tcpi_snd_cwnd == 11", "fail"),
        ("assert False", "fail"),
        ("assert 1 / 0", "fail"),
        ("assert state < 1", "fail"),
        ("import os", "unsupported"),
        ("assert tcpi_pmtu == 0", "unsupported"),
        ("assert open('/etc/passwd')", "unsupported"),
        ("assert (lambda: 1)()", "unsupported"),
        ("assert state.__class__", "unsupported"),
        ("x = 1\nx += 2; assert x == 3", "pass"),
        ("cwnd = 1; assert cwnd == 1", "pass"),
        ("x = 1; assert x == 2", "fail"),
        ("state.x = 1", "unsupported"),
        ("x = y = 1", "unsupported"),
        ("x = 1 / 0", "fail"),
        ("assert 'x' * 999999999999", "unsupported"),
        ("assert 1or 2", "pass"),
        ("[1][0] += 1", "unsupported"),
    ],
)
def test_assertions(code: str, expected: str) -> None:
    assert run_text(f"{OPEN}+0 %{{ {code} }}%\n").outcome == expected


def test_variables_stay() -> None:
    assert outcome(f"{OPEN}+0 %{{ x = tcpi_snd_cwnd }}%\n+1 %{{ x += 1; assert x == 11 }}%\n") == ("pass", 0)


def test_a_failing_assertion_tells_the_values() -> None:
    result = failure(f"{OPEN}+0 %{{ assert tcpi_snd_cwnd == 11\n}}%\n")
    assert result.reason == "tcpi_snd_cwnd == 11 does not hold: tcpi_snd_cwnd is 10"


def test_every_name_is_available_at_any_time() -> None:
    asked = "\n".join(f"assert {name} or True" for name in [*NAMES, *CONSTANTS, *Stats.describe()])
    for script in (f"--open=active\n0 > S 0:0(0) <...>\n+0 %{{ {asked} }}%", f"{OPEN}+0 %{{ {asked} }}%"):
        assert outcome(script) == ("pass", 0)


# --------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    "line",
    [
        "+0 < udp (1000)",
        "+0 > [ect0] . 1:1(0) ack 1 win 1000",
        "+0 < . 1:1(0) ack 1 win 1000 <FO abcd>",
        "+0 sendfile(4, 5, 0, 100) = 100",
        "+0 recv(4, ..., 10, MSG_OOB) = 10",
        "+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 5",
        "+0 setsockopt(4, SOL_TCP, TCP_CORK, [1], 4) = 0",
        "+0 getsockopt(4, SOL_TCP, TCP_CORK, [1], [4]) = 0",
        "+0 setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=5}, 8) = 0",
        "+0 fcntl(4, F_DUPFD) = 5",
        "+0 ioctl(4, SIOCATMARK, [0]) = 0",
        "+0 `sysctl -q user.max_user_namespaces=0`",
        "`rm -rf /`",
    ],
)
def test_unsupported(line: str) -> None:
    result = run_text(f"{ACCEPTED}{line}\n")
    assert (result.outcome, result.line) == ("unsupported", 8), result
    assert result.reason
    assert not result.ladder


@pytest.mark.parametrize(
    "option", ["--wire_client", "--define=X", "--nonsense=1", "--tcp_ts_tick_usecs=10000", "--so_filename=x.so"]
)
def test_unsupported_options(option: str) -> None:
    assert outcome(f"{option}\n{SERVER}") == ("unsupported", 1)


def test_a_datagram_socket_is_unsupported() -> None:
    assert outcome("0 socket(..., SOCK_DGRAM, IPPROTO_UDP) = 3\n") == ("unsupported", 1)


def test_actions_need_open() -> None:
    assert outcome(f"{OPEN}+0 bind(3, ..., ...) = 0\n") == ("unsupported", 5)


def test_setting_the_system_back_to_its_defaults_does_nothing() -> None:
    assert outcome(f"`./defaults.sh`\n0 `../common/defaults.sh`\n{SERVER}`/tmp/sysctl_restore_5.sh`") == (
        "pass",
        0,
    )
    assert outcome(f"`./defaults.sh now`\n{SERVER}")[0] == "unsupported"


# ------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hello", "script:1: a line begins with a time"),
        ("0 < S 0:0(1)", "script:1: 0:0 are 0 bytes, not 1"),
        ("0 < X 0:0(0)", 'flags are of "FSRP.UEW", not "X"'),
        ("0 < 0:0(0)", "flags are missing"),
        ("0 < S 0:0", '"(" expected, not "the end"'),
        ("0 < S 0:0(0) win", "the end is missing"),
        ("0 < S 0:0(0) win x", 'a number expected, not "x"'),
        ("0 < S 0:0(0) <...>", "cannot define the options of a segment"),
        ("0 < S 0:0(0) <hex 1>", "hexadecimal digits in pairs"),
        ("0 < S 0:0(0) win 65536", "win must be 0 to 65535"),
        ("0 < U 0:1(1) win 1 urg 65536", "urg must be 0 to 65535"),
        ("0 < S 0:0(0) win 1 <mss -1>", "mss must be 0 to 65535"),
        ("0 < S 0:0(0) win 1 <wscale -1>", "wscale must be 0 to 255"),
        ("0 < P. 1:70001(70000) ack 1", "a segment cannot exceed 65495 bytes; this one has 70000"),
        ("0 < S 0:0(0) <" + ",".join(["TS val 1 ecr 1"] * 5) + ">", "options cannot exceed 40 bytes"),
        ("0 < S 0:0(0) bogus 5", '"bogus" is not expected'),
        ("+0~.1 < S 0:0(0)", "both ends of a range"),
        ("+.2~+.1 > S 0:0(0)", "must not end before it begins"),
        ("0.1234567891 < S 0:0(0)", "nine digits"),
        ("+ < S 0:0(0)", 'a time in seconds expected, not "<"'),
        ("0 ?", 'a call or code expected, not "?"'),
        ("0 f(1 2)", '"," expected, not "2"'),
        ("0 f(;)", 'a value expected, not ";"'),
        ("0 %{ assert 1", "script:1: %{ without an end"),
        ("\n/* x", "script:2: /* without an end"),
        ("--open=sideways", "script:1: --open=sideways: must be passive or active"),
        ("--tolerance_usecs=-1", "must be a whole number"),
        ("--delayed_ack=fast", "such as 65535, 64k, 40ms or 1.5s"),
        ("--delayed_ack=1s", "delayed_ack 1000000000 ns is not less than 500 ms"),
        ("--mtu=20", "must be more than the 40 bytes of the headers"),
        ("--ip_version=ipx", "must be ipv4, ipv4_mapped_ipv6, ipv6"),
        ("--a b", "write --name=value"),
        (OPEN + "+0 %{ assert ( }%", "line 5: not Python"),
    ],
)
def test_mistakes(text: str, told: str) -> None:
    with pytest.raises(ScriptError) as error:
        run_text(text)
    assert told in str(error.value)


def test_a_setting_of_the_caller_must_exist() -> None:
    with pytest.raises(ScriptError, match=r"there is no such setting; there are .*delayed_ack"):
        run_text(SERVER, settings={"dealyed_ack": "1ms"})


def test_settings() -> None:
    text = "0 < S 0:0(0) win 65535 <mss 1000>\n+0 > S. 0:0(0) ack 1 win {} <mss {}>\n"
    assert run_text("--open=passive --rcv_buffer=2k\n" + text.format(2048, 1460)).outcome == "pass"
    assert run_text("--open=passive --mtu=1000\n" + text.format(65535, 960)).outcome == "pass"
    assert run_text("--open=passive --ip_version=ipv6\n" + text.format(65535, 1440)).outcome == "pass"
    assert (
        run_text("--open=passive --ip_version=ipv6 --peer_mss=1300\n" + text.format(65535, 1440)).outcome
        == "pass"
    )
    more = {"rcv_buffer": "3k"}
    assert (
        run_text("--open=passive --rcv_buffer=2k\n" + text.format(3072, 1460), settings=more).outcome == "pass"
    )


def test_a_script_does_not_fill_the_memory() -> None:
    assert "the maximum is 67108864" in failure(f"{OPEN}+0 write(999999999999)\n").reason


@pytest.mark.parametrize("seed", range(40))
def test_garbled_scripts_end_in_order(seed: int) -> None:
    """Scripts with a few characters that are wrong: a result, or one kind of exception."""
    random = Random(seed)
    texts = [path.read_text() for path in sorted(LIBRARY.rglob("*.pkt"))]
    for _ in range(10):
        text = list(random.choice(texts))
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(text))
            text[at : at + random.randint(0, 1)] = random.choice(
                "0123456789+-~.*<>()[]{}=,:|%`\"'#/ \nSFRPUWEabx"
            )
        try:
            result = run_text("".join(text))
        except ScriptError:
            continue
        assert result.outcome in ("pass", "fail", "unsupported")


# ------------------------------------------------------------------------------------------- reading


def test_reading() -> None:
    script = parse(
        "# RFC 9293 MUST-13, SHLD-4\n# Why.\n// More.\n\n# no part of the head\n"
        "--mtu=1000 --tolerance_usecs=5\n"
        "0 < SEW 4294967295:0(1) win 5 urg 2 <mss 10,TS val 1 ecr 2,sack 1:2 3:4,eol> // remark\n"
        '/* a\ncomment */ +.1...0.2 f(..., -1, 0x10, A|B, [1], {a=1, b=[2]}, "x # y", g(1)) = -1 EAGAIN (no (!)\n'
        "+0 %{ assert 1 # c\nassert 2 }%\n"
        "* > . 1:1(0)\n    ack 1\n"
    )
    assert script.rules == (("9293", "MUST-13"), ("9293", "SHLD-4"))
    assert script.summary == "Why. More."
    assert script.options == ((6, "mtu", "1000"), (6, "tolerance_usecs", "5"))
    syn, call, code, ack = script.events
    assert [event.line for event in script.events] == [7, 9, 10, 12]
    assert isinstance(syn, Packet)
    assert (syn.flags, syn.seq, syn.length, syn.win, syn.urg, syn.ack) == (0xC2, 4294967295, 1, 5, 2, None)
    assert syn.options == (
        Option("mss", (10,)),
        Option("TS", (1, 2)),
        Option("sack", (1, 2, 3, 4)),
        Option("eol"),
    )
    assert isinstance(call, Call)
    assert call.arguments[:3] == (None, -1, 16)
    assert call.arguments[4:6] == ([1], {"a": 1, "b": [2]})
    assert (call.when.start, call.result, call.error) == (100_000_000, -1, "EAGAIN")
    assert call.until is not None
    assert call.until.end == 200_000_000
    assert isinstance(ack, Packet)
    assert (ack.when.anytime, ack.ack) == (True, 1)
    assert code.when.relative


def test_parse_raises_unsupported_too() -> None:
    with pytest.raises(UnsupportedError, match="there is TCP alone"):
        parse("0 < udp (1000)")


# -------------------------------------------------------------------------------- the tables are true


@pytest.mark.parametrize("name", CALLS)
def test_every_call_of_the_table_is_there(name: str) -> None:
    same = {"recv": "read", "send": "write", "sendto": "write"}
    assert callable(getattr(Sockets, f"_{same.get(name, name)}"))


@pytest.mark.parametrize("name", [name for name in SOCKET_OPTIONS if name != "SO_LINGER"])
def test_every_socket_option_of_the_table_is_there(name: str) -> None:
    value = '"reno"' if name == "TCP_CONGESTION" else "[1000]"
    line = f"+0 setsockopt(3, SOL_SOCKET, {name}, {value}, 4) = 0\n"
    assert outcome(SERVER.replace("+0 bind", line + "+0 bind")) == ("pass", 0)


def test_the_congestion_control_is_chosen_by_name() -> None:
    line = '+0 setsockopt(3, IPPROTO_TCP, TCP_CONGESTION, "{}", 4) = {}\n'
    asked = '+0 getsockopt(3, IPPROTO_TCP, TCP_CONGESTION, ["{}"], [4]) = 0\n'
    script = (
        asked.format("cubic") + line.format("reno", 0) + asked.format("reno") + line.format("fast", "-1 ENOENT")
    )
    assert outcome(SERVER.replace("+0 bind", script + "+0 bind")) == ("pass", 0)
    result = failure(SERVER.replace("+0 bind", asked.format("reno") + "+0 bind"))
    assert result.reason == "TCP_CONGESTION is cubic"


def test_another_congestion_control_takes_the_window_over() -> None:
    change = '+0 setsockopt(4, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) = 0\n'
    script = ACCEPTED + "+0 %{ before = cwnd }%\n" + change + "+0 %{ assert cwnd == before }%\n"
    assert outcome(script) == ("pass", 0)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_tcp_option_of_the_table_is_there(name: str) -> None:
    values = {"TS": "val 1 ecr 2", "sack": "1:2", "hex": "01", "nop": "", "eol": "", "sackOK": ""}.get(
        name, "3"
    )
    assert outcome(f"--open=passive\n0 < R 0:0(0) win 0 <{name} {values}>\n") == ("pass", 0)


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_of_the_table_is_there(name: str) -> None:
    assert outcome(f"--open=passive\n0 {name.replace('N', '0')}\n") == ("pass", 0)


@pytest.mark.parametrize("name", SCRIPT_OPTIONS)
def test_every_script_option_of_the_table_is_there(name: str) -> None:
    value = {"open": "passive", "tcp_ts_tick_usecs": "1000", "mtu": "1000", "ip_version": "ipv4"}.get(name, "5")
    assert outcome(f"--{name}={value}\n") == ("pass", 0)


# ---------------------------------------------------------------------------------------- the program


def test_command_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "a-good.pkt", tmp_path / "b-bad.pkt"
    good.write_text(OPEN)
    bad.write_text(OPEN + "+0 write(1)\n")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["packetdrill", *arguments], prog_name="slirpy")
        return result.exit_code, result.output

    assert run(str(good)) == (0, f"pass         {good}\n")
    status, output = run(str(tmp_path))
    assert status == 1
    assert output.startswith(f"pass         {good}\nfail         {bad}:5: sent, but not in the script:")
    assert "SYN,ACK" in output
    assert "SYN,ACK" not in run(str(bad), "--no-ladder")[1]
    status, output = run(str(tmp_path / "none.pkt"), str(bad))
    assert status == 2
    assert "cannot be read: No such file" in output
    assert f"fail         {bad}" in output
    good.write_text("0 < udp (1)")
    assert run(str(good))[0] == 1
    good.write_text(OPEN + "+0 < P. 1:2(1) ack 1 win 9\n+.05 > . 1:1(0) ack 2")
    assert run(str(good))[0] == 1
    assert run(str(good), "--set", "delayed_ack=50ms")[0] == 0
    assert run(str(good), "--tolerance-usecs", "40000")[0] == 0
    assert run(str(bad), "--no-silence")[0] == 0


@pytest.mark.parametrize("arguments", [["--set", "x", "a.pkt"], ["--set", "mss=1", "."], []])
def test_mistakes_on_the_command_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["packetdrill", *arguments], prog_name="slirpy").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "mss"),
    [
        ("", 1380),
        ("--ip-version ipv4", 1400),
        ("--ip_version=ipv4_mapped_ipv6", None),
        ("--ip_version=ipv4-mapped-ipv6", 1400),
        ("--ip_version=ipv6", 1380),
        ("--mtu 1500", 1440),
        ("--ip_version=ipv6 --mtu=1520", 1460),
        ("--ip_version=ipv4 --mtu=1000", 960),
        ("--ip_version=ipv4 --set ip_version=ipv6", 1380),
        ("--mtu 60", None),
    ],
)
def test_the_command_line_chooses_the_ip_version(arguments: str, mss: int | None, tmp_path: Path) -> None:
    """The command line overrides the script, as in packetdrill."""
    script = tmp_path / "mine.pkt"
    script.write_text(
        "--open=passive --ip_version=ipv6 --mtu=1440\n"
        f"0 < S 0:0(0) win 65535 <mss 1000>\n+0 > S. 0:0(0) ack 1 <mss {mss}>\n"
    )
    result = CliRunner().invoke(app, ["packetdrill", *arguments.split(), str(script)], prog_name="slirpy")
    assert result.exit_code == (0 if mss else 2), result.output


# -------------------------------------------------------------------------------- the documentation


def test_scripts_of_the_documentation_pass() -> None:
    page = REPOSITORY / "docs" / "howto" / "packetdrill.md"
    scripts = [block.partition("```")[0] for block in page.read_text().split("```pkt\n")[1:]]
    assert len(scripts) == 2
    for script in scripts:
        result = run_text(script, tolerance_usecs=0)
        assert result.outcome == "pass", f"{result}\n{result.ladder}"
