"""``%{ assert ... }%``: assertions about the connection, in a small and safe subset of Python."""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from slirpy.stats import Stats
from slirpy.testing.packetdrill.host import FailureError, Host
from slirpy.testing.packetdrill.info import CONSTANTS, NAMES
from slirpy.testing.packetdrill.script import Code, ScriptError, UnsupportedError

__all__ = ["check"]

_PRINT = re.compile(r"(^\s*|;\s*)print\s+[^(=;][^;]*")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "len": len,
    "sum": sum,
    "min": min,
    "max": max,
    "int": lambda value: int(_plain(value)),
    "float": lambda value: float(_plain(value)),
    "round": lambda value: round(_plain(value)),
}


def _plain(value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


_LONGEST_SHIFT = 64
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: lambda left, right: left << min(right, _LONGEST_SHIFT),
    ast.RShift: operator.rshift,
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
        host: the connection under test.
        variables: variables assigned and used by statements of the script.

    Raises:
        ScriptError: the code is not valid Python.
        UnsupportedError: the code is more than assertions, or uses an unknown name.
        FailureError: an assertion does not hold.
    """
    evaluator = _Evaluator(code.line, host, variables)
    _run_all(_parse(code), evaluator, variables)


def _parse(code: Code) -> list[ast.stmt]:
    """Parse the statements, even if indented unnecessarily. Python 2's ``print`` is ignored."""
    lines = [_PRINT.sub(r"\1pass", line) for line in code.source.strip().rstrip("\\").splitlines()]
    for text in ("\n".join(lines), "\n".join(line.strip() for line in lines)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such as of "1or 2", which is odd but valid
                return ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError):
            pass
    raise ScriptError(f"line {code.line}: not Python: {code.text}")


def _run_all(statements: Sequence[ast.stmt], evaluator: _Evaluator, variables: dict[str, Any]) -> None:
    for statement in statements:
        try:
            _run(statement, evaluator, variables)
        except (ArithmeticError, TypeError, ValueError, RecursionError) as error:
            raise FailureError(f"{ast.unparse(statement)}: {error}") from None


def _run(statement: ast.stmt, evaluator: _Evaluator, variables: dict[str, Any]) -> None:
    """Run one statement: an assertion, an assignment, a condition, or a print."""
    if isinstance(statement, ast.Assert):
        if not evaluator.value(statement.test):
            told = evaluator.told() or "it never does"
            raise FailureError(f"{ast.unparse(statement.test)} does not hold: {told}")
    elif (assigned := _assignment(statement)) is not None:
        variables[assigned[0]] = evaluator.value(assigned[1])
    elif isinstance(statement, ast.If):
        _run_all(statement.body if evaluator.value(statement.test) else statement.orelse, evaluator, variables)
    elif not isinstance(statement, ast.Pass) and not _prints(statement):
        raise UnsupportedError(evaluator.line, f"code that is no assertion: {ast.unparse(statement)}")


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr] | None:
    """Return the variable and the value of ``cwnd = 10`` and ``cwnd += 1``; None for other statements."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        return (target.id, statement.value) if isinstance(target, ast.Name) else None
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        name = statement.target.id
        return name, ast.BinOp(ast.Name(name), statement.op, statement.value)
    return None


def _prints(statement: ast.stmt) -> bool:
    """Report whether it is ``print(...)``, which has no effect here."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"


class _Evaluator:
    def __init__(self, line: int, host: Host, variables: dict[str, Any]) -> None:
        self.line = line
        self._variables = variables
        self._host = host
        self._asked: dict[str, Any] = {}

    def told(self) -> str:
        """Return the requested names with their values."""
        return ", ".join(f"{name} is {value!r}" for name, value in self._asked.items())

    def value(self, node: ast.expr) -> Any:
        """Evaluate an expression."""
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
        if isinstance(node, ast.IfExp):
            return self.value(node.body if self.value(node.test) else node.orelse)
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
            try:
                found = NAMES[name][0](self._host)
            except LookupError as why:
                raise UnsupportedError(self.line, f"{name}: {why}") from None
        elif name in Stats.describe():
            found = getattr(self._host.stats, name)
        else:
            raise UnsupportedError(self.line, f"{name}: this is not known of a connection")
        self._asked[name] = found
        return found
