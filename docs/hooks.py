"""Parts of the documentation that are taken from the code when it is built, so that the two cannot drift apart.

A line ``<!-- generated: NAME -->`` in a page is replaced by what the function of that name in :data:`GENERATED`
returns, as Markdown.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import click

from slirpy.cli.app import COMMANDS, app
from slirpy.cli.flags import by_group
from slirpy.config import OPTIONS, Group, Option, qemu
from slirpy.control.networks import Networks
from slirpy.control.subject import Subject
from slirpy.control.taps import Taps
from slirpy.core.switchnet import SwitchNetwork
from slirpy.host.poller import SelectorPoller
from slirpy.stats import Stats
from slirpy.tcp import Settings
from slirpy.tcp.states import TRANSITIONS, State
from slirpy.testing import Echo, VirtualNetwork, ladder
from slirpy.testing.packetdrill import info, language
from slirpy.testing.packetdrill.sysctls import IGNORED, ONLY, PROGRAMS, SYSCTLS

MARKER = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)
ROLE = re.compile(r":(?:class|func|meth|data|mod|attr|exc):<code>~?([\w.]+)</code>")
WIDTH = 72
AUDIT_SCHEMA = Path(__file__).parents[1] / "slirpy" / "audit" / "schema.json"
SYSTEM_TESTS = Path(__file__).parents[1] / "tests" / "system"


def control() -> str:
    """The paths of the control socket, from its OpenAPI document."""
    poller = SelectorPoller()
    network = SwitchNetwork()
    subject = Subject(network, poller, Taps(network, poller), None)
    document = Networks({"net0": subject}).openapi()
    subject.close()
    poller.close()
    parts = []
    for path, methods in document["paths"].items():
        if "{network}" in path:
            continue  # the same again
        for method, operation in methods.items():
            parts.append(f"## `{method.upper()} {path}`\n\n{operation['description']}")
            rows = [
                f"| `{each['name']}` | {each['in']} | {each.get('description', '')} |"
                for each in operation.get("parameters", ())
            ]
            body = (
                operation.get("requestBody", {})
                .get("content", {})
                .get("application/json", {})
                .get("schema", {})
            )
            rows += [f"| `{name}` | body | {text} |" for name, text in _shape_fields(document, body)]
            answer: dict[str, Any] = next(
                (each for status, each in operation["responses"].items() if status in ("200", "201")), {}
            )
            found = answer.get("content", {}).get("application/json", {}).get("schema", {})
            rows += [f"| `{name}` | answer | {text} |" for name, text in _shape_fields(document, found)]
            if rows:
                parts.append("\n".join(["| name | where | |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _shape_fields(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields of a schema of the OpenAPI document, and of the rows in its lists."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if not name:
        return
    for field, each in document["components"]["schemas"][name]["properties"].items():
        yield field, each.get("description", "")
        inner = each.get("items", {})
        for below, text in _shape_fields(document, inner):
            yield f"{field}[].{below}", text


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    settings: dict[str, Any] = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    return click.Context(command, info_name=name, parent=parent, **settings)


def cli() -> str:
    """The usage, the description, the options and the examples of the program and of each subcommand."""
    root = _context(app, "slirpy", None)
    parts = [_command(app, root)]
    for name in COMMANDS:
        command = app.get_command(root, name)
        assert command is not None
        parts.append(_command(command, _context(command, name, root)))
    return "\n\n".join(parts)


def _command(command: click.Command, context: click.Context) -> str:
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"## {context.command_path}", f"```text\n{usage}\n```"]
    description, examples = _help_text(command)
    parts += description
    if command is not app and isinstance(command, click.Group):
        listed = [f"| `{name}` | {each.get_short_help_str(WIDTH)} |" for name, each in command.commands.items()]
        parts.append("\n".join(["| command | |", "|---|---|", *listed]))
    elif isinstance(command, click.Group):
        listed = [f"| [`{name}`](#slirpy-{name}) | {text} |" for name, (_, text) in COMMANDS.items()]
        parts.append("\n".join(["| command | |", "|---|---|", *listed]))
    for group, options in by_group(command, context).items():
        rows = (_option(option, context) for option in options)
        parts.append("\n".join([f"| {group} | |", "|---|---|", *filter(None, rows)]))
    if examples:
        parts.append(f"```text\n{examples}\n```")
    return "\n\n".join(parts)


def _help_text(command: click.Command) -> tuple[list[str], str]:
    """Paragraphs of the description, and the lines below ``Examples:``, if there are any.

    A paragraph after a backspace keeps its lines; click does the same.
    """
    text = inspect.cleandoc(
        f"{inspect.cleandoc(command.help or '')}\n\n{inspect.cleandoc(command.epilog or '')}"
    )
    paragraphs, examples = [], ""
    for block in re.split(r"\n\s*\n", text):
        kept = block.strip().removeprefix("\b").strip("\n")
        if kept.startswith("Examples:"):
            examples = textwrap.dedent(kept.partition("\n")[2])
        elif kept:
            paragraphs.append(_prose(kept))
    return paragraphs, examples


def _option(parameter: click.Option, context: click.Context) -> str | None:
    """A row of the table; None for an option that is not shown."""
    record = parameter.get_help_record(context)
    if record is None:
        return None
    written, text = record
    name = max(parameter.opts, key=len).lstrip("-")
    anchor = f"{context.command_path} {name}".replace(" ", "-")
    code = escape(written).replace("|", "&#124;")
    return f'| <code id="{anchor}">{code}</code> | {_prose(text)} |'


def _prose(text: str) -> str:
    """Help text as Markdown that shows it as it is, on one line."""
    return re.sub(r"([\\`*_\[\]|<>])", r"\\\1", " ".join(text.split()))


def options() -> str:
    """The table of options, a section for each group."""
    parts = []
    for group in Group:
        rows = [_config_option(option) for option in OPTIONS if option.group is group]
        if rows:
            heading = ["| Python | QEMU | flag | values | default | meaning |", "|---|---|---|---|---|---|"]
            parts += [f"### {group}", "\n".join([*heading, *rows])]
    return "\n\n".join(parts)


def _config_option(option: Option) -> str:
    """A row of the table of options."""
    names = (f"`{name}`" if name else "" for name in (option.name, option.qemu, option.flag))
    meaning = f"{option.help.format(guest='guests')} {option.more}"
    cells = (option.kind.values(), option.shown_default(), meaning)
    return f"| {' | '.join((*names, *map(_prose, cells)))} |"


def counters() -> str:
    """A table of all counters."""
    rows = (f"| `{name}` | {text} |" for name, text in Stats.describe().items())
    return "\n".join(["| counter | what it counts |", "|---|---|", *rows])


def audit() -> str:
    """Tables of the fields of audit records, from their schema."""
    schema = json.loads(AUDIT_SCHEMA.read_text())
    shared, common = schema["$defs"], schema["properties"]
    parts = ["## Every record", _fields({name: common[name] for name in schema["required"]}, shared)]
    done: dict[tuple[str, ...], str] = {}
    for event in schema["oneOf"]:
        own = {name: field for name, field in event["properties"].items() if name not in common}
        parts += [f"## `{event['title']}`", event["description"]]
        same = [title for names, title in done.items() if set(names) <= own.keys() and len(names) > 5]
        if same:
            parts.append(f"It has the fields of `{same[0]}`.")
            names = next(names for names, title in done.items() if title == same[0])
            own = {name: field for name, field in own.items() if name not in names}
        else:
            done[tuple(own)] = event["title"]
        if own:
            parts.append(_fields(own, shared))
    return "\n\n".join(parts)


def _fields(fields: dict[str, Any], shared: dict[str, Any]) -> str:
    rows = []
    for name, field in fields.items():
        found = shared[field["$ref"].rpartition("/")[2]] if "$ref" in field else field
        kinds = found.get("type", "string")
        kind = " or ".join([kinds] if isinstance(kinds, str) else kinds)
        if "enum" in found:
            kind = ", ".join(f"`{word}`" for word in found["enum"])
        elif "const" in found:
            kind = f"`{found['const']}`"
        rows.append(f"| `{name}` | {kind} | {found['description']} |")
    return "\n".join(["| field | values | meaning |", "|---|---|---|", *rows])


def qemu_keys() -> str:
    """Table of the keys of QEMU's option string that are understood."""
    known = ", ".join(f"`{key}`" for key in (*qemu.KEYS, *qemu.OLDER, *qemu.SWITCHES, *qemu.REPEATED))
    return f"Understood: {known} (the last {len(qemu.REPEATED)} may repeat)."


