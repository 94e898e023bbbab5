"""``slirpy packetdrill``: scripts in packetdrill's notation, run against the TCP engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from slirpy.cli.flags import Command
from slirpy.cli.main import fail

if TYPE_CHECKING:
    from slirpy.testing.packetdrill.junit import Ran

__all__ = ["packetdrill"]

SUFFIX = "*.pkt"


@click.command(cls=Command)
@click.option("--linux", is_flag=True, help="Linux's defaults, for scripts that were written for Linux.")
@click.option("--freebsd", is_flag=True, help="The same for FreeBSD.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the connection, as lines --NAME=VALUE of a script have it; may be repeated.",
)
@click.option(
    "--define",
    "defines",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Define a word for #ifdef, which VALUE replaces in calls; may be repeated.",
)
@click.option(
    "--ip-version",
    "--ip_version",
    type=click.Choice(("ipv4", "ipv4-mapped-ipv6", "ipv6")),
    help="IP version of the connection, whatever a script says.  [default: ipv4]",
)
@click.option(
    "--mtu",
    type=click.IntRange(61, 65_535),
    metavar="N",
    help="Bytes of the largest IP packet. 1520 lets scripts for IPv4 run with IPv6.  [default: 1500]",
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
    help="Ignore what is sent after the last > of a script, as packetdrill does.",
)
@click.option("--no-ladder", is_flag=True, help="Do not draw the segments of scripts that fail.")
@click.option("--junit", metavar="FILE", help="Write the results to FILE, as JUnit's XML.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def packetdrill(
    linux: bool,
    freebsd: bool,
    settings: tuple[str, ...],
    defines: tuple[str, ...],
    ip_version: str | None,
    mtu: int | None,
    tolerance_usecs: int | None,
    no_silence: bool,
    no_ladder: bool,
    junit: str | None,
    files: tuple[str, ...],
) -> NoReturn:
    """Run scripts of packetdrill against slirpy's TCP engine, in virtual time.

    A line for each FILE says whether it passed, failed (and where), or needs a feature that slirpy lacks. In a folder
    all *.pkt files are run. With more than one script, the last line shows the totals. No privileges are needed,
    no packet leaves the process, and no command is executed. Commands that set kernel variables change the matching
    settings, if there are any.

    Exit status: 0 if all passed; 1 if one failed, or is unsupported; 2 if one cannot be read, though the others are
    run nevertheless.

    \b
    Examples:
      slirpy packetdrill tests/packetdrill/rfc6298
      slirpy packetdrill --linux --junit report.xml packetdrill/gtests/net/tcp
      slirpy packetdrill --ip-version ipv6 --mtu 1520 mine.pkt
      slirpy packetdrill --set delayed_ack=40ms --set rcv_buffer=64k mine.pkt
    """
    from slirpy.testing.packetdrill import ScriptError, run_file
    from slirpy.testing.packetdrill.junit import Ran

    if linux and freebsd:
        fail("--linux and --freebsd exclude each other: name one")
    path_options = {"ip_version": ip_version, "mtu": mtu}
    values = {name: str(value) for name, value in path_options.items() if value is not None}
    values |= _pairs("--set", settings)
    words = _pairs("--define", defines)
    report = _report(junit)
    system = "linux" if linux else "freebsd" if freebsd else "slirpy"
    tried: list[Ran] = []
    for path in _paths(files):
        begin = time.monotonic()
        try:
            result = run_file(
                path,
                settings=values,
                tolerance_usecs=tolerance_usecs,
                silence=not no_silence,
                system=system,
                defines=words,
            )
        except ScriptError as error:
            click.echo(f"slirpy: {error}", err=True)
            tried.append(Ran(path, time.monotonic() - begin, None, str(error)))
            continue
        tried.append(Ran(path, time.monotonic() - begin, result))
        click.echo(str(result))
        if result.ladder and not no_ladder:
            click.echo("\n" + "\n".join(f"    {line}" for line in result.ladder.splitlines()) + "\n")
    if len(tried) > 1:
        click.echo(_totals(tried))
    if report is not None:
        _write_report(report, tried)
    outcomes = {ran.result.outcome if ran.result is not None else "error" for ran in tried}
    raise SystemExit(2 if "error" in outcomes else 1 if outcomes & {"fail", "unsupported"} else 0)


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    """Parse the NAME=VALUE values of a repeatable option."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if option == "--set" and not equals:
            fail(f'--set "{text}": write NAME=VALUE, such as delayed_ack=40ms')
        if option == "--define" and not name.isidentifier():
            fail(f'--define "{text}": write NAME or NAME=VALUE; a name has letters, digits and _')
        found[name] = value if equals else "1"
    return found


def _totals(tried: Sequence[Ran]) -> str:
    """The last line, with the totals."""
    outcomes = [ran.result.outcome if ran.result is not None else "error" for ran in tried]
    words = {"pass": "passed", "fail": "failed", "unsupported": "unsupported", "error": "not readable"}
    counts = ", ".join(f"{outcomes.count(key)} {word}" for key, word in words.items() if key in outcomes)
    return f"{len(tried)} scripts: {counts}"


def _report(name: str | None) -> Path | None:
    """Check the report's destination: a new file, or one that contains an earlier report."""
    from slirpy.testing.packetdrill.junit import OPENING

    if name is None:
        return None
    path = Path(name)
    if not name or path.is_dir():
        fail(f'--junit "{name}": name a file, such as report.xml')
    try:
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file:
                ours = file.read(len(OPENING)) == OPENING.encode()
            if not ours:
                fail(f"--junit {name}: the file exists and is no report of slirpy's; name another one")
    except OSError as error:
        fail(f"--junit {name}: {error.strerror}")
    return path


def _write_report(path: Path, tried: Sequence[Ran]) -> None:
    from slirpy.testing.packetdrill.junit import junit

    try:
        path.write_text(junit(tried), encoding="utf-8")
    except OSError as error:
        fail(f"--junit {path}: {error.strerror}")


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
