"""The tests in the tutorial are tests that pass."""

from __future__ import annotations

import re

import pytest

import slirpy.testing.plugin.examples
import slirpy.testing.plugin.session
import slirpy.testing.plugin.wrapping
import slirpy.testing.sim.aio
import slirpy.testing.sim.report  # noqa: F401 # see test_plugin.py
from tests.support.repository import REPOSITORY

pytest_plugins = ("pytester",)

PLAIN = [
    argument
    for name in ("cacheprovider", "xdist", "asyncio", "anyio", "schemathesis")  # the last imports requests
    for argument in ("-p", f"no:{name}")
]


@pytest.mark.parametrize(
    ("page", "passed", "xfailed"), [("docs/tutorial/network.md", 24, 1), ("docs/howto/network-faults.md", 9, 0)]
)
def test_page(pytester: pytest.Pytester, page: str, passed: int, xfailed: int) -> None:
    """All code of a page together is one file of tests."""
    text = (REPOSITORY / page).read_text()
    code = "\n\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    pytester.makepyfile(test_page=code)
    result = pytester.runpytest_inprocess(*PLAIN)
    result.assert_outcomes(passed=passed, xfailed=xfailed)


def test_readme(pytester: pytest.Pytester) -> None:
    """The test in the README passes with all of its seeds."""
    text = (REPOSITORY / "README.md").read_text()
    (code,) = (
        each
        for each in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        if "mark.sim" in each
    )
    pytester.makepyfile(test_readme=code)
    result = pytester.runpytest_inprocess(*PLAIN)
    result.assert_outcomes(passed=200)


@pytest.mark.long
def test_the_smallest_failure(pytester: pytest.Pytester) -> None:
    """Without its mark, the planted bug shrinks to what the tutorial says."""
    text = (REPOSITORY / "docs" / "tutorial" / "network.md").read_text()
    code = "\n\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    pytester.makepyfile(test_page=re.sub(r"@pytest.mark.xfail.*\n", "", code))
    # Apart, because schemathesis, once imported, keeps Hypothesis from showing arguments.
    result = pytester.runpytest_subprocess(*PLAIN, "-k", "every_answer")
    result.assert_outcomes(failed=1, deselected=24)
    result.stdout.fnmatch_lines(["*lost=?0, 1?*", "*questions=?0, 1?*"])
