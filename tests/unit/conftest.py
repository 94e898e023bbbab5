"""Fixtures of unit tests in several folders."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from slirpy import Config, Slirp
from tests.support.repository import load


@pytest.fixture(scope="session")
def hooks() -> ModuleType:
    """``docs/hooks.py``, which fills in what the documentation takes from the code."""
    return load("docs/hooks.py")


@pytest.fixture
def net() -> Iterator[Slirp]:
    """A network with real sockets, which asks no resolver."""
    with Slirp(Config(resolvers=[])) as network:
        yield network


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: the path of a Unix socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="slirpy-") as name:
        yield Path(name)
