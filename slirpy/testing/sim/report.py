"""Reports of runs: everything that a reader needs to understand a failure, as text and as files."""

from __future__ import annotations

import json
import os
import platform
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slirpy._version import __version__
from slirpy.checks import shown, switch
from slirpy.config.values import as_text, listed
from slirpy.config.values import path as path_of
from slirpy.errors import ConfigError
from slirpy.ownfile import open_own
from slirpy.reprs import counted, never_raises
from slirpy.tcp import Settings
from slirpy.testing.sim import page, pktscript, plot
from slirpy.testing.sim.capture import capture
from slirpy.testing.sim.connections import TraceConnection, chosen_connection, find_connections
from slirpy.testing.sim.injected import Injected
from slirpy.testing.sim.ladder import host_ladder
from slirpy.testing.sim.netstat import SocketInfo, netstat
from slirpy.testing.sim.trace import FrameRecord, NoteRecord, Trace
from slirpy.testing.text import seconds
from slirpy.units import SECOND
from slirpy.wire import pcapng

__all__ = ["KINDS", "Report", "write_own"]

KINDS = ("txt", "html", "pcapng", "svg", "pkt", "json")
"""Kinds of files that :meth:`Report.save` writes, by their suffixes."""
_TITLE = "slirpy report"
_LAST = 40
_REASONS = 12
_NAME_MAX = 120
_FORMAT = 1


