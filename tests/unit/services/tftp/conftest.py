"""The folder that the TFTP server shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.services.tftp.client import folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder(tmp_path)
