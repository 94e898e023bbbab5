"""The documentation tells the truth: its Python runs, its command lines exist, its links lead somewhere."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from types import ModuleType

import click
import pytest

from slirpy import Config, ConfigError, Stats
from slirpy.cli.app import COMMANDS, app
from slirpy.tcp.states import TRANSITIONS, State
from slirpy.testing import LINK_CHECKS
from tests.support.documents import FENCE, PAGES
from tests.support.repository import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def blocks(path: Path, language: str) -> Iterator[tuple[int, str]]:
    """Line and text of each code block of a language."""
    text = path.read_text()
    for match in FENCE.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start(2)), match[2]


# ------------------------------------------------------------------------------------------- Python

# Traffic that would leave this machine is an error, as is all that takes longer than the timeout.
GUARDED = """
import ipaddress, sys
def guard(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(arguments[1], tuple):
        if not ipaddress.ip_address(arguments[1][0]).is_loopback:
            raise AssertionError(f"{event} to {arguments[1]}, which is not this machine")
sys.addaudithook(guard)
path = sys.argv.pop()  # a program sees none
exec(compile(sys.stdin.read(), path, "exec"), {"__name__": "__main__", "__file__": path})
"""


def run_python(source: str, path: Path) -> str:
    """Run a program under guard, as if it stood in ``path``; returns what it prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", GUARDED, name_of(path)],
        input=source,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=REPOSITORY,
        env={**os.environ, "CI": "true"},  # Hypothesis then has no limits of time, which a busy machine exceeds
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def program(path: Path) -> str:
    """The Python of a page as one program, on the lines where it stands."""
    lines: list[str] = []
    for line, text in blocks(path, "python"):
        lines += [""] * (line - len(lines))
        lines += text.splitlines()
    return "\n".join(lines) + "\n"


LONG = REPOSITORY / "docs" / "howto" / "machines.md"


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_of(page), marks=[pytest.mark.long] if page == LONG else [])
        for page in PAGES
        if any(blocks(page, "python"))
    ],
)
def test_python_of_a_page_runs(page: Path) -> None:
    run_python(program(page), page)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_examples_run(example: Path) -> None:
    assert run_python(example.read_text(), example)


def test_the_first_example_shows_a_frame_for_the_guest() -> None:
    readme = REPOSITORY / "README.md"
    printed = run_python(next(text for _, text in blocks(readme, "python")), readme).splitlines()
    assert printed[0] == "60 bytes for the guest from 52:55:0a:00:02:02"
    assert printed[0] in readme.read_text()


def test_there_is_something_to_run() -> None:
    pages = {name_of(page) for page in PAGES if any(blocks(page, "python"))}
    assert {"README.md", "docs/tutorial/embed.md", "docs/tcp.md", "docs/howto/policy.md"} <= pages
    assert EXAMPLES


def test_the_guard_guards() -> None:
    source = "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 9))"
    with pytest.raises(AssertionError, match="not this machine"):
        run_python(source, REPOSITORY / "README.md")


