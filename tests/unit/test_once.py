"""Facts that the package writes in one place only, so that two places cannot differ."""

from __future__ import annotations

import ast

import pytest

from tests.support.repository import PACKAGE


def sources() -> dict[str, str]:
    """From the name of each file to its text."""
    return {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


# Numbers of something else than nanoseconds.
NO_TIMES = {
    ("config/options/dns.py", 1_000_000),  # DNS answers
    ("config/options/network.py", 1_000_000),  # flows
    ("config/values.py", 2_000_000),  # seconds
    ("checks.py", 1e15),  # nanoseconds that a message still writes out
    ("cli/ctltaps.py", 1e6),  # units of amounts
    ("cli/ctltaps.py", 1e9),
    ("control/taps.py", 1_000_000_000),  # bytes of a file
    ("cli/demo.py", 1e6),  # bits in a megabit
    ("testing/sim/clock.py", 1_000_000),  # parts per million
    ("testing/sim/durations.py", 1e9),  # seconds
    ("testing/sim/faults.py", 1_000_000),  # bits per second
    ("testing/sim/host.py", 1_000_000),  # looks at the clock
    ("testing/sim/run.py", 1_000_000),  # ready calls
}


def times(text: str) -> list[float]:
    """Numbers that look like durations in nanoseconds, or like factors between units of time."""
    return [
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and node.value >= 1_000_000
        and node.value % 1_000_000 == 0
    ]


def test_units_of_time() -> None:
    found = {(name, number) for name, text in sources().items() for number in times(text)}
    assert found == NO_TIMES, "write them with the names in slirpy/units.py"


@pytest.mark.parametrize("text", ["SECOND = 1_000_000_000", "x / 1e9", "wait(5_000_000)", "f(1000000)"])
def test_a_time_is_seen(text: str) -> None:
    assert times(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("get_close_matches", "config/text.py"),  # did you mean ...?
        ("len(os.fsencode(path))", "paths.py"),  # the length of a path
        (' if ":" in ', "config/text.py"),  # brackets around an IPv6 address
    ],
)
def test_each_text_is_in_one_file(text: str, where: str) -> None:
    assert [name for name, source in sources().items() if text in source] == [where]
