"""``%{ assert ... }%``: assertions about the connection, in a small part of Python that can do no harm."""

from __future__ import annotations

import ast
import errno
import operator
import re
import warnings
from collections.abc import Callable
from typing import Any

from slirpy.stats import Stats
from slirpy.tcp import Connection, State, sack
from slirpy.tcp.congestion.reno import UNKNOWN
from slirpy.tcp.seq import MASK
from slirpy.tcp.spans import AGAIN, LOST
from slirpy.testing.packetdrill.host import FailureError, Host
from slirpy.testing.packetdrill.script import Code, ScriptError, UnsupportedError
from slirpy.units import SECOND, US

__all__ = ["CONSTANTS", "NAMES", "check"]

_STATES = {
    State.ESTABLISHED: 1, State.SYN_SENT: 2, State.SYN_RECEIVED: 3, State.FIN_WAIT_1: 4, State.FIN_WAIT_2: 5,
    State.TIME_WAIT: 6, State.CLOSED: 7, State.CLOSE_WAIT: 8, State.LAST_ACK: 9, State.LISTEN: 10, State.CLOSING: 11,
}  # fmt: skip
CONSTANTS: dict[str, int] = {
    **{
        f"TCP_{state.name}".replace("RECEIVED", "RECV").replace("WAIT_", "WAIT"): n
        for state, n in _STATES.items()
    },
    "TCP_CLOSE": 7,
    "TCPI_OPT_TIMESTAMPS": 1,
    "TCPI_OPT_SACK": 2,
    "TCPI_OPT_WSCALE": 4,
    "TCPI_OPT_ECN": 8,
    "TCPI_OPT_ECN_SEEN": 16,
    "TCPI_OPT_SYN_DATA": 32,
    "TCP_CA_Open": 0,
    "TCP_CA_Disorder": 1,
    "TCP_CA_CWR": 2,
    "TCP_CA_Recovery": 3,
    "TCP_CA_Loss": 4,
    "TCP_INFINITE_SSTHRESH": 0x7FFFFFFF,
    **{f"TCP_CA_{name.upper()}": n for n, name in enumerate(("Open", "Disorder", "CWR", "Recovery", "Loss"))},
    "True": 1,
    "False": 0,
}
"""Names of values, as Linux has them."""


