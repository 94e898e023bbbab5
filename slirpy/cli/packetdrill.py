"""``slirpy packetdrill``: scripts in packetdrill's notation, run against the TCP engine."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

from slirpy.cli.main import fail

__all__ = ["packetdrill"]

SUFFIX = "*.pkt"


@click.command()
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the connection, as lines --NAME=VALUE of a script have it; may be repeated.",
)
@click.option(
    "--tolerance-usecs",
    type=click.IntRange(min=0),
    metavar="N",
    help="How far off a time may be where a script does not say, in microseconds.  [default: 4000]",
)
@click.option(
    "--no-silence",
    is_flag=True,
    help="Do not look at what is sent after the last > of a script, as packetdrill itself does not.",
)
@click.option("--no-ladder", is_flag=True, help="Do not draw the segments of scripts that fail.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def packetdrill(
    settings: tuple[str, ...],
    tolerance_usecs: int | None,
    no_silence: bool,
    no_ladder: bool,
    files: tuple[str, ...],
) -> NoReturn:
    """Run scripts of packetdrill against slirpy's TCP engine, in virtual time.

    A line for each FILE says whether it passed, failed and where, or has what slirpy does not support. Of a folder
    all *.pkt files in it are run. No privileges are needed, no packet leaves the process, no command is executed.

    Exit status: 0 if all passed, 1 if one did not, 2 if one cannot be read.

    \b
    Examples:
      slirpy packetdrill tests/packetdrill/rfc6298
      slirpy packetdrill --set delayed_ack=40ms --set rcv_buffer=64k mine.pkt
    """
    from slirpy.testing.packetdrill import ScriptError, run_file

    values: dict[str, str] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals:
            fail(f'--set "{text}": write NAME=VALUE, such as delayed_ack=40ms')
        values[name] = value
    status = 0
    for path in _paths(files):
        try:
            result = run_file(path, settings=values, tolerance_usecs=tolerance_usecs, silence=not no_silence)
        except ScriptError as error:
            click.echo(f"slirpy: {error}", err=True)
            status = 2
            continue
        click.echo(str(result))
        if result.outcome != "pass":
            status = max(status, 1)
            if result.ladder and not no_ladder:
                click.echo("\n" + "\n".join(f"    {line}" for line in result.ladder.splitlines()) + "\n")
    raise SystemExit(status)


def _paths(files: tuple[str, ...]) -> list[Path]:
    """All scripts: the files themselves, and those in folders."""
    found: list[Path] = []
    for name in files:
        path = Path(name)
        if path.is_dir():
            inside = sorted(path.rglob(SUFFIX))
            if not inside:
                fail(f"{name}: there is no {SUFFIX} in this folder")
            found += inside
        else:
            found.append(path)
    return found
