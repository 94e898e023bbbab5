"""Files that the wheel installs beside the package: manual pages, completions for shells, and units of systemd.

They are made from the commands when the wheel is built, so they cannot lag behind. ``setup.py`` asks for them.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import time
from collections.abc import Iterator
from textwrap import wrap

import click
from click.shell_completion import ShellComplete, get_completion_class

from slirpy._version import __version__
from slirpy.cli.flags import by_group
from slirpy.cli.unit import unit_text

__all__ = ["PROGRAMS", "files", "manual_pages"]

PROGRAMS = {"slirpy": "slirpy.cli.app:app"}
"""The programs that are commands of click."""
_SHELLS = {
    "bash": "share/bash-completion/completions/{}",
    "zsh": "share/zsh/site-functions/_{}",
    "fish": "share/fish/vendor_completions.d/{}.fish",
}
_UNITS = {"lib/systemd/system": False, "lib/systemd/user": True}
_DAY = "%Y-%m-%d"


def files() -> Iterator[tuple[str, str]]:
    """Path below the prefix, and text, of each file."""
    for program in PROGRAMS:
        command = _command(program)
        for page, text in manual_pages(command, program):
            yield f"share/man/man1/{page}.1", text
        for shell, place in _SHELLS.items():
            yield place.format(program), _completion(shell, command, program)
    for folder, user in _UNITS.items():
        for kind in ("service", "socket"):
            yield f"{folder}/slirpy@.{kind}", unit_text(kind, "slirpy", user=user)


def _command(program: str) -> click.Command:
    module, _, name = PROGRAMS[program].partition(":")
    command = getattr(importlib.import_module(module), name)
    assert isinstance(command, click.Command)
    return command


def _completion(shell: str, command: click.Command, program: str) -> str:
    """The script that makes a shell ask the program for completions."""
    found = get_completion_class(shell)
    assert found is not None
    variable = f"_{program}_COMPLETE".replace("-", "_").upper()
    # The method of bash's own class starts bash, to see its version.
    return ShellComplete.source(found(command, {}, program, variable))


# -------------------------------------------------------------------------------------- manual pages


def manual_pages(command: click.Command, program: str) -> Iterator[tuple[str, str]]:
    """Name and text of the page of a program, and of those of its subcommands (man(7))."""
    root = click.Context(command, info_name=program)
    pages = [(program, command, root)]
    if isinstance(command, click.Group):
        for name in command.list_commands(root):
            inner = command.get_command(root, name)
            assert inner is not None
            pages.append((f"{program}-{name}", inner, click.Context(inner, info_name=name, parent=root)))
    names = [name for name, _, _ in pages]
    for name, each, context in pages:
        yield name, _page(name, each, context, [other for other in names if other != name])


def _page(name: str, command: click.Command, context: click.Context, others: list[str]) -> str:
    day = time.strftime(_DAY, time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))
    paragraphs, examples = _texts(command)
    title, *description = paragraphs
    usage = command.collect_usage_pieces(context)
    lines = [
        f'.TH {_escaped(name.upper())} 1 {day} "slirpy {__version__}" "slirpy manual"',
        ".SH NAME",
        f"{_escaped(name)} \\- {_escaped(title.rstrip('.'))}",
        ".SH SYNOPSIS",
        f"\\fB{_escaped(context.command_path)}\\fR {_escaped(' '.join(usage))}",
        ".SH DESCRIPTION",
        *_joined(description or [title]),
    ]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            lines += [".TP", f"\\fB{_escaped(inner)}\\fR", *_prose(_texts(found)[0][0])]
    for group, options in by_group(command, context).items():
        lines += [".SH OPTIONS" if group == "Options" else f".SH {_escaped(group.upper())}"]
        for option in options:
            record = option.get_help_record(context)
            if record is not None:
                written, text = record
                lines += [".TP", _option(written), *_prose(text)]
    if examples:
        lines += [".SH EXAMPLES", ".nf", *map(_escaped, examples.splitlines()), ".fi"]
    if others:
        lines.append(".SH SEE ALSO")
        lines += [f".BR {_escaped(other)} (1)," for other in others]
        lines[-1] = lines[-1].rstrip(",")
    return "\n".join(lines) + "\n"


def _texts(command: click.Command) -> tuple[list[str], str]:
    """Paragraphs of a command's help, and its examples."""
    text = f"{inspect.cleandoc(command.help or '')}\n\n{inspect.cleandoc(command.epilog or '')}"
    paragraphs, examples = [], []
    for block in re.split(r"\n[ \t]*\n", text):
        kept = block.strip("\n").strip()
        if kept.startswith("\b"):
            lines = kept.replace("\b", "").strip("\n").removeprefix("Examples:").strip("\n")
            examples.append(inspect.cleandoc(lines))
        elif kept:
            paragraphs.append(" ".join(kept.split()))
    return paragraphs, "\n\n".join(examples)


def _joined(paragraphs: list[str]) -> Iterator[str]:
    for number, text in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield from _prose(text)


def _prose(text: str) -> list[str]:
    """Text in short lines, as authors of manual pages write it."""
    return [_escaped(line) for line in wrap(text, 72, break_long_words=False, break_on_hyphens=False)]


def _option(written: str) -> str:
    """The names of an option in bold, and what stands for its value in italics."""
    parts = re.split(r"(\s|, | / )", written)
    return "".join(f"\\fB{_escaped(part)}\\fR" if part.startswith("-") else _italic(part) for part in parts)


def _italic(part: str) -> str:
    return f"\\fI{_escaped(part)}\\fR" if part.strip(", /") else _escaped(part)


def _escaped(text: str) -> str:
    """Text that roff prints as it is."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    plain = plain.replace("^", "\\(ha").replace("~", "\\(ti").replace('"', "\\(dq")
    return f"\\&{plain}" if plain.startswith(".") else plain
