"""The repository of these tests: its place, its files outside the package, and child processes that import it."""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

__all__ = ["PACKAGE", "REPOSITORY", "environment", "load"]

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "slirpy"


@cache
def load(path: str) -> ModuleType:
    """Module of a file that belongs to no package, such as ``docs/hooks.py``. Each file is loaded once."""
    name = path.removesuffix(".py").replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def environment() -> dict[str, str]:
    """Environment of a child process that imports slirpy from here, wherever it runs, and writes nothing here."""
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
