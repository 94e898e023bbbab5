"""Imports of packages that may be absent."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from tests.system.machine import missing

__all__ = ["Packages"]


class Packages:
    """Packages of the extra ``programs``."""

    def __call__(self, name: str) -> Any:
        """Import a package, or skip the test if it is not there."""
        try:
            module: ModuleType = importlib.import_module(name)
        except ImportError as error:
            missing(f"{error}: install slirpy[programs]")
        return module
