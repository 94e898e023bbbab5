"""Counters: each has a text, each is used, and none is used that is not there."""

from __future__ import annotations

import ast
from collections import Counter

from slirpy import Stats
from tests.support.repository import PACKAGE

METHODS = {"as_dict", "nonzero", "dropped", "describe"}


def uses() -> tuple[Counter[str], Counter[str]]:
    """Count how often the package adds to each attribute of something called stats, and how often it reads one."""
    added: Counter[str] = Counter()
    read: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            target = node.target if isinstance(node, ast.AugAssign) else node
            if not isinstance(target, ast.Attribute):
                continue
            owner = target.value
            name = (
                owner.id
                if isinstance(owner, ast.Name)
                else owner.attr
                if isinstance(owner, ast.Attribute)
                else ""
            )
            if name.lstrip("_") == "stats":
                (added if isinstance(node, ast.AugAssign) else read)[target.attr] += 1
    return added, read


def test_every_counter_is_counted_somewhere_and_every_one_that_is_named_exists() -> None:
    added, read = uses()
    assert set(added) == set(Stats.describe())
    assert set(read) - set(Stats.describe()) - METHODS == set()
    assert sum(added.values()) > 60  # that the search finds what it looks for


def test_every_counter_has_a_text() -> None:
    described = Stats.describe()
    assert list(described) == list(Stats().as_dict())
    for name, text in described.items():
        assert len(text) > 8, name
        assert text.strip() == text, name
        assert not text.endswith("."), name
    assert len(set(described.values())) == len(described)


def test_counters_start_at_zero_and_count() -> None:
    stats = Stats()
    assert set(stats.as_dict().values()) == {0}
    assert stats.nonzero() == {}
    stats.frames_in += 2
    stats.drop_ip_ttl += 3
    stats.drop_tcp_paws += 4
    assert stats.nonzero() == {"frames_in": 2, "drop_ip_ttl": 3, "drop_tcp_paws": 4}
    assert stats.dropped() == 7


def test_a_misspelt_counter_is_an_error() -> None:
    try:
        Stats().drop_udp_chekcsum = 1  # type: ignore[attr-defined] # no such counter
    except AttributeError:
        return
    raise AssertionError


def test_each_new_object_has_all_counters_at_zero_however_many_there_are() -> None:
    for _ in range(100):
        assert Stats(frames_in=2).nonzero() == {"frames_in": 2}
        assert not any(Stats().as_dict().values())
