"""Commands between backticks: none is executed. One that sets a kernel variable changes the matching setting, if
any.

:data:`SYSCTLS` maps variables to settings. Variables without meaning here are ignored by name (:data:`IGNORED`), as
are programs that only prepare or inspect a system (:data:`PROGRAMS`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from slirpy.tcp.congestion import ALGORITHMS
from slirpy.testing.packetdrill.script import Change, Lack, UnsupportedError
from slirpy.units import MS, SECOND

__all__ = ["IGNORED", "ONLY", "PROGRAMS", "SYSCTLS", "read_command"]

_SLEEP = re.compile(r"sleep\s+(\d+\.?\d*|\.\d+)s?")
_SPLIT = re.compile(r"(?:\n|;|&&|\|\|)")
_WORD = re.compile(r"""((?:[^\s"']|"(?:\\.|[^"\\])*"|'[^']*')+)""")
_ARITHMETIC = re.compile(r"\$\(\(\s*(\d{1,9}(?:\s*[*+]\s*\d{1,9})*)\s*\)\)")
_ASSIGNMENT = re.compile(r"([\w./-]+)\s*=\s*(.*)", re.DOTALL)
_REDIRECTION = re.compile(r"\d*>>?\s*(?:/dev/null|&\d)")
_ECHO = re.compile(r"echo\s+(?:-n\s+)?(.+?)\s*>\s*(/proc/sys/\S+)")

PROGRAMS = frozenset(
    (
        "arp", "awk", "cat", "date", "defaults.sh", "dmesg", "echo", "ethtool", "false", "grep", "ifconfig", "ip",
        "kldload", "kldstat", "modprobe", "netstat", "nstat", "ping", "procstat", "set_sysctls.py", "setsysctl",
        "sockstat", "ss", "sync", "sysctl", "sysctl_restore.sh", "tail", "tc", "tcpdump", "test", "true", "vmstat",
        "wc",
    )
)  # fmt: skip
"""Programs whose calls are ignored, except for the variables that they set."""

_CHANGES_THE_PATH = {"ip": {"route", "ro", "r"}, "tc": {"netem", "limit", "tbf"}}
"""Words by which such a program changes the capacity of the path."""


def _number(value: str) -> int:
    return int(value, 0)


def _flag(name: str) -> Callable[[str], dict[str, Any]]:
    return lambda value: {name: bool(_number(value))}


def _size(*names: str) -> Callable[[str], dict[str, Any]]:
    return lambda value: dict.fromkeys(names, _number(value))


def _time(name: str, unit: int) -> Callable[[str], dict[str, Any]]:
    return lambda value: {name: _number(value) * unit}


def _rmem(value: str) -> dict[str, Any]:
    _, default, most = map(_number, value.split())
    return {"rcv_buffer": most, "rcv_buffer_initial": min(default // 2, most), "shown_rcvbuf": default}


def _wmem(value: str) -> dict[str, Any]:
    return {"snd_buffer": _number(value.split()[1])}


def _congestion(value: str) -> dict[str, Any]:
    name = {"newreno": "reno"}.get(value, value)
    if name not in ALGORITHMS:
        raise ValueError(f"there is {' and '.join(ALGORITHMS)}")
    return {"congestion": ALGORITHMS[name]}


def _syn_retries(value: str) -> dict[str, Any]:
    return {"syn_timeout": ((2 << min(_number(value), 16)) - 1) * SECOND}


def _rfc1323(value: str) -> dict[str, Any]:
    kind = _number(value)
    return {"window_scaling": kind in (1, 2), "timestamps": kind in (1, 3)}


def _delayed(value: str) -> dict[str, Any]:
    return {} if _number(value) else {"delayed_ack": 0}


def _must_be_zero(value: str) -> dict[str, Any]:
    if _number(value):
        raise ValueError("only 0 is possible")
    return {}


SYSCTLS: dict[str, tuple[Callable[[str], dict[str, Any]], str]] = {
    "net.ipv4.tcp_rmem": (
        _rmem,
        "`rcv_buffer` is the last number, `rcv_buffer_initial` half of the second one",
    ),
    "net.ipv4.tcp_wmem": (_wmem, "`snd_buffer` is the second number"),
    "net.ipv4.tcp_timestamps": (_flag("timestamps"), "`timestamps`"),
    "net.ipv4.tcp_sack": (_flag("sack"), "`sack`"),
    "net.ipv4.tcp_window_scaling": (_flag("window_scaling"), "`window_scaling`"),
    "net.ipv4.tcp_recovery": (_flag("rack"), "`rack`"),
    "net.ipv4.tcp_slow_start_after_idle": (_flag("idle_restart"), "`idle_restart`"),
    "net.ipv4.tcp_congestion_control": (_congestion, "`congestion`"),
    "net.ipv4.tcp_syn_retries": (_syn_retries, "`syn_timeout`"),
    "net.ipv4.tcp_synack_retries": (_syn_retries, "`syn_timeout`"),
    "net.ipv4.tcp_keepalive_time": (_time("keepalive_idle", SECOND), "`keepalive_idle`"),
    "net.ipv4.tcp_keepalive_intvl": (_time("keepalive_interval", SECOND), "`keepalive_interval`"),
    "net.ipv4.tcp_keepalive_probes": (_size("keepalive_count"), "`keepalive_count`"),
    "net.inet.tcp.rfc1323": (_rfc1323, "`window_scaling` and `timestamps`"),
    "net.inet.tcp.sack.enable": (_flag("sack"), "`sack`"),
    "net.inet.tcp.recvspace": (_size("rcv_buffer_initial"), "`rcv_buffer_initial`"),
    "net.inet.tcp.sendspace": (_size("snd_buffer"), "`snd_buffer`"),
    "kern.ipc.maxsockbuf": (_size("rcv_buffer"), "`rcv_buffer`"),
    "net.inet.tcp.delayed_ack": (_delayed, "`delayed_ack`, if it is 0"),
    "net.inet.tcp.delacktime": (_time("delayed_ack", MS), "`delayed_ack`"),
    "net.inet.tcp.mssdflt": (_size("peer_mss"), "`peer_mss`"),
    "net.inet.tcp.v6mssdflt": (_size("peer_mss"), "`peer_mss`"),
    "net.inet.tcp.cc.algorithm": (_congestion, "`congestion`"),
    "net.inet.tcp.keepidle": (_time("keepalive_idle", MS), "`keepalive_idle`"),
    "net.inet.tcp.keepintvl": (_time("keepalive_interval", MS), "`keepalive_interval`"),
    "net.inet.tcp.keepcnt": (_size("keepalive_count"), "`keepalive_count`"),
    "net.inet.tcp.keepinit": (_time("syn_timeout", MS), "`syn_timeout`"),
    "net.inet.tcp.msl": (lambda value: {"time_wait": 2 * _number(value) * MS}, "`time_wait`"),
    "net.inet.tcp.blackhole": (_must_be_zero, "0 only"),
}
"""Supported variables, and the settings to which they map. They apply to sockets opened later."""

ONLY: dict[str, tuple[tuple[str, ...], str]] = {
    "net.ipv4.tcp_rto_max_ms": (("60000", "120000"), "the longest timeout is 60 s"),
    "net.ipv4.tcp_rto_min_us": (("200000",), "the shortest timeout is 200 ms"),
    "net.ipv4.tcp_dsack": (("1",), "what comes twice is always reported"),
    "net.ipv4.tcp_reordering": (("3",), "three duplicate ACKs are a loss"),
    "net.ipv4.tcp_early_retrans": (("3", "4"), "the end of a flight is always probed (TLP)"),
    "net.ipv4.tcp_mtu_probing": (("0",), "larger segments are not tried out"),
    "net.ipv4.tcp_ecn": (("0", "2"), "scripts run without ECN"),
    "net.inet.tcp.ecn.enable": (("0", "2"), "scripts run without ECN"),
    "net.inet.tcp.insecure_rst": (("0",), "resets are checked as RFC 5961 says"),
    "net.inet.tcp.insecure_syn": (("0",), "a SYN is answered as RFC 5961 says"),
    "net.inet.tcp.insecure_ack": (("0",), "ACKs are checked as RFC 5961 says"),
    "net.inet.tcp.icmp_may_rst": (("1",), "a hard error ends an opening connection"),
    "net.inet.tcp.rexmit_drop_options": (("0",), "every SYN has all options"),
    "net.inet.tcp.do_prr": (("1",), "recovery follows RFC 9937"),
    "net.inet.tcp.rfc6675_pipe": (("1",), "recovery follows RFC 6675"),
    "net.inet.tcp.syncookies_only": (("0",), "there are no SYN cookies"),
}
"""Variables that matter but cannot be set: the values that match the engine, and its behaviour. With any other
value, a script that passes still passes, and one that fails is ``unsupported``.
"""

_SHOWN_BY = {"net.ipv4.tcp_dsack": "tcp_dsacks_out", "net.ipv4.tcp_early_retrans": "tcp_tail_probes"}
"""Counters that show whether such a variable would have made a difference."""

IGNORED = (
    "net.core.", "net.ipv4.", "net.ipv6.", "net.mptcp.", "net.netfilter.", "net.inet.", "net.inet6.", "kern.",
    "kernel.", "vm.", "hw.", "sys.",
)  # fmt: skip
"""Prefixes of variables that are ignored."""


def read_command(line: int, text: str) -> tuple[float, tuple[Change, ...], tuple[Lack, ...]]:
    """Return the meaning of shell commands: seconds of sleep, changed settings, unsupported values.

    Raises:
        UnsupportedError: an unknown program, or an unsupported value.
    """
    seconds = 0.0
    changes: list[Change] = []
    lacks: list[Lack] = []
    for part in _SPLIT.split(re.sub(r"\\\n", " ", text)):
        command = _without_comment(part).strip()
        if match := _SLEEP.fullmatch(command):
            seconds += float(match[1])
        elif match := _ECHO.fullmatch(command):
            _assign(line, changes, lacks, match[2], match[1])
        elif command:
            _program(line, changes, lacks, command)
    return seconds, tuple(changes), tuple(lacks)


def _without_comment(text: str) -> str:
    quoted = ""
    for at, char in enumerate(text):
        if quoted:
            quoted = "" if char == quoted else quoted
        elif char in "\"'":
            quoted = char
        elif char == "#" and (not at or text[at - 1].isspace()):
            return text[:at]
    return text


def _program(line: int, changes: list[Change], lacks: list[Lack], command: str) -> None:
    command = _REDIRECTION.sub(" ", command)
    # Arithmetic contains blanks: evaluated before the words are split.
    command = _ARITHMETIC.sub(lambda match: str(_work_out(match[1])), command)
    for stage in command.split("|"):
        words = _WORD.findall(stage)
        while words and words[0] in ("sudo", "exec", "!"):
            del words[0]
        if not words:
            continue
        name = words[0].rpartition("/")[2]
        if re.fullmatch(r"sysctl_restore\S*\.sh", name) or (name == "killall" and words[-1] == "tcpdump"):
            continue
        if name not in PROGRAMS or (name == "defaults.sh" and len(words) > 1):
            raise UnsupportedError(
                line, f"the command `{stage.strip()}`: no commands are run, there is no system to set"
            )
        if set(words) & _CHANGES_THE_PATH.get(name, set()):
            raise UnsupportedError(line, f"the command `{stage.strip()}`: there is no path to change")
        if name in ("sysctl", "setsysctl", "set_sysctls.py"):
            for word in words[1:]:
                if match := _ASSIGNMENT.fullmatch(word):
                    _assign(line, changes, lacks, match[1], match[2])


def _work_out(text: str) -> int:
    """Evaluate products and sums of numbers, as in ``15*1024*1024``."""
    total = 0
    for term in text.split("+"):
        product = 1
        for factor in term.split("*"):
            product *= int(factor)
        total += product
    return total


def _assign(line: int, changes: list[Change], lacks: list[Lack], variable: str, value: str) -> None:
    name = variable.removeprefix("/proc/sys/").replace("/", ".")
    value = value.strip().strip("\"'").strip()
    if name in SYSCTLS:
        try:
            changes += SYSCTLS[name][0](value).items()
        except ValueError as error:
            why = f": {error}" if "literal" not in str(error) and "unpack" not in str(error) else ""
            raise UnsupportedError(line, f"{name}={value}{why}") from None
        except IndexError:
            raise UnsupportedError(line, f"{name}={value}: three numbers are needed") from None
    elif name in ONLY:
        same, how = ONLY[name]
        if value not in same:
            lacks.append(Lack(f"{name}={value}: {how}", _SHOWN_BY.get(name, "")))
    elif not name.startswith(IGNORED):
        raise UnsupportedError(line, f"the variable {name}: it is none of a kernel's network")