def _segments(conn: Connection, size: int) -> int:
    return -(-size // conn.mss)


def _lost(conn: Connection) -> int:
    """Bytes that count as lost and have not arrived since, sent again or not."""
    una = conn.snd_una
    ranges = [((left - una) & MASK, (right - una) & MASK) for left, right in conn.sacked]
    if conn.retries:
        return ((conn.snd_max - una) & MASK) - sum(right - left for left, right in ranges)
    if conn.rack is None:
        lost = [(0, (sack.lost_edge(conn) - una) & MASK)]
    else:
        bits = LOST | AGAIN if conn.in_recovery else LOST
        starts = [(start - una) & MASK for start, _, _ in conn.rack.spans.items]
        starts[:1] = [0] * bool(starts)  # the first one may begin before SND.UNA
        ends = [*starts[1:], (conn.snd_nxt - una) & MASK]
        spans = zip(starts, ends, conn.rack.spans.items, strict=True)
        lost = [(start, end) for start, end, span in spans if span[2] & bits]
    arrived = sum(max(min(end, right) - max(start, left), 0) for start, end in lost for left, right in ranges)
    return sum(end - start for start, end in lost) - arrived


def _threshold(conn: Connection) -> int:
    """In segments; where there is none yet, Linux's number for that."""
    if conn.cc.ssthresh >= UNKNOWN:
        return CONSTANTS["TCP_INFINITE_SSTHRESH"]
    return conn.cc.ssthresh // conn.mss


def _sacked(conn: Connection) -> int:
    """Bytes that the peer has reported above SND.UNA; without SACK, segments that duplicate ACKs stand for."""
    if conn.sack_ok:
        return sum((right - left) & MASK for left, right in conn.sacked)
    return conn.dupacks * conn.mss


def _ca_state(conn: Connection) -> int:
    if conn.in_recovery:
        return CONSTANTS["TCP_CA_Recovery"]
    if conn.retries:
        return CONSTANTS["TCP_CA_Loss"]
    return CONSTANTS["TCP_CA_Disorder" if conn.sacked or conn.dupacks else "TCP_CA_Open"]


def _acked(conn: Connection) -> int:
    """Bytes that the peer has acknowledged."""
    return max(((conn.snd_una - conn.iss) & MASK) - 1, 0)


def _got(conn: Connection) -> int:
    """Bytes that have arrived in order."""
    if conn.state in (State.CLOSED, State.LISTEN, State.SYN_SENT):
        return 0
    return max(((conn.rcv_nxt - conn.irs) & MASK) - 1 - conn.fin_received, 0)


NAMES: dict[str, tuple[Callable[[Host], Any], str]] = {
    "tcpi_state": (lambda h: _STATES[h.conn.state], "as `TCP_ESTABLISHED` and so on"),
    "tcpi_ca_state": (
        lambda h: _ca_state(h.conn),
        "`TCP_CA_Open`, `TCP_CA_Disorder`, `TCP_CA_Recovery` or `TCP_CA_Loss`",
    ),
    "tcpi_retransmits": (lambda h: h.conn.retries, "time-outs since something new was acknowledged"),
    "tcpi_backoff": (lambda h: h.conn.rtt.backoff, "how often the time-out has doubled"),
    "tcpi_probes": (lambda h: h.conn.probes, "probes and keep-alives without an answer"),
    "tcpi_options": (
        lambda h: h.conn.ts_ok + 2 * h.conn.sack_ok + 4 * h.conn.wscale_ok,
        "`TCPI_OPT_TIMESTAMPS` and so on",
    ),
    "tcpi_snd_wscale": (lambda h: h.conn.snd_wscale, "the peer's window scale"),
    "tcpi_rcv_wscale": (lambda h: h.conn.rcv_wscale, "ours"),
    "tcpi_rto": (lambda h: h.conn.rtt.rto // US, "retransmission time-out, microseconds"),
    "tcpi_rtt": (lambda h: h.conn.rtt.srtt // US, "smoothed round-trip time, microseconds"),
    "tcpi_rttvar": (lambda h: h.conn.rtt.rttvar // US, "its variation, microseconds"),
    "tcpi_min_rtt": (
        lambda h: h.conn.rack.min_rtt // US if h.conn.rack is not None else 0,
        "the shortest round-trip time, microseconds; with SACK only",
    ),
    "tcpi_snd_mss": (lambda h: h.conn.mss, "most bytes in a segment of ours"),
    "tcpi_rcv_mss": (lambda h: h.rcv_mss, "the largest segment of the peer so far, 536 at least"),
    "tcpi_advmss": (lambda h: h.conn.settings.mss, "the MSS that we tell"),
    "tcpi_unacked": (
        lambda h: _segments(h.conn, (h.conn.snd_max - h.conn.snd_una) & MASK),
        "segments that were sent and are not acknowledged, counted as full ones",
    ),
    "tcpi_sacked": (lambda h: _segments(h.conn, _sacked(h.conn)), "segments of those that the peer has"),
    "tcpi_lost": (
        lambda h: _segments(h.conn, _lost(h.conn)),
        "segments of those that count as lost, sent again or not",
    ),
    "tcpi_snd_cwnd": (
        lambda h: (h.conn.cc.cwnd + h.conn.inflation) // h.conn.mss,
        "congestion window, in full segments",
    ),
    "tcpi_snd_ssthresh": (lambda h: _threshold(h.conn), "where slow start ends, in full segments"),
    "tcpi_snd_wnd": (lambda h: h.conn.snd_wnd, "the peer's window, bytes"),
    "tcpi_rcv_wnd": (lambda h: h.conn.rcv_wnd, "ours, bytes"),
    "tcpi_notsent_bytes": (lambda h: h.conn.snd_buf.length - h.conn.snd_buf.sent, "written and not sent"),
    "tcpi_bytes_acked": (lambda h: _acked(h.conn), "bytes that the peer has acknowledged"),
    "tcpi_bytes_received": (lambda h: _got(h.conn), "bytes that have arrived in order"),
    "tcpi_segs_out": (lambda h: h.count(inbound=False), "segments that were sent"),
    "tcpi_segs_in": (lambda h: h.count(inbound=True), "segments that have arrived"),
    "tcpi_data_segs_out": (lambda h: h.count(inbound=False, data=True), "those with data that were sent"),
    "tcpi_data_segs_in": (lambda h: h.count(inbound=True, data=True), "those with data that have arrived"),
    "tcpi_total_retrans": (
        lambda h: h.stats.tcp_retransmits + h.stats.tcp_fast_retransmits,
        "time-outs and fast retransmits",
    ),
    "state": (lambda h: h.conn.state.value, 'the state by the RFC\'s name: `"FIN-WAIT-1"`'),
    "error": (
        lambda h: errno.errorcode[h.conn.error] if h.conn.error else "",
        'why the connection closed: `"ECONNRESET"`, or `""`',
    ),
    "soft_error": (
        lambda h: errno.errorcode[h.conn.soft_error] if h.conn.soft_error else "",
        'what is wrong while it goes on: `"ETIMEDOUT"`, or `""`',
    ),
    "cwnd": (lambda h: h.conn.cc.cwnd + h.conn.inflation, "congestion window, bytes"),
    "ssthresh": (lambda h: h.conn.cc.ssthresh, "where slow start ends, bytes"),
    "rto": (lambda h: h.conn.rtt.rto / SECOND, "retransmission time-out, seconds"),
    "readable": (lambda h: h.conn.rcv_pending, "bytes that have arrived and were not read"),
    "unacked": (lambda h: h.conn.snd_buf.length, "bytes written and not acknowledged"),
    "fin_received": (lambda h: h.conn.fin_received, "whether everything has arrived"),
}
"""What may be asked about the connection; beside them every counter of :class:`slirpy.stats.Stats`."""

_PRINT = re.compile(r"(^|;\s*)print\s+[^(=;][^;]*")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "int": lambda value: int(_plain(value)),
    "float": lambda value: float(_plain(value)),
    "round": lambda value: round(_plain(value)),
}


def _plain(value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def check(code: Code, host: Host, variables: dict[str, Any]) -> None:
    """Evaluate assertions.

    Args:
        code: the statements.
        host: what they ask about.
        variables: what statements of the script have assigned, and assign.

    Raises:
        ScriptError: it is not Python.
        UnsupportedError: it is more than assertions, or asks for what we do not know.
        FailureError: an assertion does not hold.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of "1or 2", which is odd and not wrong
            tree = ast.parse("\n".join(_modern(line.strip()) for line in code.source.splitlines()))
    except (SyntaxError, ValueError, RecursionError):
        raise ScriptError(f"line {code.line}: not Python: {code.text}") from None
    evaluator = _Evaluator(code.line, host, variables)
    for statement in tree.body:
        try:
            _run(statement, evaluator, variables)
        except (ArithmeticError, TypeError, ValueError, RecursionError) as error:
            raise FailureError(f"{ast.unparse(statement)}: {error}") from None


def _modern(line: str) -> str:
    """A line without Python 2's ``print``, which shows something and asserts nothing."""
    return _PRINT.sub(r"\1pass", line)


def _run(statement: ast.stmt, evaluator: _Evaluator, variables: dict[str, Any]) -> None:
    """One statement: an assertion, an assignment, or a print."""
    if isinstance(statement, ast.Assert):
        if not evaluator.value(statement.test):
            told = evaluator.told() or "it never does"
            raise FailureError(f"{ast.unparse(statement.test)} does not hold: {told}")
    elif (assigned := _assignment(statement)) is not None:
        variables[assigned[0]] = evaluator.value(assigned[1])
    elif not isinstance(statement, ast.Pass) and not _prints(statement):
        raise UnsupportedError(evaluator.line, f"code that is no assertion: {ast.unparse(statement)}")


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr] | None:
    """The variable and the value of ``cwnd = 10`` and ``cwnd += 1``; None for all else."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        return (target.id, statement.value) if isinstance(target, ast.Name) else None
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        name = statement.target.id
        return name, ast.BinOp(ast.Name(name), statement.op, statement.value)
    return None


def _prints(statement: ast.stmt) -> bool:
    """Whether it is ``print(...)``, which tells nothing here."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"


class _Evaluator:
    def __init__(self, line: int, host: Host, variables: dict[str, Any]) -> None:
        self.line = line
        self._variables = variables
        self._host = host
        self._asked: dict[str, Any] = {}

    def told(self) -> str:
        """The names that were asked for, with their values."""
        return ", ".join(f"{name} is {value!r}" for name, value in self._asked.items())

    def value(self, node: ast.expr) -> Any:
        """What an expression gives."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.BoolOp):
            stop = isinstance(node.op, ast.Or)
            found = None
            for part in node.values:
                found = self.value(part)
                if bool(found) is stop:
                    break
            return found
        if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
            return _UNARY[type(node.op)](self.value(node.operand))
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            left, right = self.value(node.left), self.value(node.right)
            if isinstance(left, int | float) and isinstance(right, int | float):
                return _BINARY[type(node.op)](left, right)
        if isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
            values = [self.value(part) for part in (node.left, *node.comparators)]
            pairs = zip(node.ops, values, values[1:], strict=False)
            return all(_COMPARE[type(op)](a, b) for op, a, b in pairs)
        if isinstance(node, ast.Tuple | ast.List):
            return [self.value(part) for part in node.elts]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
            return _FUNCTIONS[node.func.id](*map(self.value, node.args))
        raise UnsupportedError(self.line, f"in an assertion: {ast.unparse(node)}")

    def _name(self, name: str) -> Any:
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in self._variables:
            found = self._variables[name]
        elif name in NAMES:
            found = NAMES[name][0](self._host)
        elif name in Stats.describe():
            found = getattr(self._host.stats, name)
        else:
            raise UnsupportedError(self.line, f"{name}: this is not known of a connection")
        self._asked[name] = found
        return found