# ------------------------------------------------------------------------------------ command lines


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line that is shown after a dollar sign."""
    for page in PAGES:
        for first, text in blocks(page, "console"):
            for number, line in enumerate(text.splitlines(), first + 1):
                if line.startswith("$ "):
                    yield f"{name_of(page)}:{number}", shlex.split(line[2:], comments=True)


SLIRPY = [(where, words[1:]) for where, words in commands() if words[0].endswith("slirpy")]


@pytest.mark.parametrize(("where", "words"), SLIRPY, ids=[where for where, _ in SLIRPY])
def test_options_of_slirpy_exist(where: str, words: list[str]) -> None:
    if words[0] not in COMMANDS:
        assert words in (["--version"], ["--help"]), where
        return
    command = app.get_command(click.Context(app), words[0])
    assert command is not None
    parameters = command.make_context(words[0], words[1:]).params  # raises if an option is unknown
    if words[0] == "run":
        Config(  # the values are good ones too
            net=IPv4Network(parameters["net"] or "10.0.2.0/24"),
            mtu=parameters["mtu"] or 1500,
            hostfwd=parameters["hostfwd"],
            resolvers=parameters["dns"],
        )
        assert parameters["command"], where


def test_targets_of_make_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    shown = {word for _, words in commands() if words[0] == "make" for word in words[1:]}
    for page in PAGES:
        shown |= set(re.findall(r"`make ([a-z]+)`", page.read_text()))
    assert {"demo", "test", "setup", "bench"} <= shown
    for target in shown:
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target


# ------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path = target.partition("#")[0]
        if path and not re.match(r"[a-z]+:", path):
            assert (page.parent / path).exists(), target


def test_every_page_is_in_the_navigation() -> None:
    navigation = (REPOSITORY / "mkdocs.yml").read_text()
    for page in (REPOSITORY / "docs").rglob("*.md"):
        assert f": {page.relative_to(REPOSITORY / 'docs').as_posix()}\n" in navigation, page


def test_files_that_are_named_exist() -> None:
    """The architecture names files; they move."""
    for page in ("architecture.md", "tcp.md"):
        text = FENCE.sub("", (REPOSITORY / "docs" / page).read_text())
        folder = REPOSITORY / "slirpy" / ("tcp" if page == "tcp.md" else "")
        for name in re.findall(r"`((?:\w+/)*\w+\.py)", text):
            assert (folder / name).exists() or (REPOSITORY / name).exists(), f"{page}: {name}"
        for name in re.findall(r"`(\w+/(?:\w+/)*)`", text):
            assert (folder / name).is_dir() or (REPOSITORY / name).is_dir(), f"{page}: {name}"


# --------------------------------------------------------------------------------------- generated


def test_markers_and_generators_match(hooks: ModuleType) -> None:
    used = {match for page in PAGES for match in hooks.MARKER.findall(page.read_text())}
    assert used == set(hooks.GENERATED)


def test_an_unknown_marker_stops_the_build(hooks: ModuleType) -> None:
    with pytest.raises(KeyError):
        hooks.on_page_markdown("<!-- generated: nothing -->")


def test_the_diagram_has_every_transition(hooks: ModuleType) -> None:
    assert set(hooks.PLACES) == {*State, hooks.END}
    drawing, _, rest = hooks.tcp_states().partition("</svg>")
    drawn = drawing.count("<path d=")
    always = [1 for (_, new), cause in TRANSITIONS.items() if new is State.CLOSED and cause == hooks.ALWAYS]
    assert drawn - 1 == len(TRANSITIONS) - len(always)  # one path is the arrow's tip
    assert len(always) == len(State) - 1 - 2  # LAST-ACK and TIME-WAIT have causes, and arrows, of their own
    for (old, new), cause in TRANSITIONS.items():
        assert f"| {old.value} | {new.value} | {cause} |" in rest


def test_references_are_complete(hooks: ModuleType) -> None:
    table = hooks.counters()
    for name, text in Stats.describe().items():
        assert f"| `{name}` | {text} |" in table
    text = hooks.cli()
    for name in COMMANDS:
        command = app.get_command(click.Context(app), name)
        assert command is not None
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert option in text
    for key in re.findall(r"`([\w-]+)`", hooks.qemu_keys().partition("Known, but")[2]):
        with pytest.raises(ConfigError, match="not built yet"):
            Config.from_qemu(f"{key}=x")


@pytest.mark.parametrize(
    ("face", "pages"), [("slirpy.links", ["api"]), ("slirpy.testing", ["testing", "packetdrill"])]
)
def test_every_name_of_a_face_is_in_the_reference(face: str, pages: list[str]) -> None:
    text = "".join((REPOSITORY / "docs" / "reference" / f"{page}.md").read_text() for page in pages)
    described = set(re.findall(rf"^::: {re.escape(face)}\.(\w+)$", text, re.MULTILINE))
    assert described == set(importlib.import_module(face).__all__)


def test_the_rules_of_links_are_the_checks_of_the_suite() -> None:
    text = (REPOSITORY / "docs" / "howto" / "links.md").read_text()
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert named == [check.__name__ for check in LINK_CHECKS]


@pytest.mark.parametrize("page", ["tutorial/engine", "tutorial/testing", "howto/links"])
def test_a_stranger_needs_twenty_lines(page: str) -> None:
    """The engine on a lossy wire; a network with a server; a link, its guest's end, and the suite."""
    _, text = next(blocks(REPOSITORY / "docs" / f"{page}.md", "python"))
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= 20


def test_the_reference_has_every_name_of_the_faces() -> None:
    described = {name for page in PAGES for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)}
    missing = [
        f"{face}.{name}"
        for face in ("slirpy", "slirpy.links", "slirpy.testing", "slirpy.tcp")
        for name in importlib.import_module(face).__all__
        if not described
        & {f"{face}.{name}", getattr(getattr(importlib.import_module(face), name), "__module__", "")}
    ]
    assert missing == ["slirpy.__compiled__", "slirpy.__version__"]


def test_pages_and_examples_import_from_the_faces() -> None:
    """A reader need not know in which module a public name is defined; strategies and machines need Hypothesis."""
    hidden = re.compile(
        r"^ *(?:from|import) slirpy\.(?:links|testing)\.(?!strategies |machines )\w.*", re.MULTILINE
    )
    found = [
        f"{name_of(path)}: {line}"
        for path in (*PAGES, *EXAMPLES)
        if path.name != "CHANGELOG.md"
        for line in hidden.findall(path.read_text())
    ]
    assert not found, "\n".join(found)


def test_the_ladder_picture_has_every_packet(hooks: ModuleType) -> None:
    heading, *lines = hooks.lossy_run().splitlines()
    picture = hooks.ladder_picture()
    assert len(lines) >= 8
    assert picture.count("marker-end=") == len(lines) - 1
    assert picture.count("(lost)") == 1
    assert "len=5 again" in picture
    for name in heading.split()[1:]:
        assert name in picture
    assert "SYN,ACK seq=0 ack=1" in picture


def test_help_text_is_shown_as_it_is(hooks: ModuleType) -> None:
    assert hooks._prose("[a|b]:*  <c>") == r"\[a\|b\]:\* \<c\>"
    row = next(line for line in hooks.cli().splitlines() if "--congestion" in line)
    assert row.startswith('| <code id="slirpy-run-congestion">--congestion [cubic&#124;reno]</code> | ')


def test_the_site_can_be_searched_from_the_disk() -> None:
    config = (REPOSITORY / "mkdocs.yml").read_text()
    assert re.search(r"^  - search\n  - offline\b", config, re.MULTILINE)  # in this order
    assert "use_directory_urls: false" in config
    # The plugin loads a script from elsewhere unless it finds one of this name.
    assert "    - assets/iframe-worker.js\n" in config
    assert (REPOSITORY / "docs" / "assets" / "iframe-worker.js").exists()


def test_roles_of_docstrings_are_not_shown(hooks: ModuleType) -> None:
    html = "see :class:<code>~slirpy.stats.Stats</code> and :meth:<code>close</code>"
    assert hooks.on_page_content(html) == "see <code>Stats</code> and <code>close</code>"
