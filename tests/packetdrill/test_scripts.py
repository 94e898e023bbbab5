"""The scripts in this folder: what the engine must send, to the nanosecond, and that it sends nothing else.

Each script names the rules that it checks in its head (``# RFC 9293 MUST-13``); here they become markers. Those under
``wanted/`` say what an RFC asks for and the engine does not do yet; one that begins to pass fails the run, and moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from slirpy.testing.packetdrill import UnsupportedError, parse, run_file

FOLDER = Path(__file__).resolve().parent
WANTED = FOLDER / "wanted"
PATHS = sorted(FOLDER.rglob("*.pkt"))
OVER_IPV6 = {"ip_version": "ipv6", "mtu": "1520"}
"""A longer header in longer packets: the MSS is that of IPv4, as when packetdrill's own tests are run over IPv6."""
NUMBERS = {
    "from-zero": (0, 0),
    "wrapping": (0xFFFF_FC00, 0xFFFF_FE00),
    "half-way": (0x7FFF_FF00, 0x8000_0000 - 50),
}
"""Initial sequence numbers of both sides: where they begin must make no difference."""


def rules(path: Path) -> tuple[tuple[str, str], ...]:
    """The rules that a script names in its head; of the unsupported ones too."""
    try:
        return parse(path.read_text(), path.name).rules
    except UnsupportedError:
        return ()


def scripts() -> Iterator[object]:
    for path in PATHS:
        marks = [pytest.mark.rfc(*rule) for rule in rules(path)]
        if path.is_relative_to(WANTED):
            marks.append(pytest.mark.xfail(reason="the engine does not do this yet", strict=True))
        yield pytest.param(path, marks=marks, id=str(path.relative_to(FOLDER).with_suffix("")))


@pytest.mark.parametrize("path", list(scripts()))
def test_script(path: Path) -> None:
    results = {
        name: run_file(path, tolerance_usecs=0, iss=iss, irs=irs) for name, (iss, irs) in NUMBERS.items()
    }
    for name, result in results.items():
        assert result.outcome == "pass", f"{name}: {result}\n{result.ladder}"


@pytest.mark.parametrize(
    "path", [path for path in PATHS if "--ip_version" not in path.read_text()], ids=lambda path: path.stem
)
def test_a_script_that_names_no_ip_version_passes_over_ipv6_too(path: Path) -> None:
    result = run_file(path, tolerance_usecs=0, settings=OVER_IPV6)
    assert result.outcome == "pass", f"{result}\n{result.ladder}"


def test_there_are_many() -> None:
    assert len(PATHS) > 150


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_script_names_its_rule(path: Path) -> None:
    assert rules(path), "begin with a line such as: # RFC 9293 MUST-13"


def test_names_are_unique() -> None:
    repeated = [name for name, count in Counter(path.stem for path in PATHS).items() if count > 1]
    assert repeated == []
