"""Five minutes of coverage-guided fuzzing, divided among all targets; see campaign.py."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz import campaign
from tests.fuzz.codecs import CODECS
from tests.fuzz.targets import TARGETS

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(find_spec("atheris") is None, reason="needs Atheris: pip install -e '.[fuzz]'"),
]
_SECONDS = 300
_STACKS = len(TARGETS) - len(CODECS)


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_fails(target: str, tmp_path: Path) -> None:
    # A stack has as much time as four codecs: it is larger, and slower.
    share = _SECONDS / (len(CODECS) + 4 * _STACKS)
    outcome = campaign.fuzz(target, round(share if target in CODECS else 4 * share), tmp_path)
    assert outcome.crash is None, f"{outcome.crash.hex()}\n{outcome.output[-4000:]}"
    assert outcome.runs > 0, outcome.output
