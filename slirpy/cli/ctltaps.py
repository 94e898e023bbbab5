"""Commands of ``slirpy ctl`` about captures and faults."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from slirpy.cli.capture import STANDARD, own_standard_output, parse_capture
from slirpy.cli.ctl import Client, command, completing, show
from slirpy.cli.ctlrules import ctl
from slirpy.cli.ctltables import Column, print_table
from slirpy.config.text import hint
from slirpy.errors import ConfigError

__all__ = ["ctl", "parse_faults"]

_CAPTURES = (
    Column("capture", "number", right=True),
    Column("kind", "kind"),
    Column("file", lambda row: row["file"] or "-"),
    Column("links", "links", right=True),
    Column("frames", "frames", right=True),
    Column("lost", "lost", right=True),
    Column("state", lambda row: "running" if row["running"] else row["error"] or "ended"),
)
_FAULTS = (
    Column("link", "link", right=True),
    Column("direction", "direction"),
    Column("faults", "faults"),
    Column("frames", "frames", right=True),
    Column("lost", "lost", right=True),
    Column("duplicated", "duplicated", right=True),
    Column("corrupted", "corrupted", right=True),
    Column("delayed", "delayed", right=True),
    Column("reordered", "reordered", right=True),
    Column("dropped", "dropped", right=True),
)
_LINK = click.Option(
    ["--link", "links"],
    type=click.IntRange(0),
    multiple=True,
    metavar="NUMBER",
    help="This link only, by its number in `links`.  May be repeated.",
    shell_complete=completing("/v1/links", "links", "number"),
)


# ---------------------------------------------------------------------------------------------- captures


def _complete_words(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a file after ``start`` and ``save NUMBER``, else the number of a capture."""
    action, words = context.params.get("action"), context.params.get("words") or ()
    if action == "start" or (action == "save" and words):
        return [] if len(words) > (action == "save") else [CompletionItem(incomplete, type="file")]
    return _numbers(context, parameter, incomplete)


_numbers = completing("/v1/captures", "captures", "number")


@command(
    ctl,
    "capture",
    click.Argument(
        ["action"], type=click.Choice(["start", "stop", "stream", "ladder", "save"]), required=False
    ),
    click.Argument(
        ["words"],
        nargs=-1,
        metavar="[FILE]|[NUMBER]...",
        shell_complete=_complete_words,
    ),
    _LINK,
    click.Option(["--overwrite"], is_flag=True, help="With start: replace earlier captures in these files."),
)
def capture(
    client: Client,
    as_json: bool,
    action: str | None,
    words: Sequence[str],
    links: Sequence[int],
    overwrite: bool,
) -> None:
    """List the captures, or start, stop or read one.

    start FILE writes all frames to FILE, as --capture does, until stop NUMBER; FILE may be followed by ,max=SIZE and
    ,files=N. start alone keeps the last 4 MiB in memory: ladder NUMBER draws its last packets, and save NUMBER FILE
    writes a file. stream writes to standard output: slirpy ctl PLACE capture stream | wireshark -k -i -
    """
    if action is None:
        _no_more(words)
        rows = client.ask("GET", "/v1/captures")["captures"]
    elif action == "stream":
        _no_more(words)
        _stream(client, links)
        return
    elif action == "ladder":
        (number,) = _exactly(words, "ladder needs one NUMBER")
        sys.stdout.write(b"".join(client.client().stream(f"{_path(number)}/ladder")).decode() + "\n")
        return
    elif action == "save":
        number, file = _exactly(words, "save needs a NUMBER and a FILE", 2)
        _save(client, number, file)
        return
    elif action == "start":
        rows = [client.ask("POST", "/v1/captures", _capture(words, links, overwrite))]
    elif not words:
        raise click.UsageError("stop needs a NUMBER, as the list shows it")
    else:
        rows = [client.ask("DELETE", _path(number)) for number in words]
    show({"captures": rows}, as_json, lambda: print_table(_CAPTURES, rows))


def _capture(words: Sequence[str], links: Sequence[int], overwrite: bool) -> dict[str, Any]:
    """The body of a request for a capture."""
    body: dict[str, Any] = {"links": list(links) or None, "overwrite": overwrite}
    if not words:
        return body
    (text,) = _exactly(words, "start takes one FILE")
    option = parse_capture(text)
    if option.name == STANDARD:
        raise click.UsageError("start writes no standard output; use `capture stream`")
    # The network's current folder is another.
    body |= {"file": os.path.abspath(option.name), "format": option.file_format}
    if option.max_bytes is not None:
        body |= {"max_bytes": option.max_bytes, "max_files": option.max_files}
    return body


def _stream(client: Client, links: Sequence[int]) -> None:
    output = own_standard_output()
    try:
        for piece in client.client().stream("/v1/captures/stream", {"link": list(links) or None}):
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(output, rest) :]
    except BrokenPipeError:
        pass  # Wireshark has ended
    finally:
        os.close(output)


def _save(client: Client, number: str, name: str) -> None:
    data = b"".join(client.client().stream(f"{_path(number)}/file"))
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise ConfigError(f'file "{name}": cannot be created: {why}; name another') from None
    with open(fd, "wb") as file:
        file.write(data)


