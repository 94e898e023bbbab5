"""Run scripts against both networks, compare what came out field by field, and hold it against the table.

The table is ``docs/reference/libslirp.toml``, from which the page of that name is made. A difference that it does not
have is an error, and so is a row of it that does not occur any more.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from tests.support.repository import REPOSITORY
from tests.system.oracle import PLAN4, PLAN6, Plan, Talk
from tests.system.oracle_decode import Seen
from tests.system.oracle_networks import Libslirp, LibslirpAlone, Network, Slirpy

__all__ = [
    "TABLE",
    "Found",
    "Listed",
    "Row",
    "Script",
    "differences",
    "explain",
    "groups",
    "over_ipv6",
    "read_table",
]

TABLE = REPOSITORY / "docs" / "reference" / "libslirp.toml"
NOTHING = "nothing"
"""Stands for a field that is not there, or a frame that did not come."""

Play: TypeAlias = Callable[[Talk], None]


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """A script, and the network on which it is played."""

    name: str
    play: Play
    options: str = ""
    """Options in the syntax of QEMU's ``-netdev user``, for both. ``{folder}`` becomes a folder of ``files``."""
    isolated: bool = False
    resolver: bool = False
    """With a name server that answers, for which it must be isolated."""
    plan: Plan = PLAN4
    group: str = ""
    """Scripts of one group, which have the same options, are played one after the other on the same network."""
    alone: bool = False
    """To libslirp without QEMU, which has no syntax for what is compared."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """By name; what begins with ``->`` is a symbolic link to the rest."""


@dataclass(frozen=True, slots=True)
class Found:
    """One difference that was seen."""

    at: str
    """``SCRIPT.STEP``."""
    frame: str
    """Kind of frame."""
    field: str
    """Name of the field; ``frame`` if the whole frame is there on one side only."""
    libslirp: str
    slirpy: str

    def __str__(self) -> str:
        return f"{self.at}: {self.frame}: {self.field}: libslirp {self.libslirp!r}, slirpy {self.slirpy!r}"


@dataclass(frozen=True, slots=True)
class Row:
    """One pattern of a listed difference; each part as :func:`fnmatch.fnmatchcase` has it, several split at ``|``."""

    at: str = "*"
    frame: str = "*"
    field: str = "*"
    libslirp: str = "*"
    slirpy: str = "*"

    def covers(self, found: Found) -> bool:
        """Report whether this row covers a difference."""
        return all(
            any(fnmatchcase(getattr(found, part), one) for one in getattr(self, part).split("|"))
            for part in ("at", "frame", "field", "libslirp", "slirpy")
        )

    def may_cover(self, script: str) -> bool:
        """Report whether this row may cover a difference in a script."""
        return any(fnmatchcase(script, at.partition(".")[0]) for at in self.at.split("|"))


@dataclass(frozen=True, slots=True)
class Listed:
    """One difference of the table."""

    name: str
    """``AREA.IDENTIFIER``."""
    rows: tuple[Row, ...]
    untested: str | None
    """Why it cannot be seen by playing a script to both."""


def read_table(path: Path = TABLE) -> list[Listed]:
    """The table."""
    with path.open("rb") as file:
        table = tomllib.load(file)
    return [
        Listed(f"{area}.{name}", tuple(Row(**row) for row in entry.get("seen", ())), entry.get("untested"))
        for area, what in table.items()
        for name, entry in what["difference"].items()
    ]


def over_ipv6(scripts: Iterable[Script], *names: str, group: str = "", alone: bool = False) -> list[Script]:
    """The scripts of these names once more, over IPv6: ``tcp-refused`` is called ``tcp6-refused``."""
    chosen = {script.name: script for script in scripts}
    return [
        replace(chosen[name], name=name.replace("-", "6-", 1), plan=PLAN6, group=group, alone=alone)
        for name in names
    ]


def groups(scripts: Iterable[Script]) -> dict[str, tuple[Script, ...]]:
    """By name of a script: all that are played on the same network, in their order."""
    scripts = list(scripts)
    return {
        one.name: tuple(each for each in scripts if each.group == one.group) if one.group else (one,)
        for one in scripts
    }


def differences(scripts: Sequence[Script], patience: float = 1.0) -> dict[str, list[Found]]:
    """Play the scripts of a group on both networks at the same time, and compare; by name of the script.

    What is not there in time counts as silence: with more patience both get more time, on a busy machine.
    """
    with TemporaryDirectory(prefix="slirpy-oracle-") as name:
        folder = Path(name)
        for path, content in scripts[0].files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            if content.startswith(b"->"):
                (folder / path).symlink_to(content[2:].decode())
            else:
                (folder / path).write_bytes(content)
        options = scripts[0].options.format(folder=folder)
        with ThreadPoolExecutor(2) as threads:
            networks = LibslirpAlone if scripts[0].alone else Libslirp, Slirpy
            theirs, ours = threads.map(partial(_played, scripts, options, patience), networks)
        return {
            script.name: list(_compare(script.name, *records))
            for script, *records in zip(scripts, theirs, ours, strict=True)
        }


def _played(
    scripts: Sequence[Script], options: str, patience: float, network: Callable[[str, bool, bool], Network]
) -> list[dict[str, list[Seen]]]:
    net = network(options, scripts[0].isolated, scripts[0].resolver)
    try:
        talks = [Talk(net, options, patience, script.plan) for script in scripts]
        for script, talk in zip(scripts, talks, strict=True):
            script.play(talk)
            talk.end()
    finally:
        net.close()
    return [talk.record for talk in talks]


def _compare(script: str, theirs: dict[str, list[Seen]], ours: dict[str, list[Seen]]) -> Iterator[Found]:
    assert list(theirs) == list(ours), "a script must have the same steps on both networks"
    for step, left in theirs.items():
        at = f"{script}.{step}"
        for one, other in _paired(left, ours[step]):
            if one is None or other is None:
                there = one or other
                assert there is not None
                has = (there.kind, NOTHING) if one is not None else (NOTHING, there.kind)
                yield Found(at, there.kind, "frame", *has)
                continue
            for name in dict.fromkeys((*one.fields, *other.fields)):
                values = one.fields.get(name, NOTHING), other.fields.get(name, NOTHING)
                if values[0] != values[1]:
                    yield Found(at, one.kind, name, *values)


def _paired(left: list[Seen], right: list[Seen]) -> Iterator[tuple[Seen | None, Seen | None]]:
    """Frames of the same kind beside each other, in their order."""
    kinds = [seen.kind for seen in left], [seen.kind for seen in right]
    for _, i1, i2, j1, j2 in SequenceMatcher(None, *kinds, autojunk=False).get_opcodes():
        if kinds[0][i1:i2] == kinds[1][j1:j2]:
            yield from zip(left[i1:i2], right[j1:j2], strict=True)
        else:
            yield from ((one, None) for one in left[i1:i2])
            yield from ((None, one) for one in right[j1:j2])


def explain(found: list[Found], rows: Iterable[Row]) -> tuple[list[str], set[Row]]:
    """Return the differences that no row describes, and the rows that describe one."""
    rows = list(rows)
    unlisted = []
    used: set[Row] = set()
    for one in found:
        telling = {row for row in rows if row.covers(one)}
        if not telling:
            unlisted.append(str(one))
        used |= telling
    return unlisted, used
