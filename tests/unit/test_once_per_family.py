"""The NAT, the TCP engine and the services exist once, and not once for each IP family.

Two measures: the names of the modules, and the statements that two modules have in common when the names of the
families in them are taken to be the same.
"""

from __future__ import annotations

import ast
import re
from itertools import combinations
from pathlib import Path

import pytest

from tests.support.repository import PACKAGE

FOLDERS = ("nat", "tcp", "services")
EXCEPTED = ("services/dhcp6/",)
"""DHCPv6 is another protocol than DHCP. Codecs and Neighbor Discovery are outside of the folders."""
FAMILY = re.compile(r"(?:ip|inet)?v?[46](?![0-9])|(?<=[a-z_])v[46]", re.IGNORECASE)
"""The part of a name that says for which family something is."""
SHORT = 25
"""Statements of fewer characters are alike by chance."""
LEAST = 5
"""Statements of a module that can be compared."""
MOST = 0.3
"""Share of its statements that a module may have in common with another one."""


def modules() -> dict[str, Path]:
    """By the path below the package."""
    found = [path for folder in FOLDERS for path in sorted((PACKAGE / folder).rglob("*.py"))]
    return {str(path.relative_to(PACKAGE)): path for path in found}


def statements(text: str) -> frozenset[str]:
    """The simple statements of a module, formatted alike, without what says for which family they are."""
    out = set()
    for node in ast.walk(ast.parse(text)):
        if (
            not isinstance(node, ast.stmt)
            or hasattr(node, "body")
            or isinstance(node, ast.Import | ast.ImportFrom)
        ):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        line = FAMILY.sub("", ast.unparse(node))
        if len(line) >= SHORT:
            out.add(line)
    return frozenset(out)


def common(one: frozenset[str], other: frozenset[str]) -> float:
    """Share of the statements of the smaller module that the other one has too."""
    smaller = min(len(one), len(other))
    return len(one & other) / smaller if smaller >= LEAST else 0.0


def test_no_module_is_named_after_a_family() -> None:
    names = [name for name in modules() if not name.startswith(EXCEPTED)]
    assert [name for name in names if FAMILY.search(name)] == []


def test_no_two_modules_are_alike() -> None:
    found = {name: statements(path.read_text()) for name, path in modules().items()}
    assert sum(map(len, found.values())) > 2000
    alike = [
        f"{one} and {other}: {common(found[one], found[other]):.0%}"
        for one, other in combinations(found, 2)
        if common(found[one], found[other]) > MOST
    ]
    assert alike == [], "move what they share to one place"


@pytest.mark.parametrize("name", ["nat/udp.py", "nat/icmp.py", "services/dhcp/leases.py"])
def test_the_measure_finds_a_copy_for_the_other_family(name: str) -> None:
    text = (PACKAGE / name).read_text()
    copy = re.sub(r"\b(arrival|parts|errors|guest|address|port|size)\b", r"\g<1>6", text)
    assert copy != text
    # A third of it rewritten: every third statement is another one.
    rest = [line for number, line in enumerate(sorted(statements(copy))) if number % 3]
    assert common(statements(text), frozenset(rest)) > MOST
