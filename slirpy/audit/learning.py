"""Learning of a policy: what a run has used becomes rules that allow exactly that.

A :class:`Learner` is a function of audit records. Flows that were allowed become rules: by name if the guest had
asked our DNS server for the address and the address may stand for a name, by address otherwise, and by the word
``host`` for the host's loopback.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from slirpy import forks
from slirpy._version import __version__
from slirpy.audit.severity import Severity
from slirpy.audit.text import plain
from slirpy.config.policy import parse_rule
from slirpy.config.text import bracketed
from slirpy.errors import ConfigError
from slirpy.ownfile import create_new
from slirpy.records import NamedTuple

__all__ = ["Learner"]

DESTINATIONS_MAX = 10_000
"""Maximum number of destinations; a scan is not a policy."""
_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_QUIC_PORT = 443
_SPECIAL = (Severity.METADATA, Severity.HOST, Severity.PRIVATE)


class _Goal(NamedTuple):
    """Subject of a rule."""

    protocol: str
    destination: str
    """Name, address, or ``host``."""
    redirect: str = ""
    """The target of a rule that redirects; the port is then part of it."""
    by_name: bool = False


class _Use:
    """Traffic with a destination."""

    def __init__(self) -> None:
        self.ports: set[int] = set()
        self.flows = self.bytes_in = self.bytes_out = 0
        self.names: dict[str, None] = {}
        self.options = ""


class Learner:
    """Collects what is used, and writes it down as a policy.

    Args:
        path: the file, which must not exist, or be empty. It is created at once, so that a mistake shows early.

    Raises:
        LinkError: the file exists, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made_at = forks.count
        self._uses: dict[_Goal, _Use] = {}
        self._goals: dict[int, _Goal] = {}
        self._queries: dict[str, None] = {}
        self._left_out = 0
        self._first = self._last = ""
        self._fd = create_new("learn", path)

    def note(self, record: dict[str, Any]) -> None:
        """Take a record."""
        event = record["event"]
        self._first = self._first or record["time"]
        self._last = record["time"]
        if event == "open" and not record["inbound"] and record["target"] is not None:
            self._opened(record)
        elif event == "inspected":
            self._inspected(record)
        elif event == "end":
            goal = self._goals.pop(record["flow"], None)
            if goal is not None:
                use = self._uses[goal]
                use.bytes_in += record["bytes_in"]
                use.bytes_out += record["bytes_out"]
        elif event == "answer" and record["rcode"] == "NOERROR":
            name = record["name"].lower()
            if _NAME.fullmatch(name) and len(self._queries) < DESTINATIONS_MAX:
                self._queries[name] = None

    def _opened(self, record: dict[str, Any]) -> None:
        goal = _goal_of(record)
        use = self._uses.get(goal)
        if use is None:
            if len(self._uses) >= DESTINATIONS_MAX:
                self._left_out += 1
                return
            use = self._uses[goal] = _Use()
        use.flows += 1
        if record["destination_port"] is not None:
            use.ports.add(record["destination_port"])
        for name in record["names"]:
            use.names[name] = None
        self._goals[record["flow"]] = goal

    def _inspected(self, record: dict[str, Any]) -> None:
        """Note that a rule by name would have to allow more than it does by itself."""
        goal = self._goals.get(record["flow"])
        if goal is not None and record["verdict"] != "allow":
            self._uses[goal].options = " tls=off"

    def text(self) -> str:
        """The policy, as TOML."""
        flows = sum(use.flows for use in self._uses.values())
        lines = [
            f"# Learned by slirpy {__version__}, {self._first[:19]}Z to {self._last[:19]}Z.",
            f"# {_counted(flows, 'flow')} to {_counted(len(self._uses), 'destination')}. Everything else is refused.",
            "# Read it before you use it: it allows all that was done, wanted or not.",
        ]
        if self._left_out:
            lines.append(
                f"# {self._left_out} flows to further destinations are NOT in it: there were too many."
            )
        lines += ["", "rules = ["]
        named = False
        for goal, use in sorted(self._uses.items(), key=lambda item: (item[0].destination, item[0].protocol)):
            note = _counted(use.flows, "flow")
            if use.bytes_in or use.bytes_out:
                note += f", {use.bytes_in} bytes sent, {use.bytes_out} received"
            names = [name for name in use.names if name != goal.destination]
            if names:
                note += f"; known as {', '.join(names[:8])}"
            lines.append(f"    # {plain(note)}")
            lines.append(f'    "{_rule(goal, use)}",')
            named = named or goal.by_name
        # With a rule by name, DNS answers for the names of rules only.
        reached = {goal.destination for goal in self._uses if goal.by_name}
        for name in sorted(self._queries) if named else ():
            if name not in reached:
                lines.append(
                    "    # looked up and never reached: with this rule, DNS answers, and ping is allowed"
                )
                lines.append(f'    "allow icmp:{_written(name)}",')
        lines += ["]", 'default = "reject"', ""]
        return "\n".join(lines)

    def write(self) -> OSError | None:
        """Write the file, once, unless this process is a fork of the one that began. Returns the error, if any."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return None
        try:
            if not forks.is_fork(self._made_at):
                rest = memoryview(self.text().encode())
                while rest:
                    rest = rest[os.write(fd, rest) :]
        except OSError as error:
            return error
        finally:
            os.close(fd)
        return None


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _goal_of(record: dict[str, Any]) -> _Goal:
    protocol, address, port = record["protocol"], record["destination"], record["destination_port"]
    if record["rule"] and record["rule"].startswith("redirect "):
        target = _target_of(record)
        end = "" if record["target_port"] is None else f":{record['target_port']}"
        return _Goal(protocol, bracketed(ip_address(address)), f":{port}={target}{end}")
    if record["host"]:
        return _Goal(protocol, "host")
    if record["severity"] not in _SPECIAL:  # no name stands for those
        for name in record["said"] + record["names"]:
            if name in record["names"] and _NAME.fullmatch(name):
                quic = protocol == "udp" and port == _QUIC_PORT
                return _Goal("quic" if quic else protocol, name, by_name=True)
    return _Goal(protocol, bracketed(ip_address(address)))


def _target_of(record: dict[str, Any]) -> str:
    """The target of a flow that was redirected, as its rule has it: an address or a name."""
    try:
        redirect = parse_rule(record["rule"]).redirect
    except ConfigError:  # the text of somebody's own policy
        redirect = None
    if redirect is not None and isinstance(redirect[0], str):
        return _written(redirect[0])
    return bracketed(ip_address(record["target"]))


def _rule(goal: _Goal, use: _Use) -> str:
    """The rule, as :func:`~slirpy.config.policy.parse_rule` reads it."""
    if goal.redirect:
        return f"redirect {goal.protocol}:{goal.destination}{goal.redirect}"
    ports = ":" + ",".join(_ranges(use.ports)) if use.ports else ""
    where = _written(goal.destination) if goal.by_name else goal.destination
    return f"allow {goal.protocol}:{where}{ports}{use.options}"


def _written(name: str) -> str:
    """A name as rules have it: a single label needs a full stop."""
    return name if "." in name else f"{name}."


def _ranges(ports: set[int]) -> list[str]:
    """Ports in order; those that follow each other as a range."""
    found: list[list[int]] = []
    for port in sorted(ports):
        if found and found[-1][1] == port - 1:
            found[-1][1] = port
        else:
            found.append([port, port])
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]
