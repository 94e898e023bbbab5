"""``slirpy replay``: a failed test in virtual time once more, with a closer look."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from slirpy.cli.flags import Command
from slirpy.cli.main import fail

if TYPE_CHECKING:
    from slirpy.testing.sim.report import Report

__all__ = ["replay"]


@click.command(cls=Command)
@click.option("--until", type=float, metavar="SECONDS", help="Stop at this virtual time.")
@click.option("--pdb", is_flag=True, help="Start the debugger where the test fails or stops.")
@click.option("--ladder", is_flag=True, help="Print all frames as a ladder, and not only the last ones.")
@click.option(
    "--host", "hosts", multiple=True, metavar="NAME", help="Draw only frames of this host. May be repeated."
)
@click.option(
    "--connection", type=click.IntRange(min=0), metavar="N", help="Draw only TCP connection N, from 0."
)
@click.option("--pcapng", metavar="FILE", help="Write the frames to FILE, for Wireshark, with keys of TLS.")
@click.option("--plot", metavar="FILE", help="Write a time-sequence diagram of a connection to FILE, as SVG.")
@click.option("--html", metavar="FILE", help="Write ladder, diagrams and log to FILE, as one page.")
@click.argument("file", metavar="FILE")
def replay(
    until: float | None,
    pdb: bool,
    ladder: bool,
    hosts: tuple[str, ...],
    connection: int | None,
    pcapng: str | None,
    plot: str | None,
    html: str | None,
    file: str,
) -> NoReturn:
    """Run the test of a report again, in virtual time, and draw what happens.

    FILE is the JSON file of a report, which pytest writes with --sim-artifacts. The test is run with the same seed by
    pytest, in the folder in which pytest was run. The run is the same, frame by frame, unless program or test have
    changed.

    Exit status: that of pytest: 0 if the test passes now, 1 if it fails; 2 if it cannot be run.

    \b
    Examples:
      slirpy replay report.json
      slirpy replay --ladder --until 3.5 report.json
      slirpy replay --pcapng run.pcapng --html run.html report.json
    """
    try:
        import pytest

        import slirpy.testing.plugin.session as plugin
    except ImportError as error:
        fail(f"replay needs {error.name}: pip install slirpy[testing]")
    test, recorded = _read(file)
    sys.path.insert(0, os.getcwd())  # as python -m pytest does
    arguments = ["-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "--sim-replay", file, test]
    # The plugin is imported before pytest could rewrite its assertions, which it does not have.
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    if until is not None:
        arguments += ["--sim-until", str(until)]
    if pdb:
        arguments.append("--pdb")
    status = int(pytest.main(arguments))
    if not plugin.last_report:
        sys.exit(status or 2)
    report = plugin.last_report[-1]
    if ladder or hosts or connection is not None:
        click.echo(report.ladder(hosts=_known(report, hosts), connection=connection))
    for name, made in (
        (pcapng, report.pcapng),
        (plot, lambda: report.plot(connection)),
        (html, report.html),
    ):
        if name is not None:
            _write(name, made())
    same = (
        "the same run as before"
        if report.digest == recorded
        else "another run than before: something has changed"
    )
    if until is None:
        click.echo(f"slirpy: trace {report.digest[:16]}, {same}", err=True)
    sys.exit(status)


def _read(file: str) -> tuple[str, str]:
    """Return the name of the test in a report, and the digest of its trace."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        test, digest = str(content["test"]), str(content["trace"])
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    except (ValueError, KeyError, TypeError):
        fail(f"{file}: this is no JSON file of a report; pytest --sim-artifacts DIR writes them")
    path = test.partition("::")[0]
    if not os.path.exists(path):
        fail(f"{file}: there is no {path} here; run slirpy replay in the folder in which pytest was run")
    return test, digest


def _known(report: Report, hosts: tuple[str, ...]) -> list[str] | None:
    names = sorted({host for each in report.connections for host in each.hosts} | set(report.sockets))
    for host in hosts:
        if host not in names:
            fail(f"--host {host}: there is no such host; there are {', '.join(names)}")
    return list(hosts) or None


def _write(name: str, content: str | bytes) -> None:
    from slirpy.testing.sim.report import write_own

    try:
        write_own(Path(name), content)
    except OSError as error:
        fail(f"{name}: {error.strerror}")
