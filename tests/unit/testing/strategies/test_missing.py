"""Without Hypothesis the two packages say what to install, and the rest of slirpy.testing works."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["strategies", "machines"])
def test_the_error_names_the_extra(package: str) -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from slirpy.testing import VirtualNetwork; VirtualNetwork()\n"
        f"import slirpy.testing.{package}"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: slirpy.testing.{package} needs Hypothesis; install slirpy[testing]"
    )