def tcp_settings() -> str:
    """The sizes and times of connections."""
    values = Settings()
    times = (
        "delayed_ack",
        "syn_timeout",
        "user_timeout",
        "time_wait",
        "keepalive_idle",
        "keepalive_interval",
    )
    rows = [f"| `{name}` | {getattr(values, name) / 1e9:g} s |" for name in times]
    rows += [
        f"| `{name}` | {getattr(values, name) // 1024} KiB |"
        for name in ("rcv_buffer_initial", "rcv_buffer", "snd_buffer")
    ]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


# ------------------------------------------------------------------- which client was tried with what


class Tried(NamedTuple):
    """The contents of one ``pytest.mark.client("dhclient", "lease", "renew")``."""

    service: str
    client: str
    feature: str
    where: str
    """File and test."""


def tried(folder: Path = SYSTEM_TESTS) -> Iterator[Tried]:
    """The markers of all system tests, in the order of files and lines.

    Raises:
        ValueError: a marker without a client and a feature, or one that is not plain text.
    """
    for path in sorted(folder.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            inside = f"{path.name}: {node.name}" if hasattr(node, "name") else path.name
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.client":
                    yield from _marker(call, path, inside)


def _marker(call: ast.Call, path: Path, inside: str) -> Iterator[Tried]:
    try:
        client, *features = map(ast.literal_eval, call.args)
        more = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        service = more.pop("service", path.stem.split("_")[1].upper())
        if more or not features or not all(isinstance(text, str) for text in (client, service, *features)):
            raise ValueError
    except ValueError:
        raise ValueError(
            f'{path.name}:{call.lineno}: write pytest.mark.client("CLIENT", "FEATURE", ...), in plain text'
        ) from None
    for feature in features:
        yield Tried(service, client, feature, inside)


def clients(folder: Path = SYSTEM_TESTS) -> str:
    """For each service a table of clients and features, from the markers of the tests that tried them."""
    tables: dict[str, dict[str, dict[str, list[str]]]] = {}
    for service, client, feature, where in tried(folder):
        tests = tables.setdefault(service, {}).setdefault(feature, {}).setdefault(client, [])
        if where not in tests:
            tests.append(where)
    out = []
    for service, features in sorted(tables.items()):
        names = sorted({client for row in features.values() for client in row})
        out += [f"## {service}", "", f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for feature, row in features.items():
            cells = (
                f'<abbr title="{escape("; ".join(row[name]))}">yes</abbr>' if name in row else ""
                for name in names
            )
            out.append(f"| {feature} | {' | '.join(cells)} |")
        out.append("")
    return "\n".join(out)


# ------------------------------------------------------------------------------- the state diagram

_S = State
END = "end"
"""CLOSED is drawn twice, at the start and at the end, so that no arrow crosses another."""
PLACES: dict[State | str, tuple[int, int]] = {
    _S.CLOSED: (400, 30),
    _S.LISTEN: (170, 120),
    _S.SYN_SENT: (630, 120),
    _S.SYN_RECEIVED: (170, 230),
    _S.ESTABLISHED: (630, 230),
    _S.FIN_WAIT_1: (170, 340),
    _S.CLOSE_WAIT: (630, 340),
    _S.FIN_WAIT_2: (80, 450),
    _S.CLOSING: (330, 450),
    _S.LAST_ACK: (630, 450),
    _S.TIME_WAIT: (205, 550),
    END: (630, 550),
}
HALF_WIDTH, HALF_HEIGHT = 66, 17
ALWAYS = "reset, abort or timeout"
"""The cause that leads from every state to CLOSED; said once below the diagram."""


def _drawn() -> dict[tuple[State | str, State | str], str]:
    """The transitions that have an arrow."""
    arrows: dict[tuple[State | str, State | str], str] = {}
    for (old, new), cause in TRANSITIONS.items():
        if new is State.CLOSED and cause == ALWAYS:
            continue
        arrows[old, END if new is State.CLOSED else new] = cause.removesuffix(", " + ALWAYS)
    return arrows


def _border(start: tuple[int, int], end: tuple[int, int]) -> tuple[float, float]:
    """The point at which the line from the middle of the box at ``start`` to ``end`` leaves the box."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    scale = min(
        HALF_WIDTH / abs(dx) if dx else float("inf"), (HALF_HEIGHT + 2) / abs(dy) if dy else float("inf")
    )
    return start[0] + dx * scale, start[1] + dy * scale


def tcp_states() -> str:
    """The state diagram, drawn from the table that the engine asserts, and the table itself."""
    svg = [
        '<svg viewBox="0 0 740 580" role="img" aria-label="TCP state diagram" style="max-width: 46rem; width: 100%"'
        ' font-family="sans-serif" font-size="13" text-anchor="middle" fill="currentColor">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    for (old, new), cause in _drawn().items():
        a, b = PLACES[old], PLACES[new]
        (x1, y1), (x2, y2) = _border(a, b), _border(b, a)
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        width = len(cause) * 6.4 + 8
        svg.append(
            f'<path d="M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}" stroke="currentColor" marker-end="url(#tip)"/>'
            f'<rect x="{x - width / 2:.0f}" y="{y - 10:.0f}" width="{width:.0f}" height="20"'
            ' style="fill: var(--md-default-bg-color, white)"/>'
            f'<text x="{x:.0f}" y="{y + 4:.0f}">{escape(cause)}</text>'
        )
    for state, (x, y) in PLACES.items():
        name = State.CLOSED.value if isinstance(state, str) else state.value
        svg.append(
            f'<rect x="{x - HALF_WIDTH}" y="{y - HALF_HEIGHT}" width="{2 * HALF_WIDTH}" height="{2 * HALF_HEIGHT}"'
            ' rx="6" fill="none" stroke="currentColor" stroke-width="1.5"/>'
            f'<text x="{x}" y="{y + 5}" font-weight="bold">{name}</text>'
        )
    rows = [f"| {old.value} | {new.value} | {cause} |" for (old, new), cause in TRANSITIONS.items()]
    caption = f"From every state but CLOSED, {ALWAYS} leads to CLOSED; these arrows are left out."
    table = "\n".join(["| from | to | cause |", "|---|---|---|", *rows])
    return "\n".join([*svg, "</svg>", "", caption, "", table])


# ------------------------------------------------------------------------------------- a ladder

_LADDER_LINE = re.compile(r"^\s*(?P<time>[\d.]+ ms)  \W(?P<body>.*)\W$")
_LEFT, _RIGHT, _TOP, _STEP = 110, 650, 50, 34


def lossy_run() -> str:
    """A ladder of a short exchange in virtual time in which a segment is lost."""
    net = VirtualNetwork(seed=3, latency_ns=20_000_000)
    net.host.serve_tcp("192.0.2.7", 7, Echo)
    net.boot()
    begin = len(net.transcript)
    stream = net.guest.connect("192.0.2.7", 7)
    net.run_until(lambda: stream.established)
    lost: list[bytes] = []

    def lose_first(direction: str, frame: bytes) -> int | None:
        if direction == "out" and b"hello" in frame and not lost:
            lost.append(frame)
            return None
        return 0

    net.fault = lose_first
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    net.run(60_000_000)
    return ladder(net.transcript[begin:], width=92)


def ladder_picture() -> str:
    """The ladder of :func:`lossy_run` as a drawing."""
    heading, *lines = lossy_run().splitlines()
    left, right = heading.split()[1:]
    packets = [match for line in lines if (match := _LADDER_LINE.match(line))]
    assert packets, "the ladder has another form now"
    height = _TOP + _STEP * len(packets) + 20
    svg = [
        f'<svg viewBox="0 0 760 {height}" role="img" aria-label="A TCP exchange with a lost segment"'
        ' style="max-width: 46rem; width: 100%" font-family="sans-serif" font-size="13" fill="currentColor">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="9" markerHeight="9" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker><marker id="lost" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="11"'
        ' markerHeight="11"><path d="M0 0L8 8M0 8L8 0" stroke="currentColor"/></marker></defs>',
        f'<text x="{_LEFT}" y="22" text-anchor="middle" font-weight="bold">{escape(left)}</text>',
        f'<text x="{_RIGHT}" y="22" text-anchor="middle" font-weight="bold">{escape(right)}</text>',
        *(f'<path d="M{x} 32V{height - 6}" stroke="currentColor" stroke-width="2"/>' for x in (_LEFT, _RIGHT)),
    ]
    for number, packet in enumerate(packets):
        y = _TOP + _STEP * number + 14
        body = packet["body"].strip()
        lost = "\N{BALLOT X}" in body
        label = body.replace("lost", "").strip("\N{BALLOT X}\N{BOX DRAWINGS LIGHT HORIZONTAL}◄► ")
        start, end = _LEFT + 4, _RIGHT - 4
        if body.startswith(("◄", "lost")):
            start, end = end, start
        if lost:
            end = start + (end - start) * 3 // 4
            label += " (lost)"
        style = 'stroke="#d32f2f"' if lost else 'stroke="currentColor" marker-end="url(#head)"'
        svg += [
            f'<text x="{_LEFT - 10}" y="{y}" text-anchor="end" opacity="0.7">{packet["time"]}</text>',
            f'<text x="{(_LEFT + _RIGHT) / 2:.0f}" y="{y - 6}" text-anchor="middle">{escape(label)}</text>',
            f'<path d="M{start} {y}L{end} {y}" {style}/>',
        ]
        if lost:
            cross = f"M{end - 5} {y - 5}l10 10m0 -10l-10 10"
            svg.append(f'<path d="{cross}" stroke="#d32f2f" stroke-width="2"/>')
    return "\n".join([*svg, "</svg>"])


def changelog() -> str:
    """The file of that name."""
    return (Path(__file__).parents[1] / "CHANGELOG.md").read_text()


def libslirp() -> str:
    """Differences from libslirp, a table for each area; ``tests/system/test_oracle.py`` proves it."""
    with (Path(__file__).parent / "reference" / "libslirp.toml").open("rb") as file:
        areas = tomllib.load(file)
    parts = []
    for name, area in areas.items():
        parts += [f"## {area['title']}", f"Compared: {area['compared'].strip()}"]
        rows = ["| | libslirp | slirpy | reason |", "|---|---|---|---|"]
        for key, entry in area["difference"].items():
            untested = f" (Not compared: {entry['untested']}.)" if "untested" in entry else ""
            cells = (f"`{name}.{key}`", entry["libslirp"], entry["slirpy"], entry["reason"] + untested)
            rows.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def packetdrill() -> str:
    """Table of the parts of packetdrill's language that are understood."""
    settings = ", ".join(f"`{name}`" for name in sorted(Settings.__dataclass_fields__))
    tables = {
        "Options of a script (`--name=value`)": {f"--{k}": text for k, text in language.SCRIPT_OPTIONS.items()},
        "Actions of the user, with `--open`": language.ACTIONS,
        "Socket calls": language.CALLS,
        "Options of sockets": language.SOCKET_OPTIONS,
        "Flags": {k: f"`0x{bit:02x}`" for k, bit in language.FLAGS.items()},
        "TCP options": {k: text for k, (_, text) in language.OPTIONS.items()},
        "ICMP: `< icmp unreachable CODE [mtu N] [1:1001(1000)]`": {
            k: f"code {code}" for k, code in language.ICMP_CODES.items()
        },
        "The same with `--ip_version=ipv6`": {k: f"code {code}" for k, code in language.ICMPV6_CODES.items()},
        "Variables of a kernel in commands between backticks": {k: text for k, (_, text) in SYSCTLS.items()},
        "Variables that cannot be set": {
            name: f"{', '.join(f'`{value}`' for value in same)}: {how}" for name, (same, how) in ONLY.items()
        },
        "Features that are `unsupported`": {
            name: ", ".join(f"`{word}`" for word in words) for name, words in language.ELSEWHERE.items()
        },
        "Names in assertions": {k: text for k, (_, text) in info.NAMES.items()},
    }
    parts = []
    for title, rows in tables.items():
        parts.append(f"## {title}")
        parts.append(
            "\n".join(["| | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows.items())])
        )
        if title == "Variables that cannot be set":
            parts.append(
                "With other values than these a script still passes if it makes no difference; one that fails is"
                " `unsupported`, and the reason names the variable."
            )
        if title.startswith("Variables of a kernel"):
            ignored = ", ".join(f"`{prefix}*`" for prefix in IGNORED)
            programs = ", ".join(f"`{name}`" for name in sorted(PROGRAMS))
            parts.append(
                f"Other variables that begin with {ignored} do nothing. Of programs, {programs} are ignored by name,"
                " but for the variables that they set; `sleep` lets time pass; any other one makes a script"
                " `unsupported`."
            )
        if title.startswith("Options of a script"):
            parts.append(
                f"Beside them every setting of a connection: {settings}. Times are such as `40ms`, sizes `64k`."
            )
    constants = ", ".join(f"`{name}`" for name in info.CONSTANTS)
    parts.append(f"Beside them every [counter](counters.md), and the constants {constants}.")
    return "\n\n".join(parts)


GENERATED: dict[str, Callable[[], str]] = {
    "audit": audit,
    "changelog": changelog,
    "cli": cli,
    "clients": clients,
    "control": control,
    "counters": counters,
    "ladder-picture": ladder_picture,
    "libslirp": libslirp,
    "options": options,
    "packetdrill": packetdrill,
    "qemu-keys": qemu_keys,
    "tcp-settings": tcp_settings,
    "tcp-states": tcp_states,
}


# --------------------------------------------------------------------------------- called by MkDocs


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in what is generated.

    Raises:
        KeyError: a marker names something that is not generated.
    """
    return MARKER.sub(lambda match: GENERATED[match[1]](), markdown)


def on_page_content(html: str, **_: object) -> str:
    """Docstrings have the roles of reStructuredText, for editors; a page shows the last name alone."""
    return ROLE.sub(lambda match: f"<code>{match[1].rpartition('.')[2]}</code>", html)
