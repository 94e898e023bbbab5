"""Results of many scripts as JUnit XML, which continuous integration shows as a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from slirpy.records import NamedTuple
from slirpy.testing.packetdrill.report import Result

__all__ = ["OPENING", "Ran", "junit"]

OPENING = '<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="slirpy packetdrill"'
"""The beginning of every report."""


class Ran(NamedTuple):
    """The outcome of one script."""

    path: Path
    seconds: float
    result: Result | None
    """The result; None: the script could not be read."""
    error: str = ""
    """The reason why it could not be read."""


def junit(tried: Sequence[Ran]) -> str:
    """Make a report; unsupported scripts are skipped, unreadable ones are errors."""
    outcomes = [ran.result.outcome if ran.result is not None else "error" for ran in tried]
    numbers = " ".join(
        f'{name}="{number}"'
        for name, number in (
            ("tests", len(tried)),
            ("failures", outcomes.count("fail")),
            ("errors", outcomes.count("error")),
            ("skipped", outcomes.count("unsupported")),
            ("time", f"{sum(ran.seconds for ran in tried):.3f}"),
        )
    )
    cases = "".join(map(_case, tried))
    suite = f'<testsuite name="packetdrill" {numbers}>\n{cases}</testsuite>'
    return f"{OPENING} {numbers}>\n{suite}\n</testsuites>\n"


def _case(ran: Ran) -> str:
    folder = ".".join(part for part in ran.path.parent.parts if part not in ("/", ".", ".."))
    head = (
        f"<testcase classname={_attribute(folder or 'packetdrill')} name={_attribute(ran.path.name)}"
        f' file={_attribute(str(ran.path))} time="{ran.seconds:.3f}"'
    )
    result = ran.result
    if result is None:
        return f"{head}>\n<error message={_attribute(ran.error)}/>\n</testcase>\n"
    if result.outcome == "pass":
        return f"{head}/>\n"
    where = f"line {result.line}: {result.reason}"
    if result.outcome == "unsupported":
        return f"{head}>\n<skipped message={_attribute(where)}/>\n</testcase>\n"
    text = escape(_printable(f"{where}\n\n{result.ladder}"), quote=False)
    return f"{head}>\n<failure message={_attribute(where)}>{text}</failure>\n</testcase>\n"


def _attribute(text: str) -> str:
    quoted = escape(_printable(text)).replace("\n", "&#10;").replace("\t", "&#9;")
    return f'"{quoted}"'


def _printable(text: str) -> str:
    """Remove everything that XML 1.0 cannot contain: control characters, and bytes of a name that are not UTF-8."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(
        char if char >= " " or char in "\n\t" else f"\\x{ord(char):02x}"
        for char in text
        if char not in "\ufffe\uffff"
    )