@dataclass
class Report:
    """A run, with all that is known about it. ``str()`` is a summary for a terminal.

    Attributes:
        seed: seed of the network.
        now: virtual nanoseconds at which it ended.
        trace: frames and lines.
        plan: faults, and what each has hit.
        sockets: for each host its sockets.
        failure: the failure in words; empty if there was none.
        epoch: nanoseconds since 1970 at which virtual time began.
        keys: secrets of TLS connections, in the key log format.
        settings: settings of the TCP connections, for packetdrill.
        details: more for the JSON file, such as the name of the test; values that JSON can express.
    """

    seed: int
    now: int
    trace: Trace
    plan: Sequence[Injected] = ()
    sockets: Mapping[str, Sequence[SocketInfo]] = field(default_factory=dict)
    failure: str = ""
    epoch: int = 0
    keys: str = ""
    settings: Settings | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @never_raises
    def __repr__(self) -> str:
        return (
            f"<Report of seed {self.seed}, {seconds(self.now)}, {counted(len(self.trace.records), 'record')}>"
        )

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the trace in hexadecimal: equal for equal runs."""
        return self.trace.digest()

    @cached_property
    def connections(self) -> list[TraceConnection]:
        """The TCP connections of the run, in the order of their first segments."""
        return find_connections(self.trace.records)

    @property
    def idle_faults(self) -> list[Injected]:
        """Faults of the plan that have hit nothing."""
        return [each for each in self.plan if not each.hits]

    # ------------------------------------------------------------------------------------------ text

    def __str__(self) -> str:
        parts = [self._heading()]
        if self.failure:
            parts.append(self.failure)
        if self.plan:
            parts.append("faults:\n" + _indented("\n".join(map(str, self.plan))))
        parts += self._fates()
        if any(self.sockets.values()):
            parts.append("sockets:\n" + _indented(netstat(self.sockets)))
        parts.append(f"the last {_LAST} rows:\n" + _indented(self.ladder(last=_LAST)))
        return "\n".join(parts)

    def _heading(self) -> str:
        frames = [each for each in self.trace.records if isinstance(each, FrameRecord)]
        lost = sum(each.lost for each in frames)
        return (
            f"{_TITLE}: seed {self.seed}, {seconds(self.now)} of virtual time, {counted(len(frames), 'frame')}"
            f" ({lost} lost), trace {self.digest[:16]}, slirpy {__version__}, Python {platform.python_version()}"
        )

    def _fates(self) -> list[str]:
        """Return a line with the number of frames that each fault hit that is not of the plan."""
        planned = {str(each.fault) for each in self.plan}
        hit = Counter(
            each.fault or "loss"
            for each in self.trace.records
            if isinstance(each, FrameRecord) and (each.fault or each.lost) and each.fault not in planned
        )
        if not hit:
            return []
        shown = [f"{reason} {count}" for reason, count in hit.most_common(_REASONS)]
        if len(hit) > _REASONS:
            shown.append(f"{len(hit) - _REASONS} others")
        return [f"frames hit: {', '.join(shown)}"]

    def ladder(
        self,
        *,
        hosts: Sequence[str] | None = None,
        connection: int | None = None,
        last: int | None = None,
        width: int = 110,
        ascii_only: bool = False,
    ) -> str:
        """Draw the run as a ladder with a column for each host.

        Args:
            hosts: draw only frames from or to these hosts, and their lines. None: all.
            connection: draw only frames of one TCP connection: its number in :attr:`connections`.
            last: draw only the last rows, at most this many.
            width: characters per line, 60 or more.
            ascii_only: draw with ASCII characters only.

        Raises:
            ConfigError: an argument of another type, or out of range, or a connection that there is not.
        """
        return host_ladder(
            self.trace, hosts=hosts, connection=connection, last=last, width=width, ascii_only=ascii_only
        )

    # ----------------------------------------------------------------------------------------- files

    def pcapng(self, *, host: str | None = None, lost: bool = True) -> bytes:
        """Return the run as the content of a pcapng file, with fates as comments, log lines, and TLS keys.

        Args:
            host: capture at the interface of this host: frames for it at their arrivals. None: all frames of all
                hosts, as they were sent.
            lost: whether to include frames that never arrived.

        Raises:
            ConfigError: a host that is not of the run.
        """
        switch("lost", lost)
        if host is not None and host not in (names := self._hosts()):
            raise ConfigError(f"host {shown(host)} is not of the run; there are: {', '.join(names) or 'none'}")
        return capture(self.trace, host=host, lost=lost, keys=self.keys, epoch=self.epoch)

    def _hosts(self) -> list[str]:
        """Return the names of all hosts that did something."""
        found = dict.fromkeys(self.sockets)
        for each in self.trace.records:
            names = (each.source, each.target) if isinstance(each, FrameRecord) else (each.host,)
            found |= dict.fromkeys(filter(None, names))
        return list(found)

    def plot(self, connection: int | None = None) -> str:
        """Return a time-sequence diagram of a TCP connection as SVG.

        Args:
            connection: its number in :attr:`connections`; None: the one that suffered most.

        Raises:
            ConfigError: there is no such connection.
        """
        notes = [each for each in self.trace.records if isinstance(each, NoteRecord)]
        return plot.plot(self._chosen(connection), notes)

    def packetdrill(self, connection: int | None = None, host: str | None = None) -> str:
        """Return a TCP connection as a script in packetdrill's language.

        Args:
            connection: its number in :attr:`connections`; None: the one that suffered most.
            host: the host whose TCP the script is about; None: the client.

        Raises:
            ConfigError: there is no such connection, or the host is none of its two.
        """
        chosen = self._chosen(connection)
        if host is not None and host not in chosen.hosts:
            raise ConfigError(f"host {shown(host)} is not of {chosen}; choose {' or '.join(chosen.hosts)}")
        return pktscript.packetdrill_script(chosen, host or chosen.hosts[0], self.settings)

    def _chosen(self, number: int | None) -> TraceConnection:
        if number is not None or not self.connections:
            return chosen_connection(self.trace, 0 if number is None else number)
        return max(self.connections, key=lambda each: (each.trouble, each.number))

    def html(self) -> str:
        """Return a page for a browser, in one file: ladder, diagrams and log side by side."""
        summary = [
            self._heading().removeprefix(f"{_TITLE}: "),
            *([self.failure] if self.failure else []),
            *self._fates(),
        ]
        plan = [(str(each), bool(each.hits)) for each in self.plan]
        return page.page(_TITLE, summary, plan, netstat(self.sockets), self.trace, self.connections)

    def json(self) -> str:
        """Return seed, plan, versions, hash and details as JSON, for a program that runs it again."""
        content = {
            "slirpy report": _FORMAT,
            "seed": self.seed,
            "failure": self.failure,
            "now": self.now / SECOND,
            "trace": self.digest,
            "records": len(self.trace.records),
            "versions": {
                "slirpy": __version__,
                "python": platform.python_version(),
                "system": platform.platform(),
            },
            "plan": [_as_json(each) for each in self.plan],
            "idle faults": [str(each.fault) for each in self.idle_faults],
            **self.details,
        }
        return json.dumps(content, indent=2, ensure_ascii=False, default=repr) + "\n"

    def save(self, directory: str | os.PathLike[str], name: str, kinds: Sequence[str] = KINDS) -> list[Path]:
        """Write files NAME.txt, NAME.html and so on into a folder, which is made if there is none.

        Earlier files of this kind are replaced; files that slirpy did not write are not. A run without a TCP
        connection has no svg and no pkt file.

        Args:
            directory: the folder.
            name: name of the files without a suffix. Characters other than letters, digits, ``.``, ``_`` and ``-``
                become ``-``.
            kinds: suffixes, from :data:`KINDS`.

        Returns:
            The paths of the files.

        Raises:
            ConfigError: an argument that cannot be used.
            FileExistsError: there is another file of that name.
            OSError: a file cannot be written.
        """
        folder = path_of("directory", directory)
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", as_text("name", name)).strip("-.")[-_NAME_MAX:]
        if not stem:
            raise ConfigError(f"name {name!r} has no letter or digit")
        chosen = listed("kinds", kinds)
        unknown = [kind for kind in chosen if kind not in KINDS]
        if unknown:
            raise ConfigError(f"kind {shown(unknown[0])} is unknown; the kinds are {', '.join(KINDS)}")
        makers: dict[str, Callable[[], str | bytes]] = {
            "txt": lambda: f"{self}\n",
            "html": self.html,
            "pcapng": self.pcapng,
            "svg": self.plot,
            "pkt": self.packetdrill,
            "json": self.json,
        }
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for kind in chosen:
            if kind in ("svg", "pkt") and not self.connections:
                continue
            path = folder / f"{stem}.{kind}"
            made = makers[kind]()
            write_own(path, made)
            written.append(path)
        return written


def write_own(path: Path, content: str | bytes) -> None:
    """Write a file of a report, which may replace an earlier one, but no file that slirpy did not write.

    Raises:
        OSError: the file cannot be written, or is another one.
    """
    with os.fdopen(open_own(path, _is_ours), "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode(errors="replace"))


def _is_ours(head: bytes) -> bool:
    """Report whether a file begins like those of a report."""
    return (
        head.startswith((_TITLE.encode(), pktscript.SIGNATURE.encode(), pcapng.header()))
        or head.lstrip(b"{ \n").startswith(f'"{_TITLE}"'.encode())
        or page.SIGNATURE.encode() in head
        or plot.SIGNATURE.encode() in head
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _as_json(injected: Injected) -> dict[str, Any]:
    fault = injected.fault
    fields = asdict(fault) if is_dataclass(fault) else {}
    return {
        "fault": str(fault),
        "kind": type(fault).__name__,
        **fields,
        "hits": [hit / SECOND for hit in injected.hits],
    }
