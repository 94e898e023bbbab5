"""The table of clients in the documentation says what the markers of the system tests say."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

TESTS = """
import pytest

CASES = [pytest.param(1, marks=pytest.mark.client("tool-b", "read"))]

@pytest.mark.client("tool-a", "read", "write")
@pytest.mark.client("tool-a", "names", service="DNS")
def test_one(): ...

class TestMore:
    @pytest.mark.client("tool-a", "read")
    def test_two(self): ...
"""


def test_the_table_follows_the_markers(hooks: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "test_tftp_tools.py").write_text(TESTS)
    one, both = "test_tftp_tools.py: test_one", "test_tftp_tools.py: test_one; test_tftp_tools.py: TestMore"
    assert hooks.clients(tmp_path).split("\n") == [
        "## DNS",
        "",
        "| | tool-a |",
        "|---|---|",
        f'| names | <abbr title="{one}">yes</abbr> |',
        "",
        "## TFTP",
        "",
        "| | tool-a | tool-b |",
        "|---|---|---|",
        f'| read | <abbr title="{both}">yes</abbr> | <abbr title="test_tftp_tools.py">yes</abbr> |',
        f'| write | <abbr title="{one}">yes</abbr> |  |',
        "",
    ]


@pytest.mark.parametrize("arguments", ["", '"a"', 'NAME, "b"', '"a", 5', '"a", "b", other="c"'])
def test_a_marker_that_cannot_be_read_stops_the_build(
    hooks: ModuleType, tmp_path: Path, arguments: str
) -> None:
    (tmp_path / "test_tftp_tools.py").write_text(f"import pytest\nX = pytest.mark.client({arguments})\n")
    with pytest.raises(ValueError, match=r"test_tftp_tools\.py:2: write pytest\.mark\.client"):
        hooks.clients(tmp_path)


def test_the_clients_of_this_project_are_there(hooks: ModuleType) -> None:
    assert {"udhcpc", "dhclient"} <= {found.client for found in hooks.tried() if found.service == "DHCP"}
