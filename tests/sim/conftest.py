"""The whole stack in virtual time."""

from __future__ import annotations

import pytest

from tests.support.harness import Net


@pytest.fixture
def net() -> Net:
    return Net()
