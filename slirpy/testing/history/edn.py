"""Histories in EDN, the notation of Clojure, as Jepsen's checkers read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set

__all__ = ["as_edn", "value_text"]

_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def as_edn(events: Iterable[tuple[object, str, str, object, int]]) -> str:
    """Write events, each with process, type, operation, value and nanoseconds; see ``History.edn``."""
    numbers: dict[object, int] = {}
    count = 0
    inputs: dict[object, object] = {}
    lines = []
    for index, (process, kind, operation, value, time) in enumerate(events):
        if kind == "invoke":
            inputs[process] = value
            if process not in numbers:
                numbers[process] = count
                count += 1
        number = numbers[process]
        fields = [f":index {index}", f":time {time}", f":process {number}"]
        if kind == "ok" and operation == "cas" and value is False:
            kind, value = "fail", inputs[process]
        elif kind == "ok" and (value is None or (operation == "cas" and value is True)):
            value = inputs[process]
        if kind == "fail" or kind == "unknown":
            if value is not None and value != inputs[process]:
                fields.append(f":error {value_text(value)}")
            value = inputs[process]
        if kind == "unknown":
            kind = "info"
            del numbers[process]
        lines.append(
            f"{{{', '.join(fields)}, :type :{kind}, :f {_keyword(operation)}, :value {value_text(value)}}}"
        )
    return "\n".join(lines) + "\n" if lines else ""


def _keyword(name: str) -> str:
    """Write the name of an operation: as a keyword if it can be one, otherwise as a string."""
    plain = name.replace("-", "").replace("_", "")
    return f":{name}" if plain.isascii() and plain.isalnum() and plain[0].isalpha() else value_text(name)


def value_text(value: object) -> str:
    """Write a value; an object of a class that EDN does not have becomes the string of its ``repr``."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**63 else f"{value}N"
    if isinstance(value, float):
        return (
            repr(value) if math.isfinite(value) else {"inf": "##Inf", "-inf": "##-Inf"}.get(str(value), "##NaN")
        )
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(value_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{value_text(key)} {value_text(each)}' for key, each in value.items())}}}"
    if isinstance(value, Set):
        return f"#{{{' '.join(sorted(map(value_text, value)))}}}"
    return value_text(repr(value))
