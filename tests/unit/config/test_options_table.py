"""The table of options is complete, and everything that is made from it agrees with it."""

from __future__ import annotations

import dataclasses
import inspect
from importlib import import_module
from typing import Any

import click
import pytest

from slirpy import Config
from slirpy.cli.app import app
from slirpy.cli.flags import by_group
from slirpy.config import OPTIONS, Group, Option, option
from slirpy.config.kinds import Kind, Several, Switch
from slirpy.config.values import printable
from tests.support.repository import PACKAGE, load

NAMES = [row.name for row in OPTIONS]


def reference() -> str:
    """The table in the documentation."""
    return str(load("docs/hooks.py").options())


REFERENCE = reference().splitlines()


def shortcomings(row: Option) -> list[str]:
    """Return the parts that a row lacks."""
    found = []
    texts = {"help": row.help, "more": row.more, "flag_help": row.flag_help}
    if not row.help:
        found.append("no help")
    for name, text in texts.items():
        if text and not (text[0].isupper() and text.endswith(".") and text == " ".join(text.split())):
            found.append(f"{name} is not a sentence")
    if not row.kind.values():
        found.append("no values")
    if not row.shown_default():
        found.append("no default")
    if row.flag is not None and not (
        row.kind.metavar or isinstance(row.kind, Switch) or hasattr(row.kind, "words")
    ):
        found.append("no metavar")
    names = "".join(f"`{name}` | " if name else " | " for name in (row.name, row.qemu, row.flag))
    if not any(line.startswith(f"| {names}") for line in REFERENCE):
        found.append("no line in the documentation")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_complete(name: str) -> None:
    assert shortcomings(option(name)) == []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Undescribed(Kind):
    def _check(self, name: str, value: Any) -> Any:
        return value

    def _values(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"help": ""}, "no help"),
        ({"help": "the network"}, "help is not a sentence"),
        ({"more": "Twice  spaced."}, "more is not a sentence"),
        ({"kind": Undescribed(metavar="X")}, "no values"),
        ({"default": ""}, "no default"),
        ({"kind": dataclasses.replace(option("net").kind, metavar="")}, "no metavar"),
        ({"name": "extra"}, "no line in the documentation"),
        ({"flag": "--network"}, "no line in the documentation"),
        ({"qemu": None}, "no line in the documentation"),
    ],
)
def test_an_incomplete_row_is_found(changes: dict[str, Any], found: str) -> None:
    assert shortcomings(dataclasses.replace(option("net"), **changes)) == [found]


@pytest.mark.parametrize("field", ["name", "group", "kind", "default", "help", "flag"])
def test_a_row_cannot_be_made_without(field: str) -> None:
    row = {each.name: getattr(option("net"), each.name) for each in dataclasses.fields(Option)}
    del row[field]
    with pytest.raises(TypeError, match=field):
        Option(**row)


def test_config_has_the_same_options_in_the_same_order() -> None:
    arguments = inspect.signature(Config).parameters
    assert list(arguments) == NAMES
    assert [field.name for field in dataclasses.fields(Config)] == NAMES
    assert {name: argument.default for name, argument in arguments.items()} == {
        row.name: row.default for row in OPTIONS
    }
    assert all(argument.kind is argument.KEYWORD_ONLY for argument in arguments.values())


def test_defaults_are_allowed_values() -> None:
    for row in OPTIONS:
        row.check(row.default)


def test_nothing_stands_twice() -> None:
    for names in (
        NAMES,
        [row.flag for row in OPTIONS if row.flag],
        [row.qemu for row in OPTIONS if row.qemu],
        [row.item for row in OPTIONS if row.item],
    ):
        assert len(set(names)) == len(names)
    groups = [row.group for row in OPTIONS]
    assert groups == sorted(groups, key=list(Group).index)


def test_each_module_has_the_rows_of_one_group() -> None:
    folder = PACKAGE / "config" / "options"
    modules = [import_module(f"slirpy.config.options.{path.stem}") for path in folder.glob("[!_]*.py")]
    assert sorted(row.name for module in modules for row in module.ROWS) == sorted(NAMES)
    groups = [{row.group for row in module.ROWS} for module in modules]
    assert all(len(each) == 1 for each in groups)
    assert len(set.union(*groups)) == len(groups)


@pytest.mark.parametrize("command", ["run", "qemu", "listen"])
def test_help_has_the_groups_of_the_table(command: str) -> None:
    found = app.get_command(click.Context(app), command)
    assert found is not None
    groups = by_group(found, click.Context(found))
    assert list(groups) == [group for group in Group if command == "listen" or group in groups] + ["Options"]
    assert [each.opts[-1] for each in groups["Options"]] == [
        "--config",
        "--log-level",
        "--log-format",
        "--help",
    ]
    for row in OPTIONS:
        if row.flag is not None and (
            command == "listen" or row.name not in ("hub", "guard", "isolate", "source_guard")
        ):
            assert row.flag in [
                flag for each in groups[row.group] for flag in (*each.opts, *each.secondary_opts)
            ]


@pytest.mark.parametrize("command", ["run", "qemu", "listen"])
def test_help_fits_80_columns_and_breaks_no_word(command: str) -> None:
    found = app.get_command(click.Context(app), command)
    assert found is not None
    context = click.Context(found, info_name=command, terminal_width=80)
    text, _, _ = found.get_help(context).partition("Examples:")
    assert max(map(len, text.splitlines())) <= 80
    shown = set(text.split())
    for row in OPTIONS:
        if row.flag is not None and (
            command == "listen" or row.name not in ("hub", "guard", "isolate", "source_guard")
        ):
            words = (row.flag_help or row.help).format(guest="").split()
            assert [word for word in words if word not in shown and word != ":"] == []


def test_kinds_have_no_doubtful_text() -> None:
    for row in OPTIONS:
        kind = row.kind.of if isinstance(row.kind, Several) else row.kind
        printable(row.name, kind.values())


def test_an_unknown_option_is_no_row() -> None:
    with pytest.raises(KeyError):
        option("nothing")