def _path(number: str) -> str:
    if not re.fullmatch("[1-9][0-9]{0,14}", number):
        raise click.UsageError(f"{number} is not the number of a capture; `capture` lists them")
    return f"/v1/captures/{number}"


def _no_more(words: Sequence[str]) -> None:
    if words:
        raise click.UsageError(f"there is nothing to do with {words[0]}")


def _exactly(words: Sequence[str], need: str, number: int = 1) -> Sequence[str]:
    if len(words) != number:
        raise click.UsageError(need)
    return words


# ------------------------------------------------------------------------------------------------ faults

_CHANCES = ("loss", "duplicate", "corrupt", "reorder")
_TIMES = ("delay", "jitter", "reorder_delay")
_AMOUNTS = ("rate", "burst", "queue", "limit")
_KEYS = (*_CHANCES, *_TIMES, *_AMOUNTS)
_NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([A-Za-z%]*)")
_UNITS: dict[str, dict[str, float]] = {
    **{key: {"": 1.0, "%": 0.01} for key in _CHANCES},
    **{key: {"us": 1e-6, "ms": 1e-3, "s": 1.0} for key in _TIMES},
    **{key: {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9} for key in _AMOUNTS},
}


def parse_faults(text: str) -> dict[str, float | int]:
    """Read faults as a person writes them: ``loss=1%,delay=40ms,rate=10M``; ``none`` is none.

    The names are those of :class:`~slirpy.links.Faults`, and ``reorder-delay`` is ``reorder_delay``.

    Raises:
        ConfigError: an unknown name, or a value that cannot be used.
    """
    found: dict[str, float | int] = {}
    for part in text.split(",") if text != "none" else ():
        key, _, value = part.partition("=")
        key = key.replace("-", "_")
        if key not in _KEYS:
            advice = hint(key, _KEYS, f"it must be one of {', '.join(_KEYS)}")
            raise ConfigError(f'faults "{text}": unknown fault "{key}"; {advice}')
        units = _UNITS[key]
        match = _NUMBER.fullmatch(value)
        if match is None or match[2] not in units:
            allowed = " or ".join(repr(unit) for unit in units if unit)
            raise ConfigError(f'faults "{text}": {key}={value}: must be a number with the unit {allowed}')
        amount = float(match[1]) * units[match[2]]
        found[key] = round(amount) if key in _AMOUNTS else amount
    return found


@command(
    ctl,
    "faults",
    click.Argument(["action"], type=click.Choice(["set", "clear"]), required=False),
    click.Argument(["both"], required=False, metavar="[FAULTS]"),
    _LINK,
    click.Option(["--to-guest"], metavar="FAULTS", help="With set: only frames to the guest."),
    click.Option(["--from-guest"], metavar="FAULTS", help="With set: only frames from the guest."),
    click.Option(["--seed"], type=click.IntRange(0), help="With set: repeat the same chances."),
)
def faults(
    client: Client,
    as_json: bool,
    action: str | None,
    both: str | None,
    links: Sequence[int],
    to_guest: str | None,
    from_guest: str | None,
    seed: int | None,
) -> None:
    """List the faults of links, set them, or clear them.

    FAULTS is loss=1%,delay=40ms and so on: loss, duplicate, corrupt and reorder are chances; delay, jitter and
    reorder-delay are times; rate is in bits per second, such as 10M, with burst and queue in bytes; limit is in
    frames. They apply to both directions, and replace those that are set.
    """
    chosen = list(links) or None
    if action != "set" and (both or to_guest or from_guest or seed is not None):
        raise click.UsageError("faults are for `set`")
    if action is None:
        answer = client.ask("GET", "/v1/faults")
    elif action == "clear":
        answer = client.ask("DELETE", "/v1/faults", link=chosen)
    elif both is None and to_guest is None and from_guest is None:
        raise click.UsageError("set needs FAULTS, such as loss=1%,delay=40ms")
    else:
        body = {
            "links": chosen,
            "to_guest": parse_faults(to_guest or both or "none"),
            "from_guest": parse_faults(from_guest or both or "none"),
            "seed": seed,
        }
        answer = client.ask("PUT", "/v1/faults", body)
    rows = [
        {
            "link": link["link"],
            "direction": direction.replace("_", " "),
            "faults": _described(link[direction]["faults"]),
            **link[direction]["counters"],
        }
        for link in answer["links"]
        for direction in ("to_guest", "from_guest")
    ]
    show(answer, as_json, lambda: print_table(_FAULTS, rows))


def _described(settings: Mapping[str, Any]) -> str:
    """The faults that are set, as they are written."""
    parts = [f"{key}={settings[key]:g}" for key in _CHANCES if settings[key]]
    parts += [f"{key}={settings[key] * 1000:g}ms" for key in _TIMES[:2] if settings[key]]
    if settings["reorder"]:
        parts.append(f"reorder_delay={settings['reorder_delay'] * 1000:g}ms")
    if settings["rate"] is not None:
        parts.append(f"rate={settings['rate']}")
    return ",".join(parts) or "none"
