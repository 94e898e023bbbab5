"""Options that show the activity of a network: capture, trace, statistics, and the live display."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from slirpy.cli.flags import check_plain_name, check_terminal, flag, names_flags
from slirpy.cli.streams import write_line
from slirpy.config import Group
from slirpy.errors import ConfigError

if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

if TYPE_CHECKING:
    from slirpy import Slirp
    from slirpy.control import ControlServer
    from slirpy.drive.switched import PolledSwitch

__all__ = ["LONGEST_WAIT", "Reporting", "report_options"]

LONGEST_WAIT = 60.0
"""Longest time, in seconds, that a command waits before it checks again."""


@dataclass(frozen=True, slots=True)
class Reporting:
    """Reports about the network while it runs and at its end: the values of :func:`report_options`."""

    capture: str | None
    trace: str | None
    stats: bool
    top: bool = False
    control: tuple[str, ...] = ()
    web: str | None = None
    control_token_file: str | None = None
    capture_dir: str | None = None

    @names_flags
    def check(self, others: Mapping[str, str | None] | None = None) -> None:
        """Check the options before anything else has started.

        Args:
            others: the files that options of the network write, by flag.

        Raises:
            ConfigError: an option that cannot be used, two that would write to one file, or no terminal for
                ``--top``.
        """
        names = {**(others or {}), "--trace": self.trace}
        if self.capture is not None:
            from slirpy.cli.capture import parse_capture

            names["--capture"] = parse_capture(self.capture).name
        if self.trace is not None:
            check_plain_name("--trace", self.trace)
        _check_distinct(names)
        if self.top:
            check_terminal(sys.stderr)
        if self.capture_dir is not None:
            self._check_folder(self.capture_dir)

    def _check_folder(self, folder: str) -> None:
        if not self.control:
            raise ConfigError(
                f'capture_dir "{folder}": captures are started through --control, which is missing'
            )
        if not os.path.isdir(folder):
            raise ConfigError(f'capture_dir "{folder}": there is no such folder; create it first')
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f'capture_dir "{folder}": no file can be created there; name a folder of yours')

    @names_flags
    def serve(
        self,
        network: Slirp | PolledSwitch,
        stack: ExitStack,
        *,
        name: str = "net0",
        others: Mapping[str, Slirp] | None = None,
    ) -> None:
        """Let networks be controlled from outside, if requested, before the process is shut in.

        Args:
            network: the network, or the first of several.
            stack: ends it.
            name: its name.
            others: further networks by name.

        Raises:
            ConfigError: a place or a token that cannot be used.
            LinkError: a place is in use, or a file cannot be read.
        """
        if self.control_token_file is not None and not self.control and self.web is None:
            raise ConfigError(
                f'control_token_file "{self.control_token_file}": nothing is controlled without --control or --web'
            )
        if not self.control and self.web is None:
            return
        token = None
        if self.control_token_file is not None:
            from slirpy.control.place import read_token

            token = read_token(self.control_token_file)
        serve, end = _serving(network, name, others or {}, token)
        for place in self.control:
            server = serve(place)
            stack.callback(server.close)
            if not server.address.local:
                shown = f", token {server.token}" if token is None else ""
                write_line(f"control tcp:{server.address}{shown}")
        if self.web is not None:
            server = serve(f"tcp:{self.web}")
            stack.callback(server.close)
            write_line(f"web http://{server.address}/?token={server.token}")
        stack.callback(end)  # before the servers, so that streams end well

    def live(self, net: Slirp, stack: ExitStack) -> Callable[[], float] | None:
        """Create a function for the loop that drives ``net``. It returns the seconds that the loop may wait.

        None: there is nothing to look at.
        """
        looks: list[Callable[[], float]] = []
        if self.top:
            from slirpy.cli.top import Top

            looks.append(stack.enter_context(Top(net)).look)
        if net.config.asker is not None:
            from slirpy.cli.asking import Asker

            if isinstance(net.config.asker, Asker):
                looks.append(stack.enter_context(net.config.asker.on(net)).look)
        if not looks:
            return None
        return lambda: min(LONGEST_WAIT, *(look() for look in looks))

    def at_end(self, net: Slirp) -> None:
        """Show flows and counters, if requested."""
        if self.stats:
            from slirpy.cli.serving import report

            report([*net.closed_flows(), *net.flows()], net.stats)


def _serving(
    network: Slirp | PolledSwitch, name: str, others: Mapping[str, Slirp], token: str | None
) -> tuple[Callable[[str], ControlServer], Callable[[], None]]:
    """A function that lets networks be controlled at a place, and one that ends their captures."""
    from slirpy.drive.switched import PolledSwitch

    if not isinstance(network, PolledSwitch):
        return (
            lambda place: network.serve_control(place, token=token, name=name, others=others),
            lambda: None,  # they end with the networks
        )
    from slirpy.control.controlled import need_control

    server = need_control()
    from slirpy.control.place import parse_place
    from slirpy.control.subject import Subject
    from slirpy.control.taps import Taps

    switch, poller = network.network, network.poller
    taps = Taps(switch, poller)
    return (
        lambda place: server(
            parse_place(place), {name: Subject(switch, poller, taps, None)}, poller, token=token
        ),
        taps.close,
    )


def _check_distinct(names: Mapping[str, str | None]) -> None:
    """Check that no two options write to one file, of which one would lose what the other has written.

    Raises:
        ConfigError: two name the same file. ``-`` is a different stream for each, and a device is no file.
    """
    seen: dict[str, str] = {}
    for option, name in names.items():
        if name in (None, "", "-"):
            continue
        try:
            path = os.path.realpath(str(name))
        except OSError:  # there is no current folder, and opening the file will show that
            continue
        if os.path.exists(path) and not os.path.isfile(path):
            continue
        if path in seen:
            raise ConfigError(f'{option} "{name}": {seen[path]} writes to this file already; name another')
        seen[path] = option


def report_options(*, top: bool = True) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """``--capture``, ``--trace``, ``--stats`` and ``--top``: the command gets them as ``reporting``."""
    watching = partial(flag, group=Group.WATCHING)
    options = [
        watching(
            "--capture",
            metavar="FILE",
            help="Write all frames to FILE, for Wireshark; pcapng if its name ends in that, else pcap; - is standard"
            " output. A named pipe never blocks. FILE may be followed by ,format=pcap|pcapng and ,max=10M,files=5:"
            " that many files of that size, used in turn.",
        ),
        watching("--trace", metavar="FILE", help="Write a line for each frame to FILE; - is standard error."),
        watching("--stats", is_flag=True, help="Show flows and counters at the end, on standard error."),
    ]
    options += [
        watching(
            "--control",
            multiple=True,
            metavar="PLACE",
            help="Let `slirpy ctl` and other programs look and change things while it runs, at unix:PATH, or at"
            " tcp:ADDRESS:PORT with a token.  May be repeated.",
        ),
        watching(
            "--capture-dir",
            metavar="FOLDER",
            help="Let clients of --control write captures to FOLDER, which --sandbox would prevent.",
        ),
        watching(
            "--web",
            metavar="ADDRESS:PORT",
            help="Show the network live on a page for a browser, such as 127.0.0.1:0. The address to open, with its"
            " token, is reported on standard error.",
        ),
        watching(
            "--control-token-file",
            metavar="FILE",
            help="The token that clients of --control must show; FILE is created if it does not exist."
            "  [default: a new token for TCP, reported on standard error]",
        ),
    ]
    if top:
        options.append(
            watching("--top", is_flag=True, help="Show flows live, on a terminal that is standard error.")
        )

    def decorate(function: Callable[..., object]) -> Callable[..., object]:
        @wraps(function)
        def collected(
            *arguments: Any,
            capture: str | None,
            trace: str | None,
            stats: bool,
            control: Sequence[str],
            control_token_file: str | None,
            web: str | None,
            capture_dir: str | None,
            top: bool = False,
            **more: Any,
        ) -> object:
            folder = None if capture_dir is None else os.path.abspath(capture_dir)
            reporting = Reporting(capture, trace, stats, top, tuple(control), web, control_token_file, folder)
            written = ("lease_file", "audit", "learn", "ask_save")
            reporting.check({f"--{name.replace('_', '-')}": more.get(name) for name in written})
            return function(*arguments, reporting=reporting, **more)

        decorated: Callable[..., object] = collected
        for option in reversed(options):  # click lists them in reverse order of addition
            decorated = option(decorated)
        return decorated

    return decorate
